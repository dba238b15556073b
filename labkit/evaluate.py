"""Methods x pictures x metrics: one tidy table, and what it says.

    table = evaluate(model, cases, {"gradcam": partial(gradcam, layer="features.29"), ...})
    summary(table)              # mean, standard deviation and interval by method
    comparisons(table, "cc")    # which differences are real

`evaluate` takes any network and any explainers and keeps the table in memory. `run` is for long
evaluations and for the command line: it takes names, writes every result to its own file as soon as
it is there, goes on where it was stopped, and hands the work to any executor.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, lru_cache, partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import permutation_test
from torch import Tensor, nn
from tqdm.auto import tqdm

from labkit import __version__
from labkit.checks import check_choice
from labkit.data import PROJECT, Heritage, read_density_map, read_part_mask
from labkit.engine.batches import choose_batch_size, class_probabilities
from labkit.engine.contract import check_target
from labkit.executors import finished
from labkit.files import write_atomically
from labkit.gaze_files import check_density
from labkit.images import open_image
from labkit.methods import MAPS, REGISTRY, Explainer, explainer
from labkit.metrics import (
    Curve,
    auc_judd,
    cc,
    deletion,
    energy_inside,
    insertion,
    inside,
    kl,
    mean_interval,
    note,
    nss,
    pointing_game,
    resized,
    sim,
    tied,
)
from labkit.models import Classifier, Picture, load_model


@dataclass(frozen=True)
class Case:
    """A picture, and what is known of where in it one should look.

    Attributes:
        name: differs from picture to picture.
        picture: whatever `labkit.images.open_image` opens; a path is opened when its turn comes.
        density: density map of fixations, a path or `[H, W]`; None where nobody looked.
        fixations: `[N, 2]`, x and y in pixels of the picture.
        mask: what an explanation should find, a path (all that is not 0) or bool `[H, W]`.
        target: the class to explain; the network's own answer by default.
    """

    name: str
    picture: Picture
    density: Path | np.ndarray | Tensor | None = None
    fixations: Tensor | None = None
    mask: Path | np.ndarray | None = None
    target: int | None = None


def cases_of(pictures: Heritage) -> list[Case]:
    """The pictures that somebody looked at, as cases to judge."""
    return [
        Case(
            name=pictures.names[i],
            picture=pictures.paths[i],
            density=pictures.density_paths[i],
            fixations=pictures.fixations[i],
            mask=pictures.part_paths[i],
        )
        for i in range(len(pictures))
    ]


def spread(cases: Sequence[Case], n: int | None) -> list[Case]:
    """At most so many cases, evenly spread over all.

    Raises:
        ValueError: n is below 1.
    """
    if n is None or n >= len(cases):
        return list(cases)
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return [cases[i * len(cases) // n] for i in range(n)]


class Judged(NamedTuple):
    """What a metric may look at: everything has the geometry of the image."""

    model: nn.Module
    image: Tensor  # [C, H, W]
    target: int
    relevance: Tensor  # [H, W]
    density: Tensor | None  # [H, W]
    fixations: Tensor | None  # [N, 2]
    mask: Tensor | None  # [H, W]


class Metric(NamedTuple):
    """How to compute a metric, and which truth it needs; the area under a curve counts."""

    value: Callable[[Judged], float | Curve]
    needs: str | None = None  # "density", "fixations", "mask"


METRICS: Mapping[str, Metric] = {
    "cc": Metric(lambda j: cc(j.relevance, j.density), "density"),
    "sim": Metric(lambda j: sim(j.relevance, j.density), "density"),
    "kl": Metric(lambda j: kl(j.relevance, j.density), "density"),
    "nss": Metric(lambda j: nss(j.relevance, j.fixations), "fixations"),
    "auc_judd": Metric(lambda j: auc_judd(j.relevance, j.fixations), "fixations"),
    "pointing_game": Metric(lambda j: pointing_game(j.relevance, j.mask), "mask"),
    "energy_inside": Metric(lambda j: energy_inside(j.relevance, j.mask), "mask"),
    "deletion": Metric(lambda j: deletion(j.model, j.image, j.relevance, j.target)),
    "insertion": Metric(lambda j: insertion(j.model, j.image, j.relevance, j.target)),
}


def evaluate(
    model: Classifier,
    cases: Sequence[Case],
    methods: Mapping[str, Explainer],
    *,
    metrics: Sequence[str] | Mapping[str, Metric] = tuple(METRICS),
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Judge every method on every picture by every metric.

    Args:
        model: the network to explain.
        cases: the pictures.
        methods: explainers by name, their settings bound by `functools.partial`.
        metrics: names in `METRICS`, or a mapping of the same kind with settings of your own. Those
            whose truth a case does not have stay empty.
        seed: given to every method that takes one and has none bound; then the bound one is shown.
        progress: show a bar.

    Returns:
        One row a picture and method: picture, method, target, class, probability, a column a
        metric, ties (share of the pixels whose place in the order is a matter of ties),
        forward_passes (images that went through the network for the map), seconds (for the map),
        seed, settings, and a note on maps or truths that were out of the ordinary.

    Raises:
        ValueError: there is no case or method, two cases have one name, a metric is unknown, or a
            truth is malformed; all of this before the first picture.
    """
    _check_cases(cases)
    for name, error in _broken_truths({case.name: case for case in cases}).items():
        raise ValueError(f"the case {name!r} cannot be judged: {error}")
    if not methods:
        raise ValueError("methods must hold at least one explainer by name, got none")
    metrics = _chosen(metrics)
    rows = []
    pairs = [(case, name) for case in cases for name in methods]
    for case, name in tqdm(pairs, desc="maps", disable=not progress):
        row, _, _ = evaluate_one(model, case, name, methods[name], metrics=metrics, seed=seed)
        rows.append(row)
    return pd.DataFrame(rows)


