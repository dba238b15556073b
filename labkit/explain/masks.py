"""Windows, random masks, baselines, and the way from a small map to the image's size."""

from __future__ import annotations

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
