"""A figure: panels in rows, shown as HTML, saved as one picture.

Each panel is one `<img>` with its own alternative text, on a white card that reads the same in
light and dark themes. Titles and the ends of colour bars are text. Nothing rests on a style: sites
that drop them (GitHub) show the panels one below the other.

LABKIT_FIGURES=png in the environment puts a PNG beside the HTML into every output, for places that
drop HTML, such as `nbconvert --to pdf`. It is off by default, as it doubles a notebook's size.
"""

from __future__ import annotations

import base64
import html
import io
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from labkit.figures.look import DPI

SIDE = 448  # pixels of a map's shorter side, at least about so many, and at most so wide in HTML
LEAST = 200  # CSS pixels that a panel is wide at least
GAP, TEXT = 12, 20  # pixels in a saved picture
CARD = "margin:0.5em 0;padding:8px;background:#fff;color:#222;border-radius:4px"


@dataclass(frozen=True)
class Panel:
    """One picture of a figure.

    Attributes:
        picture: as it is shown; with a palette it is kept as PNG, otherwise as WebP.
        alt: what one should see.
        title: above it.
        labels: below it, evenly spaced from its left to its right: those of the colour bar.
        note: a line below the title.
        least, most: how wide it is shown, in CSS pixels.
    """

    picture: Image.Image
    alt: str
    title: str = ""
    labels: Sequence[str] = ()
    note: str = ""
    least: int = LEAST
    most: int = SIDE

    @cached_property
    def source(self) -> str:
        """The picture as a data URI."""
        with_palette = self.picture.mode in "PL"
        kind, settings = "png", {"compress_level": 4}
        if not with_palette:
            kind, settings = "webp", {"quality": 80, "method": 2}
        return _data_uri(self.picture, kind, **settings)

    def html(self, noted: bool) -> str:
        """The panel as HTML; noted: a panel beside it has a note, so that this one keeps room."""
        width = min(self.most, self.picture.width)
        height = round(self.picture.height * width / self.picture.width)
        small = "font-size:12px;line-height:1.3"
        texts = (self.title, self.note or ("\u00a0" if noted else ""))
        above = "".join(f'<div style="{small}">{html.escape(text)}</div>' for text in texts if text)
        return (
            f'<div style="display:inline-block;vertical-align:top;min-width:{self.least}px;'
            f'max-width:{width}px">{above}'
            f'<img alt="{html.escape(self.alt)}" src="{self.source}" width="{width}" '
            f'height="{height}" style="max-width:100%;height:auto">{self._labels()}</div>'
        )

    def _labels(self) -> str:
        """Text below the colour bar; the ends take half the room of the others."""
        n = len(self.labels) - 1
        spans = []
        for k, label in enumerate(self.labels):
            share, place = (50, "left" if k == 0 else "right") if k in (0, n) else (100, "center")
            spans.append(
                f'<span style="display:inline-block;width:{share / n:g}%;text-align:{place}">'
                f"{html.escape(label)} </span>"
            )
        return f'<div style="font-size:11px">{"".join(spans)}</div>' if spans else ""


class Chart(Panel):
    """A panel that matplotlib has drawn; it is rendered when it is shown."""

    def __init__(self, canvas: Any, alt: str, title: str = "") -> None:
        width = round(canvas.get_size_inches()[0] * DPI)
        for name, value in {"canvas": canvas, "alt": alt, "title": title, "labels": ()}.items():
            object.__setattr__(self, name, value)
        for name, value in {"note": "", "least": min(300, width), "most": width}.items():
            object.__setattr__(self, name, value)

    @cached_property
    def picture(self) -> Image.Image:
        """What matplotlib draws, with pixels for dense screens."""
        buffer = io.BytesIO()
        self.canvas.savefig(buffer, format="png", dpi=DPI * 1.5, pil_kwargs={"compress_level": 1})
        return Image.open(buffer).convert("RGB")

    @cached_property
    def source(self) -> str:
        """The picture as a data URI."""
        return _data_uri(self.picture, "webp", quality=82, method=4)