def evaluate_one(
    model: Classifier,
    case: Case,
    name: str,
    method: Explainer,
    *,
    metrics: Sequence[str] | Mapping[str, Metric] = tuple(METRICS),
    seed: int = 0,
) -> tuple[dict, Tensor, dict[str, Curve]]:
    """One method on one picture.

    Returns:
        A row of the table of `evaluate`, the map `[H, W]`, and the curves behind the areas by name.
    """
    image, truth, notes = prepared(model, case)
    probabilities = class_probabilities(model, image[None])[0]
    target = int(probabilities.argmax()) if case.target is None else case.target
    settings = _with_seed(method, seed)
    with counted_images(model) as count:
        started = time.perf_counter()
        relevance = method(model, image, target, **settings)
        seconds = time.perf_counter() - started
    judged = Judged(model, image, target, relevance, **truth)
    values, curves = _values(judged, _chosen(metrics))
    scale = REGISTRY[name].scale if name in REGISTRY else 0.0
    row = {
        "picture": case.name,
        "method": name,
        "target": target,
        "class": model.classes[target],
        "probability": probabilities[target].item(),
        **values,
        "ties": tied(relevance),
        "forward_passes": count(),
        "seconds": seconds,
        "seed": (_settings_of(method) | settings).get("seed", seed),
        "settings": json.dumps(_settings_of(method), sort_keys=True, default=_name_of),
        "note": "; ".join(filter(None, [note(relevance, scale=scale), *notes])),
    }
    return row, relevance, curves


