"""The one look of all figures: colours, limits, sizes, and numbers as they are written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

SIGNED, UNSIGNED, ACTIVATIONS = "RdBu_r", "inferno", "viridis"  # colour tables
TABLES = ("RdBu_r", "inferno", "viridis", "cividis")  # the rows of colours.png
LEVELS = 65  # colours of a map: as good as 256 to the eye, a third less in a file; odd, for zero
LIMIT_QUANTILE = 0.998  # where a map's colours end: one bright pixel does not darken all others
OVERLAY_STRENGTH = 0.6  # opacity of the largest relevance over a picture, 0 to 1
COLOURS = ("#333333", "#0072B2", "#D55E00", "#009E73", "#CC79A7")  # dark grey, Okabe and Ito's
CLASS_COLOURS = COLOURS[1:3]  # blue and vermilion
DARK, LIGHT = (0, 0, 0), (0, 255, 255)  # an outline: black below cyan
DPI = 100  # CSS pixels an inch


@cache
def table(name: str) -> np.ndarray:
    """A colour table, uint8 `[256, 3]`, from the smallest value to the largest.

    Raises:
        ValueError: there is no such table.
    """
    if name not in TABLES:
        raise ValueError(
            f"a colour table must be one of {', '.join(TABLES)}, got {name!r}; "
            "add it to TABLES and run `python -m tools.make_colours`"
        )
    with Image.open(Path(__file__).with_name("colours.png")) as rows:
        return np.asarray(rows)[TABLES.index(name)]


def array(values: Tensor | Sequence[float] | np.ndarray) -> np.ndarray:
    """Numbers on no GPU, and without their gradient."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def limit_of(values: np.ndarray) -> float:
    """Where colours end: at the quantile of sizes, or at the largest where that is zero."""
    sizes = np.abs(values[np.isfinite(values)])
    if not sizes.size:
        return 1.0
    return float(np.quantile(sizes, LIMIT_QUANTILE) or sizes.max() or 1.0)


def written(value: float) -> str:
    """A number with one digit, or without a fraction from ten on."""
    return f"{value + 0:.0f}" if abs(value) >= 9.5 else f"{value + 0:.1g}"
