"""Write exercises/ from solutions/: `make exercises`.

    python -m tools.make_exercises

The sources are in nbgrader's format, and the rules are nbgrader's: what stands between
`### BEGIN SOLUTION` and `### END SOLUTION` becomes a stub, hidden tests and mark schemes go, and
cells that students must not change are locked. nbgrader itself is not needed. Answers that were
written into exercises/ are lost.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
STUB = 'raise NotImplementedError("write this function")'
TAKEN_AWAY = ("HIDDEN TESTS", "MARK SCHEME")


def main(source: Path = ROOT / "solutions", release: Path = ROOT / "exercises") -> int:
    """Write every exercise, over what stands there.

    Args:
        source: the folder with labN/labN.ipynb.
        release: the folder to write.
    """
    for path in sorted(source.glob("*/*.ipynb")):
        place = release / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        text = nbformat.writes(released(nbformat.read(path, as_version=4))).rstrip("\n") + "\n"
        place.write_text(text, encoding="utf-8", newline="\n")
        print(place)
    return 0


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
