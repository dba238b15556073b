"""One network and one picture, asked by any method: what lab 8's dashboard stands on.

bench = Workbench(load_model("squeezenet1_1"))
bench.open("my photo.jpg")
print(bench.cost("rise", n_masks=500))
bench.run("rise", target=285, n_masks=500)
bench.run("gradcam", target=285, layer="features.12")
bench.figure(strength=0.5)
bench.report("my photo.html")
"""

from __future__ import annotations

import html
import importlib.metadata
import platform
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import labkit
from labkit.classifier import Whole
from labkit.cost import Cost, Speed, forecast, speed
from labkit.engine.batches import class_probabilities
from labkit.engine.contract import check_target
from labkit.figures import OVERLAY_STRENGTH, Figure, gallery, overlaid, whole
from labkit.files import write_atomically
from labkit.images import open_image, shrunk
from labkit.methods import REGISTRY, explainer
from labkit.metrics import note
from labkit.models import Classifier, Picture

DRAWN = 1200  # pixels of the longer side of a picture that is drawn whole
PACKAGES = ("torch", "torchvision", "numpy", "scikit-image", "lime")
REPORT_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:66rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.2rem .8rem .2rem 0;"
    "border-bottom:1px solid #8884;vertical-align:top}"
    ":root{color-scheme:light dark}"
)


class Explanation(NamedTuple):
    """What one method said, and how it was asked."""

    method: str  # its name in `labkit.methods.REGISTRY`
    settings: dict[str, object]  # those that were given; the others had their defaults
    target: int  # the class index
    class_name: str
    relevance: Tensor  # [H, W]
    seconds: float  # that it took
    note: str  # what is out of the ordinary in the map, or ""

    @property
    def title(self) -> str:
        """Method and class, in a line."""
        return f"{self.method}: {self.class_name}"


