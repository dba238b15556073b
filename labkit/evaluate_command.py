"""The command `python -m labkit evaluate`: methods on a folder of pictures with gaze, as tables.

python -m labkit evaluate --images Images --density-maps "Density Maps" \
        --method gradcam fem rise lime --model resnet18 --display grid --out results
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import active_children
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from torch import Tensor

from labkit.data import load_heritage
from labkit.evaluate import (
    METRICS,
    Case,
    Plan,
    as_written,
    cases_of,
    comparisons,
    load_maps,
    prepared,
    run,
    spread,
    summary,
)
from labkit.executors import add_workers, workers_of
from labkit.figures import Figure, heatmap_rows, overlaid, row_with_curves
from labkit.files import write_atomically
from labkit.methods import REGISTRY

USUAL = ("gradcam", "fem", "rise", "lime")
DISPLAYS = ("grid", "singles", "none")
PICTURES_A_GRID = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    several = {"nargs": "+", "action": "extend"}  # in one place or in many
    parser.add_argument("--images", help="folder of pictures; the shipped ones by default")
    parser.add_argument("--density-maps", help="folder of their density maps")
    parser.add_argument(
        "--method",
        **several,
        metavar="NAME",
        help=f"of {', '.join(REGISTRY)}; by default {', '.join(USUAL)}",
    )
    parser.add_argument("--metric", **several, metavar="NAME", help=f"of {', '.join(METRICS)}")
    parser.add_argument("--model", default="minivgg-heritage", help="a name, or a file")
    parser.add_argument("--weights", help="a file of weights for that network")
    parser.add_argument(
        "--set", **several, default=[], metavar="METHOD.SETTING=VALUE", help="rise.n_masks=500"
    )
    parser.add_argument("--limit", type=int, help="only so many pictures, evenly spread")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--display", choices=DISPLAYS, default="grid", help="figures to draw")
    parser.add_argument("--out", required=True, type=Path, help="folder; run again to go on")
    parser.add_argument("--keep-going", action="store_true", help="leave out broken files")
    add_workers(parser)


def main(arguments: argparse.Namespace) -> None:
    """Evaluate, and write tables and figures.

    Raises:
        ValueError, OSError: what was asked for cannot be done.
        SystemExit: with 130, after Ctrl-C.
    """
    try:
        _evaluate(arguments)
    except KeyboardInterrupt as stop:
        way_out = str(stop) or "run the same command again; what is finished is kept"
        print(f"labkit: stopped: {way_out}", file=sys.stderr)
        raise SystemExit(130) from None


def _evaluate(arguments: argparse.Namespace) -> None:
    plan = Plan(
        model=arguments.model,
        methods=with_settings(arguments.method or USUAL, arguments.set),
        weights=arguments.weights,
        metrics=tuple(arguments.metric or METRICS),
        seed=arguments.seed,
    )
    plan.check()
    pictures = load_heritage(arguments.images or "generated", density_maps=arguments.density_maps)
    for line in pictures.missing:
        print(line)
    cases = spread(cases_of(pictures), arguments.limit)
    print(pictures.description)
    print(plan.network.description)
    with workers_of(arguments) as (executor, n):
        try:
            table = run(
                plan,
                cases,
                arguments.out,
                executor=executor,
                workers=n,
                keep_going=arguments.keep_going,
                progress=True,
                say=print,
            )
        except KeyboardInterrupt:
            for worker in active_children():
                worker.kill()  # a map may take minutes
            raise
    write_tables(table, arguments.out)
    draw(plan, [c for c in cases if c.name in set(table["picture"])], arguments)
    print(as_written(summary(table)).to_string())
    print(f"tables and figures: {arguments.out}")


def with_settings(methods: Sequence[str], settings: Sequence[str]) -> dict[str, dict]:
    """The methods with their settings, from texts such as "rise.n_masks=500".

    Raises:
        ValueError: a text has another form, or names a method that is not asked for.
    """
    asked: dict[str, dict] = {name: {} for name in methods}
    for text in settings:
        place, equals, value = text.partition("=")
        method, dot, setting = place.partition(".")
        if not (equals and dot and setting) or method not in asked:
            raise ValueError(
                f"--set must be METHOD.SETTING=VALUE with a method of --method, got {text!r}; "
                "for example: --method rise --set rise.n_masks=500"
            )
        asked[method][setting] = _literal(value)
    return asked


def _literal(text: str) -> object:
    """A number, True, False or None as Python writes it; any other text is itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return text


def write_tables(table: pd.DataFrame, out: Path) -> None:
    """Write means and paired comparisons beside the table."""
    means = summary(table)
    compared = [comparisons(table, name).assign(metric=name) for name in means["metric"].unique()]
    files = {"summary.csv": means}
    if compared:
        files["comparisons.csv"] = pd.concat(compared)
    for name, content in files.items():
        write_atomically(out / name, content.to_csv(index=False).encode("utf-8"))


def draw(plan: Plan, cases: Sequence[Case], arguments: argparse.Namespace) -> None:
    """Draw what --display asks for, a few pictures at a time, into OUT/figures."""
    if arguments.display == "grid":
        for start in range(0, len(cases), PICTURES_A_GRID):
            page = cases[start : start + PICTURES_A_GRID]
            path = arguments.out / "figures" / f"grid_{start // PICTURES_A_GRID + 1:03d}.png"
            _save(_grid(plan, page, arguments.out), path)
    elif arguments.display == "singles":
        for case in cases:
            for method in plan.methods:
                path = arguments.out / "figures" / f"{case.name}_{method}.png"
                _save(_single(plan, case, method, arguments.out), path)


def _save(figure: Figure, path: Path) -> None:
    """Write a figure where it is not there already."""
    with TemporaryDirectory() as folder:
        figure.save(Path(folder, path.name))
        write_atomically(path, Path(folder, path.name).read_bytes())


def _grid(plan: Plan, cases: Sequence[Case], out: Path) -> Figure:
    model = plan.network
    pictures, rows = [], []
    for case in cases:
        image, truth, _ = prepared(model, case)
        maps = {name: load_maps(out, case.name, name)["relevance"] for name in plan.methods}
        pictures.append(model.picture(image))
        rows.append(_gaze(truth) | maps)
    return heatmap_rows(
        pictures,
        rows,
        titles=[_shortened(case.name) for case in cases],
        alt=f"For {len(cases)} pictures in rows: the picture, where people looked where that is "
        f"known, and the maps of {', '.join(plan.methods)}.",
        width=2.2 * (len(rows[0]) + 1),
    )


def _gaze(truth: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    return {} if truth["density"] is None else {"density map": truth["density"]}


def _shortened(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:10]} ... {name[-10:]}"


def _single(plan: Plan, case: Case, method: str, out: Path) -> Figure:
    model = plan.network
    image, truth, _ = prepared(model, case)
    picture, curves = model.picture(image), load_maps(out, case.name, method)
    relevance = curves.pop("relevance")
    maps = {**_gaze(truth), method: relevance, "overlay": overlaid(picture, relevance)}
    return row_with_curves(
        {"picture": picture, **maps},
        curves,
        alt=f"{case.name}: the picture, its {method} map beside and over it, and how the "
        "probability moves while pixels are deleted or inserted in the map's order.",
    )
