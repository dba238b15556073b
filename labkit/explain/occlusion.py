"""Occlusion: cover a part of the picture and see how much the class probability drops.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
https://arxiv.org/abs/1311.2901. Differs from the paper: the map shows the drop instead of the
probability, and where windows overlap, a pixel gets the average of theirs. Names: f is the class
probability, d the drop.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from labkit.checks import check_count
from labkit.engine.batches import BlackBox, target_probability
from labkit.engine.contract import as_image, check_image
from labkit.engine.questions import probabilities_covered
from labkit.engine.windows import coverage, window_intervals


def occlusion(
    model: BlackBox,
    image: Tensor,
    target: int,
    *,
    patch: int | tuple[int, int] = 32,
    stride: int | tuple[int, int] = 14,
    baseline: float | Tensor = 0.0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    """How much the class probability drops when a window over a pixel is covered.

    Windows stand every `stride` pixels, the last ones clipped at the border, so that each pixel is
    covered. A pixel's relevance is the average drop over its windows.

    Args:
        model: a network with logits, or any function from images `[N, C, H, W]` to class
            probabilities `[N, K]`.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.
        patch: side of a window in pixels, or its (height, width).
        stride: from one window to the next, or (down, across); at most the patch.
        baseline: what covers: a number, a colour `[C, 1, 1]` or an image `[C, H, W]`, such as a
            blurred copy, all in normalised units. 0 is the mean colour of the training pictures.
        batch_size: whole pictures per pass; chosen from the device by default.
        progress: show a bar.

    Returns:
        `[H, W]`, signed, in probability: positive where covering lowers it.

    Raises:
        ValueError: patch, stride or batch_size is below 1, the patch is larger than the image, the
            stride larger than the patch, or the baseline does not fit or is not finite.
        TypeError: one of them is of the wrong kind.
    """
    check_image(image)
    patch, stride = _sides("patch", patch), _sides("stride", stride)
    _check_windows(patch, stride, image.shape[1:])
    rows, columns = map(window_intervals, image.shape[1:], patch, stride)
    cover = as_image(baseline, image)
    f = target_probability(model, image[None], target)
    f_covered = probabilities_covered(
        model, image, cover, rows, columns, target, batch_size=batch_size, progress=progress
    )
    d = (f - f_covered).float()  # [n, m]
    R, C = coverage(rows).to(d), coverage(columns).to(d)  # [n, H], [m, W]
    return (R.T @ d @ C) / (R.T @ torch.ones_like(d) @ C)  # [H, W]


def _sides(name: str, setting: int | tuple[int, int]) -> tuple[int, int]:
    sides = setting if isinstance(setting, tuple) else (setting, setting)
    if len(sides) != 2:
        raise ValueError(f"{name} must be one number or (height, width), got {setting!r}")
    for side in sides:
        check_count(name, side)
    return sides


def _check_windows(patch: tuple[int, int], stride: tuple[int, int], size: Sequence[int]) -> None:
    (h, w), (H, W) = patch, size
    if h > H or w > W:
        raise ValueError(
            f"patch must fit into the image of {H} x {W} pixels, got {h} x {w}; "
            "a seventh of the side, 32 of 224, is usual"
        )
    if stride[0] > h or stride[1] > w:
        raise ValueError(
            f"stride must be at most the patch, {h} x {w}, got {stride[0]} x {stride[1]}; "
            "with a longer one no window would cover the pixels between"
        )
