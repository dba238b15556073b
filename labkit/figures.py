"""The course's figures: every one with alternative text, none in rainbow colours.

Computing happens elsewhere; this is the only module that draws. Pictures are shown as HTML figures
with `<img alt>`, on their own white card, so that they read the same in light and dark themes.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from labkit.probe import Sweep, threshold_sweep

CLASS_COLOURS = ("#0072B2", "#D55E00")  # Okabe and Ito's blue and vermilion
DPI = 100
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "image.interpolation": "nearest",
}
in_house_style = mpl.rc_context(STYLE)  # as a decorator; the reader's own settings stay


class Figure:
    """A drawn figure: shown by Jupyter as `<figure>` with alternative text and caption."""

    def __init__(self, canvas: Canvas, alt: str, caption: str = "") -> None:
        """Draw a matplotlib figure.

        Args:
            canvas: the matplotlib figure.
            alt: what one should see, for those who cannot.
            caption: text below the picture.

        Raises:
            ValueError: alt is empty.
        """
        if not alt.strip():
            raise ValueError("alt must say what one should see in the figure, got an empty text")
        self.alt = alt
        self.caption = caption
        self._canvas = canvas
        buffer = io.BytesIO()
        canvas.savefig(
            buffer, format="webp", dpi=DPI * 1.5, pil_kwargs={"quality": 82, "method": 6}
        )
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
        pictures: arrays `[H, W, 3]` or `[H, W]`.
        titles: one a picture.
        alt: what one should see.
        caption: text below.
        columns: pictures in a row.
        masks: bool `[H, W]` or None for each picture; their outline is drawn.
        width: of the figure, in inches.
    """
    if not len(pictures) or len(pictures) != len(titles):
        raise ValueError(
            f"titles must be one a picture, got {len(titles)} for {len(pictures)} pictures"
        )
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height = rows * (width / columns + 0.2)
    canvas, axes = new_canvas(width, height, rows, columns)
    for axis in axes.flat:
        axis.axis("off")
    for i, (axis, picture, title) in enumerate(zip(axes.flat, pictures, titles, strict=False)):
        axis.imshow(picture, cmap="gray")
        axis.set_title(title, fontsize=8)
        if masks is not None and masks[i] is not None:
            outline(axis, masks[i])
    return Figure(canvas, alt, caption)


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
    alt: str,
    caption: str = "",
    mask: np.ndarray | Tensor | None = None,
    root_colours: bool = False,
    width: float | None = None,
) -> Figure:
    """A picture and relevance maps of it, in one row; see `heatmap_rows`."""
    return heatmap_rows(
        [picture],
        [maps],
        alt=alt,
        caption=caption,
        masks=[mask],
        root_colours=root_colours,
        width=width,
    )


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
    colours end at its 99.8th percentile, so that one bright pixel does not darken all others.

    Args:
        pictures: arrays `[H, W, 3]`.
        maps: for each picture, relevance `[H, W]` by name; as many in every row.
        alt: what one should see.
        caption: text below.
        masks: for each picture bool `[H, W]` or None, outlined on the picture and on its maps.
        titles: one a picture.
        root_colours: brightness grows with the square root of unsigned relevance, so that faint
            parts of a squared map can be seen; the colour bar's middle then stands for a quarter.
        width: of the figure, in inches.
    """
    columns = len(maps[0]) + 1
    width = min(2.6 * columns, 10.4) if width is None else width
    height = len(pictures) * (width / columns + 0.1)
    canvas, axes = new_canvas(width, height, len(pictures), columns)
    masks = masks or [None] * len(pictures)
    titles = titles or ["picture"] * len(pictures)
    for row, picture, named, mask, title in zip(axes, pictures, maps, masks, titles, strict=True):
        row[0].imshow(picture)
        row[0].set_title(title)
        for axis, (name, relevance) in zip(row[1:], named.items(), strict=True):
            _draw_map(axis, relevance, root_colours)
            axis.set_title(name if torch.any(relevance != 0) else f"{name}: all zero")
        for axis in row:
            axis.axis("off")
            if mask is not None:
                outline(axis, mask, "cyan")
    return Figure(canvas, alt, caption)


def _draw_map(axis: Axes, relevance: Tensor, root_colours: bool) -> None:
    values = _array(relevance)
    limit = float(np.quantile(np.abs(values), 0.998)) or float(np.abs(values).max()) or 1.0
    if values.min() < 0:
        colours, scale, ticks = "RdBu_r", mpl.colors.Normalize(-limit, limit), [-limit, 0, limit]
    elif root_colours:
        colours, scale = "inferno", mpl.colors.PowerNorm(0.5, 0, limit)
        ticks = [0, limit / 4, limit]
    else:
        colours, scale, ticks = "inferno", mpl.colors.Normalize(0, limit), [0, limit]
    drawn = axis.imshow(values, cmap=colours, norm=scale)
    bar = axis.figure.colorbar(drawn, ax=axis, shrink=0.8, ticks=ticks)
    bar.ax.set_yticklabels([f"{tick:.0f}" if abs(tick) >= 9.5 else f"{tick:.1g}" for tick in ticks])
    bar.ax.tick_params(labelsize=7)


@in_house_style
def judged(
    picture: np.ndarray,
    relevance: Tensor,
    curves: Mapping[str, Tensor],
    *,
    title: str,
    alt: str,
    caption: str = "",
    density: Tensor | None = None,
) -> Figure:
    """One map and how it was judged: picture, gaze, map, overlay, and its curves.

    Args:
        picture: `[H, W, 3]`.
        relevance: `[H, W]`.
        curves: scores `[S + 1]` by name, from no pixel replaced to all.
        title: of the map.
        alt: what one should see.
        caption: text below.
        density: `[H, W]`, where people looked; its panel is left out where that is not known.
    """
    columns = 4 if density is None else 5
    canvas, axes = new_canvas(2.2 * columns, 2.3, 1, columns)
    for axis in axes[0, :-1]:
        axis.axis("off")
    _draw_panel(axes[0, 0], "picture", picture)
    if density is not None:
        _draw_map(axes[0, 1], density, root_colours=False)
        axes[0, 1].set_title("density map")
    _draw_map(axes[0, -3], relevance, root_colours=False)
    axes[0, -3].set_title(title)
    _draw_panel(axes[0, -2], "overlay", overlaid(picture, relevance))
    styles = zip(CLASS_COLOURS, ("-", "--"), strict=True)
    for (name, score), (colour, dash) in zip(curves.items(), styles, strict=False):
        places = np.linspace(0, 1, len(score))
        axes[0, -1].plot(places, _array(score), dash, color=colour, label=name)
    if curves:
        axes[0, -1].set(xlabel="share of pixels", ylabel="probability", ylim=(0, 1), xlim=(0, 1))
        axes[0, -1].legend(fontsize=7)
    else:
        axes[0, -1].axis("off")
    return Figure(canvas, alt, caption)


@in_house_style
def film(
    pictures: Mapping[str, np.ndarray],
    scores: Mapping[str, Tensor],
    fraction: float,
    *,
    alt: str,
    caption: str = "",
) -> Figure:
    """What became of a picture at one place of its curves, and the curves with a dot there.

    Args:
        pictures: `[H, W, 3]` by name, such as what deletion and what insertion left.
        scores: a curve `[S + 1]` for each of the same names, from no pixel replaced to all.
        fraction: the share of the pixels replaced, 0 to 1.
        alt: what one should see.
        caption: text below.
    """
    canvas = Canvas(figsize=(2.6 * len(pictures) + 3.6, 2.7), layout="constrained")
    axes = canvas.subplots(1, len(pictures) + 1, width_ratios=[1] * len(pictures) + [1.3])
    for axis, (name, picture) in zip(axes, pictures.items(), strict=False):
        _draw_panel(axis, name, picture)
        axis.axis("off")
    styles = zip(CLASS_COLOURS, ("-", "--"), strict=True)
    for (name, score), (colour, dash) in zip(scores.items(), styles, strict=False):
        places, score = np.linspace(0, 1, len(score)), _array(score)
        axes[-1].plot(places, score, dash, color=colour, label=name)
        axes[-1].plot(fraction, np.interp(fraction, places, score), "o", color=colour)
    axes[-1].axvline(fraction, color="grey", linewidth=0.8)
    axes[-1].set(xlabel="share of the pixels replaced", ylabel="probability", ylim=(0, 1.02))
    axes[-1].legend(fontsize=8)
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
        picture: `[H, W, 3]`.
        choices: classes and their probabilities, best first, as from `model.predict(image)`.
        alt: what one should see; the warning is added to it.
        caption: text below.
        certain: the warning is given where the best probability is below.
    """
    warning = ""
    if choices[0][1] < certain:
        warning = f"Warning: the best class is under {certain:g}; the network is not sure."
    canvas = Canvas(figsize=(8.0, 2.6), layout="constrained")
    left, right = canvas.subplots(1, 2, width_ratios=[1, 2])
    _draw_panel(left, "picture", picture)
    left.axis("off")
    names, values = zip(*choices, strict=True)
    drawn = right.barh(range(len(names)), values, color="#999999" if warning else CLASS_COLOURS[0])
    right.bar_label(drawn, [f"{value:.3f}" for value in values], padding=3)
    right.axvline(certain, color="black", linestyle="--", linewidth=0.8)
    right.set_yticks(range(len(names)), names)
    right.invert_yaxis()
    right.set(xlim=(0, 1.12), xlabel="probability")
    right.set_title(warning, color=CLASS_COLOURS[1], fontweight="bold")
    return Figure(canvas, f"{alt} {warning}".strip(), caption)


