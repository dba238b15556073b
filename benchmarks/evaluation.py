"""`evaluate`, and `run` with every result kept in files, in units of the forward passes they make.

One picture, Grad-CAM, all metrics: one pass is for the map, one for the network's own answer, all
others for the two curves. There is no peer: the libraries judge one map by one metric at a time
(`benchmarks.faithfulness`).

    python -m benchmarks.evaluation --table [RISE's masks and LIME's samples, 500 300]

times instead the command, as a reader gives it: four methods, ten pictures, all metrics, two
processes. Lab 6 has 200 masks and 100 samples.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
import torch

from benchmarks import timing
from benchmarks.forward import passes
from benchmarks.timing import Workload
from labkit.evaluate import METHODS, METRICS, Case, Plan, evaluate, run
from labkit.explain.batches import choose_batch_size
from labkit.models import load_model

PASSES = 2 + 2 * 225  # a curve has 224 steps of a row each, and the picture itself


def case() -> Case:
    """A photograph, and all that can be known of where one should look."""
    picture = skimage.data.chelsea()
    density = np.ones(picture.shape[:2])
    fixations = torch.tensor([[120.0, 130.0], [180.0, 150.0]])
    return Case("chelsea", picture, density, fixations, density > 0)


def evaluations(network: str) -> Workload:
    """All that is said of a picture."""
    model, pictures = load_model(network, weights="random"), [case()]
    image = model.prepare(pictures[0].picture)
    explainers = {"gradcam": METHODS["gradcam"](model)}
    plan = Plan(network, {"gradcam": {}}, weights="random")

    def in_files() -> None:
        with tempfile.TemporaryDirectory() as folder:
            run(plan, pictures, Path(folder))

    ways = {
        f"{PASSES} forward passes": lambda: passes(model, image, PASSES, choose_batch_size(image)),
        "evaluate": lambda: evaluate(model, pictures, explainers),
        "run, every result in files": in_files,
    }
    name = f"Evaluate, Grad-CAM by {len(METRICS)} metrics"
    return Workload(name, network, ways, list(ways)[1:])


def table(n_masks: str = "500", n_samples: str = "300") -> None:
    """Print the table, and how long it took."""
    command = "--model minivgg-heritage --method gradcam fem rise lime --limit 10 --jobs 2"
    settings = f"--set rise.n_masks={n_masks} lime.n_samples={n_samples}"
    with tempfile.TemporaryDirectory() as folder:
        words = f"evaluate {command} {settings} --out {folder}".split()
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "labkit", *words], check=True)
        print(f"{time.perf_counter() - begin:.0f} s")


measurements = partial(timing.measurements, {evaluations: ("minivgg",)})

if __name__ == "__main__":
    if sys.argv[1:2] == ["--table"]:
        table(*sys.argv[2:])
    else:
        timing.main(measurements)
