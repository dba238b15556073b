"""The command `submit`: which notebook is meant, what is missing in it, and the file to hand in."""

import re
import time
from pathlib import Path

import nbformat
import pytest

from labkit.__main__ import main
from labkit.cells import read_notebook
from labkit.selfcheck import exercises
from labkit.submit_command import is_answered, lab_of, notebook_in, saved

ROOT = Path(__file__).parents[1]


def solved(lab="lab4"):
    path = ROOT / "exercises" / lab / f"{lab}.ipynb"
    return nbformat.read(path, as_version=4)


def answer(notebook, name, source):
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") == name:
            cell.source = source
    return notebook


@pytest.mark.slow
def test_submit_says_what_is_missing_and_writes_one_file(tmp_path, capsys):
    notebook = answer(solved(), "lab4-fem", "def fem(A, k):\n    return undefined\n\n1 / 0")
    path = tmp_path / "lab4.ipynb"
    nbformat.write(notebook, path)
    assert main(["submit", str(tmp_path), "--seconds", "600"]) == 0  # on a slow machine
    said = capsys.readouterr().out
    assert f"{path}: last saved 20" in said
    titles = [one.title for one in exercises("lab4")]
    missing = [line for line in said.splitlines() if line.startswith("not answered: ")]
    assert len(missing) == len(titles) - 1 and not any("lab4.fem" in line for line in missing)
    assert "ends with ZeroDivisionError: division by zero" in said
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hand_in_lab4.ipynb", "lab4.ipynb"]
    written = read_notebook((tmp_path / "hand_in_lab4.ipynb").read_bytes())
    assert [cell.source for cell in written] == [cell.source for cell in notebook.cells]


@pytest.mark.slow
def test_submit_refuses_the_notebook_as_it_was_handed_out(tmp_path, capsys):
    nbformat.write(solved(), tmp_path / "lab4.ipynb")
    assert main(["submit", str(tmp_path / "lab4.ipynb")]) == 1
    assert "nothing is answered in" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["lab4.ipynb"]


def test_what_counts_as_answered():
    notebook = solved()
    question = next(one for one in exercises("lab4") if one.function is None)
    place = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells].index(
        question.grade_id
    )

    def answered():
        return is_answered(question, read_notebook(nbformat.writes(notebook).encode()))

    assert not answered()
    notebook.cells.insert(place + 2, nbformat.v4.new_markdown_cell("In a cell below."))
    assert answered()
    del notebook.cells[place + 2]
    notebook.cells[place + 1].source = "Because."
    assert answered()
    del notebook.cells[place + 1]
    assert not answered()


def test_when_it_was_last_saved(tmp_path, monkeypatch):
    path = tmp_path / "lab4.ipynb"
    path.touch()
    at = path.stat().st_mtime
    for seconds, ago in ((30, ", less than a minute ago"), (600, ", 10 minutes ago"), (7200, "")):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: at + seconds)
        assert re.fullmatch(f"last saved 20[0-9: -]+{ago}", saved(path)), seconds


def test_which_notebook_is_meant(tmp_path):
    folder = tmp_path / "lab4"
    folder.mkdir()
    with pytest.raises(ValueError, match="got no notebook in"):
        notebook_in(folder)
    (folder / "mine.ipynb").touch()
    (folder / "hand_in_mine.ipynb").touch()
    assert notebook_in(folder).name == "mine.ipynb"
    (folder / "other.ipynb").touch()
    with pytest.raises(ValueError, match="got mine.ipynb, other.ipynb"):
        notebook_in(folder)
    (folder / "lab4.ipynb").touch()
    assert notebook_in(folder).name == "lab4.ipynb"


def test_which_lab_it_is():
    cells = read_notebook(nbformat.writes(solved("lab4")).encode())
    assert lab_of(cells, Path("renamed.ipynb")) == "lab4"
    unmarked = [cell._replace(grade_id="") for cell in cells]
    assert lab_of(unmarked, Path("Copy of lab4 (1).ipynb")) == "lab4"
    with pytest.raises(ValueError, match="rename it to lab1.ipynb or what it is"):
        lab_of(unmarked, Path("renamed.ipynb"))