@in_house_style
def learning(
    pictures: Mapping[str, np.ndarray],
    lines: Mapping[str, Tensor],
    *,
    alt: str,
    caption: str = "",
) -> Figure:
    """Pictures in a row, and what happened step by step, on a logarithmic scale.

    Args:
        pictures: `[H, W, 3]` by name.
        lines: `[S]` by name, a value a step; what is not positive is not drawn.
        alt: what one should see.
        caption: text below.
    """
    n = len(pictures)
    canvas = Canvas(figsize=(2.4 * n + 3.2, 2.6), layout="constrained")
    axes = canvas.subplots(1, n + 1, width_ratios=[1] * n + [1.3])
    for axis, (name, picture) in zip(axes, pictures.items(), strict=False):
        _draw_panel(axis, name, picture)
        axis.axis("off")
    styles = zip(("#333333", *CLASS_COLOURS), ("-", "--", ":"), strict=True)
    for (name, values), (colour, dash) in zip(lines.items(), styles, strict=False):
        axes[-1].plot(range(1, len(values) + 1), _array(values), dash, color=colour, label=name)
    axes[-1].set(yscale="log", xlabel="step")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    axes[-1].legend(fontsize=8)
    return Figure(canvas, alt, caption)


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
        pictures: `[H, W, 3]`.
        fixations: for each picture `[N, 2]`, x and y in its pixels; None where they are unknown.
        densities: for each picture `[H, W]`.
        titles: one a picture.
        alt: what one should see.
        caption: text below.
        scanpaths: for each picture one subject's `[n, 2 or 3]` in order, drawn as a line.
    """
    n = len(pictures)
    canvas, axes = new_canvas(min(2.2 * n, 10.4), 2 * min(2.2, 10.4 / n) + 0.3, 2, n)
    for axis in axes.flat:
        axis.axis("off")
    for i in range(n):
        _draw_panel(axes[0, i], titles[i], pictures[i])
        if fixations[i] is not None:
            dots = {"s": 7, "color": "#F0E442", "edgecolors": "black", "linewidths": 0.4}
            axes[0, i].scatter(*_array(fixations[i]).T, **dots)
        if scanpaths is not None and scanpaths[i] is not None:
            path = _array(scanpaths[i])[:, :2]
            axes[0, i].plot(*path.T, "-o", color="white", markersize=3, linewidth=1)
        axes[1, i].imshow(overlaid(pictures[i], densities[i], strength=0.8))
    return Figure(canvas, alt, caption)


def _array(values: Tensor | Sequence[float]) -> np.ndarray:
    """Numbers as matplotlib takes them: on no GPU, and without their gradient."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _draw_panel(axis: Axes, title: str, picture: np.ndarray) -> None:
    axis.imshow(picture)
    axis.set_title(title)


