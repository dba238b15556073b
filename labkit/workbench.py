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
import math
import platform
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import cached_property, partial
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
from labkit.figures import LIMIT_QUANTILE, OVERLAY_STRENGTH, Figure, gallery, overlaid, whole
from labkit.files import write_atomically
from labkit.images import open_image, shrunk
from labkit.methods import MAPS, REGISTRY, explainer
from labkit.metrics import note
from labkit.models import Classifier, Picture
from labkit.steps import in_steps

DRAWN = 1200  # pixels of the longer side of a picture that is drawn whole
STEP_SECONDS = 0.1  # after which a run in steps comes back
FOR, AGAINST = (178, 24, 43), (33, 102, 172)  # red and blue, the ends of signed maps' colours
BAR = 10  # pixels high, the colours below a map
PACKAGES = ("torch", "torchvision", "numpy", "scikit-image", "lime")
REPORT_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:66rem;margin:2rem auto;padding:0 1rem;"
    "overflow-wrap:anywhere}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.2rem .8rem .2rem 0;"
    "border-bottom:1px solid #8884;vertical-align:top}img{max-width:100%;height:auto}"
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
        """Method and class, in a line, as readers know them."""
        return f"{REGISTRY[self.method].title}: {self.class_name}"


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
        ask, keep = self._asked(method, target, settings)
        started = time.perf_counter()
        relevance = ask()
        return keep(relevance, time.perf_counter() - started)

    def run_in_steps(
        self, method: str, target: int | None = None, **settings: object
    ) -> Generator[float, None, Explanation]:
        """The same, but come back about ten times a second, so that a notebook stays alive.

        Methods that read feature maps come back only at the end: their hooks would see the passes
        of others. Close it to stop the method; then nothing is kept. Where another picture is
        opened meanwhile, the map is not added to the explanations of that one.

        Args:
            method, target, settings: those of `run`.

        Yields:
            How much of the forecast time has passed, 0 to 1.

        Returns:
            What `run` returns.
        """
        ask, keep = self._asked(method, target, settings)
        forecast = max(self.cost(method, **settings).seconds, STEP_SECONDS)
        every = math.inf if REGISTRY[method].needs == MAPS else STEP_SECONDS
        seconds = 0.0
        with closing(in_steps(ask, every)) as steps:
            while True:
                started = time.perf_counter()
                try:
                    next(steps)
                except StopIteration as end:
                    return keep(end.value, seconds + time.perf_counter() - started)
                seconds += time.perf_counter() - started
                yield min(seconds / forecast, 1.0)

    def _asked(
        self, method: str, target: int | None, settings: dict[str, object]
    ) -> tuple[Callable[[], Tensor], Callable[[Tensor, float], Explanation]]:
        """What computes the map, and what keeps it with the explanations of this picture."""
        target = int(self.probabilities.argmax()) if target is None else target
        check_target(target, len(self.model.classes))  # the edge detector does not look at it
        ask = partial(explainer(method, self.model), self.model, self.image, target, **settings)
        explanations, name = self.explanations, self.model.classes[target]
        told = {key: value for key, value in settings.items() if key != "progress"}

        def keep(relevance: Tensor, seconds: float) -> Explanation:
            noted = note(relevance, scale=REGISTRY[method].scale)
            said = Explanation(method, told, target, name, relevance, seconds, noted)
            explanations.append(said)
            return said

        return ask, keep

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
        titles = [said.title for said in shown]
        seen = f"{self.name} as {self.model.name} sees it"
        return gallery(
            [self.picture, *(_over(self.picture, said, strength) for said in shown)],
            [self.name, *titles],
            columns=4,
            width=2.6 * min(4, 1 + len(shown)),
            alt=f"{seen}, and over it the maps of {'; '.join(titles)}." if shown else f"{seen}.",
            caption=". ".join(f"{said.title}: {_ends(said)}" for said in shown),
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


def _over(picture: np.ndarray, said: Explanation, strength: float) -> np.ndarray:
    """The map over the grey picture, and below it a bar of its colours from end to end."""
    drawn = _drawn(said)
    width = picture.shape[1]
    signed = bool((drawn < 0).any())
    over = overlaid_signed if signed else overlaid
    ramp = torch.linspace(-1.0 if signed else 0.0, 1.0, width).expand(BAR, width)
    grey = np.full((BAR, width, 3), 128, np.uint8)
    gap = np.ones((BAR // 2, width, 3))
    return np.concatenate([over(picture, drawn, strength), gap, over(grey, ramp, 1.0)])


def overlaid_signed(picture: np.ndarray, relevance: Tensor, strength: float) -> np.ndarray:
    """The map over the grey picture, red where it is positive and blue where it is negative.

    Args:
        picture: uint8 `[H, W, 3]`.
        relevance: `[H, W]`, signed.
        strength: opacity of the largest values, 0 to 1.

    Returns:
        float `[H, W, 3]`, 0 to 1.
    """
    values = relevance.detach().cpu().numpy()[..., None]  # [H, W, 1]
    opacity = strength * np.clip(abs(values) / _limit(relevance), 0, 1) ** 0.5
    colours = np.where(values > 0, FOR, AGAINST) / 255
    return (1 - opacity) * picture.mean(axis=-1, keepdims=True) / 255 + opacity * colours


def _limit(relevance: Tensor) -> float:
    """The size of values at which colours end, as in `labkit.figures`."""
    sizes = relevance.detach().cpu().abs().numpy()
    return float(np.quantile(sizes, LIMIT_QUANTILE) or sizes.max() or 1.0)


def _ends(said: Explanation) -> str:
    """What the ends of the bar below a map stand for, and what is out of the ordinary in it."""
    drawn = _drawn(said)
    limit, floor = _limit(drawn), (said.relevance - drawn).min().item()
    if (drawn < 0).any():
        ends = f"blue {-limit:.2g} (against the class) to red {limit:.2g} (for it)"
    else:
        ends = f"dark {floor:.2g} to bright {floor + limit:.2g}"
    return f"{ends}; {said.note}" if said.note else ends


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