def prepared(model: Classifier, case: Case) -> tuple[Tensor, dict[str, Tensor | None], list[str]]:
    """The image, the truth in its geometry, and what had to be done to bring it there."""
    picture = open_image(case.picture)
    size, notes = picture.shape[:2], []
    density, fixations, mask = case.density, case.fixations, case.mask
    if density is not None:
        density = read_density_map(density, size) if isinstance(density, str | Path) else density
        density = torch.as_tensor(density).float()
        if density.shape != size:
            notes.append(f"density map resized from {_by(density.shape)} to {_by(size)}")
            density = resized(density, size)
        density = model.prepare_map(density)
    if fixations is not None:
        everything = model.prepare_points(fixations, size)
        image_size = (model.preprocessing.crop, model.preprocessing.crop)
        fixations = inside(everything, image_size)
        if len(fixations) < len(everything):
            notes.append(f"{len(everything) - len(fixations)} fixations outside of the image")
        fixations = fixations if len(fixations) else None
    if mask is not None:
        mask = read_part_mask(mask) > 0 if isinstance(mask, str | Path) else mask
        _check_shape(mask.shape, size)
        mask = model.prepare_mask(mask)
    truth = {"density": density, "fixations": fixations, "mask": mask}
    return model.prepare(picture), truth, notes


def _check_shape(shape: Sequence[int], size: Sequence[int]) -> None:
    """Refuse a mask that is not its picture, larger or smaller."""
    (h, w), (H, W) = shape, size
    if abs(h * W - w * H) > max(H, W):  # more than the rounding of a side
        raise ValueError(
            f"mask must have the shape of its picture, {_by(size)} pixels, got {_by(shape)}; "
            "cut or turn it as the picture was"
        )


def _by(size: Sequence[int]) -> str:
    return f"{size[1]} x {size[0]}"


def _chosen(metrics: Sequence[str] | Mapping[str, Metric]) -> Mapping[str, Metric]:
    if isinstance(metrics, Mapping):
        return metrics
    for name in metrics:
        check_choice("metrics", name, METRICS)
    return {name: METRICS[name] for name in metrics}


def _values(
    judged: Judged, metrics: Mapping[str, Metric]
) -> tuple[dict[str, float], dict[str, Curve]]:
    """A value a metric, NaN where the truth that it needs is not known; and the curves."""
    values, curves = {}, {}
    for name, metric in metrics.items():
        known = metric.needs is None or getattr(judged, metric.needs) is not None
        value = metric.value(judged) if known else float("nan")
        if isinstance(value, Curve):
            curves[name], value = value, value.auc
        values[name] = value
    return values, curves


def _with_seed(method: Explainer, seed: int) -> dict[str, int]:
    """The keyword `seed` for a method that takes it and does not have it yet."""
    takes_seed = "seed" in inspect.signature(method).parameters
    return {"seed": seed} if takes_seed and "seed" not in _settings_of(method) else {}


def _settings_of(method: Explainer) -> dict:
    """What `functools.partial` has bound."""
    return method.keywords if isinstance(method, partial) else {}


def _name_of(value: object) -> str:
    return getattr(value, "__name__", type(value).__name__)


def _plain(value: object) -> object:
    """What JSON can hold instead: the number in a NumPy scalar or a tensor, or a text."""
    return value.item() if getattr(value, "ndim", None) == 0 else str(value)


@contextmanager
def counted_images(model: nn.Module) -> Iterator[Callable[[], int]]:
    """Count the images that go through a network, or through copies made of it meanwhile."""
    seen = []
    handle = model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    try:
        yield lambda: sum(seen)
    finally:
        handle.remove()


# What the table says


