"""What does the model answer when a part of the picture changes?

Two questions, and each could be a loop of four lines over whole pictures. How they are answered in
less time is nobody else's affair.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from labkit.engine.batches import BlackBox, choose_batch_size, target_probability
from labkit.engine.contract import check_target, logits_of, precision_of, untouched
from labkit.engine.incremental import Change, Place, carried, crops, pasted, stages_of
from labkit.engine.windows import Interval, Spans, neighbourhoods

WINDOWS = 64  # at most so many at once, neighbours, since alike in what they reach


def probabilities_covered(
    model: BlackBox,
    image: Tensor,
    cover: Tensor,
    rows: Sequence[Interval],
    columns: Sequence[Interval],
    target: int,
    *,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    """The class probability of the picture with each window covered.

    Fast where the network begins with a chain of convolutions, poolings, activation functions and
    residual blocks, all of them modules, as VGG, ResNet, EfficientNet-Lite and labkit's minivgg do:
    there only what a window changes is computed; see `labkit.engine.incremental`. Other models run
    on whole pictures. Nothing is approximated.

    Args:
        model: a network, or any function from images `[N, C, H, W]` to probabilities `[N, K]`.
        image: `[C, H, W]`.
        cover: `[C, H, W]`, what a window shows where it covers.
        rows: the n windows' extents down, (start, stop) each.
        columns: the m windows' extents across.
        target: the class index.
        batch_size: whole pictures per pass; chosen from the device by default.
        progress: show a bar.

    Returns:
        `[n, m]`, one probability for each pair of rows and columns.
    """
    size = choose_batch_size(image, batch_size)
    own = precision_of(model) if isinstance(model, nn.Module) else None
    image = image.detach().to(own or image.dtype)
    image, cover = image.permute(1, 2, 0), cover.to(image.dtype).permute(1, 2, 0)  # [H, W, C]
    window = math.prod(max(stop - start for start, stop in axis) for axis in (rows, columns))
    # As many windows at once as have the pixels of so many whole pictures.
    count = max(1, min(WINDOWS, size * image[..., 0].numel() // window))
    protected = untouched(model) if isinstance(model, nn.Module) else nullcontext()
    bar = tqdm(total=len(rows) * len(columns), desc="windows", disable=not progress)
    with torch.inference_mode(False), torch.no_grad(), protected, bar:
        start, stages = Place(image, model), stages_of(model, image.permute(2, 0, 1))
        kind = torch.promote_types(image.dtype, torch.float32)
        f = torch.empty(len(rows), len(columns), dtype=kind, device=image.device)
        for windows in neighbourhoods(len(rows), len(columns), count):
            i, j = zip(*windows, strict=True)
            change = _covered(image, cover, [rows[k] for k in i], [columns[k] for k in j])
            place, change = carried(start, stages, change)
            batches = pasted(place, change, size)
            f[i, j] = torch.cat([target_probability(place.rest, maps, target) for maps in batches])
            bar.update(len(windows))
    return f


def _covered(
    image: Tensor, cover: Tensor, rows: Sequence[Interval], columns: Sequence[Interval]
) -> Change:
    """Where pictures, each with one window covered, differ from the image `[H, W, C]`."""
    down, across = Spans.around(rows, image.shape[0]), Spans.around(columns, image.shape[1])
    values = crops(image, down, across)  # [n, h, w, C]
    for value, row, column, top, left in zip(
        values, rows, columns, down.starts, across.starts, strict=True
    ):
        window = value[row[0] - top : row[1] - top, column[0] - left : column[1] - left]
        window.copy_(cover[slice(*row), slice(*column)])
    return Change(values, down, across)


def scores_replaced(
    model: BlackBox,
    start: Tensor,
    finish: Tensor,
    order: Tensor,
    counts: Tensor,
    target: int,
    *,
    score: str = "probability",
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    """The class score while more and more pixels of one image are replaced by another's.

    Args:
        model: a network, or any function from images `[N, C, H, W]` to probabilities `[N, K]`.
        start: `[C, H, W]`, the image whose pixels are replaced.
        finish: `[C, H, W]`, the image that they are taken from.
        order: `[H W]`, the pixels, counted row by row, in the order of their replacement.
        counts: `[S + 1]`, how many are replaced in each picture; it does not fall.
        target: the class index.
        score: "probability", or "logit", for which the model must be a network.
        batch_size: pictures per pass; chosen from the device by default.
        progress: show a bar.

    Returns:
        `[S + 1]`, float32, on the CPU.
    """
    size = choose_batch_size(start, batch_size)
    scores = []
    with tqdm(total=len(counts), desc="steps", disable=not progress) as bar:
        for images in replaced(start, finish, order, counts, size):
            scores.append(_scores(model, images, target, score).float().cpu())
            bar.update(len(images))
    return torch.cat(scores)


def replaced(
    start: Tensor, finish: Tensor, order: Tensor, counts: Tensor, batch_size: int
) -> Iterator[Tensor]:
    """`start` with the first so many pixels of the order from `finish`, one image per count.

    Yields:
        The next images, `[n, C, H, W]` with n at most batch_size.
    """
    now, then = (image.detach().flatten(1) for image in (start, finish))  # [C, H W]
    now, done = now.clone(), 0
    for some in counts.split(batch_size):
        images = now.new_empty(len(some), *now.shape)
        for image, count in zip(images, some.tolist(), strict=True):
            pixels = order[done:count]
            image.copy_(now.index_copy_(1, pixels, then[:, pixels]))
            done = count
        yield images.view(len(some), *start.shape)


def _scores(model: BlackBox, images: Tensor, target: int, score: str) -> Tensor:
    """The score `[n]` of each image."""
    if score == "probability" or not isinstance(model, nn.Module):
        return target_probability(model, images, target)
    logits = logits_of(model, images)
    check_target(target, logits.shape[1])
    return logits[:, target]