def overlaid(picture: np.ndarray, relevance: Tensor, strength: float = 0.6) -> np.ndarray:
    """The map in colours over the grey picture, more opaque where relevance is larger.

    Args:
        picture: uint8 `[H, W, 3]`.
        relevance: `[H, W]`; what is negative is not shown.
        strength: opacity of the largest values, 0 to 1.

    Returns:
        float `[H, W, 3]`, 0 to 1.
    """
    values = relevance.detach().cpu().double().clamp(min=0).numpy()
    limit = np.quantile(values, 0.998) or values.max() or 1.0
    shown = np.clip(values / limit, 0, 1)
    grey = np.repeat(picture.mean(axis=-1, keepdims=True) / 255, 3, axis=-1)
    opacity = strength * shown[..., None] ** 0.5
    return (1 - opacity) * grey + opacity * mpl.colormaps["inferno"](shown)[..., :3]


@in_house_style
def feature_maps(maps: Tensor, names: Sequence[str], *, alt: str, caption: str = "") -> Figure:
    """Feature maps `[K, h, w]` side by side, on one scale."""
    columns = min(8, len(maps))
    rows = -(-len(maps) // columns)
    canvas, axes = new_canvas(9.0, rows * (9.0 / columns + 0.2), rows, columns)
    drawn = None
    for axis in axes.flat:
        axis.axis("off")
    for axis, values, name in zip(axes.flat, maps, names, strict=False):
        drawn = axis.imshow(_array(values), cmap="viridis", vmin=0.0, vmax=maps.max().item())
        axis.set_title(name, fontsize=8)
    bar = canvas.colorbar(drawn, ax=axes, shrink=0.8, pad=0.01)
    bar.set_label("activation", fontsize=8)
    return Figure(canvas, alt, caption)


@in_house_style
def score_histogram(
    scores: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    *,
    alt: str,
    threshold: float | None = None,
    caption: str = "",
) -> Figure:
    """Histograms of the score g(x), one colour a class."""
    canvas, axes = new_canvas(6.0, 2.8)
    _draw_histogram(axes[0, 0], scores, labels, classes, threshold)
    return Figure(canvas, alt, caption)


@in_house_style
def threshold_view(
    scores: Tensor, labels: Tensor, classes: Sequence[str], threshold: float
) -> Figure:
    """What one threshold does: on the histogram, in the confusion matrix, on the ROC curve."""
    canvas, axes = new_canvas(10.0, 3.0, 1, 3)
    here = threshold_sweep(scores, labels, torch.tensor([threshold]))
    _draw_histogram(axes[0, 0], scores, labels, classes, threshold)
    _draw_confusion(axes[0, 1], here, classes)
    _draw_roc(axes[0, 2], threshold_sweep(scores, labels), "scores as thresholds", "#333333")
    found, mistaken = here.true_positive_rate.item(), here.false_positive_rate.item()
    axes[0, 2].plot(mistaken, found, "o", color=CLASS_COLOURS[1], markersize=9)
    axes[0, 2].set_title(f"({mistaken:.2f}, {found:.2f}) on the ROC curve")
    n_negative, n_positive = (int((labels == label).sum()) for label in (0, 1))
    alt = (
        f"At threshold {threshold:.3f}: a dashed line in the histogram of scores; "
        f"{int(here.true_positive)} of {n_positive} {classes[1]} found, "
        f"{int(here.false_positive)} of {n_negative} {classes[0]} mistaken for it; "
        f"a dot on the ROC curve at ({mistaken:.2f}, {found:.2f})."
    )
    caption = f"Threshold {threshold:.3f}: accuracy {here.accuracy.item():.3f}"
    return Figure(canvas, alt, caption)


@in_house_style
def roc_curves(sweeps: Mapping[str, Sweep], *, alt: str, caption: str = "") -> Figure:
    """ROC curves by name, with chance as a dotted line."""
    canvas, axes = new_canvas(4.6, 4.2)
    colours = ["#333333", "#D55E00", "#0072B2", "#009E73", "#CC79A7"]
    markers = ["", "o", "s", "^", "v"]
    for (name, sweep), colour, marker in zip(sweeps.items(), colours, markers, strict=False):
        _draw_roc(axes[0, 0], sweep, name, colour, marker)
    axes[0, 0].legend(loc="lower right", fontsize=8)
    return Figure(canvas, alt, caption)


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
    canvas, axes = new_canvas(6.0, 3.4)
    axis = axes[0, 0]
    colours = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#333333"]
    markers = ["o", "s", "^", "v", "D"]
    for (name, band), colour, marker in zip(lines.items(), colours, markers, strict=False):
        middle, lower, upper = map(_array, band)
        axis.plot(x, middle, color=colour, marker=marker, markersize=4, label=name)
        axis.fill_between(x, lower, upper, color=colour, alpha=0.15, linewidth=0)
    if log_x:
        axis.set_xscale("log")
        axis.set_xticks(list(x), [f"{value:g}" for value in x])
        axis.minorticks_off()
    if log_y:
        axis.set_yscale("log")
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.legend(fontsize=8)
    return Figure(canvas, alt, caption)


@in_house_style
def bars(
    values: Mapping[str, tuple[float, float, float]], *, xlabel: str, alt: str, caption: str = ""
) -> Figure:
    """Horizontal bars with intervals: for each name (value, lower, upper), NaN where unknown."""
    canvas, axes = new_canvas(6.0, 0.7 + 0.35 * len(values))
    axis = axes[0, 0]
    for row, (value, lower, upper) in enumerate(values.values()):
        axis.errorbar(
            value, row, xerr=[[value - lower], [upper - value]], fmt="o", color="#333333", capsize=3
        )
        axis.annotate(
            f"{value:.3f}", (value, row), xytext=(0, 6), textcoords="offset points", ha="center"
        )
    axis.set_yticks(range(len(values)), list(values))
    axis.set_ylim(len(values) - 0.4, -0.7)
    axis.set_xlabel(xlabel)
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
    """Horizontal bars cut into parts that add up to the whole: for each name one share a part."""
    canvas, axes = new_canvas(8.0, 0.9 + 0.35 * len(values))
    axis = axes[0, 0]
    table = np.array([list(of_name) for of_name in values.values()])  # [names, parts]
    starts = np.cumsum(table, axis=1) - table
    colours, hatches = ["#BBBBBB", "#009E73", "#D55E00"], ["", "..", "//"]
    for part, colour, hatch, width, left in zip(
        parts, colours, hatches, table.T, starts.T, strict=False
    ):
        axis.barh(range(len(table)), width, left=left, color=colour, hatch=hatch, label=part)
    for row, of_name in enumerate(table):
        for start, share in zip(starts[row], of_name, strict=True):
            if share > 0.06:
                spot = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
                axis.text(
                    start + share / 2, row, f"{share:.0%}", ha="center", va="center", bbox=spot
                )
    axis.set_yticks(range(len(table)), list(values))
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xlabel(xlabel)
    axis.legend(fontsize=8, ncols=len(parts), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return Figure(canvas, alt, caption)


def _draw_histogram(
    axis: Axes, scores: Tensor, labels: Tensor, classes: Sequence[str], threshold: float | None
) -> None:
    scores, labels = _array(scores), _array(labels)
    edges = np.histogram_bin_edges(scores, bins=30)
    for label, (name, colour) in enumerate(zip(classes, CLASS_COLOURS, strict=True)):
        hatch = "" if label == 0 else "//"
        axis.hist(scores[labels == label], edges, color=colour, alpha=0.6, label=name, hatch=hatch)
    if threshold is not None:
        axis.axvline(threshold, color="black", linestyle="--")
        axis.set_title(f"threshold {threshold:.3f}")
    axis.set_xlabel("score g(x)")
    axis.set_ylabel("pictures")
    axis.legend(fontsize=8)


def _draw_confusion(axis: Axes, here: Sweep, classes: Sequence[str]) -> None:
    counts = np.array(
        [
            [here.true_negative.item(), here.false_positive.item()],
            [here.false_negative.item(), here.true_positive.item()],
        ],
        dtype=int,
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    axis.imshow(shares, cmap="Greys", vmin=0.0, vmax=1.4)
    for row in range(2):
        for column in range(2):
            axis.text(column, row, counts[row, column], ha="center", va="center", fontsize=14)
    axis.set_xticks([0, 1], [f"called\n{name}" for name in classes])
    axis.set_yticks([0, 1], [f"is\n{name}" for name in classes])
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.set_title(f"accuracy {here.accuracy.item():.3f}")


def _draw_roc(axis: Axes, sweep: Sweep, name: str, colour: str, marker: str = "") -> None:
    axis.plot(
        sweep.false_positive_rate,
        sweep.true_positive_rate,
        color=colour,
        marker=marker,
        markersize=5,
        label=name,
        alpha=0.9,
    )
    axis.plot([0, 1], [0, 1], ":", color="grey")
    axis.set_xlabel("false positive rate")
    axis.set_ylabel("true positive rate")
    axis.set_aspect("equal")
