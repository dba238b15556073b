"""Occlusion: cover a part of the picture and see how much the class probability drops.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
https://arxiv.org/abs/1311.2901. Differs from the paper: the map shows the drop instead of the
probability, and where windows overlap, a pixel gets the average of theirs. Names: f is the class
probability, d the drop.
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor
from tqdm.auto import tqdm

from labkit.engine.batches import (
    BlackBox,
    check_count,
    choose_batch_size,
    inference,
    target_probability,
)
from labkit.engine.contract import check_image
from labkit.engine.incremental import Change, Place, carried, crops, pasted, stages_of
from labkit.engine.windows import Interval, Spans, coverage, neighbourhoods, window_intervals

WINDOWS = 64  # at most so many at once, neighbours, since alike in what they reach


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

    Fast where the network begins with a chain of convolutions, poolings, activation functions and
    residual blocks, all of them modules, as VGG, ResNet, SqueezeNet's stem and labkit's minivgg do:
    there only what a window changes is computed; see `labkit.engine.incremental`. Other models run
    on whole pictures.

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
    image, patch, stride = image.detach(), _sides("patch", patch), _sides("stride", stride)
    _check(model, image, patch, stride)
    cover = _cover(baseline, image)
    batch_size = choose_batch_size(image, batch_size)
    # As many windows at once as have the pixels of batch_size whole pictures.
    count = max(1, min(WINDOWS, batch_size * image[0].numel() // math.prod(patch)))
    rows, columns = map(window_intervals, image.shape[1:], patch, stride)
    bar = tqdm(total=len(rows) * len(columns), desc="windows", disable=not progress)
    with inference(model), bar:
        f_x = target_probability(model, image[None].clone(), target)  # [1]
        start = Place(image.permute(1, 2, 0), model)
        stages = stages_of(model, image)
        d = f_x.new_empty(len(rows), len(columns))
        for windows in neighbourhoods(len(rows), len(columns), count):
            i, j = zip(*windows, strict=True)
            change = _covered(start.maps, cover, [rows[k] for k in i], [columns[k] for k in j])
            d[i, j] = f_x - _scores(*carried(start, stages, change), target, batch_size)
            bar.update(len(windows))
    return _average(d.float(), rows, columns)


def _covered(image: Tensor, cover: Tensor, rows: list[Interval], columns: list[Interval]) -> Change:
    """Where pictures, each with one window covered, differ from the image `[H, W, C]`."""
    down, across = Spans.around(rows, image.shape[0]), Spans.around(columns, image.shape[1])
    values = crops(image, down, across)  # [n, h, w, C]
    for value, row, column, top, left in zip(
        values, rows, columns, down.starts, across.starts, strict=True
    ):
        window = value[row[0] - top : row[1] - top, column[0] - left : column[1] - left]
        window.copy_(cover[slice(*row), slice(*column)])
    return Change(values, down, across)


def _scores(place: Place, change: Change, target: int, batch_size: int) -> Tensor:
    """F `[n]` of the changed pictures."""
    batches = pasted(place, change, batch_size)
    return torch.cat([target_probability(place.rest, maps, target) for maps in batches])


def _average(d: Tensor, rows: list[Interval], columns: list[Interval]) -> Tensor:
    """The mean drop `[H, W]` over the windows that cover a pixel; d has a row for each row."""
    R, C = coverage(rows).to(d.device), coverage(columns).to(d.device)  # [n, H], [m, W]
    return (R.T @ d @ C) / (R.sum(dim=0)[:, None] * C.sum(dim=0))


def _sides(name: str, setting: int | tuple[int, int]) -> tuple[int, int]:
    sides = setting if isinstance(setting, tuple) else (setting, setting)
    if len(sides) != 2:
        raise ValueError(f"{name} must be one number or (height, width), got {setting!r}")
    for side in sides:
        check_count(name, side)
    return sides


def _check(model: BlackBox, image: Tensor, patch: tuple[int, int], stride: tuple[int, int]) -> None:
    if not callable(model):
        raise TypeError(
            "model must be a network, or a function from images [N, C, H, W] to class "
            f"probabilities [N, K], got {type(model).__name__}"
        )
    (h, w), (H, W) = patch, image.shape[1:]
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


def _cover(baseline: float | Tensor, image: Tensor) -> Tensor:
    """The baseline as an image `[H, W, C]`."""
    if not isinstance(baseline, Real | Tensor):
        raise TypeError(
            f"baseline must be a number or a tensor, got {type(baseline).__name__}; "
            "0.0 is the mean colour of the training pictures"
        )
    cover = torch.as_tensor(baseline).detach().to(image)
    if not torch.isfinite(cover).all():
        raise ValueError(
            "baseline must be finite, got NaN or infinity; torch.isfinite(baseline) shows where"
        )
    try:
        return cover.broadcast_to(image.shape).permute(1, 2, 0)
    except RuntimeError:
        raise ValueError(
            f"baseline must be a number, a colour [{len(image)}, 1, 1] or an image "
            f"{list(image.shape)}, got {list(cover.shape)}; color[:, None, None] makes a colour fit"
        ) from None
