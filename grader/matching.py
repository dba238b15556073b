"""Which cell of a handed-in notebook is which: by its mark where it has one, else by its content.

Notebooks come back with cells copied, split, deleted and moved, saved by other programs, without
the marks (metadata) that nbgrader puts on cells. Nobody loses a point for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from labkit.cells import Cell, defines
from labkit.selfcheck.exercise import Exercise


class Matched(NamedTuple):
    """A student's notebook, understood."""

    code: tuple[Cell, ...]  # the code cells to run, in their order
    words: Mapping[str, str]  # by exercise: what was answered in words, empty where nothing was
    own: tuple[Cell, ...]  # the cells that the student wrote or changed
    notes: tuple[str, ...]  # what was out of the ordinary


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
