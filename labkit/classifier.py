"""A network that knows its classes, and how a picture becomes its image and a map comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from labkit import images
from labkit.checks import check_choice, check_count
from labkit.engine.batches import class_probabilities
from labkit.engine.contract import precision_of, said_by
from labkit.sentence import Sentence

Picture = str | Path | bytes | np.ndarray | Image.Image  # whatever labkit.images.open_image opens


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes an image: resized, cropped, normalised.

    resize: pixels of the shorter side, where the picture is cropped.
    crop: pixels of the image's sides.
    mean: of each channel, in 0..1: three numbers, or one for a network that takes grey pictures.
    std: of each channel, as many.
    interpolation: of the resizing, "bilinear" or "bicubic", both with antialiasing.
    fit: "crop" keeps the shape of things and cuts the middle square out; "stretch" squeezes the
        whole picture into the square, and `resize` plays no part.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, ...] = images.IMAGENET_MEAN
    std: tuple[float, ...] = images.IMAGENET_STD
    interpolation: str = "bilinear"
    fit: str = "crop"

    def __post_init__(self) -> None:
        check_count("resize", self.resize)
        check_count("crop", self.crop)
        check_choice("interpolation", self.interpolation, images.INTERPOLATIONS)
        check_choice("fit", self.fit, ("crop", "stretch"))
        if self.fit == "crop" and self.crop > self.resize:
            raise ValueError(
                f"crop must be at most resize, got {self.crop} and {self.resize}; "
                f"resize={self.crop} keeps the most of a picture"
            )
        if len(images.channels(self.mean, "mean")) != len(images.channels(self.std, "std")):
            raise ValueError(
                f"mean and std must have one number per channel each, got {len(self.mean)} and "
                f"{len(self.std)}; give three of each, or one of each for grey"
            )
        for name in ("mean", "std"):  # a list would be equal to no tuple
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def n_channels(self) -> int:
        """Of the image: 3, or 1 for grey."""
        return len(self.mean)

    def geometry(self, size: Sequence[int]) -> tuple[int, int, int, int]:
        """Height and width to which (H, W) is resized, then rows and columns cropped before."""
        if self.fit == "stretch":
            return self.crop, self.crop, 0, 0
        return images.geometry(size, self.resize, self.crop)

    def fitted(self, picture: np.ndarray, interpolation: str | None = None) -> np.ndarray:
        """The part of a picture, uint8 `[H, W, 3]`, that the network sees, `[crop, crop, 3]`."""
        way = interpolation or self.interpolation
        if self.fit == "stretch":
            return images.stretch(picture, self.crop, interpolation=way)
        shrunk = images.resize_shorter_side(picture, self.resize, interpolation=way)
        return images.center_crop(shrunk, self.crop)


class Prediction(list):
    """The most likely classes, best first: (name, probability) pairs, printed a line each."""

    def __repr__(self) -> str:
        return "\n".join(f"{probability:6.1%}  {name}" for name, probability in self)


class Whole(NamedTuple):
    """A map on the whole picture.

    picture: uint8 `[H, W, 3]`, as it was before it was prepared.
    relevance: `[H, W]`, NaN where the network did not see the picture.
    crop: left, top, width and height of what it saw, in the picture's pixels.
    """

    picture: np.ndarray
    relevance: Tensor
    crop: tuple[float, float, float, float]


class Classifier(nn.Module):
    """A network that knows its classes and how to prepare a picture for them.

    It returns logits, like the network inside, and the network's layers go by the network's own
    names: `classifier.features[28]` and `classifier.get_submodule("features.28")`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        classes: Sequence[str],
        description: str,
        preprocessing: Preprocessing | None = None,
        architecture: str | None = None,
    ) -> None:
        """Wrap a network.

        Args:
            network: maps `[N, C, H, W]` to logits `[N, K]`; C is 3, or 1 for grey pictures.
            name: what it is called in tables and figures.
            classes: K names; two where the network has one logit.
            description: the sentence that notebooks print: which network, trained on what.
            preprocessing: how its pictures were prepared in training; ImageNet's by default.
            architecture: what `load_model` builds it as; None for a network of your own.
        """
        super().__init__()
        self.network = network
        self.name = name
        self.classes = tuple(classes)
        self.description = Sentence(description)
        self.preprocessing = preprocessing or Preprocessing()
        self.architecture = architecture

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "network":
                raise
            return getattr(self.network, name)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[N, K]` of images `[N, C, H, W]`.

        Raises:
            ValueError: in eval mode, K is not the number of names.
        """
        output = self.network(images)
        if not self.training:
            self._check_names(said_by(output))
        return output

    def _check_names(self, logits: object) -> None:
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            return  # the engine says what is wrong with it
        n, n_names = logits.shape[1], len(self.classes)
        expected = 2 if n == 1 else n  # one logit: no or yes, by the sigmoid
        if n_names != expected:
            raise ValueError(
                f"classes must be {expected} names for a network with {n} logit{'s'[: n - 1]}, got "
                f"{n_names}; pass them all: Classifier(network, classes=[...], ...)"
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(chain(self.parameters(), self.buffers()), torch.empty(0)).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights, which images are prepared in."""
        return precision_of(self) or torch.get_default_dtype()

    @property
    def runs_on(self) -> str:
        """Where the weights are, in words: "the CPU", or "cuda:0 (Tesla T4)"."""
        if self.device.type == "cuda":
            return f"{self.device} ({torch.cuda.get_device_name(self.device)})"
        return "the CPU" if self.device.type == "cpu" else str(self.device)

    def prepare(self, picture: Picture) -> Tensor:
        """Turn a picture (path, bytes, array or PIL picture) into an image `[C, H, W]`.

        It comes on the network's device and in its precision. For a network with one channel, the
        picture is turned to grey first.
        """
        how, array = self.preprocessing, images.open_image(picture)
        array = how.fitted(array if how.n_channels == 3 else images.grey(array))
        return images.to_tensor(array, how.mean, how.std).to(self.device, self.dtype)

    def prepare_all(self, pictures: Sequence[Picture]) -> Tensor:
        """Turn pictures into a batch of images `[N, C, H, W]`."""
        return torch.stack([self.prepare(picture) for picture in pictures])

    def prepare_mask(self, mask: np.ndarray) -> Tensor:
        """Bring a mask `[H, W]` of a picture to the geometry of its image; bool."""
        grey = np.repeat(np.asarray(mask, dtype=np.uint8)[..., None] * 255, 3, axis=-1)
        shares = self.preprocessing.fitted(grey, "bilinear")[..., 0]
        return torch.from_numpy(shares > 127).to(self.device)

    def prepare_map(self, values: Tensor) -> Tensor:
        """Bring a map `[H, W]` of a picture, such as gaze, to the geometry of its image.

        Bilinear whatever the picture's interpolation: bicubic would make negative gaze.
        """
        crop = self.preprocessing.crop
        h, w, top, left = self.preprocessing.geometry(values.shape)
        scaled = F.interpolate(
            values[None, None].float(), (h, w), mode="bilinear", antialias=True, align_corners=False
        )[0, 0]
        return scaled[top : top + crop, left : left + crop].to(self.device)

    def prepare_points(self, points: Tensor, size: tuple[int, int]) -> Tensor:
        """Bring x and y `[N, 2]` in a picture of (H, W) pixels to the geometry of its image.

        What was cropped away comes out below 0 or beyond the last pixel.
        """
        h, w, top, left = self.preprocessing.geometry(size)
        scale = torch.tensor([w / size[1], h / size[0]], dtype=torch.float64)
        return torch.as_tensor(points).double() * scale - torch.tensor([left, top])

    def on_whole(self, relevance: Tensor, picture: Picture) -> Whole:
        """Bring a map of an image back onto the whole picture that the image was made of.

        The inverse of `prepare_map`: values are interpolated, so they stay, but their sum does not.

        Args:
            relevance: `[H, W]` of the image.
            picture: what `prepare` was given.

        Returns:
            The picture, the map on it with NaN outside of the crop, and the crop.

        Raises:
            ValueError: relevance is not of the image's size.
        """
        crop, array = self.preprocessing.crop, images.open_image(picture)
        if relevance.shape != (crop, crop):
            raise ValueError(
                f"relevance must have the image's shape [{crop}, {crop}], got "
                f"{list(relevance.shape)}; explain model.prepare(picture)"
            )
        H, W = array.shape[:2]
        h, w, top, left = self.preprocessing.geometry((H, W))
        # Centres of the picture's pixels, in the image from -1 to 1
        y = ((torch.arange(H, device=relevance.device) + 0.5) * h / H - top) * 2 / crop - 1
        x = ((torch.arange(W, device=relevance.device) + 0.5) * w / W - left) * 2 / crop - 1
        grid = torch.stack([x.expand(H, W), y[:, None].expand(H, W)], dim=-1)  # [H, W, 2]
        maps = relevance.detach().float()[None, None]
        sampled = F.grid_sample(maps, grid[None], padding_mode="border", align_corners=False)
        values = sampled[0, 0]
        values[(grid.abs() > 1).any(dim=-1)] = torch.nan
        rectangle = (left * W / w, top * H / h, crop * W / w, crop * H / h)
        return Whole(array, values, rectangle)

    def picture(self, image: Tensor) -> np.ndarray:
        """Turn an image `[C, H, W]` back into a picture, uint8 `[H, W, 3]`."""
        how = self.preprocessing
        return images.to_picture(image.detach().cpu(), how.mean, how.std)

    def predict(self, image: Tensor, k: int = 5) -> Prediction:
        """The k most likely classes of one image `[C, H, W]`, with softmax probabilities."""
        probabilities = class_probabilities(self, image[None])[0]
        best = probabilities.topk(min(k, len(self.classes)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return Prediction((self.classes[i], p) for i, p in pairs)
