"""Which cell of a handed-in notebook is which: by its mark where it has one, else by its content.

Notebooks come back with cells copied, split, deleted and moved, saved by other programs, without
the marks (metadata) that nbgrader puts on cells. Nobody loses a point for that.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import nbformat

from labkit.selfcheck.exercise import Exercise

MAX_BYTES = 100 * 2**20
# Where Colab finds the course, in the set-up cell and in the badge: `make colab` and students write
# it, so that it differs between what is handed out and what is handed in.
PLACE = re.compile(
    r"""^REPOSITORY, BRANCH = (["'])[^"'\s]*\1, (["'])[^"'\s]*\2"""
    r"|^\[!\[Open in Colab\]\(\S*\)\]\(\S*\)$",
    re.MULTILINE,
)


class Cell(NamedTuple):
    """A cell of a notebook."""

    number: int  # the first is 1
    kind: str  # "code", "markdown" or "raw"
    source: str
    grade_id: str = ""  # nbgrader's name of it
    solution: bool = False  # students write here

    @property
    def text(self) -> str:
        """The source as it is compared.

        Without blanks at the ends of lines, empty lines around it, and the place that Colab fetches
        the course from.
        """
        source = PLACE.sub("", self.source).strip()
        return "\n".join(line.rstrip() for line in source.splitlines())


class Matched(NamedTuple):
    """A student's notebook, understood."""

    code: tuple[Cell, ...]  # the code cells to run, in their order
    words: Mapping[str, str]  # by exercise: what was answered in words, empty where nothing was
    own: tuple[Cell, ...]  # the cells that the student wrote or changed
    notes: tuple[str, ...]  # what was out of the ordinary


def read_notebook(content: bytes) -> list[Cell]:
    """The cells of a notebook file, of any version since 3.

    Raises:
        ValueError: the content is no notebook.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"the notebook is larger than {MAX_BYTES >> 20} MB; clear its outputs")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cells without an id
            notebook = nbformat.reads(content.decode("utf-8-sig"), as_version=4)
        return [_cell(number, cell) for number, cell in enumerate(notebook["cells"], start=1)]
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ValueError(f"the file is not a notebook that can be read ({reason})") from None


def _cell(number: int, cell: Mapping) -> Cell:
    source, mark = cell["source"], cell.get("metadata", {}).get("nbgrader", {})
    source = source if isinstance(source, str) else "".join(source)
    if not isinstance(mark, Mapping):
        mark = {}
    grade_id = mark.get("grade_id", "")
    return Cell(
        number,
        str(cell["cell_type"]),
        source,
        grade_id if isinstance(grade_id, str) else "",
        mark.get("solution") is True,
    )


def match(cells: Sequence[Cell], release: Sequence[Cell], exercises: Sequence[Exercise]) -> Matched:
    """Understand a student's notebook.

    Args:
        cells: the student's.
        release: of the notebook that was handed out.
        exercises: the lab's.
    """
    marks = _marks(cells, release)
    released = {cell.text for cell in release}
    own = tuple(cell for cell in cells if cell.text and cell.text not in released)
    code, notes = _to_run(cells, release, exercises)
    if not any(cell.grade_id for cell in cells):
        notes.insert(0, "the notebook has lost the marks on its cells; they were found by content")
    words = {
        exercise.name: _words(exercise.grade_id, cells, release, marks)
        for exercise in exercises
        if exercise.function is None
    }
    return Matched(tuple(code), words, own, tuple(notes))


def defines(cell: Cell, name: str) -> bool:
    """Whether a cell gives that name a value, on a line of its own."""
    pattern = rf"^(?:async\s+)?def\s+{re.escape(name)}\b|^{re.escape(name)}\s*(?::[^=\n]*)?=(?!=)"
    return cell.kind == "code" and re.search(pattern, cell.source, re.MULTILINE) is not None


def _to_run(
    cells: Sequence[Cell], release: Sequence[Cell], exercises: Sequence[Exercise]
) -> tuple[list[Cell], list[str]]:
    """The code cells, without stubs that are still there beside an answer; and notes."""
    stubs = {cell.text for cell in release if cell.kind == "code" and cell.solution}
    left_out, notes = set(), []
    for exercise in exercises:
        if exercise.function is None:
            continue
        found = [cell for cell in cells if defines(cell, exercise.function)]
        answers = [cell for cell in found if cell.text not in stubs]
        if answers and len(found) > len(answers):
            left_out |= {cell.number for cell in found if cell.text in stubs}
            notes.append(f"an empty copy of the cell of `{exercise.function}` was left out")
        if len({cell.text for cell in answers}) > 1:
            where = " and ".join(str(cell.number) for cell in answers)
            notes.append(f"cells {where} all define `{exercise.function}`; the last one counts")
    run = [cell for cell in cells if cell.kind == "code" and cell.number not in left_out]
    return [cell for cell in run if cell.text], notes


def _marks(cells: Sequence[Cell], release: Sequence[Cell]) -> list[str]:
    """For each of the student's cells, which of the released ones it is; empty for new ones."""
    keys = {_key(cell) for cell in release}
    by_text = {cell.text: _key(cell) for cell in release if cell.text}
    return [
        cell.grade_id if cell.grade_id in keys else by_text.get(cell.text, "") for cell in cells
    ]


def _key(cell: Cell) -> str:
    return cell.grade_id or f"cell {cell.number}"


def _words(
    grade_id: str, cells: Sequence[Cell], release: Sequence[Cell], marks: Sequence[str]
) -> str:
    """What was written in answer to a question.

    It stands in the cell with the question's mark and in new cells right after; where that cell is
    gone, in new cells after the one that stood before it.
    """
    place = next((i for i, cell in enumerate(release) if cell.grade_id == grade_id), None)
    if place is None:
        return ""
    starts = [i for i, mark in enumerate(marks) if mark == grade_id]
    if not starts and place > 0:
        before = _key(release[place - 1])
        starts = [i for i, mark in enumerate(marks) if mark == before][:1]
    answer = {}
    for start in starts:
        if marks[start] == grade_id:
            answer[start] = cells[start].text
        for i in range(start + 1, len(cells)):
            if marks[i] or cells[i].kind == "code":
                break
            answer[i] = cells[i].text
    empty = {release[place].text, ""}
    return "\n\n".join(dict.fromkeys(text for text in answer.values() if text not in empty))


def as_json(cells: Sequence[Cell]) -> str:
    """The cells as a text that is equal for equal cells, empty ones aside."""
    kept = (cell for cell in cells if cell.text or cell.grade_id)
    return json.dumps([[cell.kind, cell.text, cell.grade_id, cell.solution] for cell in kept])