def _data_uri(picture: Image.Image, kind: str, **settings: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


class Figure:
    """A figure: shown by Jupyter as `<figure>`, every picture with its alternative text."""

    def __init__(
        self, drawn: Any, alt: str = "", caption: str = "", width: float | None = None
    ) -> None:
        """Put panels together.

        Args:
            drawn: rows of panels; or a figure of matplotlib, which `alt` then describes.
            alt: a line of the author's, put before what the panels say.
            caption: below the figure.
            width: at most so many inches, of 100 CSS pixels.
        """
        if hasattr(drawn, "savefig"):
            drawn, alt = [[Chart(drawn, alt)]], ""
        self.rows: list[list[Panel]] = [list(row) for row in drawn]
        self.line, self.caption = alt.strip(), caption
        self._width = None if width is None else round(width * DPI)

    @property
    def panels(self) -> list[Panel]:
        """All of them, row by row."""
        return [panel for row in self.rows for panel in row]

    @property
    def alt(self) -> str:
        """What one should see: the author's line, then what each panel shows."""
        return " ".join(part for part in (self.line, *(p.alt for p in self.panels)) if part)

    @property
    def html(self) -> str:
        """The figure as HTML."""
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else ""
        rows = "".join(self._row(row) for row in self.rows)
        if self.line:
            rows = rows.replace('<img alt="', f'<img alt="{html.escape(self.line)} ', 1)
        return f'<figure style="{CARD}">{rows}{caption}</figure>'

    def _row(self, row: Sequence[Panel]) -> str:
        """Columns of one width; where a page drops the grid, the panels still wrap."""
        least, noted = max(panel.least for panel in row), any(panel.note for panel in row)
        most = sum(panel.most for panel in row) + 8 * (len(row) - 1)
        most = most if self._width is None else min(most, self._width)
        return (
            f'<div style="display:grid;grid-template-columns:repeat(auto-fit,minmax('
            f'min(100%,{least}px),1fr));gap:8px;margin-bottom:8px;max-width:{most}px">'
            + "".join(panel.html(noted) for panel in row)
            + "</div>"
        )

    def _repr_html_(self) -> str:
        return self.html

    def _repr_png_(self) -> bytes | None:
        if os.environ.get("LABKIT_FIGURES") != "png":
            return None
        buffer = io.BytesIO()
        self.picture().save(buffer, "png", pnginfo=self._described())
        return buffer.getvalue()

    def _described(self) -> PngImagePlugin.PngInfo:
        about = PngImagePlugin.PngInfo()
        about.add_itxt("Description", self.alt)
        return about

    def picture(self) -> Image.Image:
        """All panels in one picture, with their titles; the caption is not part of it."""
        if len(self.panels) == 1 and isinstance(self.panels[0], Chart) and not self.panels[0].title:
            return self.panels[0].picture
        rows = [_beside([_with_text(panel) for panel in row]) for row in self.rows]
        width = max(row.width for row in rows)
        whole = Image.new("RGB", (width, sum(row.height for row in rows)), "white")
        top = 0
        for row in rows:
            whole.paste(row, (0, top))
            top += row.height
        return whole

    def save(self, path: str | Path) -> None:
        """Write the picture to a file, PNG or what else its ending asks for; alt text goes along.

        The caption is not part of it. A chart goes to SVG and PDF as lines, the rest as pixels.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = path.suffix.lower()
        (first, *others) = self.panels
        if kind in (".svg", ".pdf") and isinstance(first, Chart) and not others:
            first.canvas.savefig(path)
        elif kind == ".svg":
            path.write_text(self._svg(), encoding="utf-8")
        else:
            described = {"pnginfo": self._described()} if kind == ".png" else {"quality": 90}
            self.picture().save(path, **described)

    def _svg(self) -> str:
        picture = self.picture()
        size = f'width="{picture.width}" height="{picture.height}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}><title>{html.escape(self.alt)}</title>'
            f'<image href="{_data_uri(picture, "png")}" {size}/></svg>\n'
        )

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"


def beside(figures: Sequence[Figure], *, caption: str = "") -> Figure:
    """Several figures as one row of small multiples: what repeats in them is drawn once.

    A picture and maps that are equal in all of them stand once, at the left. Each figure's caption
    becomes a line above its own panels; charts with the same axes get the same ends.

    Raises:
        ValueError: there is no figure.
    """
    if not figures:
        raise ValueError("figures must be at least one, got none")
    _side_by_side([p.canvas for one in figures for p in one.panels if isinstance(p, Chart)])
    kept: dict[str, Panel] = {}
    for figure in figures:
        for panel in figure.panels:
            key = panel.source
            if key in kept:
                continue
            again = figure.caption and figure is not figures[0] or _differs(panel, figures)
            kept[key] = _noted(panel, figure.caption) if again else panel
    return Figure([list(kept.values())], figures[0].line, caption)


def _differs(panel: Panel, figures: Sequence[Figure]) -> bool:
    """Whether a figure is without this panel."""
    return any(all(panel.source != other.source for other in one.panels) for one in figures)


def _noted(panel: Panel, note: str) -> Panel:
    if isinstance(panel, Chart):
        noted = Chart(panel.canvas, panel.alt, note)
        noted.__dict__.update(picture=panel.picture, source=panel.source)  # not rendered again
        return noted
    parts = {name: getattr(panel, name) for name in ("picture", "alt", "title", "labels")}
    notes = ". ".join(text for text in (panel.note, note) if text)
    return Panel(**parts, note=notes, least=panel.least, most=panel.most)


def _side_by_side(canvases: Sequence[Any]) -> None:
    """Give axes with the same labels the same ends, and charts of one axis less room."""
    for canvas in canvases if len(canvases) > 1 else ():
        if len(canvas.axes) == 1:
            canvas.set_size_inches(3.8, 2.8)
    groups: dict[tuple[int, str, str], list[Any]] = {}
    for canvas in canvases:
        for place, axis in enumerate(canvas.axes):
            groups.setdefault((place, axis.get_xlabel(), axis.get_ylabel()), []).append(axis)
    for (_, *labels), axes in groups.items():
        if len(axes) > 1 and all(labels):
            for get, set_ in (("get_xlim", "set_xlim"), ("get_ylim", "set_ylim")):
                lows, highs = zip(*(getattr(axis, get)() for axis in axes), strict=True)
                for axis in axes:
                    getattr(axis, set_)(min(lows), max(highs))


def _with_text(panel: Panel) -> Image.Image:
    """A panel as it is saved: its title above, the ends of its colour bar below."""
    font = ImageFont.load_default(TEXT)
    picture, width = panel.picture.convert("RGBA"), panel.picture.width
    per_line = max(10, int(width / (TEXT * 0.55)))
    lines = [line for text in (panel.title, panel.note) for line in textwrap.wrap(text, per_line)]
    above, below = (TEXT + 4) * len(lines), (TEXT + 4) * bool(panel.labels)
    whole = Image.new("RGB", (width, above + picture.height + below), "white")
    whole.paste(picture, (0, above), picture)
    draw = ImageDraw.Draw(whole)
    for row, line in enumerate(lines):
        draw.text((0, row * (TEXT + 4)), line, "black", font)
    last = len(panel.labels) - 1
    for k, label in enumerate(panel.labels):
        anchor = "la" if k == 0 else "ra" if k == last else "ma"
        place = (k * (width - 1) / last, above + picture.height + 2)
        draw.text(place, label, "black", font, anchor=anchor)
    return whole


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures in a row, aligned below titles of different length."""
    width = sum(picture.width + GAP for picture in pictures) + GAP
    whole = Image.new("RGB", (width, max(p.height for p in pictures) + 2 * GAP), "white")
    left = GAP
    for picture in pictures:
        whole.paste(picture, (left, GAP))
        left += picture.width + GAP
    return whole
