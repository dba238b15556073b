"""Many images explained by one method, together in a pass where the method allows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from labkit.engine.batches import BlackBox, choose_batch_size, class_probabilities
from labkit.engine.contract import check_image, check_target
from labkit.engine.hooks import Layer, activations_and_gradients_of_each, upsample
from labkit.explain.fem import fem, fem_of_each
from labkit.explain.gradcam import gradcam, weighted_by_means
from labkit.explain.gradients import READS_GRADIENT, gradients_read
from labkit.explain.hirescam import hirescam, weighted_by_place


def many(
    method: Callable[..., Tensor],
    model: BlackBox,
    images: Tensor,
    targets: int | None | Sequence[int | None] | Tensor,
    **settings: Any,
) -> Tensor:
    """The relevance maps of many images, equal to those of one call each up to rounding.

    Gradient maps, Grad-CAM, HiResCAM and FEM take as many images in a pass as is fast; any other
    method is called image by image.

    Args:
        method: a function of `labkit.explain`, or a `functools.partial` of one.
        model: as the method takes it.
        images: `[N, C, H, W]`, normalised as the model expects.
        targets: a class index for each image, or one for all.
        settings: of the method.

    Returns:
        What the method returns, for each image: `[N, H, W]`, `[N, C, H, W]` for `input_gradient`.

    Raises:
        ValueError: images are not `[N, C, H, W]`, or there is another number of targets.
        IndexError: a target is not one of the classes; the text says which.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or len(images) == 0:
        got = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"images must have shape [N, C, H, W], got {got}; torch.stack(images) makes one tensor"
        )
    for image in images:
        check_image(image)
    classes = _one_each(targets, model, images)
    size = choose_batch_size(images[0])
    bound = method if isinstance(method, partial) else partial(method)
    together = TOGETHER.get(bound.func) or partial(_one_by_one, bound.func)
    explain = partial(together, *bound.args, **bound.keywords)
    parts = (slice(first, first + size) for first in range(0, len(images), size))
    return torch.cat([explain(model, images[p], classes[p], **settings) for p in parts])


def _one_each(targets: Any, model: BlackBox, images: Tensor) -> list:
    """A target for each image, all of them classes of the model."""
    given = targets.tolist() if isinstance(targets, Tensor) else targets
    each = list(given) if isinstance(given, Sequence) else [given] * len(images)
    if len(each) != len(images):
        raise ValueError(
            f"targets must be one class index, or one for each of {len(images)} images, "
            f"got {len(each)}"
        )
    if set(each) != {None}:  # FEM alone takes that
        n_classes = class_probabilities(model, images[:1]).shape[1]
        for i, target in enumerate(each):
            check_target(target, n_classes, f"targets[{i}]")
    return each


def _one_by_one(
    method: Callable[..., Tensor], model: BlackBox, images: Tensor, targets: list, **settings: Any
) -> Tensor:
    pairs = zip(images, targets, strict=True)
    return torch.stack([method(model, image, target, **settings) for image, target in pairs])


def _weighted(
    weigh: Callable[[Tensor, Tensor], Tensor],
    model: nn.Module,
    images: Tensor,
    targets: list,
    *,
    layer: Layer,
) -> Tensor:
    L = weigh(*activations_and_gradients_of_each(model, images, targets, layer))  # [N, h, w]
    return upsample(L, images.shape[2:]).float()


# How the methods that allow it explain a batch of images.
TOGETHER: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    **{method: partial(gradients_read, method) for method in READS_GRADIENT},
    gradcam: partial(_weighted, weighted_by_means),
    hirescam: partial(_weighted, weighted_by_place),
    fem: fem_of_each,
}