def summary(table: pd.DataFrame, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Each method's mean over the pictures, by metric.

    Args:
        table: from `evaluate` or `run`.
        metrics: columns of the table; by default all metrics that have a value in it.

    Returns:
        One row a method and metric, in the table's order: method, metric, n (pictures that have a
        value), mean, deviation (of the sample), low and high (95 % bootstrap interval of the mean).
    """
    metrics = metrics or [name for name in metrics_in(table) if table[name].notna().any()]
    rows = []
    for method, of_method in table.groupby("method", sort=False):
        for metric in metrics:
            values = of_method[metric].dropna().astype(float)
            mean, low, high = mean_interval(values) if len(values) else [np.nan] * 3
            rows.append((method, metric, len(values), mean, values.std(), low, high))
    columns = ["method", "metric", "n", "mean", "deviation", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def as_written(summarised: pd.DataFrame) -> pd.DataFrame:
    """A `summary` as papers print it: a row a method, a column a metric, "mean ± deviation"."""
    text = [
        "" if row.n == 0 else f"{row.mean:.3f} ± {row.deviation:.3f}"
        for row in summarised.itertuples()
    ]
    written = summarised.assign(text=text).pivot(index="method", columns="metric", values="text")
    return written.loc[summarised["method"].unique(), summarised["metric"].unique()]


def comparisons(table: pd.DataFrame, metric: str, *, seed: int = 0) -> pd.DataFrame:
    """Which methods really differ: each pair, picture by picture.

    The interval is `mean_interval`'s. p is that of a permutation test that swaps the two methods on
    each picture at random, corrected for the number of pairs after Holm, "A Simple Sequentially
    Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6(2), 1979.

    Args:
        table: from `evaluate` or `run`.
        metric: one of its columns.
        seed: of the bootstrap and of the permutations.

    Returns:
        One row a pair: a, b, n (pictures with both values), difference (mean of a - b), low, high,
        p (after Holm), real (p below 0.05).

    Raises:
        ValueError: metric is no column of the table.
    """
    check_choice("metric", metric, metrics_in(table))
    wide = table.pivot(index="picture", columns="method", values=metric)
    wide = wide[[name for name in table["method"].unique() if wide[name].notna().any()]]
    rows = []
    for a, b in combinations(wide.columns, 2):
        differences = (wide[a] - wide[b]).dropna().to_numpy(float)
        if len(differences) > 1:
            interval = mean_interval(differences, seed=seed)
            rows.append((a, b, len(differences), *interval, _swapping(differences, seed)))
    columns = ["a", "b", "n", "difference", "low", "high", "p"]
    compared = pd.DataFrame(rows, columns=columns)
    compared["p"] = _holm(compared["p"].astype(float))
    return compared.assign(real=compared["p"] < 0.05)


def _swapping(differences: np.ndarray, seed: int) -> float:
    """The p of the two-sided permutation test in which each difference may change its sign."""
    if not differences.any():
        return 1.0
    return permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        batch=max(1, 2_000_000 // len(differences)),  # at most 16 MB of them at a time
        rng=np.random.default_rng(seed),
    ).pvalue.item()


def _holm(p: pd.Series) -> pd.Series:
    """The least p times the number of pairs, the next times one less, and so on; never falling."""
    rising = p.sort_values()
    return (rising * np.arange(len(p), 0, -1)).cummax().clip(upper=1.0)


def metrics_in(table: pd.DataFrame) -> list[str]:
    """Which of the table's columns are metrics."""
    return [name for name in METRICS if name in table.columns]


# Long evaluations: from names, kept result by result


