"""The one shape that every explainer has: its checks and its error texts.

    relevance = method(model, image, target, *, settings)   # [H, W]

model: maps `[N, C, H, W]` to logits `[N, K]`. It is run in eval mode and comes back as it was.
image: `[C, H, W]`, floating point, normalised as the model expects.
target: the class index, from 0 to K - 1.
relevance: `[H, W]`, float32, on the image's device, detached and raw: not normalised, not clipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import torch
from torch import Tensor, nn


def check_model(model: nn.Module) -> None:
    """Refuse what is not a network.

    Raises:
        TypeError: model is no `nn.Module`.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a torch.nn.Module, got {type(model).__name__}; "
            "load one with labkit.models.load_model(...)"
        )


def check_image(image: Tensor) -> None:
    """Refuse what is not one prepared image.

    Raises:
        TypeError: image is no floating-point tensor.
        ValueError: image is not `[C, H, W]`, is empty, or holds NaN or infinity.
    """
    if not isinstance(image, Tensor):
        raise TypeError(
            f"image must be a torch.Tensor of shape [C, H, W], got {type(image).__name__}; "
            "turn a picture into one with model.prepare(picture)"
        )
    if image.ndim != 3 or image.numel() == 0:
        hint = (
            "; pass one image, without its batch dimension (images[0])" if image.ndim == 4 else ""
        )
        raise ValueError(f"image must have shape [C, H, W], got {list(image.shape)}{hint}")
    if not image.is_floating_point():
        raise TypeError(
            f"image must hold floating-point numbers, got {image.dtype}; "
            "turn a picture into an image with model.prepare(picture)"
        )
    if not all(math.isfinite(end) for end in image.detach().aminmax()):
        raise ValueError(
            "image must be finite, got NaN or infinity; look at image.isfinite() to find where"
        )


def check_target(target: int, n_classes: int) -> None:
    """Refuse what is not a class of the network.

    Raises:
        TypeError: target is not a whole number.
        IndexError: target is not one of the classes.
    """
    if isinstance(target, bool) or not isinstance(target, Integral):
        raise TypeError(
            f"target must be a class index (int), got {type(target).__name__}; "
            "model.classes.index(name) finds it, int(tensor) converts it"
        )
    if not 0 <= target < n_classes:
        raise IndexError(
            f"target must be a class index from 0 to {n_classes - 1}, got {target}; "
            "model.predict(image) lists the likely ones"
        )


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Run the model and check that what comes out are logits.

    Args:
        model: the network.
        images: `[N, C, H, W]`.

    Returns:
        `[N, K]`.

    Raises:
        ValueError: the model returns something else, or numbers that are not finite.
    """
    logits = model(images)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
        got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(
            f"model must return logits of shape [N, K], got {got} for {len(images)} image(s); "
            "wrap it in a module that returns the tensor of class scores alone"
        )
    if not torch.isfinite(logits).all():
        raise ValueError(
            "model must return finite logits, got NaN or infinity; "
            "check that the image is normalised as the model expects"
        )
    return logits


def logit(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """The score Y that the gradient methods explain: one logit, before any softmax."""
    logits = logits_of(model, image[None])
    check_target(target, logits.shape[1])
    return logits[0, target]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Run the model in eval mode and frozen, and give it back as it was, whatever happens.

    Frozen parameters spare the backward pass the weight gradients, about a third of its time.
    """
    modes = [(module, module.training) for module in model.modules()]
    learnable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        if any(training for _, training in modes):
            model.eval()
        for parameter in learnable:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            if module.training != training:  # to set it takes a module far longer than to look
                module.training = training
        for parameter in learnable:
            parameter.requires_grad_(True)
