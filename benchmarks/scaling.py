"""How time and memory grow: over the side of a picture, RISE's masks, pictures, and notebooks.

Every number of pixels, masks or pictures is a "way" of its own, so that all are measured in turn
and each has its memory taken in a fresh process. The network is minivgg throughout. Masks and
pictures are at 32 x 32, where 8000 passes are affordable; what is evaluated is Grad-CAM by the
pointing game, which makes no pass of its own. An exponent of 1 is growth in proportion; over the
side of a picture, 2 is in proportion to its pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks import timing
from benchmarks.forward import passes
from benchmarks.timing import Measurement, Workload
from grader.similarity import similar
from labkit.cells import Cell
from labkit.evaluate import Case, comparisons, evaluate, summary
from labkit.explain import gradcam, rise, saliency
from labkit.methods import explainer
from labkit.models import Classifier, Preprocessing, last_conv, load_model

SMALL = 32
WORDS = 400  # that a student writes

SIDES = (112, 224, 448, 896)
MASKS = (100, 400, 2000, 8000)
PICTURES = (1, 10, 100, 1000)
ROWS = (100, 300, 1000, 3000)
NOTEBOOKS = (50, 100, 200, 400)


def exponent(x: Sequence[float], y: Sequence[float | None]) -> float | None:
    """The slope of log y over log x by least squares; None where a y is unknown or not positive."""
    if any(value is None or value <= 0 for value in y):
        return None
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def growth(measured: Measurement) -> tuple[list[int], list[float], list[float | None]]:
    """The numbers, the median seconds and the peaks of one of this module's measurements."""
    numbers = [int(way) for way in measured.seconds]
    seconds = [measured.median(way) for way in measured.seconds]
    return numbers, seconds, [measured.peak[way] for way in measured.seconds]


def image_of(side: int) -> Tensor:
    """`[3, side, side]`."""
    return torch.randn(3, side, side, generator=torch.Generator().manual_seed(0))


BY_SIDE = {
    "Forward pass": lambda model, image: passes(model, image, 1, 1),
    "Gradient": lambda model, image: saliency(model, image, 1),
    "Grad-CAM": lambda model, image: gradcam(model, image, 1, layer=last_conv(model)),
    "RISE, 8 masks": lambda model, image: rise(model, image, 1, n_masks=8),
}


def over_sides(name: str, network: str, numbers: Sequence[int]) -> Workload:
    """One method on larger and larger pictures."""
    model, method = load_model(network, weights="random"), BY_SIDE[name]
    ways = {str(side): partial(method, model, image_of(side)) for side in numbers}
    return Workload(f"{name} by side", network, ways, list(ways))


def over_masks(network: str, numbers: Sequence[int]) -> Workload:
    """RISE with more and more masks."""
    model, image = load_model(network, weights="random"), image_of(SMALL)
    ways = {str(n): partial(rise, model, image, 1, n_masks=n) for n in numbers}
    return Workload("RISE by masks", network, ways, list(ways))


def over_pictures(network: str, numbers: Sequence[int]) -> Workload:
    """`evaluate` on more and more pictures."""
    model = small_classifier(network)
    methods = {"gradcam": explainer("gradcam", model)}
    random, mask = np.random.default_rng(0), np.ones((SMALL, SMALL), dtype=bool)
    picture = random.integers(0, 256, (SMALL, SMALL, 3), dtype=np.uint8)
    cases = [Case(str(i), picture, mask=mask) for i in range(max(numbers))]
    ways = {
        str(n): partial(evaluate, model, cases[:n], methods, metrics=["pointing_game"])
        for n in numbers
    }
    return Workload("Evaluate by number", network, ways, list(ways))


def small_classifier(network: str) -> Classifier:
    """The network for small pictures."""
    model = load_model(network, weights="random")
    model.preprocessing = Preprocessing(resize=SMALL, crop=SMALL)
    return model


def over_rows(network: str, numbers: Sequence[int]) -> Workload:
    """`summary` and `comparisons` of two methods on more and more pictures."""
    random = np.random.default_rng(0)
    ways = {str(n): partial(conclusions, table_of(n, random)) for n in numbers}
    return Workload("Comparisons by number", "", ways, list(ways))


def table_of(n: int, random: np.random.Generator) -> pd.DataFrame:
    """What `evaluate` says of n pictures by two methods."""
    pictures = [str(i) for i in range(n)]
    tables = [
        pd.DataFrame({"picture": pictures, "method": method, "cc": random.random(n)})
        for method in ("gradcam", "fem")
    ]
    return pd.concat(tables, ignore_index=True)


def conclusions(table: pd.DataFrame) -> None:
    """All that is said of a table."""
    summary(table)
    comparisons(table, "cc")


def over_notebooks(network: str, numbers: Sequence[int]) -> Workload:
    """The search for similar notebooks among more and more students."""
    random = np.random.default_rng(0)
    words = [" ".join(random.choice(1000, WORDS).astype(str)) for _ in range(max(numbers))]
    own = {str(i): [Cell(1, "markdown", text)] for i, text in enumerate(words)}
    ways = {str(n): partial(similar, dict(list(own.items())[:n])) for n in numbers}
    return Workload("Similar notebooks by number", "", ways, list(ways))


GROWTHS = {partial(over_sides, name): SIDES for name in BY_SIDE} | {
    over_masks: MASKS,
    over_pictures: PICTURES,
    over_rows: ROWS,
    over_notebooks: NOTEBOOKS,
}


def measurements(quick: bool = False) -> Iterator[Measurement]:
    """Quickly, without the largest number of each."""
    for build, numbers in GROWTHS.items():
        some = partial(build, numbers=numbers[:-1] if quick else numbers)
        yield from timing.measurements({some: ("minivgg",)}, quick)


if __name__ == "__main__":
    timing.main(measurements)
