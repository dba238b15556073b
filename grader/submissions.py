"""Finding the notebooks that were handed in, however the learning platform packed them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from grader.grade import Submission
from labkit.cells import MAX_BYTES, Cell, read_notebook

MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_\w+")
CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d+)_(?P<file>\d+)_.+")


class Student(NamedTuple):
    """Who handed in, as far as the name of a file or folder tells."""

    key: str  # the file's or folder's name: differs from student to student
    name: str
    id: str = ""  # the learning platform's number


def student_of(key: str) -> Student:
    """Read the names that Moodle and Canvas give; any other name is the student's own."""
    found = MOODLE.fullmatch(key) or CANVAS.fullmatch(key)
    return Student(key, found["name"], found["id"]) if found else Student(key, key)


def find_submissions(folder: Path, release: Sequence[Cell]) -> tuple[list[Submission], list[str]]:
    """The notebooks in a folder: one in each folder below it, and those that lie in it.

    Of several notebooks in a student's folder, the one with most work in it is graded, among those
    that are this assignment, and a note says so. Links are not followed.

    Args:
        folder: as downloaded from the learning platform, unpacked.
        release: the cells of the notebook that was handed out.

    Returns:
        The submissions by student, and the students whose folders hold no notebook.

    Raises:
        ValueError: the folder is no folder, holds nothing, or two entries are one student's.
    """
    if not folder.is_dir():
        raise ValueError(
            f"submissions must be a folder with a folder or a notebook for each student, got "
            f"{str(folder)!r}, which is no folder"
        )
    found, without = {}, []
    for key, paths in _entries(folder):
        submission = _best(key, paths, release)
        if key in found or key in without:
            raise ValueError(f"submissions must be one for each student, got two for {key!r}")
        if submission is None:
            without.append(key)
        else:
            found[key] = submission
    if not found and not without:
        raise ValueError(f"submissions must hold notebooks, got {str(folder)!r}, which holds none")
    return list(found.values()), without


def _entries(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """What was handed in, and the notebooks in it."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            yield entry.name, _notebooks(entry)
        elif entry.suffix == ".ipynb":
            yield entry.stem, [entry]


def _notebooks(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*.ipynb"))
        if path.is_file()
        and not any(part.is_symlink() for part in (path, *path.parents) if folder in part.parents)
        and ".ipynb_checkpoints" not in path.parts
    ]


def _best(key: str, paths: Sequence[Path], release: Sequence[Cell]) -> Submission | None:
    contents = {path: _content(path) for path in paths}
    if not contents:
        return None
    best = max(contents, key=lambda path: _likely(contents[path], release))
    notes = []
    if len(contents) > 1:
        others = ", ".join(path.name for path in paths if path != best)
        notes.append(f"{best.name} was graded, and not {others}")
    return Submission(key, contents[best], tuple(notes))


def _content(path: Path) -> bytes:
    """The file, or as much of it as shows that it is too large."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _likely(content: bytes, release: Sequence[Cell]) -> tuple[bool, int]:
    """Whether it is this assignment, and how much of it the student wrote."""
    try:
        cells = read_notebook(content)
    except ValueError:
        return False, -1
    marks, texts = {cell.grade_id for cell in release} - {""}, {cell.text for cell in release}
    common = sum(cell.grade_id in marks or cell.text in texts for cell in cells)
    own = sum(len(cell.text) for cell in cells if cell.text not in texts)
    return 3 * common >= len(release), own
