"""LIME: a linear stand-in for the model, over superpixels shown or hidden.

Ribeiro, Singh and Guestrin, "'Why Should I Trust You?' Explaining the Predictions of Any
Classifier", KDD 2016, https://arxiv.org/abs/1602.04938. Names follow the paper: Z, f, pi, w. f is
the softmax probability. The stand-in is fitted by the authors' package `lime`; the samples are
drawn here as the package draws them, number for number. Differs from the paper: the package's
ridge regression on all superpixels, without a choice of a few.
"""

from __future__ import annotations

from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from labkit.checks import check_choice, check_count
from labkit.engine.batches import BlackBox, choose_batch_size, target_probability
from labkit.engine.contract import check_image, settings_of

CUTS = ("quickshift", "slic", "grid")  # ways to superpixels
Segments = Tensor | np.ndarray


class Samples(NamedTuple):
    """What the linear stand-in is fitted to; the first of the N samples is the image itself.

    Z: `[N, S]`, 1 where a superpixel is shown and 0 where it is hidden.
    f: `[N]`, the class probabilities.
    distances: `[N]`, cosine distance of each row of Z to the row of ones.
    """

    Z: np.ndarray
    f: np.ndarray
    distances: np.ndarray


def lime_samples(
    model: BlackBox,
    image: Tensor,
    target: int,
    *,
    n_samples: int = 1000,
    segments: Segments | None = None,
    hide: float | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Samples:
    """The samples that `lime` fits its stand-in to, for a fit of your own.

    The arguments and errors are those of `lime`. The columns of Z are the superpixels in the order
    of their numbers in `segments`.

    Returns:
        (Z, f, distances), NumPy arrays in double precision.
    """
    segments = _checked_segments(segments, image)
    check_count("n_samples", n_samples, 2)
    hidden = _hidden(image.detach(), segments, hide)
    Z = _draw(n_samples, int(segments.max()) + 1, seed)
    f = []
    with tqdm(total=n_samples, desc="samples", disable=not progress) as bar:
        for rows in torch.from_numpy(Z).bool().split(choose_batch_size(image, batch_size)):
            shown = rows.to(image.device)[:, segments]  # [n, H, W]
            images = torch.where(shown[:, None], image.detach(), hidden)  # [n, C, H, W]
            f.append(target_probability(model, images, target).cpu().double())
            bar.update(len(rows))
    # The length of a row of zeros and ones is the root of its sum: 1 - z . 1 / (|z| |1|).
    return Samples(Z, torch.cat(f).numpy(), 1 - np.sqrt(Z.mean(axis=1)))


@settings_of(lime_samples)
def lime(
    model: BlackBox,
    image: Tensor,
    target: int,
    *,
    segments: Segments | None = None,
    kernel_width: float = 0.25,
    **settings: Any,
) -> Tensor:
    """What showing each superpixel adds to the class probability, as a linear stand-in has it.

    The package's `LimeImageExplainer(random_state=seed)` finds the same coefficients.

    Args:
        model: a network, or any function from images `[N, C, H, W]` to probabilities `[N, K]`.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.
        segments: `[H, W]`, the superpixel of each pixel as a whole number; `segment(image)` by
            default.
        kernel_width: how far from the image samples count. Weights are pi = sqrt(exp(-D^2 /
            kernel_width^2)), with D the cosine distance.
        n_samples: N, forward passes.
        hide: what a hidden superpixel shows: its own mean colour by default, or this number, in
            the units of the normalised image.
        seed: which samples; the same at every batch size and on every device.
        batch_size: samples per pass; chosen from the device by default.
        progress: show a bar.

    Returns:
        `[H, W]`, signed, a change of probability: each pixel has its superpixel's coefficient.

    Raises:
        ValueError: segments is not `[H, W]` or is one superpixel only, hide is not finite,
            kernel_width is not positive, or a count is too small.
        TypeError: segments holds no whole numbers.
        IndexError: target is not one of the classes.
    """
    from lime.lime_image import LimeImageExplainer

    if not 0 < kernel_width < float("inf"):
        raise ValueError(f"kernel_width must be a positive number, got {kernel_width}; try 0.25")
    segments = _checked_segments(segments, image)
    Z, f, distances = lime_samples(model, image, target, segments=segments, **settings)
    fitter = LimeImageExplainer(kernel_width=kernel_width, feature_selection="none").base
    n_segments = Z.shape[1]
    _, pairs, _, _ = fitter.explain_instance_with_data(Z, f[:, None], distances, 0, n_segments)
    w = torch.empty(n_segments)
    for superpixel, coefficient in pairs:
        w[superpixel] = coefficient
    return w.to(image.device)[segments]


def segment(image: Tensor, method: str = "quickshift", *, n_segments: int = 50) -> Tensor:
    """Cut an image into superpixels.

    Colours are compared after the normalised image was scaled to 0..1, by its smallest and its
    largest value over all channels.

    Args:
        image: `[C, H, W]`; C is 3, or 1 for grey. "grid" takes any C.
        method: "quickshift", with the settings of the package `lime`; "slic", whose superpixels
            are compact and much alike in size; or "grid", rectangles that know nothing of the
            image.
        n_segments: about how many; "quickshift" finds its own number.

    Returns:
        `[H, W]`, whole numbers from 0, on the image's device.

    Raises:
        ValueError: method is unknown, n_segments is below 2, or the image has no colours.
    """
    check_image(image)
    check_count("n_segments", n_segments, 2)
    check_choice("method", method, CUTS)
    if method == "grid":
        return _grid(image, n_segments)
    from skimage.segmentation import quickshift, slic

    colours = _displayable(image)
    if method == "quickshift":
        labels = quickshift(colours, kernel_size=4, max_dist=200, ratio=0.2)
    else:
        labels = slic(colours, n_segments=n_segments, start_label=0)
    return _numbered_from_zero(labels).to(image.device)


def _draw(n_samples: int, n_segments: int, seed: int) -> np.ndarray:
    """Z `[N, S]`: each superpixel shown or hidden by the toss of a coin; all shown in the first."""
    random = np.random.RandomState(seed)
    random.randint(0, high=1000)  # the package's first number is a seed for its segmentation
    Z = random.randint(0, 2, n_samples * n_segments).reshape(n_samples, n_segments)
    Z[0] = 1
    return Z.astype(float)


def _hidden(image: Tensor, segments: Tensor, hide: float | None) -> Tensor:
    """The image `[C, H, W]` with every superpixel hidden."""
    if hide is not None:
        if not isinstance(hide, Real) or not np.isfinite(hide):
            raise ValueError(f"hide must be None or a finite number, got {hide!r}")
        return torch.full_like(image, hide)
    hidden = torch.empty_like(image)
    for superpixel in range(int(segments.max()) + 1):
        inside = segments == superpixel
        hidden[:, inside] = image[:, inside].mean(dim=1, keepdim=True)
    return hidden


def _checked_segments(segments: Segments | None, image: Tensor) -> Tensor:
    """Segments on the image's device, numbered 0 to S - 1; at least two."""
    check_image(image)
    labels = segment(image) if segments is None else segments
    labels = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if labels.dtype.kind not in "iub":
        raise TypeError(
            f"segments must hold whole numbers, got {labels.dtype}; "
            "segment(image) makes them, segments.astype(int) converts them"
        )
    if labels.shape != image.shape[1:]:
        raise ValueError(
            f"segments must have the image's shape [H, W], {list(image.shape[1:])}, "
            f"got {list(labels.shape)}"
        )
    numbered = _numbered_from_zero(labels)
    if numbered.max() == 0:
        raise ValueError(
            "segments must be at least two superpixels, got one; "
            'segment(image, "grid") cuts any image'
        )
    return numbered.to(image.device)


def _numbered_from_zero(labels: np.ndarray) -> Tensor:
    """The same superpixels, their numbers without gaps.

    Common mistake: numbers from 1, as skimage's slic gives them by default. The package then never
    hides the last superpixel.
    """
    _, numbered = np.unique(labels, return_inverse=True)
    return torch.from_numpy(numbered.reshape(labels.shape)).long()


def _displayable(image: Tensor) -> np.ndarray:
    """The image as colours from 0 to 1, `[H, W, 3]`."""
    if len(image) not in (1, 3):
        raise ValueError(
            f"image must have 3 channels, or 1, to be cut by its colours, got {len(image)}; "
            'pass segments, for example segment(image, "grid")'
        )
    values = image.detach().cpu().double()
    span = (values.max() - values.min()).clamp(min=torch.finfo(values.dtype).tiny)
    colours = (values - values.min()) / span
    return colours.expand(3, -1, -1).permute(1, 2, 0).numpy()


def _grid(image: Tensor, n_segments: int) -> Tensor:
    """About n_segments rectangles `[H, W]`, as square as can be."""
    H, W = image.shape[1:]
    rows = min(H, max(1, round((n_segments * H / W) ** 0.5)))
    columns = min(W, max(1, round(n_segments / rows)))
    row = torch.arange(H, device=image.device) * rows // H
    column = torch.arange(W, device=image.device) * columns // W
    return row[:, None] * columns + column
