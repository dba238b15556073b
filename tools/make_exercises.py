"""Write exercises/ from solutions/: `make exercises`.

    python -m tools.make_exercises

An exercise's title, minutes and points are written on its card in solutions/ and nowhere else. From
there they are copied to nbgrader's metadata, to the totals in the opening cell, and to
labkit/selfcheck/cards.json.

The sources are in nbgrader's format, and the rules are nbgrader's: what stands between
`### BEGIN SOLUTION` and `### END SOLUTION` becomes a stub, hidden tests and mark schemes go, and
cells that students must not change are locked. nbgrader itself is not needed. Answers that were
written into exercises/ are lost.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
STUB = 'raise NotImplementedError("write this function")'
TAKEN_AWAY = ("HIDDEN TESTS", "MARK SCHEME")
CARD = re.compile(
    r"## \d+\. (?P<title>.+)\n\n\*\*Goal:\*\* .+\n\n"
    r"\*\*Minutes:\*\* (?P<minutes>\d+)\. \*\*Difficulty:\*\* \w+\. "
    r"\*\*Points:\*\* (?P<points>\d+)\."
)
TOTALS = re.compile(r"\*\*Minutes:\*\* \d+\. \*\*Points:\*\* \d+\.")


class Card(NamedTuple):
    """What an exercise's card says."""

    title: str
    minutes: int
    points: int


def main(course: Path = ROOT, release: Path | None = None) -> int:
    """Write every exercise, over what stands there, and what is copied from the cards.

    Args:
        course: the folder with solutions/labN/labN.ipynb; what is copied there, and the table of
            titles and points in labkit/selfcheck/cards.json, are brought up to date.
        release: the folder to write; exercises/ of the course by default.
    """
    source, table = course / "solutions", course / "labkit" / "selfcheck" / "cards.json"
    release = release or course / "exercises"
    titles = {}
    for path in sorted(source.glob("*/*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cards = cards_of(notebook)
        titles |= {
            grade_id.replace("-", ".", 1).replace("-", "_"): {
                "title": card.title,
                "points": card.points,
            }
            for grade_id, card in cards.items()
        }
        _write(path, nbformat.writes(with_copies(notebook, cards)))
        _write(release / path.relative_to(source), nbformat.writes(released(notebook)))
        print(release / path.relative_to(source))
    _write(table, json.dumps(titles, ensure_ascii=False, indent=1))
    return 0


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8", newline="\n")


def cards_of(notebook: NotebookNode) -> dict[str, Card]:
    """The cards of a source notebook, by the names of the exercises' answer cells.

    Raises:
        ValueError: a card has no title, minutes or points.
    """
    cards = {}
    for cell in notebook.cells:
        if cell.id.endswith("-card"):
            found = CARD.match(cell.source)
            if found is None:
                raise ValueError(
                    f"cell {cell.id} must begin like the other cards: ## 1. Title, **Goal:**, and "
                    "a line with **Minutes:**, **Difficulty:** and **Points:**"
                )
            minutes, points = int(found["minutes"]), int(found["points"])
            cards[cell.id.removesuffix("-card")] = Card(found["title"], minutes, points)
    return cards


def with_copies(notebook: NotebookNode, cards: dict[str, Card]) -> NotebookNode:
    """A source notebook whose metadata and opening say what its cards say."""
    minutes = sum(card.minutes for card in cards.values())
    points = sum(card.points for card in cards.values())
    for cell in notebook.cells:
        if cell.id == "opening":
            totals = f"**Minutes:** {minutes}. **Points:** {points}."
            cell.source = TOTALS.sub(totals, cell.source)
        about = cell.metadata.get("nbgrader", {})
        if "points" in about:
            about["points"] = cards[about["grade_id"].removesuffix("-test")].points
    return notebook


def released(notebook: NotebookNode) -> NotebookNode:
    """What students get of a source notebook.

    Raises:
        ValueError: a region is not closed, or is in a cell of the wrong kind.
    """
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        lines = list(_without(cell.source.split("\n"), "SOLUTION", STUB, cell.id))
        if ("\n".join(lines) != cell.source) != about.get("solution", False):
            raise ValueError(
                f"cell {cell.id} must have both nbgrader's mark for an answer and a region "
                "### BEGIN SOLUTION, or neither; see View, Cell Toolbar, Create Assignment"
            )
        for name in TAKEN_AWAY:
            lines = list(_without(lines, name, None, cell.id))
        cell.source = "\n".join(lines)
        if about:
            cell.metadata["deletable"] = False
        if about.get("locked"):
            cell.metadata["editable"] = False
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def _without(lines: list[str], name: str, stub: str | None, cell_id: str) -> Iterator[str]:
    """The lines outside of the regions of that name, with the stub, indented, in their place."""
    inside = False
    for line in lines:
        begins, ends = f"### BEGIN {name}" in line, f"### END {name}" in line
        if begins == ends:
            if not inside:
                yield line
            continue
        if begins == inside:
            raise ValueError(f"cell {cell_id}: ### BEGIN {name} and ### END {name} must alternate")
        inside = begins
        if begins and stub is not None:
            yield re.match(r"\s*", line).group() + stub
    if inside:
        raise ValueError(f"cell {cell_id}: ### END {name} is missing")


if __name__ == "__main__":
    sys.exit(main())
