"""The course's figures: every one with alternative text, none in rainbow colours.

Computing happens elsewhere; this is the only module that draws. Pictures are shown as HTML figures
with `<img alt>`, on their own white card, so that they read the same in light and dark themes.

The same in all functions: `alt` says what one should see, for those who cannot; `caption` stands
below the figure; `width` is in inches. Pictures are arrays `[H, W, 3]`, relevance is `[H, W]`.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from labkit.probe import Sweep, threshold_sweep

SIGNED, UNSIGNED, ACTIVATIONS = "RdBu_r", "inferno", "viridis"  # colour maps
LIMIT_QUANTILE = 0.998  # where a map's colours end: one bright pixel does not darken all others
OVERLAY_STRENGTH = 0.6  # opacity of the largest relevance over a picture, 0 to 1
COLOURS = ("#333333", "#0072B2", "#D55E00", "#009E73", "#CC79A7")  # dark grey, Okabe and Ito's
CLASS_COLOURS = COLOURS[1:3]  # blue and vermilion
LINES = mpl.cycler(color=COLOURS, linestyle=("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1))))
POINTS = mpl.cycler(color=COLOURS, marker=("o", "s", "^", "v", "D"))
DPI = 100
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


class Figure:
    """A drawn figure: shown by Jupyter as `<figure>` with alternative text and caption."""

    def __init__(self, canvas: Canvas, alt: str, caption: str = "") -> None:
        """Draw a matplotlib figure.

        Raises:
            ValueError: alt is empty.
        """
        if not alt.strip():
            raise ValueError("alt must say what one should see in the figure, got an empty text")
        self.alt, self.caption, self._canvas = alt, caption, canvas
        buffer = io.BytesIO()
        smaller = {"quality": 82, "method": 6}
        canvas.savefig(buffer, format="webp", dpi=DPI * 1.5, pil_kwargs=smaller)
        self._source = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
        self._width = round(canvas.get_size_inches()[0] * DPI)

    @property
    def html(self) -> str:
        """The figure as HTML."""
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else ""
        return (
            f'<figure style="margin:0.5em 0"><img alt="{html.escape(self.alt)}" '
            f'src="{self._source}" width="{self._width}" '
            f'style="max-width:100%;height:auto;background:#fff;border-radius:4px">{caption}</figure>'
        )

    def _repr_html_(self) -> str:
        return self.html

    def save(self, path: str | Path) -> None:
        """Write the picture to a file, PNG or what else its ending asks for; alt text goes along.

        The caption is not part of it.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        described = {"Description": self.alt} if Path(path).suffix.lower() == ".png" else None
        self._canvas.savefig(path, dpi=DPI * 1.5, metadata=described)

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"


@in_house_style
def new_canvas(
    width: float, height: float, rows: int = 1, columns: int = 1
) -> tuple[Canvas, np.ndarray]:
    """An empty figure, width x height inches, and its axes `[rows, columns]`."""
    canvas = Canvas(figsize=(width, height), layout="constrained")
    return canvas, canvas.subplots(rows, columns, squeeze=False)


# Pictures and maps


@in_house_style
def gallery(
    pictures: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    alt: str,
    caption: str = "",
    columns: int = 6,
    masks: Sequence[np.ndarray | None] | None = None,
    width: float = 9.0,
) -> Figure:
    """Pictures in rows, with a title each.

    Args:
        pictures: `[H, W, 3]` or `[H, W]`.
        titles: one for each picture.
        columns: pictures in a row.
        masks: bool `[H, W]` or None for each picture; their outline is drawn.

    Raises:
        ValueError: there is no picture, or another number of titles.
    """
    if not len(pictures) or len(pictures) != len(titles):
        raise ValueError(
            f"titles must be one a picture, got {len(titles)} for {len(pictures)} pictures"
        )
    canvas, axes = _grid(len(pictures), columns, width)
    masks = masks or [None] * len(pictures)
    for axis, picture, title, mask in zip(axes.flat, pictures, titles, masks, strict=False):
        axis.imshow(picture, cmap="gray")
        axis.set_title(title, fontsize=8)
        if mask is not None:
            outline(axis, mask)
    return Figure(canvas, alt, caption)


