"""The command `python -m labkit submit`: look through a notebook, and write the file to hand in.

python -m labkit submit exercises/lab4
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat

from labkit.cells import Cell, defines, read_notebook
from labkit.files import write_atomically
from labkit.selfcheck import Exercise, exercises

HANDED_IN = "hand_in_"
STUB = re.compile(r"^\s*raise NotImplementedError\b", re.MULTILINE)
PLACEHOLDERS = ("", "*Your answer, in place of this line.*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("notebook", type=Path, help="a notebook, or its folder")
    parser.add_argument("--seconds", type=int, default=120, help="that a cell may take")


def main(arguments: argparse.Namespace) -> None:
    """Say what is missing, and write one file.

    Raises:
        ValueError: there is no notebook, or nothing in it was answered.
    """
    path = notebook_in(arguments.notebook)
    cells = read_notebook(path.read_bytes())
    asked = exercises(lab_of(cells, path))
    missing = [one for one in asked if not is_answered(one, cells)]
    print(f"{path}: {saved(path)}; what you have changed since is not in it")
    if len(missing) == len(asked):
        raise ValueError(
            f"nothing is answered in {path}: it is as it was handed out; save your work (Ctrl+S), "
            "or name the notebook that you worked in"
        )
    for one in missing:
        print(f"not answered: {one.title} ({one.name})")
    print("running it from the top ...")
    for line in errors(path, arguments.seconds):
        print(f"stops: {line}")
    print(f"hand in this file: {write_file(path)}")


def notebook_in(place: Path) -> Path:
    """The notebook to hand in: a file, or the one in a folder.

    Raises:
        ValueError: there is none, or several and none has the folder's name.
    """
    if place.is_file():
        return place
    found = [p for p in sorted(place.glob("*.ipynb")) if not p.name.startswith(HANDED_IN)]
    named = [path for path in found if path.stem == place.resolve().name]
    if len(named or found) != 1:
        came = ", ".join(path.name for path in found) or "no notebook"
        raise ValueError(
            f"the folder must hold one notebook, or one of its own name, got {came} in {place}; "
            "name the notebook itself: python -m labkit submit FOLDER/NOTEBOOK.ipynb"
        )
    return (named or found)[0]


def lab_of(cells: Sequence[Cell], path: Path) -> str:
    """Which lab it is, by the marks on its cells, or by its name.

    Raises:
        ValueError: neither tells.
    """
    found = [re.match(r"lab\d+(?=-)", cell.grade_id) for cell in cells]
    names = [match[0] for match in found if match] + re.findall(r"lab\d+", path.stem)
    if not names:
        raise ValueError(
            f"the notebook must be one of the exercises, got {path.name}, which has no marks of a "
            "lab on its cells; rename it to lab1.ipynb or what it is"
        )
    return max(set(names), key=names.count)


def write_file(path: Path) -> Path:
    """Write the file to hand in beside the notebook, without the outputs, which nobody grades."""
    notebook = _opened(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    target = path.with_name(f"{HANDED_IN}{path.name}")
    write_atomically(target, nbformat.writes(notebook).encode("utf-8"))
    return target


def _opened(path: Path) -> nbformat.NotebookNode:
    return nbformat.reads(path.read_text(encoding="utf-8-sig"), as_version=4)


def saved(path: Path) -> str:
    """When the file was last saved, for the student to compare."""
    written = path.stat().st_mtime
    minutes = int((time.time() - written) // 60)
    ago = "less than a minute" if minutes < 1 else f"{minutes} minutes"
    clock = time.strftime("%Y-%m-%d %H:%M", time.localtime(written))
    return f"last saved {clock}" + (f", {ago} ago" if minutes < 120 else "")


def is_answered(exercise: Exercise, cells: Sequence[Cell]) -> bool:
    """Whether there is anything but what was handed out; not whether it is right."""
    if exercise.function is not None:
        return any(defines(c, exercise.function) and not STUB.search(c.source) for c in cells)
    asked = next((i for i, c in enumerate(cells) if c.grade_id == exercise.grade_id), len(cells))
    for cell in cells[asked + 1 :]:
        if cell.kind == "code" or cell.grade_id or cell.text.startswith("#"):
            break
        if cell.text not in PLACEHOLDERS:
            return True
    return False


def errors(path: Path, seconds: int) -> list[str]:
    """Run a notebook from the top, in a kernel of its own: which cells stop, a sentence each."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    notebook = _opened(path)
    client = NotebookClient(
        notebook,
        timeout=seconds,
        allow_errors=True,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except CellTimeoutError:
        return [f"a cell takes longer than {seconds} s; the cells after it were not run"]
    except DeadKernelError:
        return ["a cell brings Python down; the cells after it were not run"]
    return [
        f"cell {number} ends with {output.ename}: {output.evalue}"[:200]
        for number, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "error"
    ]
