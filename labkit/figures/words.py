"""What a figure shows, in words that come from its numbers: alternative texts and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from labkit.figures.look import array

PLACES = (
    *("upper left", "top", "upper right"),
    *("left", "centre", "right"),
    *("lower left", "bottom", "lower right"),
)


def described(relevance: Tensor | np.ndarray, mask: Tensor | np.ndarray | None = None) -> str:
    """A map in one phrase: its signs, where its peak is, how much of it lies inside a mask.

    "from 0 upwards, peak lower left, 69 % inside the outline"

    Args:
        relevance: `[H, W]`; NaN where nothing is known.
        mask: bool `[H, W]`; the share is that of positive relevance, as in `energy_inside`.

    Raises:
        ValueError: relevance is no `[H, W]`, or the mask has another shape.
    """
    values = array(relevance).astype(float)
    if values.ndim != 2:
        raise ValueError(f"relevance must have shape [H, W], got {list(values.shape)}")
    known = values[np.isfinite(values)]
    if not known.size:
        return "nothing is known"
    if known.min() == known.max():
        return f"the same everywhere, {known[0]:.3g}" if known[0] else "all zero"
    parts = [_signs(known), f"peak {place_of(values == known.max())}"]
    if known.min() < 0 < known.max():
        parts.append(f"most negative {place_of(values == known.min())}")
    if np.isnan(values).any():
        parts.append(f"unknown in {np.isnan(values).mean():.0%} of the picture")
    return ", ".join([*parts, *_inside(values, mask)]).replace("%", " %")


def _signs(known: np.ndarray) -> str:
    if known.min() >= 0:
        return "from 0 upwards"
    return "of both signs" if known.max() > 0 else "nowhere positive"


def _inside(values: np.ndarray, mask: Tensor | np.ndarray | None) -> list[str]:
    if mask is None or not array(mask).any():
        return []
    mask = array(mask).astype(bool)
    if mask.shape != values.shape:
        raise ValueError(
            f"mask must have the map's shape {list(values.shape)}, got {list(mask.shape)}; "
            "bring it there with model.prepare_mask(mask)"
        )
    positive = np.clip(np.nan_to_num(values), 0, None)
    total = positive.sum()
    return [f"{positive[mask].sum() / total:.0%} inside the outline"] if total > 0 else []


def place_of(where: np.ndarray) -> str:
    """Which ninth of the picture holds all these pixels; "in several places" if none does."""
    rows, columns = np.nonzero(where)
    height, width = where.shape
    ninths = np.unique(rows * 3 // height * 3 + columns * 3 // width)
    names = [PLACES[k] for k in ninths]
    return " and ".join(names) if len(names) <= 2 else "in several places"


def number(value: float) -> str:
    """A value in a sentence."""
    return f"{float(value):.3g}"


def of_line(name: str, x: Sequence[float], y: Sequence[float]) -> str:
    """A line's start, end, and largest value where it is neither."""
    x, y = array(x).astype(float), array(y).astype(float)
    if not np.isfinite(y).any():
        return f"{name}: no value"
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    said = f"{name}: {number(y[0])} at {number(x[0])}, {number(y[-1])} at {number(x[-1])}"
    top = y.argmax()
    inner = y[top] > max(y[0], y[-1])
    return said + (f", largest {number(y[top])} at {number(x[top])}" if inner else "")


def of_intervals(values: Mapping[str, tuple[float, float, float]]) -> str:
    """Names with value and interval."""
    known = {name: some for name, some in values.items() if not np.isnan(some[0])}
    said = [f"{name} {v:.3f} [{low:.3f}, {high:.3f}]" for name, (v, low, high) in known.items()]
    return "; ".join([*said, *(f"{name}: no value" for name in values if name not in known)])


def sentence(*parts: str) -> str:
    """Sentences one after the other; each ends with a full stop."""
    stripped = (part.strip() for part in parts if part.strip())
    return " ".join(part if part[-1] in ".!?" else f"{part}." for part in stripped)
