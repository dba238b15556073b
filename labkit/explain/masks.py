"""Windows, random masks, baselines, and the way from a small map to the image's size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def upsample(relevance: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge a map `[h, w]` to `[H, W]`, bilinearly, pixels taken as areas.

    `align_corners=False` is what the picture's own resizing does; with True the map would shift
    against the picture by up to half a cell.
    """
    return F.interpolate(relevance[None, None], size=size, mode="bilinear", align_corners=False)[
        0, 0
    ]


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
