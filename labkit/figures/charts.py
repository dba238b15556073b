"""Charts: the only module that draws with matplotlib.

The same in all functions: the values are said in the alternative text; `alt`, if given, is a line
that is put before them; `caption` stands below the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from labkit.figures.html import map_panel, picture_panel
from labkit.figures.look import CLASS_COLOURS, COLOURS
from labkit.figures.look import array as _array
from labkit.figures.panels import Chart, Figure, Panel, beside
from labkit.figures.words import number, of_intervals, of_line, sentence
from labkit.probe import Sweep, threshold_sweep

LINES = mpl.cycler(color=COLOURS, linestyle=("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1))))
POINTS = mpl.cycler(color=COLOURS, marker=("o", "s", "^", "v", "D"))
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": LINES,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "image.interpolation": "nearest",
}
in_house_style = mpl.rc_context(STYLE)  # as a decorator; the reader's own settings stay


@in_house_style
def new_canvas(
    width: float, height: float, rows: int = 1, columns: int = 1
) -> tuple[Canvas, np.ndarray]:
    """An empty figure, width x height inches, and its axes `[rows, columns]`."""
    canvas = Canvas(figsize=(width, height), layout="constrained")
    return canvas, canvas.subplots(rows, columns, squeeze=False)


@in_house_style
def row_with_curves(
    panels: Mapping[str, np.ndarray | Tensor],
    scores: Mapping[str, Tensor],
    *,
    alt: str = "",
    caption: str = "",
    fraction: float | None = None,
) -> Figure:
    """Pictures and maps in a row, and what became of a probability as pixels were replaced.

    Args:
        panels: pictures and relevance `[H, W]` by name.
        scores: probabilities `[S + 1]` by name, from no pixel replaced to all; there may be none.
        fraction: a share of the pixels, 0 to 1, marked by a dot on each curve.
    """
    canvas, [[chart]] = new_canvas(3.8, 3.2)
    for name, score in scores.items():
        places, score = np.linspace(0, 1, len(score)), _array(score)
        (line,) = chart.plot(places, score, label=name)
        if fraction is not None:
            dot = np.interp(fraction, places, score)
            chart.plot(fraction, dot, "o", color=line.get_color())
    if fraction is not None:
        chart.axvline(fraction, color="grey", linewidth=0.8)
    if scores:
        chart.set(xlabel="share of the pixels replaced", ylabel="probability", ylim=(0, 1.02))
        chart.legend()
    said = [of_line(name, np.linspace(0, 1, len(y)), y) for name, y in scores.items()]
    about = sentence("Probability over the share of pixels replaced", "; ".join(said))
    return _with_chart(panels, canvas if scores else None, about, alt, caption)


@in_house_style
def learning(
    pictures: Mapping[str, np.ndarray],
    lines: Mapping[str, Tensor],
    *,
    alt: str = "",
    caption: str = "",
) -> Figure:
    """Pictures in a row, and what happened step by step, on a logarithmic scale.

    Args:
        pictures: by name.
        lines: `[S]` by name, one value per step; what is not positive is not drawn.
    """
    canvas, [[chart]] = new_canvas(3.8, 3.2)
    for name, values in lines.items():
        chart.plot(range(1, len(values) + 1), _array(values), label=name)
    chart.set(yscale="log", xlabel="step")
    chart.xaxis.get_major_locator().set_params(integer=True)
    chart.legend()
    said = [of_line(name, range(1, len(y) + 1), y) for name, y in lines.items()]
    about = sentence("What happened step by step", "; ".join(said))
    return _with_chart(pictures, canvas, about, alt, caption)


@in_house_style
def top_classes(
    picture: np.ndarray,
    choices: Sequence[tuple[str, float]],
    *,
    alt: str = "",
    caption: str = "",
    certain: float = 0.5,
) -> Figure:
    """A picture and a network's first choices; a warning in words where it is not certain.

    Args:
        picture: what was classified.
        choices: classes and their probabilities, best first, as from `model.predict(image)`.
        alt: a line about the picture.
        certain: the warning is given where the best probability is below.
    """
    warning = ""
    if choices[0][1] < certain:
        warning = f"Warning: the best class is under {certain:g}; the network is not sure."
    canvas, [[chart]] = new_canvas(5.2, 3.2)
    names, values = zip(*choices, strict=True)
    drawn = chart.barh(range(len(names)), values, color="#999999" if warning else CLASS_COLOURS[0])
    chart.bar_label(drawn, [f"{value:.3f}" for value in values], padding=3)
    chart.axvline(certain, color="black", linestyle="--", linewidth=0.8)
    chart.set_yticks(range(len(names)), names)
    chart.invert_yaxis()
    chart.set(xlim=(0, 1.12), xlabel="probability")
    chart.set_title(warning, color=CLASS_COLOURS[1], fontweight="bold")
    said = ", ".join(f"{name} {value:.3f}" for name, value in choices)
    about = sentence(f"The first choices with their probabilities: {said}", warning)
    return _with_chart({"picture": picture}, canvas, about, alt, caption)


def _with_chart(
    shown: Mapping[str, np.ndarray | Tensor],
    canvas: Canvas | None,
    about: str,
    alt: str,
    caption: str,
) -> Figure:
    """Pictures (arrays) and maps (tensors) in a row, and a chart behind them."""
    row: list[Panel] = [
        map_panel(one, name)
        if isinstance(one, Tensor)
        else picture_panel(one, name, said=f"A picture, titled {name}")
        for name, one in shown.items()
    ]
    return Figure([row if canvas is None else [*row, Chart(canvas, about)]], alt, caption)


# Scores and measurements


@in_house_style
def score_histogram(
    scores: Tensor, labels: Tensor, classes: Sequence[str], *, alt: str = "", caption: str = ""
) -> Figure:
    """Histograms of the score g(x) `[N]`, one colour for each class; labels `[N]` are 0 or 1."""
    canvas, [[axis]] = new_canvas(6.0, 2.8)
    _draw_histogram(axis, scores, labels, classes)
    return Figure(canvas, sentence(alt, _of_scores(scores, labels, classes)), caption)


@in_house_style
def score_histograms(
    scores: Mapping[str, Tensor],
    labels: Tensor,
    classes: Sequence[str],
    *,
    alt: str = "",
    caption: str = "",
) -> Figure:
    """A histogram for each name, side by side on the same axes; scores `[N]` by name."""
    ones = []
    for name, some in scores.items():
        ones.append(score_histogram(some, labels, classes, alt=name, caption=name))
    joined = beside(ones, caption=caption)
    joined.line = alt
    return joined


def _of_scores(scores: Tensor, labels: Tensor, classes: Sequence[str]) -> str:
    """The range and the middle of each class."""
    said = []
    for label, name in enumerate(classes):
        some = _array(scores)[_array(labels) == label]
        if len(some):
            low, middle, high = (number(np.quantile(some, q)) for q in (0, 0.5, 1))
            said.append(f"{len(some)} {name} from {low} to {high}, median {middle}")
    return "Histograms of the score: " + "; ".join(said)


@in_house_style
def threshold_view(
    scores: Tensor, labels: Tensor, classes: Sequence[str], threshold: float
) -> Figure:
    """What one threshold does: on the histogram, in the confusion matrix, on the ROC curve."""
    canvas, [[histogram, confusion, roc]] = new_canvas(10.0, 3.0, 1, 3)
    here = threshold_sweep(scores, labels, torch.tensor([threshold]))
    _draw_histogram(histogram, scores, labels, classes)
    histogram.axvline(threshold, color="black", linestyle="--")
    histogram.set_title(f"threshold {threshold:.3f}")
    _draw_confusion(confusion, here, classes)
    _draw_roc(roc, threshold_sweep(scores, labels), "scores as thresholds")
    found, mistaken = here.true_positive_rate.item(), here.false_positive_rate.item()
    roc.plot(mistaken, found, "o", color=CLASS_COLOURS[1], markersize=9)
    roc.set_title(f"({mistaken:.2f}, {found:.2f}) on the ROC curve")
    n_negative, n_positive = (int((labels == label).sum()) for label in (0, 1))
    alt = (
        f"At threshold {threshold:.3f}: a dashed line in the histogram of scores; "
        f"{int(here.true_positive)} of {n_positive} {classes[1]} found, "
        f"{int(here.false_positive)} of {n_negative} {classes[0]} mistaken for it; "
        f"a dot on the ROC curve at ({mistaken:.2f}, {found:.2f})."
    )
    caption = f"Threshold {threshold:.3f}: accuracy {here.accuracy.item():.3f}"
    return Figure(canvas, alt, caption)


def _draw_histogram(axis: Axes, scores: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
    scores, labels = _array(scores), _array(labels)
    edges = np.histogram_bin_edges(scores, bins=30)
    for label, (name, colour) in enumerate(zip(classes, CLASS_COLOURS, strict=True)):
        hatch = "" if label == 0 else "//"
        axis.hist(scores[labels == label], edges, color=colour, alpha=0.6, label=name, hatch=hatch)
    axis.set(xlabel="score g(x)", ylabel="pictures")
    axis.legend()


def _draw_confusion(axis: Axes, here: Sweep, classes: Sequence[str]) -> None:
    by_truth = [here.true_negative, here.false_positive, here.false_negative, here.true_positive]
    counts = np.array(by_truth, dtype=int).reshape(2, 2)
    axis.imshow(counts / counts.sum(axis=1, keepdims=True), cmap="Greys", vmin=0.0, vmax=1.4)
    for (row, column), count in np.ndenumerate(counts):
        axis.text(column, row, count, ha="center", va="center", fontsize=14)
    axis.set_xticks([0, 1], [f"called\n{name}" for name in classes])
    axis.set_yticks([0, 1], [f"is\n{name}" for name in classes])
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.set_title(f"accuracy {here.accuracy.item():.3f}")


@in_house_style
def roc_curves(sweeps: Mapping[str, Sweep], *, alt: str = "", caption: str = "") -> Figure:
    """ROC curves by name, with chance as a dotted line."""
    canvas, [[axis]] = new_canvas(4.6, 4.2)
    for name, sweep in sweeps.items():
        _draw_roc(axis, sweep, name)
    axis.legend(loc="lower right")
    said = "; ".join(f"{name}, area {_area(sweep):.3f}" for name, sweep in sweeps.items())
    return Figure(canvas, sentence(alt, f"ROC curves: {said}"), caption)


def _area(sweep: Sweep) -> float:
    """The area below the points as they are joined by lines."""
    x, y = _array(sweep.false_positive_rate), _array(sweep.true_positive_rate)
    order = np.lexsort((y, x))
    return abs(float(np.trapezoid(y[order], x[order])))


def _draw_roc(axis: Axes, sweep: Sweep, name: str) -> None:
    axis.plot(sweep.false_positive_rate, sweep.true_positive_rate, label=name, alpha=0.9)
    axis.plot([0, 1], [0, 1], ":", color="grey", linewidth=1)
    axis.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")


@in_house_style
def curves(
    x: Sequence[float],
    lines: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    alt: str = "",
    caption: str = "",
    log_x: bool = False,
    log_y: bool = False,
) -> Figure:
    """Lines with bands: for each name (middle, lower, upper) at the places x."""
    canvas, [[axis]] = new_canvas(6.0, 3.4)
    axis.set_prop_cycle(POINTS)
    for name, band in lines.items():
        middle, lower, upper = map(_array, band)
        (line,) = axis.plot(x, middle, markersize=4, label=name)
        axis.fill_between(x, lower, upper, color=line.get_color(), alpha=0.15, linewidth=0)
    if log_x:
        axis.set_xscale("log")
        axis.set_xticks(list(x), [f"{value:g}" for value in x])
        axis.minorticks_off()
    if log_y:
        axis.set_yscale("log")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.legend()
    said = "; ".join(of_line(name, x, band[0]) for name, band in lines.items())
    return Figure(
        canvas, sentence(alt, f"{ylabel or 'Value'} over {xlabel or 'x'}: {said}"), caption
    )


@in_house_style
def bars(
    values: Mapping[str, tuple[float, float, float]],
    *,
    xlabel: str,
    alt: str = "",
    caption: str = "",
) -> Figure:
    """Horizontal bars with intervals: for each name (value, lower, upper), NaN where unknown."""
    canvas, [[axis]] = new_canvas(6.0, 0.7 + 0.35 * len(values))
    above = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center"}
    for row, (value, lower, upper) in enumerate(values.values()):
        ends = [[value - lower], [upper - value]]
        axis.errorbar(value, row, xerr=ends, fmt="o", color=COLOURS[0], capsize=3)
        axis.annotate(f"{value:.3f}", (value, row), **above)
    axis.set_yticks(range(len(values)), list(values))
    axis.set(xlabel=xlabel, ylim=(len(values) - 0.4, -0.7))
    axis.grid(axis="x", alpha=0.3)
    return Figure(canvas, sentence(alt, f"{xlabel}: {of_intervals(values)}".lstrip(": ")), caption)


@in_house_style
def shares(
    values: Mapping[str, Sequence[float]],
    parts: Sequence[str],
    *,
    xlabel: str,
    alt: str = "",
    caption: str = "",
) -> Figure:
    """Horizontal bars cut into parts that add up to 1: for each name one share per part."""
    canvas, [[axis]] = new_canvas(8.0, 0.9 + 0.35 * len(values))
    widths = np.array([_array(of_name) for of_name in values.values()])  # [names, parts]
    starts = np.cumsum(widths, axis=1) - widths
    looks = (("#BBBBBB", ""), (COLOURS[3], ".."), (COLOURS[2], "//"))
    on_white = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
    for part, (colour, hatch), width, left in zip(parts, looks, widths.T, starts.T, strict=False):
        drawn = axis.barh(list(values), width, left=left, color=colour, hatch=hatch, label=part)
        texts = [f"{share:.0%}" if share > 0.06 else "" for share in width]
        axis.bar_label(drawn, texts, label_type="center", bbox=on_white)
    axis.invert_yaxis()
    axis.set(xlabel=xlabel, xlim=(0, 1))
    axis.legend(ncols=len(parts), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    said = [
        f"{name}: "
        + ", ".join(f"{part} {share:.0%}" for part, share in zip(parts, row, strict=False))
        for name, row in zip(values, widths, strict=True)
    ]
    return Figure(canvas, sentence(alt, "; ".join(said).replace("%", " %")), caption)