@dataclass(frozen=True)
class Plan:
    """What to do with every picture, in words that another process can read.

    Attributes:
        model: a name or file for `labkit.models.load_model`.
        methods: names in `labkit.methods.REGISTRY`, each with the settings that differ from its
            defaults.
        weights: for `load_model`; "random" ones are the same in every process.
        metrics: names in `METRICS`.
        seed: for the methods that take one.
    """

    model: str
    methods: Mapping[str, Mapping[str, object]]
    weights: str | None = None
    metrics: tuple[str, ...] = tuple(METRICS)
    seed: int = 0

    def check(self) -> None:
        """Refuse names that do not exist, and settings that a method does not take.

        Raises:
            ValueError: an unknown method, metric or setting, where the nearest name is suggested;
                or a value that cannot be right.
        """
        for name in self.metrics:
            check_choice("metrics", name, METRICS)
        if not isinstance(self.methods, Mapping) or not self.methods:
            raise ValueError(
                f"methods must be names with their settings, at least one, got {self.methods!r}; "
                "for example: {'gradcam': {}, 'rise': {'n_masks': 500}}"
            )
        for name in self.methods:
            check_choice("methods", name, REGISTRY)
        for name, settings in self.methods.items():
            method = self.explainer(name)
            parameters = inspect.signature(method).parameters
            known = [k for k, v in parameters.items() if v.kind is v.KEYWORD_ONLY]
            for setting in settings:
                check_choice(f"settings of {name}", setting, known)
            given = {**({"seed": self.seed} if self.seed and "seed" in known else {}), **settings}
            if given:  # the defaults are right
                _check_settings(name, method, given, self.network)

    @property
    def network(self) -> Classifier:
        """The network, loaded once a process, and again where its file has changed."""
        return loaded(self.model, self.weights, _stamps(self.model, self.weights))

    def explainer(self, method: str) -> Explainer:
        """A method for the network, without its settings; its layer is found once a process."""
        return _bound(self.model, self.weights, _stamps(self.model, self.weights), method)

    def as_json(self) -> str:
        """The plan as a text that is equal for equal plans."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, default=_plain) + "\n"


WORKER_DIED = (BrokenExecutor, CancelledError, SystemExit)
DASK_WORKER_DIED = ("KilledWorker", "FutureCancelledError")  # it may not be installed


class BrokenPictures(ValueError):
    """Some pictures or density maps could not be read; the message names each."""


class Outcome(NamedTuple):
    """What a worker gives back for one picture and method."""

    row: dict | None
    arrays: dict[str, np.ndarray]  # relevance [H, W], and the score of each curve [S + 1]
    error: str = ""


def run(
    plan: Plan,
    cases: Sequence[Case],
    out: Path,
    *,
    executor: Executor | None = None,
    workers: int = 1,
    keep_going: bool = False,
    progress: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> pd.DataFrame:
    """Carry out a plan; what is finished is kept, so that the same call goes on after a stop.

    Each result knows what it was made of, by content: the picture, what is known of it, the
    network, the settings and labkit's version. Where one of these is another now, the result is
    computed anew, and so is one that cannot be read.

    Args:
        plan: what to do.
        cases: the pictures; those given as paths must be readable here and where the executor
            works.
        out: a folder for `plan.json`, `results/PICTURE/METHOD.json` and `maps/PICTURE/METHOD.npz`,
            written one by one, and for `table.csv`.
        executor: where the work is done: processes, a dask cluster (`client.get_executor()`);
            here by default.
        workers: how many it has; a few tasks for each are under way at a time, so that memory does
            not grow with the number of pictures.
        keep_going: leave out what cannot be read; otherwise such pictures stop the evaluation.
        progress: show a bar.
        say: gets a line where results are made anew, such as `print`.

    Returns:
        The table of `evaluate`.

    Raises:
        BrokenPictures: files could not be read, or none could. All other results are kept.
        ValueError: the plan is wrong, or out holds the results of another plan.
        ChildProcessError: a worker died.
    """
    plan.check()
    _check_cases(cases)
    for case in cases:
        if case.target is not None:
            check_target(case.target, len(plan.network.classes))
    _claim(out, plan)
    by_name = {case.name: case for case in cases}
    inputs = cache(lambda name: _inputs(plan, by_name[name]))  # read when it is needed
    rows, tasks, reasons = _kept(out, plan, cases, inputs)
    there = len(rows) + len(reasons)
    if reasons:
        why = ", ".join(dict.fromkeys(reason for each in reasons for reason in each))
        say(f"{len(reasons)} of {there} results are computed anew: {why}")
    broken = _broken_truths({case.name: case for case, _ in tasks})
    if not broken or keep_going:
        tasks = [(case, method) for case, method in tasks if case.name not in broken]
        shared = plan, _network_digest(plan.network)
        total = len(rows) + len(tasks)
        before = (task for task in tasks if inputs(task[0].name))  # what comes later is seen later
        bar = tqdm(total=total, initial=len(rows), desc="maps", disable=not progress)
        with _told_how_to_go_on(rows, total), bar:
            for (case, method), result in finished(executor, _work, shared, before, 4 * workers):
                outcome = result()
                if outcome.error:
                    broken[case.name] = outcome.error
                else:
                    known = inputs(case.name) | {"settings": _settings(plan, method)}
                    rows[case.name, method] = _keep(out, case.name, method, outcome, known)
                bar.update()
    _check_broken(broken, len(cases), keep_going)
    table = pd.DataFrame(
        [rows[name, method] for name in by_name if name not in broken for method in plan.methods]
    )
    write_atomically(out / "table.csv", table.to_csv(index=False).encode("utf-8"))
    return table


@contextmanager
def _told_how_to_go_on(rows: Mapping, total: int) -> Iterator[None]:
    """Say what is there where Ctrl-C or the end of a worker stops the work."""
    go_on = "run the same command again; {} of {} results are there"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(go_on.format(len(rows), total)) from None
    except (Exception, SystemExit) as stop:
        if not isinstance(stop, WORKER_DIED) and type(stop).__name__ not in DASK_WORKER_DIED:
            raise
        raise ChildProcessError(
            "a worker was killed, perhaps for want of memory (fewer --jobs take less): "
            + go_on.format(len(rows), total)
        ) from None


def _kept(
    out: Path, plan: Plan, cases: Sequence[Case], inputs: Callable[[str], dict]
) -> tuple[dict, list[tuple[Case, str]], list[list[str]]]:
    """The rows that still hold, the tasks that are to do, and why results do not hold."""
    rows, tasks, reasons = {}, [], []
    for case in cases:
        for method in plan.methods:
            file, changed = _result_file(out, case.name, method), []
            if file.is_file():
                row, known = _read_result(file)
                now = inputs(case.name) | {
                    "settings": _settings(plan, method),
                    "map": _digest(_map_file(out, case.name, method)),
                }
                changed = [f"{name} changed" for name in now if known.get(name) != now[name]]
                right = (case.name, method) == (row.get("picture"), row.get("method"))
                if not right or not {"target", "note", *plan.metrics} <= row.keys():
                    changed = ["unreadable"]
                elif not known:
                    changed = ["made by an older version"]
                if not changed:
                    rows[case.name, method] = row
                    continue
                reasons.append(changed)
            tasks.append((case, method))
    return rows, tasks, reasons


def _read_result(file: Path) -> tuple[dict, dict]:
    """The row in a result, and what it was made of; empty where they cannot be read."""
    try:
        row = json.loads(file.read_text(encoding="utf-8"))
        return row, dict(row.pop("inputs", {}))
    except (OSError, ValueError, AttributeError, TypeError):
        return {}, {}


def _inputs(plan: Plan, case: Case) -> dict:
    """What a result on a picture depends on, by its content."""
    return {
        "labkit": __version__,
        "network": _network_digest(plan.network),
        "picture": _digest(case.picture),
        "density map": _digest(case.density),
        "fixations": _digest(case.fixations),
        "part mask": _digest(case.mask),
        "target": None if case.target is None else int(case.target),
    }


def _settings(plan: Plan, method: str) -> dict:
    """What a result depends on besides, as JSON gives it back."""
    settings = {"seed": plan.seed, "metrics": plan.metrics, **plan.methods[method]}
    return json.loads(json.dumps(settings, default=_plain))


def _digest(value: object) -> str | None:
    """The SHA-256 of a file's bytes, or of an array; None for what is not there."""
    if value is None:
        return None
    if isinstance(value, str | os.PathLike):
        try:
            with open(value, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None
    if hasattr(value, "seek"):  # a file open for reading, which is read from where it stands
        start, content = value.tell(), value.read()
        value.seek(start)
    elif isinstance(value, bytes):
        content = value
    else:
        array = np.ascontiguousarray(value.cpu() if isinstance(value, Tensor) else value)
        content = repr((array.dtype, array.shape)).encode() + array.tobytes()
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=1)
def _network_digest(model: Classifier) -> str:
    """The SHA-256 of a network: its layers, its weights and how its pictures are prepared."""
    found = hashlib.sha256(repr((model, model.classes, model.preprocessing)).encode())
    for name, values in model.state_dict().items():
        found.update(repr((name, values.dtype, values.shape)).encode())
        found.update(values.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def _broken_truths(cases: Mapping[str, Case]) -> dict[str, str]:
    """The truths that cannot be read or right, before anything is computed for them."""
    broken = {}
    for name, case in cases.items():
        try:
            _check_truth(case)
        except (OSError, ValueError) as error:
            broken[name] = f"{type(error).__name__}: {error}"
    return broken


def _check_truth(case: Case) -> None:
    if isinstance(case.density, str | Path):
        read_density_map(case.density)
    elif case.density is not None:
        check_density(_numbers(case.density, "density", "[H, W]"), "density")
    if isinstance(case.mask, str | Path):
        read_part_mask(case.mask)
    elif case.mask is not None and not _numbers(case.mask, "mask", "[H, W]").any():
        raise ValueError("mask must have a pixel that is not 0, got none; leave it out")
    if case.fixations is not None:
        _numbers(case.fixations, "fixations", "[N, 2]")


def _numbers(values: object, name: str, shape: str) -> np.ndarray:
    """The array in a truth, finite and of two dimensions."""
    try:
        array = torch.as_tensor(values).double().cpu().numpy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} must be an array {shape} of numbers, got {type(values).__name__} ({error}); "
            "np.asarray(...) makes one"
        ) from None
    points = shape == "[N, 2]"
    if array.ndim != 2 or (array.shape[1] != 2 if points else not array.size):
        raise ValueError(f"{name} must have the shape {shape}, got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must hold finite numbers, got NaN or infinity; leave them out")
    return array


