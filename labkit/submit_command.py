"""The command `python -m labkit submit`: look through a notebook, and write the file to hand in.

python -m labkit submit exercises/lab4
"""

from __future__ import annotations

import argparse
from pathlib import Path

from labkit.grading.notebook import read_notebook
from labkit.grading.submit import errors, is_answered, lab_of, notebook_in, saved, write_file
from labkit.selfcheck import exercises


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
