"""Marks for what was answered in words: a person gives them, in a CSV or a form notebook."""

from __future__ import annotations

import ast
import csv
import html
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import nbformat

from grader.grade import Submission
from grader.results import SubmissionResult
from grader.tables import as_csv, from_csv
from labkit.cells import read_notebook
from labkit.files import write_atomically
from labkit.selfcheck.exercise import Exercise

COLUMNS = ("student", "question", "points", "of", "comment")


class Mark(NamedTuple):
    """What a person gave for an answer in words."""

    points: float | None = None  # None: not read yet
    comment: str = ""


Marks = dict[tuple[str, str], Mark]  # by student and question


def read_marks(out: Path) -> Marks:
    """The marks in OUT/marks.csv; none where there is no such file.

    Raises:
        ValueError: a line is no mark.
    """
    path = out / "marks.csv"
    if not path.is_file():
        return {}
    marks: Marks = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        sample = file.readline()
        file.seek(0)
        delimiter = ";" if sample.count(";") > sample.count(",") else ","  # as Excel may write it
        for number, row in enumerate(csv.DictReader(file, delimiter=delimiter), start=2):
            try:
                mark = _mark(row["points"], row["of"], from_csv(row["comment"] or ""))
                marks[from_csv(row["student"]), row["question"]] = mark
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise ValueError(
                    f"{path}, line {number}: expected the columns {', '.join(COLUMNS)} and points "
                    f"from 0 to `of`, or nothing; got {error}"
                ) from None
    return marks


def _mark(points: str, of: str, comment: str) -> Mark:
    if not points.strip():
        return Mark(None, comment)
    given, highest = float(points.replace(",", ".")), float(of)
    if not (math.isfinite(given) and 0 <= given <= highest):
        raise ValueError(f"{points} of {of}")
    return Mark(given, comment)


def write_marks(out: Path, marks: Marks, points: Mapping[str, int]) -> None:
    """Write OUT/marks.csv.

    Args:
        out: the folder.
        marks: by student and question.
        points: by question, the most that can be given.
    """
    rows = [
        [student, question, as_points(mark.points), points[question], mark.comment]
        for (student, question), mark in marks.items()
    ]
    write_atomically(out / "marks.csv", as_csv(COLUMNS, rows))


def as_points(points: float | None) -> str:
    """2, 2.5, or nothing."""
    return "" if points is None else f"{points:g}"


def complete(
    marks: Marks,
    submissions: Sequence[Submission],
    results: Mapping[str, SubmissionResult],
    questions: Sequence[Exercise],
) -> Marks:
    """The marks, with an open one for each answer that nobody has read, and 0 for no answer.

    Raises:
        ValueError: there is a mark for a question that the lab does not ask.
    """
    names = [question.name for question in questions]
    for student, name in marks:
        if name not in names:
            raise ValueError(
                f"marks.csv must name questions among {', '.join(names)}, got {name!r} for "
                f"{student!r}; is it the file of another lab?"
            )
    every = dict(marks)
    for question in questions:
        for one in submissions:
            key = (one.student, question.name)
            answered = results[one.hash].words.get(question.name)
            every.setdefault(key, Mark() if answered else Mark(0, "no answer was found"))
    return every


def form(
    marks: Marks,
    submissions: Sequence[Submission],
    results: Mapping[str, SubmissionResult],
    questions: Sequence[Exercise],
) -> bytes:
    """A notebook that shows the answers question by question, with a line below each for its mark.

    Answers are shown as plain text: what a student wrote is not run or rendered.
    """
    cells = [_text(INTRODUCTION), _code("marks = {}")]
    for question in questions:
        cells.append(_text(f"## {question.title} ({question.name}, {question.points} points)"))
        for one in submissions:
            answer = results[one.hash].words.get(question.name)
            if answer:
                mark = marks[one.student, question.name]
                cells.append(_text(f"### {html.escape(one.student)}\n\n{_quoted(answer)}"))
                key = f"marks[{one.student!r}, {question.name!r}]"
                given = None if mark.points is None else mark.points
                cells.append(_code(f"{key} = ({given}, {mark.comment!r})  # of {question.points}"))
    points = {question.name: question.points for question in questions}
    cells.append(_code(LAST_CELL.format(points=points)))
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
    for number, cell in enumerate(cells):
        cell["id"] = f"mark-{number}"
    return nbformat.writes(notebook).encode("utf-8")


def check_form(out: Path, marks: Marks) -> None:
    """See that the form may be written anew.

    Raises:
        ValueError: it holds marks that are not in `marks.csv` yet.
    """
    path = out / "marks.ipynb"
    if not path.is_file():
        return
    for cell in read_notebook(path.read_bytes()):
        found = A_MARK.match(cell.source) if cell.kind == "code" else None
        if found is None:
            continue
        try:
            key, given = ast.literal_eval(found["key"]), ast.literal_eval(found["given"])
        except (ValueError, SyntaxError):
            raise ValueError(f"{path}, cell {cell.number}: no mark can be read there") from None
        if given != (None, "") and Mark(*given) != marks.get(tuple(key)):
            raise ValueError(
                f"{path} holds marks that are not in marks.csv yet; run all of its cells first"
            )


A_MARK = re.compile(r"marks\[(?P<key>.+)\] = (?P<given>\(.*\))  # of ")
INTRODUCTION = """# Marks for the answers in words

Put the points in place of `None`, and a comment between the quotes. Then run all cells: the last
one writes `marks.csv`. Grade again, which now is quick: gradebook and feedback have the marks.
"""
LAST_CELL = """from pathlib import Path

from grader.marks import Mark, read_marks, write_marks

out = Path(".")  # the folder of this notebook
given = {{key: Mark(*mark) for key, mark in marks.items()}}
write_marks(out, read_marks(out) | given, {points})"""
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def _text(source: str) -> dict:
    return nbformat.v4.new_markdown_cell(source)


def _code(source: str) -> dict:
    return nbformat.v4.new_code_cell(source)


def _quoted(answer: str) -> str:
    """As a block of plain text; the fence is longer than any in the answer."""
    fence = "`" * 3
    while fence in answer:
        fence += "`"
    return f"{fence}text\n{answer}\n{fence}"