def _check_broken(broken: Mapping[str, str], n: int, keep_going: bool) -> None:
    """Refuse to go on with broken pictures, or with nothing else."""
    if keep_going and len(broken) == n:
        name, error = next(iter(broken.items()))
        raise BrokenPictures(
            f"none of the {n} picture(s) could be evaluated; the first is {name}: {error}"
        )
    if broken and not keep_going:
        raise BrokenPictures(
            f"{len(broken)} picture(s) could not be evaluated:\n"
            + "\n".join(f"  {name}: {error}" for name, error in sorted(broken.items()))
            + "\nreplace or remove them, or leave them out with keep_going=True (--keep-going); "
            "the results of all others are kept"
        )


def load_maps(out: Path, picture: str, method: str) -> dict[str, Tensor]:
    """What `run` kept of a picture and method: "relevance" `[H, W]` and curves' scores by name."""
    with np.load(_map_file(out, picture, method)) as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _work(shared: tuple[Plan, str], case: Case, method: str) -> Outcome:
    """One picture and method, in whatever process this is."""
    plan, network = shared
    if _network_digest(plan.network) != network:
        raise ValueError(
            f"the file of the network {plan.model} must be the same for all workers, got another "
            "one here; copy it to every machine, and run the same command again"
        )
    try:
        row, relevance, curves = evaluate_one(
            plan.network,
            case,
            method,
            partial(plan.explainer(method), **plan.methods[method]),
            metrics=plan.metrics,
            seed=plan.seed,
        )
    except (OSError, ValueError) as error:
        if str(error).partition(" ")[0] in plan.methods[method]:  # the argument that is wrong
            raise _refusal(method, plan.methods[method], error) from error
        return Outcome(None, {}, f"{type(error).__name__}: {error}")
    arrays = {name: curve.score.numpy() for name, curve in curves.items()}
    return Outcome(row, {"relevance": relevance.cpu().numpy(), **arrays})


