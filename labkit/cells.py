"""The cells of a notebook file, whichever program saved it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import nbformat

MAX_BYTES = 100 * 2**20  # of a file
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


def defines(cell: Cell, name: str) -> bool:
    """Whether a cell gives that name a value, on a line of its own."""
    pattern = rf"^(?:async\s+)?def\s+{re.escape(name)}\b|^{re.escape(name)}\s*(?::[^=\n]*)?=(?!=)"
    return cell.kind == "code" and re.search(pattern, cell.source, re.MULTILINE) is not None
