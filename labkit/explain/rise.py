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
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from labkit.checks import check_choice, check_count
from labkit.correlation import pearson
from labkit.engine.batches import (
    BlackBox,
    choose_batch_size,
    class_probabilities,
    target_probability,
)
from labkit.engine.contract import check_image, settings_of

NORMALISATIONS = ("coverage", "official")
CHECK_EVERY = 64  # masks; whole batches of the usual sizes


def _sums(
    f: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    n_masks: int = 2000,
    cells: int = 8,
    p: float = 0.5,
    normalise: str = "coverage",
    until: float | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Iterator[_Sums]:
    """The sums after each batch of masks; f gives the scores `[n, K]` of masked images.

    The settings are explained in `rise`. They are checked at once, not when the first sum is asked
    for.
    """
    _check_settings(image, n_masks, cells, p, normalise)
    _check_until(until)
    size = choose_batch_size(image, batch_size)
    every = n_masks if until is None else CHECK_EVERY
    batches = _mask_batches(image, n_masks, cells, p, seed, size, every)
    scored = ((M, f((image * M[:, None]).to(image.dtype)).float()) for M in batches)
    return _growing(scored, partial(_Sums, p, normalise), n_masks, until, progress)


@settings_of(_sums)
def rise_steps(
    model: BlackBox, image: Tensor, target: int, **settings: Any
) -> Iterator[tuple[int, Tensor]]:
    """Watch the map of `rise` grow: for each batch, the masks so far and the map so far.

    The arguments and errors are those of `rise`, whose result is the last map. With until, the last
    number tells how many masks it took; n_masks means that the map may be less reliable. Between
    two steps, and when the loop is left early, the model is as it was.

    Returns:
        An iterator over (number of masks, `[H, W]`).
    """
    f = lambda images: target_probability(model, images, target)[:, None]  # noqa: E731
    return ((sums.n, sums.S()[0]) for sums in _sums(f, image, **settings))


@settings_of(_sums)
def rise(model: BlackBox, image: Tensor, target: int, **settings: Any) -> Tensor:
    """The class probability to expect when a pixel is shown and others are hidden at random.

    Args:
        model: a network, or any function from images `[N, C, H, W]` to probabilities `[N, K]`.
        image: `[C, H, W]`, normalised as the model expects; hidden pixels become zero, the mean
            colour.
        target: the class index.
        n_masks: N, forward passes; with until, the most that it may take. The map's noise halves
            with four times as many.
        cells: s, cells along each side of the coarse grid that a mask is made from.
        p: the probability that a cell is shown.
        normalise: "coverage" divides by the sum of the masks, "official" by N p.
        until: stop when the map is so reliable, such as 0.95; by default all n_masks are run. The
            reliability is Pearson's r to expect between this map and one from as many other masks:
            by Spearman and Brown 2 r / (1 + r), where r is how well the maps from every other mask
            and from the rest agree. It must be reached at two looks in a row, 64 masks apart, as
            one may be luck. An estimate all the same: for a single map it can be somewhat too high.
            `rise_steps` says how many masks it took.
        seed: which masks; the same at every batch size and on every device. Two seeds give
            independent maps: how well they agree is the map's split-half reliability.
        batch_size: masked images per pass; chosen from the device by default. Memory depends on
            it, and not on n_masks.
        progress: show a bar, with the reliability so far if until is given.

    Returns:
        `[H, W]`, a probability; with "coverage" 0 where no mask showed the pixel.

    Raises:
        ValueError: p is not between 0 and 1, there are more cells than pixels along a side,
            normalise is unknown, until is not between 0 and 1, a count is too small, or the model
            returns NaN.
        TypeError: until is not a number, or a count not a whole one.
        IndexError: target is not one of the classes.
    """
    ((_, S),) = deque(rise_steps(model, image, target, **settings), maxlen=1)  # keeps one map
    return S


@settings_of(_sums, without=["until"])
def rise_all(model: BlackBox, image: Tensor, **settings: Any) -> Tensor:
    """The maps of `rise` for all classes, from the forward passes that one class takes.

    The arguments and errors are those of `rise`, without until: classes differ in reliability.

    Returns:
        `[K, H, W]`, probabilities; with "coverage" they sum to 1 over the classes.
    """
    (sums,) = deque(_sums(partial(class_probabilities, model), image, **settings), maxlen=1)
    return sums.S()


class _Sums:
    """Over the masks so far: their number n, and the sums of f_i M_i `[K, H, W]` and of M_i."""

    def __init__(self, p: float, normalise: str) -> None:
        self.p, self.normalise, self.n = p, normalise, 0

    def add(self, M: Tensor, scores: Tensor) -> None:
        """Add masks `[n, H, W]` with their scores f `[n, K]`, in place."""
        if self.n == 0:
            self.total = M.new_zeros(scores.shape[1], *M.shape[1:])
            self.shown = M.new_zeros(M.shape[1:])
        self.total.flatten(1).addmm_(scores.T, M.flatten(1))
        self.shown += M.sum(dim=0)
        self.n += len(M)

    def S(self) -> Tensor:
        """The maps `[K, H, W]`: divided by how often each pixel was shown, or is on average."""
        if self.normalise == "official":
            return self.total / (self.n * self.p)
        return self.total / self.shown.clamp(min=torch.finfo(self.shown.dtype).tiny)


def _growing(
    scored: Iterable[tuple[Tensor, Tensor]],
    sums: Callable[[], _Sums],
    n_masks: int,
    until: float | None,
    progress: bool,
) -> Iterator[_Sums]:
    """The same sums after each batch of masks, until they are reliable enough or the masks end."""
    whole, *halves = sums(), sums(), sums()
    before = -1.0  # how reliable the map was at the look before
    with tqdm(total=n_masks, desc="masks", disable=not progress) as bar:
        for M, scores in scored:
            for which, half in enumerate(halves) if until is not None else ():
                every_other = slice((whole.n + which) % 2, None, 2)  # the same at any batch size
                half.add(M[every_other], scores[every_other])
            whole.add(M, scores)
            bar.update(len(M))
            yield whole
            if until is not None and whole.n % CHECK_EVERY == 0:
                now = _spearman_brown(*(half.S() for half in halves))
                bar.set_postfix_str(f"reliability {now:.3f}")
                if before >= until and now >= until:  # once may be luck
                    return
                before = now


def _spearman_brown(S: Tensor, other: Tensor) -> float:
    """How reliable the map from both halves of the masks is; NaN where a map is constant."""
    r = pearson(S, other)
    return 2 * r / (1 + r)


def _mask_batches(
    image: Tensor, n_masks: int, cells: int, p: float, seed: int, size: int, every: int
) -> Iterator[Tensor]:
    """The masks `[n, H, W]`, a batch at a time, so that they never fill the memory.

    No batch goes beyond a multiple of `every` masks.
    """
    generator = torch.Generator().manual_seed(seed)
    H, W = image.shape[1:]
    done = 0
    while done < n_masks:
        n = min(size, n_masks - done, every - done % every)
        grids, shifts = draw_grids(n, (H, W), cells=cells, p=p, generator=generator)
        yield random_masks(grids.to(image.device), shifts.to(image.device), (H, W))
        done += n


def draw_grids(
    n_masks: int, size: tuple[int, int], *, cells: int, p: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw what RISE's masks are made of: coarse grids of zeros and ones, and random shifts.

    Two calls for one mask each draw the same as one call for two.

    Args:
        n_masks: N, how many to draw.
        size: (H, W) of the image.
        cells: s, cells along each side of a grid.
        p: the probability that a cell is one, that is, shown.
        generator: where the random numbers come from; on the CPU.

    Returns:
        grids `[N, s, s]`, and shifts `[N, 2]`, down and to the right, each less than a cell.
    """
    numbers = torch.rand(n_masks, cells * cells + 2, generator=generator)  # a row for each mask
    grids = (numbers[:, :-2] < p).float().view(n_masks, cells, cells)
    shifts = (numbers[:, -2:] * torch.tensor(_cell(size, cells))).long()
    return grids, shifts


def random_masks(grids: Tensor, shifts: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge coarse grids to smooth masks of the image's size, as the authors of RISE do.

    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    BMVC 2018, https://arxiv.org/abs/1806.07421. Bilinear, a cell larger than the image on each
    side, then cropped at the shift, so that no cell's border stays in one place. Differs from the
    authors' code in that only the crop is computed: U g U^T with the rows of U that are needed.

    Args:
        grids: `[N, s, s]`, from `draw_grids`.
        shifts: `[N, 2]`, down and to the right, each less than a cell: H / s and W / s, rounded up.
        size: (H, W) of the image.

    Returns:
        `[N, H, W]`, from 0 (hidden) to 1 (shown).
    """
    cells = grids.shape[-1]
    windows = []
    for shift, length, cell in zip(shifts.T, size, _cell(size, cells), strict=True):
        U = _mirrored_bilinear(cells, (cells + 1) * cell).to(grids)  # [(s + 1) cell, s]
        places = shift[:, None] + torch.arange(length, device=grids.device)  # [N, length]
        windows.append(U[places])
    rows, columns = windows  # [N, H, s], [N, W, s]
    return rows @ grids @ columns.mT


def _cell(size: tuple[int, int], cells: int) -> tuple[int, int]:
    """Height and width of a grid's cell in pixels, rounded up."""
    return -(-size[0] // cells), -(-size[1] // cells)


def _mirrored_bilinear(n_cells: int, n_pixels: int) -> Tensor:
    """The matrix `[n_pixels, n_cells]` that enlarges a column of cells bilinearly.

    Beyond the centres of the border cells it goes on as in a mirror. Common mistake:
    `F.interpolate` repeats the border cell there, which gives other masks near the border.
    """
    last = n_cells - 1
    centre = (torch.arange(n_pixels, dtype=torch.float32) + 0.5) * n_cells / n_pixels - 0.5
    mirrored = (last - (last - centre.abs()).abs()).clamp(min=0)  # in cells, from 0 to last
    return (1 - (mirrored[:, None] - torch.arange(n_cells)).abs()).clamp(min=0)


def _check_until(until: float | None) -> None:
    if until is None:
        return
    if isinstance(until, bool) or not isinstance(until, Real):
        raise TypeError(
            f"until must be a number between 0 and 1, or None, got {until!r}; "
            "0.95 asks for a map that others like it agree with"
        )
    if not 0 < until < 1:
        raise ValueError(
            f"until must lie between 0 and 1, got {until}; it is a correlation, which no finite "
            "number of masks brings to 1"
        )


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
    check_choice("normalise", normalise, NORMALISATIONS)
