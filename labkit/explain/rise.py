"""RISE: the mean class probability over random masks that show a pixel.

Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
BMVC 2018, https://arxiv.org/abs/1806.07421. Names follow the paper: N masks M, p, f, S. f is the
softmax probability. Differs from the paper: a pixel's sum is divided by how often the pixel was
shown, not by how often one is shown on average (`normalise="official"` does that). The official
map shows, besides the explanation, which pixels the drawn masks happened to favour; that fades
only with many more masks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from tqdm.auto import tqdm

from labkit.explain.batches import (
    BlackBox,
    check_count,
    choose_batch_size,
    class_probabilities,
    inference,
    target_probability,
)
from labkit.explain.contract import check_image
from labkit.explain.masks import draw_grids, random_masks

NORMALISATIONS = ("coverage", "official")
Item = TypeVar("Item")


def rise(
    model: BlackBox,
    image: Tensor,
    target: int,
    *,
    n_masks: int = 2000,
    cells: int = 8,
    p: float = 0.5,
    normalise: str = "coverage",
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    """The class probability to expect when a pixel is shown and others are hidden at random.

    Args:
        model: a network, or any function from images `[N, C, H, W]` to probabilities `[N, K]`.
        image: `[C, H, W]`, normalised as the model expects; hidden pixels become zero, the mean
            colour.
        target: the class index.
        n_masks: N, forward passes. The map's noise halves with four times as many.
        cells: s, cells along each side of the coarse grid that a mask is made from.
        p: the probability that a cell is shown.
        normalise: "coverage" divides by the sum of the masks, "official" by N p.
        seed: which masks; the same at every batch size and on every device. Two seeds give
            independent maps: how well they agree is the map's split-half reliability.
        batch_size: masked images per pass; chosen from the device by default. Memory depends on
            it, and not on n_masks.
        progress: show a bar.

    Returns:
        `[H, W]`, a probability; with "coverage" 0 where no mask showed the pixel.

    Raises:
        ValueError: p is not between 0 and 1, there are more cells than pixels along a side,
            normalise is unknown, a count is too small, or the model returns NaN.
        IndexError: target is not one of the classes.
    """
    steps = rise_steps(
        model,
        image,
        target,
        n_masks=n_masks,
        cells=cells,
        p=p,
        normalise=normalise,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    _, S = _last(steps)
    return S


def rise_steps(
    model: BlackBox,
    image: Tensor,
    target: int,
    *,
    n_masks: int = 2000,
    cells: int = 8,
    p: float = 0.5,
    normalise: str = "coverage",
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[int, Tensor]]:
    """Watch the map of `rise` grow: for each batch, the masks so far and the map so far.

    The arguments and errors are those of `rise`, whose result is the last map. Between two steps,
    and when the loop is left early, the model is as it was.

    Returns:
        An iterator over (number of masks, `[H, W]`).
    """
    _check_settings(image, n_masks, cells, p, normalise)
    size = choose_batch_size(image, batch_size)
    f = lambda images: target_probability(model, images, target)[:, None]  # noqa: E731
    sums = _sums(model, f, image, _mask_batches(image, n_masks, cells, p, seed, size, progress))
    return ((n, _divided(total, shown, n * p, normalise)[0]) for n, total, shown in sums)


def rise_all(
    model: BlackBox,
    image: Tensor,
    *,
    n_masks: int = 2000,
    cells: int = 8,
    p: float = 0.5,
    normalise: str = "coverage",
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    """The maps of `rise` for all classes, from the forward passes that one class takes.

    The arguments and errors are those of `rise`.

    Returns:
        `[K, H, W]`, probabilities; with "coverage" they sum to 1 over the classes.
    """
    _check_settings(image, n_masks, cells, p, normalise)
    size = choose_batch_size(image, batch_size)
    f = partial(class_probabilities, model)
    sums = _sums(model, f, image, _mask_batches(image, n_masks, cells, p, seed, size, progress))
    n, total, shown = _last(sums)
    return _divided(total, shown, n * p, normalise)


def _last(steps: Iterable[Item]) -> Item:
    return deque(steps, maxlen=1)[0]


def _sums(
    model: BlackBox, f: Callable[[Tensor], Tensor], image: Tensor, batches: Iterator[Tensor]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """After each batch: masks so far, sum of f_i M_i `[K, H, W]`, and sum of M_i `[H, W]`.

    The sums go on growing in place: what is to be kept must be copied.
    """
    n, total, shown = 0, None, torch.zeros(image.shape[1:], device=image.device)
    for M in batches:  # [n, H, W]
        with inference(model):  # not around the yield, where the caller's own code runs
            scores = f((image * M[:, None]).to(image.dtype)).float()  # [n, K]
        if total is None:
            total = M.new_zeros(scores.shape[1], *shown.shape)
        total.flatten(1).addmm_(scores.T, M.flatten(1))
        shown += M.sum(dim=0)
        n += len(M)
        yield n, total, shown


def _mask_batches(
    image: Tensor, n_masks: int, cells: int, p: float, seed: int, size: int, progress: bool
) -> Iterator[Tensor]:
    """The masks `[n, H, W]`, a batch at a time, so that they never fill the memory."""
    generator = torch.Generator().manual_seed(seed)
    H, W = image.shape[1:]
    with tqdm(total=n_masks, desc="masks", disable=not progress) as bar:
        for start in range(0, n_masks, size):
            n = min(size, n_masks - start)
            grids, shifts = draw_grids(n, (H, W), cells=cells, p=p, generator=generator)
            yield random_masks(grids.to(image.device), shifts.to(image.device), (H, W))
            bar.update(n)


def _divided(total: Tensor, shown: Tensor, expected: float, normalise: str) -> Tensor:
    """S, the sum of f_i M_i over how often each pixel was shown, or is on average (N p)."""
    if normalise == "official":
        return total / expected
    return total / shown.clamp(min=torch.finfo(shown.dtype).tiny)


def _check_settings(image: Tensor, n_masks: int, cells: int, p: float, normalise: str) -> None:
    check_image(image)
    check_count("n_masks", n_masks)
    check_count("cells", cells)
    H, W = image.shape[1:]
    if cells > min(H, W):
        raise ValueError(
            f"cells must be no more than the image's pixels along a side, {min(H, W)}, got {cells};"
            " 8 is usual"
        )
    if not 0 < p < 1:
        raise ValueError(
            f"p must lie between 0 and 1, got {p}; it is the probability that a cell is shown"
        )
    if normalise not in NORMALISATIONS:
        raise ValueError(f"normalise must be one of {', '.join(NORMALISATIONS)}, got {normalise!r}")