def _check_settings(name: str, method: Explainer, given: Mapping, model: Classifier) -> None:
    """Run a method until it asks the network, or to the end where one pass is all that it takes."""

    def stop(module: nn.Module, inputs: tuple) -> None:
        raise _Asked

    image = torch.rand(3, *[model.preprocessing.crop] * 2, generator=torch.Generator())
    handle = model.register_forward_pre_hook(stop) if REGISTRY[name].needs != MAPS else None
    try:
        choose_batch_size(image, given.get("batch_size"))
        method(model, image.to(model.device), 0, **given)
    except _Asked:
        pass
    except Exception as error:
        raise _refusal(name, given, error) from error
    finally:
        if handle is not None:
            handle.remove()


def _refusal(name: str, given: Mapping, error: Exception) -> ValueError:
    """Of settings that a method does not take; Python's own words are for programmers."""
    reason = str(error)
    if not any(re.search(rf"\b{setting}\b", reason) for setting in given):
        parameters = inspect.signature(REGISTRY[name].explain).parameters
        usual = {setting: parameters[setting].default for setting in given}
        reason = "expected values like the defaults, " + _listed(usual)
    return ValueError(f"{name} does not take {_listed(given)}: {reason}")


def _listed(settings: Mapping) -> str:
    return ", ".join(f"{setting}={value!r}" for setting, value in settings.items())


