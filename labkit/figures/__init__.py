"""The course's figures: every one says what it shows, none is in rainbow colours.

Computing happens elsewhere; only these modules draw. `html` draws pictures and maps, `charts` all
that has axes, with matplotlib, which is loaded when the first chart is drawn. `look` holds colours
and limits, `words` makes the alternative texts, `panels` puts figures together.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from labkit.figures.html import (
    feature_maps,
    gallery,
    gaze,
    greener,
    heatmap_rows,
    heatmaps,
    overlaid,
    whole,
)
from labkit.figures.look import (
    ACTIVATIONS,
    CLASS_COLOURS,
    COLOURS,
    DPI,
    LIMIT_QUANTILE,
    OVERLAY_STRENGTH,
    SIGNED,
    UNSIGNED,
)
from labkit.figures.panels import Figure, Panel, beside
from labkit.figures.words import described

if TYPE_CHECKING:
    from labkit.figures.charts import (
        LINES,
        POINTS,
        STYLE,
        bars,
        curves,
        in_house_style,
        learning,
        new_canvas,
        roc_curves,
        row_with_curves,
        score_histogram,
        score_histograms,
        shares,
        threshold_view,
        top_classes,
    )

__all__ = [
    "ACTIVATIONS",
    "CLASS_COLOURS",
    "COLOURS",
    "DPI",
    "Figure",
    "LIMIT_QUANTILE",
    "LINES",
    "OVERLAY_STRENGTH",
    "POINTS",
    "Panel",
    "SIGNED",
    "STYLE",
    "UNSIGNED",
    "bars",
    "beside",
    "curves",
    "described",
    "feature_maps",
    "gallery",
    "gaze",
    "greener",
    "heatmap_rows",
    "heatmaps",
    "in_house_style",
    "learning",
    "new_canvas",
    "overlaid",
    "roc_curves",
    "row_with_curves",
    "score_histogram",
    "score_histograms",
    "shares",
    "threshold_view",
    "top_classes",
    "whole",
]


def __getattr__(name: str) -> Any:
    """What is not here by now comes from `charts`."""
    if name in __all__:
        return getattr(importlib.import_module("labkit.figures.charts"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