def _grid(n: int, columns: int, width: float) -> tuple[Canvas, np.ndarray]:
    """A figure with room for n pictures, at most so many in a row."""
    columns = min(columns, n)
    rows = -(-n // columns)
    canvas, axes = new_canvas(width, rows * (width / columns + 0.2), rows, columns)
    for axis in axes.flat:
        axis.axis("off")
    return canvas, axes


def outline(axis: Axes, mask: np.ndarray | Tensor, colour: str = "white") -> None:
    """Draw the border of a mask, dark below light so that it shows on any ground."""
    mask = _array(mask).astype(float)
    if mask.any() and not mask.all():
        axis.contour(mask, [0.5], colors="black", linewidths=1.6)
        axis.contour(mask, [0.5], colors=colour, linewidths=0.8)


def heatmaps(
    picture: np.ndarray,
    maps: Mapping[str, Tensor],
    *,
    mask: np.ndarray | Tensor | None = None,
    **settings: Any,
) -> Figure:
    """A picture and relevance maps of it, in one row; settings as in `heatmap_rows`."""
    return heatmap_rows([picture], [maps], masks=[mask], **settings)


@in_house_style
def heatmap_rows(
    pictures: Sequence[np.ndarray],
    maps: Sequence[Mapping[str, Tensor]],
    *,
    alt: str,
    caption: str = "",
    masks: Sequence[np.ndarray | Tensor | None] | None = None,
    titles: Sequence[str] | None = None,
    root_colours: bool = False,
    width: float | None = None,
) -> Figure:
    """A row for each picture: the picture, then its relevance maps, each with its own colour bar.

    Signed maps are drawn in diverging colours around zero, the others from zero upwards; a map's
    colours end at its quantile `LIMIT_QUANTILE`.

    Args:
        pictures: one for each row.
        maps: for each picture, relevance by name; as many in every row.
        masks: for each picture bool `[H, W]` or None, outlined on the picture and on its maps.
        titles: one for each picture.
        root_colours: brightness grows with the square root of unsigned relevance, so that faint
            parts of a squared map can be seen; the colour bar's middle then stands for a quarter.
    """
    columns = len(maps[0]) + 1
    width = min(2.6 * columns, 10.4) if width is None else width
    height = len(pictures) * (width / columns + 0.1)
    canvas, axes = new_canvas(width, height, len(pictures), columns)
    masks = masks or [None] * len(pictures)
    titles = titles or ["picture"] * len(pictures)
    for row, picture, named, mask, title in zip(axes, pictures, maps, masks, titles, strict=True):
        _draw_picture(row[0], title, picture)
        for axis, (name, relevance) in zip(row[1:], named.items(), strict=True):
            _draw_map(axis, name, relevance, root_colours)
        if mask is not None:
            for axis in row:
                outline(axis, mask, "cyan")
    return Figure(canvas, alt, caption)


@in_house_style
def row_with_curves(
    panels: Mapping[str, np.ndarray | Tensor],
    scores: Mapping[str, Tensor],
    *,
    alt: str,
    caption: str = "",
    fraction: float | None = None,
) -> Figure:
    """Pictures and maps in a row, and what became of a probability as pixels were replaced.

    Args:
        panels: pictures and relevance `[H, W]` by name.
        scores: probabilities `[S + 1]` by name, from no pixel replaced to all; there may be none.
        fraction: a share of the pixels, 0 to 1, marked by a dot on each curve.
    """
    canvas, chart = _row_with_chart(panels)
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
    else:
        chart.axis("off")
    return Figure(canvas, alt, caption)


@in_house_style
def learning(
    pictures: Mapping[str, np.ndarray], lines: Mapping[str, Tensor], *, alt: str, caption: str = ""
) -> Figure:
    """Pictures in a row, and what happened step by step, on a logarithmic scale.

    Args:
        pictures: by name.
        lines: `[S]` by name, one value per step; what is not positive is not drawn.
    """
    canvas, chart = _row_with_chart(pictures)
    for name, values in lines.items():
        chart.plot(range(1, len(values) + 1), _array(values), label=name)
    chart.set(yscale="log", xlabel="step")
    chart.xaxis.get_major_locator().set_params(integer=True)
    chart.legend()
    return Figure(canvas, alt, caption)


@in_house_style
def top_classes(
    picture: np.ndarray,
    choices: Sequence[tuple[str, float]],
    *,
    alt: str,
    caption: str = "",
    certain: float = 0.5,
) -> Figure:
    """A picture and a network's first choices; a warning in words where it is not certain.

    Args:
        picture: what was classified.
        choices: classes and their probabilities, best first, as from `model.predict(image)`.
        alt: what one should see; the warning is added to it.
        certain: the warning is given where the best probability is below.
    """
    warning = ""
    if choices[0][1] < certain:
        warning = f"Warning: the best class is under {certain:g}; the network is not sure."
    canvas, chart = _row_with_chart({"picture": picture}, chart=2.0)
    names, values = zip(*choices, strict=True)
    drawn = chart.barh(range(len(names)), values, color="#999999" if warning else CLASS_COLOURS[0])
    chart.bar_label(drawn, [f"{value:.3f}" for value in values], padding=3)
    chart.axvline(certain, color="black", linestyle="--", linewidth=0.8)
    chart.set_yticks(range(len(names)), names)
    chart.invert_yaxis()
    chart.set(xlim=(0, 1.12), xlabel="probability")
    chart.set_title(warning, color=CLASS_COLOURS[1], fontweight="bold")
    return Figure(canvas, f"{alt} {warning}".strip(), caption)


def _row_with_chart(
    panels: Mapping[str, np.ndarray | Tensor], chart: float = 1.3
) -> tuple[Canvas, Axes]:
    """Pictures (arrays) and maps (tensors) in a row, and an empty chart, so many times as wide."""
    widths = [1.0] * len(panels) + [chart]
    canvas = Canvas(figsize=(2.4 * sum(widths), 2.6), layout="constrained")
    *axes, last = canvas.subplots(1, len(widths), width_ratios=widths)
    for axis, (title, shown) in zip(axes, panels.items(), strict=True):
        draw = _draw_map if isinstance(shown, Tensor) else _draw_picture
        draw(axis, title, shown)
    return canvas, last


def _draw_picture(axis: Axes, title: str, picture: np.ndarray) -> None:
    axis.imshow(picture)
    axis.set_title(title)
    axis.axis("off")


def _draw_map(axis: Axes, name: str, relevance: Tensor, root_colours: bool = False) -> None:
    values = _array(relevance)
    limit = _limit(np.abs(values))
    if values.min() < 0:
        colours, scale, ticks = SIGNED, mpl.colors.Normalize(-limit, limit), [-limit, 0, limit]
    elif root_colours:
        colours, scale = UNSIGNED, mpl.colors.PowerNorm(0.5, 0, limit)
        ticks = [0, limit / 4, limit]
    else:
        colours, scale, ticks = UNSIGNED, mpl.colors.Normalize(0, limit), [0, limit]
    drawn = axis.imshow(values, cmap=colours, norm=scale)
    axis.set_title(name if values.any() else f"{name}: all zero")
    axis.axis("off")
    bar = axis.figure.colorbar(drawn, ax=axis, shrink=0.8, ticks=ticks)
    bar.ax.set_yticklabels([f"{tick:.0f}" if abs(tick) >= 9.5 else f"{tick:.1g}" for tick in ticks])
    bar.ax.tick_params(labelsize=7)


def _limit(values: np.ndarray) -> float:
    """Where colours end: at the quantile, or at the largest value where that is zero."""
    return float(np.quantile(values, LIMIT_QUANTILE) or values.max() or 1.0)


def overlaid(
    picture: np.ndarray, relevance: Tensor, strength: float = OVERLAY_STRENGTH
) -> np.ndarray:
    """The map in colours over the grey picture, more opaque where relevance is larger.

    Args:
        picture: uint8 `[H, W, 3]`.
        relevance: `[H, W]`; what is negative is not shown.
        strength: opacity of the largest values, 0 to 1.

    Returns:
        float `[H, W, 3]`, 0 to 1.
    """
    values = np.clip(_array(relevance).astype(float), 0, None)
    shown = np.clip(values / _limit(values), 0, 1)
    grey = np.repeat(picture.mean(axis=-1, keepdims=True) / 255, 3, axis=-1)
    opacity = strength * shown[..., None] ** 0.5
    return (1 - opacity) * grey + opacity * mpl.colormaps[UNSIGNED](shown)[..., :3]


@in_house_style
def gaze(
    pictures: Sequence[np.ndarray],
    fixations: Sequence[Tensor | None],
    densities: Sequence[Tensor],
    *,
    titles: Sequence[str],
    alt: str,
    caption: str = "",
    scanpaths: Sequence[Tensor | None] | None = None,
) -> Figure:
    """Where people looked: fixations on each picture above, the density map over it below.

    Args:
        pictures: one for each column.
        fixations: for each picture `[N, 2]`, x and y in its pixels; None where they are unknown.
        densities: for each picture `[H, W]`.
        titles: one for each picture.
        scanpaths: for each picture one subject's `[n, 2 or 3]` in order, drawn as a line.
    """
    n = len(pictures)
    canvas, axes = _grid(2 * n, n, min(2.2 * n, 10.4))
    scanpaths = scanpaths or [None] * n
    given = zip(axes.T, titles, pictures, fixations, scanpaths, densities, strict=True)
    for (above, below), title, picture, points, path, density in given:
        _draw_picture(above, title, picture)
        if points is not None:
            dots = {"s": 7, "color": "#F0E442", "edgecolors": "black", "linewidths": 0.4}
            above.scatter(*_array(points).T, **dots)
        if path is not None:
            above.plot(*_array(path)[:, :2].T, "-o", color="white", markersize=3, linewidth=1)
        below.imshow(overlaid(picture, density, strength=0.8))
    return Figure(canvas, alt, caption)


@in_house_style
def feature_maps(maps: Tensor, names: Sequence[str], *, alt: str, caption: str = "") -> Figure:
    """Feature maps `[K, h, w]` side by side, on one scale."""
    canvas, axes = _grid(len(maps), 8, 9.0)
    scale = mpl.colors.Normalize(0.0, maps.max().item())
    for axis, values, name in zip(axes.flat, maps, names, strict=False):
        axis.imshow(_array(values), cmap=ACTIVATIONS, norm=scale)
        axis.set_title(name, fontsize=8)
    bar = canvas.colorbar(axes[0, 0].images[0], ax=axes, shrink=0.8, pad=0.01)
    bar.set_label("activation", fontsize=8)
    return Figure(canvas, alt, caption)


def _array(values: Tensor | Sequence[float]) -> np.ndarray:
    """Numbers as matplotlib takes them: on no GPU, and without their gradient."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


# Scores and measurements


@in_house_style
def score_histogram(
    scores: Tensor, labels: Tensor, classes: Sequence[str], *, alt: str, caption: str = ""
) -> Figure:
    """Histograms of the score g(x) `[N]`, one colour for each class; labels `[N]` are 0 or 1."""
    canvas, [[axis]] = new_canvas(6.0, 2.8)
    _draw_histogram(axis, scores, labels, classes)
    return Figure(canvas, alt, caption)


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
def roc_curves(sweeps: Mapping[str, Sweep], *, alt: str, caption: str = "") -> Figure:
    """ROC curves by name, with chance as a dotted line."""
    canvas, [[axis]] = new_canvas(4.6, 4.2)
    for name, sweep in sweeps.items():
        _draw_roc(axis, sweep, name)
    axis.legend(loc="lower right")
    return Figure(canvas, alt, caption)


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
    alt: str,
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
    return Figure(canvas, alt, caption)


@in_house_style
def bars(
    values: Mapping[str, tuple[float, float, float]], *, xlabel: str, alt: str, caption: str = ""
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
    return Figure(canvas, alt, caption)


@in_house_style
def shares(
    values: Mapping[str, Sequence[float]],
    parts: Sequence[str],
    *,
    xlabel: str,
    alt: str,
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
    return Figure(canvas, alt, caption)


@in_house_style
def whole(
    picture: np.ndarray,
    relevance: Tensor,
    crop: Sequence[float],
    *,
    alt: str,
    title: str = "",
    caption: str = "",
    strength: float = OVERLAY_STRENGTH,
) -> Figure:
    """A map over the whole picture, and an outline around the part that the network saw.

    `whole(*model.on_whole(relevance, picture), alt=...)` draws what `Classifier.on_whole` returns.

    Args:
        picture: `[H, W, 3]`.
        relevance: `[H, W]`; NaN, where the network did not see the picture, and negative values are
            not shown.
        crop: left, top, width and height of what it saw.
        alt: what one should see.
        title: above the picture.
        caption: text below.
        strength: opacity of the largest values, 0 to 1.
    """
    height, width = picture.shape[:2]
    longer = max(height, width)
    canvas, [[axis]] = new_canvas(5.0 * width / longer, 5.0 * height / longer + 0.3)
    axis.imshow(overlaid(picture, relevance.nan_to_num(0.0), strength))
    axis.set_title(title)
    axis.axis("off")
    left, top, w, h = crop
    for colour, line in (("black", 2.4), ("white", 1.2)):
        corner = (left - 0.5, top - 0.5)
        axis.add_patch(
            mpl.patches.Rectangle(corner, w, h, fill=False, edgecolor=colour, linewidth=line)
        )
    return Figure(canvas, alt, caption)
