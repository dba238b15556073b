"""`evaluate`, and `run` with every result kept in files, in units of the forward passes they make.

One picture, Grad-CAM, all metrics: one pass is for the map, one for the network's own answer, all
others for the two curves. There is no peer: the libraries judge one map by one metric at a time
(`benchmarks.faithfulness`). Several such pictures are then handed to a dask cluster on this
machine, to one of its workers and to both, a thread each.

    python -m benchmarks.evaluation --table [RISE's masks and LIME's samples, 500 300]

times instead the command, as a reader gives it: four methods, ten pictures, all metrics, two
processes. Lab 6 has 200 masks and 100 samples.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
import torch

from benchmarks import timing
from benchmarks.forward import passes
from benchmarks.timing import Measurement, Promise, Workload
from labkit.engine.batches import choose_batch_size
from labkit.evaluate import METRICS, Case, Plan, evaluate, run
from labkit.methods import explainer
from labkit.models import load_model

PASSES = 2 + 2 * 225  # a curve has 224 steps of a row each, and the picture itself
NAME = f"Evaluate, Grad-CAM by {len(METRICS)} metrics"
PICTURES = 6


def case(name: str = "chelsea") -> Case:
    """A photograph, and all that can be known of where one should look."""
    picture = skimage.data.chelsea()
    density = np.ones(picture.shape[:2])
    fixations = torch.tensor([[120.0, 130.0], [180.0, 150.0]])
    return Case(name, picture, density, fixations, density > 0)


def evaluations(network: str) -> Workload:
    """All that is said of a picture."""
    model, pictures = load_model(network), [case()]
    image = model.prepare(pictures[0].picture)
    explainers = {"gradcam": explainer("gradcam", model)}
    plan = planned(network)

    def in_files() -> None:
        with tempfile.TemporaryDirectory() as folder:
            run(plan, pictures, Path(folder))

    ways = {
        f"{PASSES} forward passes": lambda: passes(model, image, PASSES, choose_batch_size(image)),
        "evaluate": lambda: evaluate(model, pictures, explainers),
        "run, every result in files": in_files,
    }
    return Workload(NAME, network, ways, list(ways)[1:])


def planned(network: str) -> Plan:
    """Grad-CAM, by all metrics."""
    return Plan(network, {"gradcam": {}})


def on_a_cluster(network: str, quick: bool) -> Measurement:
    """The same on one worker and on two; what the workers' processes hold is not measured."""
    from distributed import Client, LocalCluster  # the extra cluster; the report does without

    pictures = [case(f"chelsea{i}") for i in range(2 if quick else PICTURES)]
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**settings) as cluster, Client(cluster) as client:
        workers = sorted(client.scheduler_info()["workers"])

        def evaluated(n: int) -> None:
            executor = client.get_executor(pure=False, workers=workers[:n])
            with tempfile.TemporaryDirectory() as folder:
                run(planned(network), pictures, Path(folder), executor=executor, workers=n)

        ways = {f"dask workers: {n}": partial(evaluated, n) for n in (1, 2)}
        seconds = timing.measure(ways, 1 if quick else timing.REPEATS)
    one, two = ways
    promises = [Promise(one, two, at_least=1.7)]
    name = f"Evaluate {len(pictures)} pictures, {network}"
    return Measurement(name, "", [one, two], promises, seconds, dict.fromkeys(ways))


def measurements(quick: bool = False) -> Iterator[Measurement]:
    """In one process, and in the workers of a cluster."""
    yield from timing.measurements({evaluations: ("minivgg",)}, quick)
    yield on_a_cluster("minivgg", quick)


def table(n_masks: str = "500", n_samples: str = "300") -> None:
    """Print the table, and how long it took."""
    command = "--model minivgg-heritage --method gradcam fem rise lime --limit 10 --jobs 2"
    settings = f"--set rise.n_masks={n_masks} lime.n_samples={n_samples}"
    with tempfile.TemporaryDirectory() as folder:
        words = f"evaluate {command} {settings} --out {folder}".split()
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "labkit", *words], check=True)
        print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--table"]:
        table(*sys.argv[2:])
    else:
        timing.main(measurements)
