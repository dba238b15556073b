"""A picture and three maps of 224 x 224: as images in HTML, and through matplotlib.

The limit is what a reader waits for anyway: one forward and backward pass of the network, whose
squared gradient is drawn. The aim is 60 ms of one core for a row; what is promised is a ratio, as
times depend on the machine.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from functools import partial

import numpy as np
from torch import Tensor

from benchmarks import timing
from benchmarks.timing import Promise, Workload, random_image, repeated
from labkit.explain import gradient_times_input, saliency, sensitivity
from labkit.figures import SIGNED, UNSIGNED, heatmaps, in_house_style, new_canvas
from labkit.models import load_model

TIMES = 4
MASK = np.zeros((224, 224), bool)
MASK[60:120, 80:160] = True


@in_house_style
def through_matplotlib(picture: np.ndarray, maps: Mapping[str, Tensor]) -> str:
    """The same row as one picture of matplotlib's."""
    canvas, axes = new_canvas(10.4, 2.7, 1, 1 + len(maps))
    axes[0, 0].imshow(picture)
    for axis, (name, relevance) in zip(axes[0, 1:], maps.items(), strict=True):
        limit = float(np.quantile(relevance.abs(), 0.998))
        signed = bool((relevance < 0).any())
        colours = {"cmap": SIGNED if signed else UNSIGNED, "vmin": -limit * signed, "vmax": limit}
        drawn = axis.imshow(relevance, **colours)
        canvas.colorbar(drawn, ax=axis, shrink=0.8)
        axis.set_title(name)
    for axis in axes[0]:
        axis.contour(MASK, [0.5], colors="cyan", linewidths=0.8)
        axis.axis("off")
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="webp", dpi=150, pil_kwargs={"quality": 82, "method": 6})
    return base64.b64encode(buffer.getvalue()).decode()


def row(network: str) -> Workload:
    """Four panels, from arrays to HTML."""
    model, image = load_model(network, weights="random"), random_image()
    explain = (sensitivity, saliency, gradient_times_input)
    maps = {method.__name__: method(model, image, 1) for method in explain}
    picture = np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8)
    ours, peer = "images in HTML", "matplotlib"
    ways = {
        "one gradient": repeated(lambda: sensitivity(model, image, 1), TIMES),
        ours: repeated(lambda: heatmaps(picture, maps, mask=MASK).html, TIMES),
        peer: lambda: through_matplotlib(picture, maps),
    }
    promises = [Promise(peer, ours, at_least=5)]
    times = {"one gradient": TIMES, ours: TIMES}
    return Workload("A row of four panels", network, ways, [ours], promises, times)


measurements = partial(timing.measurements, {row: ("minivgg",)})

if __name__ == "__main__":
    timing.main(measurements)
