"""Grading: two workers of ours beside nbgrader, which grades one submission after the other.

Both grade the same right solutions of lab 4. This needs bubblewrap; nbgrader takes part where it is
installed. As a repeat takes minutes, there are three only, and memory is watched while they run:
all processes that do the work, five times a second, pages that they share counted in each.

    python -m benchmarks.grading --endless         # 300 submissions, 10 of them endless
    python -m benchmarks.grading --endless 12 1    # as a trial

shows instead whether memory grows over a long batch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import nbformat
import psutil
import torch

from benchmarks import timing
from benchmarks.timing import REPEATS, Measurement
from grader.batch import grade_all
from grader.grade import Bundle, Seconds, Submission
from grader.sandbox import why_not

ROOT = Path(__file__).parents[1]
LAB = "lab4"
WORKERS = 2
SUBMISSIONS = 4
OURS = f"labkit, {WORKERS} workers"
MARKERS = ("### BEGIN SOLUTION", "### END SOLUTION")
ENDLESS = "while True:\n    pass"


def solved(name: str, *, endless: bool = False) -> bytes:
    """A student's notebook with all exercises solved, or with a cell that never ends."""
    source = nbformat.read(ROOT / "solutions" / LAB / f"{LAB}.ipynb", as_version=4)
    notebook = nbformat.read(ROOT / "exercises" / LAB / f"{LAB}.ipynb", as_version=4)
    answers = {cell.id: cell.source for cell in source.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            lines = answers[cell.id].splitlines()
            cell.source = "\n".join(line for line in lines if line.strip() not in MARKERS)
    notebook.cells.append(nbformat.v4.new_code_cell(f"# {name}"))
    if endless:
        notebook.cells.append(nbformat.v4.new_code_cell(ENDLESS))
    return nbformat.writes(notebook).encode("utf-8")


def bundle() -> Bundle:
    """What lab 4 is graded with; a cell may take five seconds."""
    release = (ROOT / "exercises" / LAB / f"{LAB}.ipynb").read_bytes()
    return Bundle(f"labkit.selfcheck.{LAB}", release, seconds=Seconds(5, 30, 300))


@contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """Two processes with one thread each, and labkit loaded."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(WORKERS, spawn, torch.set_num_threads, (1,)) as executor:
        yield executor


def ours(submissions: list[Submission], out: Path) -> float:
    """Seconds that we take, from nothing to the last result."""
    begin = time.perf_counter()
    with workers() as executor:
        results = grade_all(submissions, bundle(), out, executor=executor, workers=WORKERS)
    seconds = time.perf_counter() - begin
    lost = [one for result in results.values() for one in result.exercises if one.causes]
    if lost:
        raise RuntimeError(f"a right solution lost points: {lost[0]}")
    return seconds


def nbgraders(submissions: list[Submission], course: Path, command: str) -> float:
    """Seconds that nbgrader takes for the same notebooks, the release made before."""
    shutil.copytree(ROOT / "solutions", course / "solutions")
    shutil.copy(ROOT / "nbgrader_config.py", course)
    for one in submissions:
        folder = course / "submitted" / one.student / LAB
        folder.mkdir(parents=True)
        (folder / f"{LAB}.ipynb").write_bytes(one.content)
    settings = {"cwd": course, "check": True, "stdout": subprocess.DEVNULL}
    path = f"{Path(command).resolve().parent}:{os.environ['PATH']}"  # nbgrader calls alembic
    settings |= {"stderr": subprocess.DEVNULL, "env": os.environ | {"PATH": path}}
    subprocess.run([command, "generate_assignment", LAB], **settings)
    begin = time.perf_counter()
    subprocess.run([command, "autograde", LAB], **settings)
    seconds = time.perf_counter() - begin
    graded = len(list((course / "autograded").glob(f"*/{LAB}/{LAB}.ipynb")))
    if graded != len(submissions):
        raise RuntimeError(f"nbgrader graded {graded} of {len(submissions)} notebooks")
    return seconds


@contextmanager
def watched() -> Iterator[list[float]]:
    """Megabytes held by all processes below this one, as long as it lasts."""
    held, over = [], threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            held.append(sum(map(_held, psutil.Process().children(recursive=True))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield held
    finally:
        over.set()
        watcher.join()


def _held(process: psutil.Process) -> float:
    try:
        return process.memory_info().rss / 2**20
    except psutil.Error:  # it has ended meanwhile
        return 0.0


def measurements(quick: bool = False) -> Iterator[Measurement]:
    """The whole batch; nothing where no sandbox can be had."""
    if reason := why_not():
        print(f"not measured: {reason}")
        return
    n, repeats = (2, 1) if quick else (SUBMISSIONS, REPEATS)
    submissions = [Submission(f"student{i:02d}", solved(f"student {i}")) for i in range(n)]
    command = Path(sys.executable).with_name("nbgrader")
    ways = [OURS, "nbgrader"] if command.exists() else [OURS]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    peak = dict.fromkeys(ways, 0.0)
    for way in ways * repeats:
        with tempfile.TemporaryDirectory() as folder, watched() as held:
            out = Path(folder) / "out"
            mine = way == OURS
            took = ours(submissions, out) if mine else nbgraders(submissions, out, str(command))
        seconds[way].append(took)
        peak[way] = max(peak[way], *held)
    yield Measurement(f"Grade {n} submissions", "", [OURS], (), seconds, peak)


def long_batch(n: int, endless: int) -> None:
    """Print the memory of grader and workers along a batch with some that never end.

    Args:
        n: submissions, at least six for each endless one.
        endless: how many of them have a cell that does not end.

    Raises:
        RuntimeError: not just these were stopped.
    """
    submissions = [
        Submission(f"student{i}", solved(f"student {i}", endless=i % (n // endless) == 5))
        for i in range(n)
    ]
    with tempfile.TemporaryDirectory() as folder, workers() as executor:
        begin = time.perf_counter()
        for end in range(n // 6, n + 1, n // 6):
            some = submissions[:end]
            results = grade_all(some, bundle(), Path(folder), executor=executor, workers=WORKERS)
            me = psutil.Process()
            held = [process.memory_info().rss / 2**20 for process in [me, *me.children()]]
            sizes = ", ".join(f"{size:.0f}" for size in sorted(held, reverse=True))
            print(f"{end:4d} after {time.perf_counter() - begin:5.0f} s: {sizes} MiB", flush=True)
    stopped = sum("was stopped" in " ".join(result.notes) for result in results.values())
    if stopped != endless:
        raise RuntimeError(f"{endless} cells never end, and {stopped} were stopped")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    if sys.argv[1:2] == ["--endless"]:
        long_batch(*map(int, sys.argv[2:] or (300, 10)))
    else:
        timing.main(measurements)