class _Asked(Exception):
    """A method asks its network: it has looked at its settings."""


def _stamps(*files: str | None) -> tuple:
    """What differs once a file has been written anew; empty for names that are no files."""
    paths = [Path(folder, name).expanduser() for name in files if name for folder in ("", PROJECT)]
    stats = [path.stat() for path in paths if path.is_file()]
    return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


@lru_cache(maxsize=len(REGISTRY))
def _bound(name: str, weights: str | None, stamps: tuple, method: str) -> Explainer:
    """The method with its layer, which takes a pass of the network to find."""
    return explainer(method, loaded(name, weights, stamps))


@lru_cache(maxsize=1)
def loaded(name: str, weights: str | None, stamps: tuple = ()) -> Classifier:
    """The network of that name, loaded once a process; random weights are the same in each."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return load_model(name, weights=weights)


def _claim(out: Path, plan: Plan) -> None:
    """Make the folder this plan's own, or see that it is; a plan that cannot be read is none."""
    path, now = out / "plan.json", json.loads(plan.as_json())
    before, _ = _read_result(path)
    if before.keys() != now.keys():
        write_atomically(path, plan.as_json().encode("utf-8"))
    elif before != now:
        differ = [key for key in now if before[key] != now[key]]
        raise ValueError(
            f"out holds results of another evaluation ({out}; different: {', '.join(differ)}); "
            "choose another folder, or delete this one"
        )


def _result_file(out: Path, picture: str, method: str) -> Path:
    return out / "results" / picture / f"{method}.json"


def _map_file(out: Path, picture: str, method: str) -> Path:
    return out / "maps" / picture / f"{method}.npz"


def _keep(out: Path, picture: str, method: str, outcome: Outcome, inputs: dict) -> dict:
    """Write a result, the map first: one that is there means that both are; the row as read."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **outcome.arrays)
    write_atomically(_map_file(out, picture, method), buffer.getvalue())
    known = {"inputs": inputs | {"map": _digest(buffer.getvalue())}}
    text = json.dumps(outcome.row | known, indent=1, default=_plain) + "\n"
    write_atomically(_result_file(out, picture, method), text.encode("utf-8"))
    return json.loads(json.dumps(outcome.row, default=_plain))


def _check_cases(cases: Sequence[Case]) -> None:
    names = [case.name for case in cases]
    if not names:
        raise ValueError("cases must hold at least one picture, got none")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"cases must have names that differ, got {twice[0]!r} more than once")
    strange = [name for name in names if not name or Path(name).name != name]
    if strange:
        raise ValueError(
            f"a case's name must be usable as a file name, got {strange[0]!r}; "
            "leave out folders and slashes"
        )