class Workbench:
    """A picture, a network, and the explanations so far."""

    def __init__(self, model: Classifier) -> None:
        """Start without a picture.

        Args:
            model: from `load_model`, or a network of your own in a `Classifier`.
        """
        self.model = model
        self.explanations: list[Explanation] = []
        self._image: Tensor | None = None
        self._whole: np.ndarray | None = None
        self.name = ""

    def open(self, picture: Picture, name: str = "") -> None:
        """Take another picture; the explanations of the one before are put away.

        Args:
            picture: a path, bytes, an array or a PIL picture; turned as its camera says, and
                prepared as the network expects.
            name: what to call it; a path's own name by default.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no picture, empty, damaged, or too large to be one.
        """
        opened = open_image(picture)
        longer, shorter = max(opened.shape[:2]), min(opened.shape[:2])
        drawn = shrunk(
            opened, max(1, round(shorter * DRAWN / longer))
        )  # a camera's takes gigabytes
        self._image, self._whole = self.model.prepare(opened), drawn
        self.explanations = []
        self.name = name or (Path(picture).name if isinstance(picture, str | Path) else "picture")

    @property
    def image(self) -> Tensor:
        """The prepared image `[C, H, W]`.

        Raises:
            ValueError: no picture is open.
        """
        if self._image is None:
            raise ValueError("picture must be opened first, got none; open(path) or upload one")
        return self._image

    @property
    def picture(self) -> np.ndarray:
        """What the network sees of the picture, uint8 `[H, W, 3]`."""
        return self.model.picture(self.image)

    @property
    def probabilities(self) -> Tensor:
        """Of the classes, `[K]`."""
        return class_probabilities(self.model, self.image[None])[0].cpu()

    @cached_property
    def per_image(self) -> Speed:
        """What an image costs this network on this machine, from a probe; all have one size."""
        return speed(self.model, self.image)

    def classes(self) -> list[tuple[str, int]]:
        """All classes, the most likely first: ("tabby 80.2%", 281)."""
        probabilities = self.probabilities
        order = probabilities.argsort(descending=True, stable=True).tolist()
        return [(f"{self.model.classes[k]} {probabilities[k]:.1%}", k) for k in order]

    def cost(self, method: str, **settings: object) -> Cost:
        """What `run` would cost with these settings."""
        return forecast(method, settings, self.image, self.per_image)

    def run(self, method: str, target: int | None = None, **settings: object) -> Explanation:
        """Ask a method, and keep what it says.

        Args:
            method: a name in `labkit.methods.REGISTRY`.
            target: the class index; the most likely one by default.
            settings: of the method.

        Raises:
            ValueError: no such method, no picture is open, or the method cannot explain this
                network, for example because it has no feature maps.
            TypeError: target is not a whole number.
            IndexError: target is not one of the classes.
        """
        target = int(self.probabilities.argmax()) if target is None else target
        check_target(target, len(self.model.classes))  # the edge detector does not look at it
        explain = explainer(method, self.model)
        started = time.perf_counter()
        relevance = explain(self.model, self.image, target, **settings)
        seconds = time.perf_counter() - started
        name = self.model.classes[target]
        noted = note(relevance, scale=REGISTRY[method].scale)
        said = Explanation(method, settings, target, name, relevance, seconds, noted)
        self.explanations.append(said)
        return said

    def figure(self, *, strength: float = OVERLAY_STRENGTH, last: int = 6) -> Figure:
        """The picture, and the last explanations over it, side by side.

        Args:
            strength: of the maps over the picture, from 0 (picture only) to 1 (map only).
            last: how many explanations.

        Raises:
            ValueError: strength is outside of 0 to 1, or no picture is open.
        """
        check_strength(strength)
        shown = self.explanations[-last:]
        maps = [_drawn(said) for said in shown]
        titles = [said.title for said in shown]
        seen = f"{self.name} as {self.model.name} sees it"
        return gallery(
            [self.picture, *(overlaid(self.picture, relevance, strength) for relevance in maps)],
            [self.name, *titles],
            columns=4,
            width=2.6 * min(4, 1 + len(shown)),
            alt=f"{seen}, and over it the maps of {'; '.join(titles)}." if shown else f"{seen}.",
            caption=". ".join(f"{said.title}: {said.note}" for said in shown if said.note),
        )

    def wholes(self, *, strength: float = OVERLAY_STRENGTH) -> list[Figure]:
        """Each explanation over the whole picture, the part that the network saw outlined.

        Args:
            strength: of the maps over the picture, from 0 (picture only) to 1 (map only).

        Raises:
            ValueError: strength is outside of 0 to 1.
        """
        check_strength(strength)
        return [
            whole(
                *self._on_whole(said),
                alt=f"{self.name} in grey, and over it the map of {said.title}; an outline "
                f"shows the part that {self.model.name} saw.",
                title=said.title,
                caption=said.note,
                strength=strength,
            )
            for said in self.explanations
        ]

    def whole_figure(self, *, strength: float = OVERLAY_STRENGTH) -> Figure:
        """The whole picture, and all `wholes` side by side.

        Args:
            strength: of the maps over the picture, from 0 (picture only) to 1 (map only).

        Raises:
            ValueError: strength is outside of 0 to 1, or there is no explanation.
        """
        check_strength(strength)
        if not self.explanations:
            raise ValueError("explanations must be there to draw, got none; run(method) first")
        maps = [self._on_whole(said) for said in self.explanations]
        titles = [said.title for said in self.explanations]
        shown = [overlaid(on.picture, on.relevance.nan_to_num(0.0), strength) for on in maps]
        seen = maps[0].relevance.isfinite().cpu().numpy()
        return gallery(
            [maps[0].picture, *shown],
            [self.name, *titles],
            columns=4,
            width=2.6 * min(4, 1 + len(maps)),
            masks=[seen] * (1 + len(maps)),
            alt=f"{self.name}, and over it the maps of {'; '.join(titles)}; an outline shows the "
            f"part that {self.model.name} saw.",
        )

    def _on_whole(self, said: Explanation) -> Whole:
        return self.model.on_whole(_drawn(said), self._whole)

    def report(self, path: str | Path, *, strength: float = OVERLAY_STRENGTH) -> Path:
        """Write picture, answers, explanations, settings and versions to one HTML file.

        Args:
            path: where to; an ending other than .html is an error.
            strength: of the maps over the picture, 0 to 1.

        Returns:
            The file's path.

        Raises:
            ValueError: the ending is another, or no picture is open.
        """
        path = Path(path).expanduser()
        if path.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"path must end in .html, got {path.name!r}; name it {path.stem}.html")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, self._html(strength).encode("utf-8"))
        return path

    def _html(self, strength: float) -> str:
        title = html.escape(f"What did {self.model.name} look at in {self.name}?")
        answers = [(name, f"{p:.1%}") for name, p in self.model.predict(self.image)]
        asked = []
        for said in self.explanations:
            settings = ", ".join(f"{name}={value}" for name, value in said.settings.items())
            asked.append((said.title, settings or "defaults", f"{said.seconds:.1f} s", said.note))
        parts = [
            f"<h1>{title}</h1><p>{html.escape(self.model.description)}</p>",
            *(figure.html for figure in self.wholes(strength=strength)),
            "<h2>As the network sees it</h2>",
            self.figure(strength=strength, last=max(1, len(self.explanations))).html,
            "<h2>What the network answers</h2>",
            html_table(("class", "probability"), answers),
            "<h2>How it was asked</h2>",
            html_table(("method and class", "settings", "took", "note"), asked),
            "<p>A method's seed is 0 where it draws at random and none is given.</p>",
            "<h2>With</h2>",
            html_table(("package", "version"), versions()),
        ]
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{REPORT_STYLE}</style>'
            f"</head><body><main>{''.join(parts)}</main></body></html>\n"
        )


def check_strength(strength: float) -> None:
    """Refuse a strength of maps over the picture that is not from 0 to 1."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be from 0 to 1, got {strength}")


def _drawn(said: Explanation) -> Tensor:
    """The map from its least value if that is positive: scores of masked pictures are never near 0.

    A constant map is drawn empty, or its rounding would look like an explanation.
    """
    if "constant" in said.note:
        return torch.zeros_like(said.relevance)
    return said.relevance - said.relevance.min().clamp(min=0)


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; everything in it is text."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def versions() -> list[tuple[str, str]]:
    """Python's version, labkit's, and those of the packages that a map depends on."""
    found = [("Python", platform.python_version()), ("labkit", labkit.__version__)]
    for package in PACKAGES:
        try:
            found.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            found.append((package, "not installed"))
    return found
