"""The exercises: one source, and what students get of it."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from cases import faults, in_every
from conftest import needs_module
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.selfcheck import exercises, judge
from labkit.selfcheck.exercise import asked_here
from labkit.selfcheck.report import LABS
from tools.make_exercises import STUB, cards_of, main, released
from tools.stamp_colab import GITHUB, Place, stamped

ROOT = Path(__file__).parents[1]
SOURCES = {lab: ROOT / "solutions" / lab / f"{lab}.ipynb" for lab in LABS}
RELEASES = {lab: ROOT / "exercises" / lab / f"{lab}.ipynb" for lab in LABS}
CODED = [one for lab in LABS for one in exercises(lab) if one.function is not None]
WRITTEN = [one for lab in LABS for one in exercises(lab) if one.function is None]
STAMP = "`make colab`, or `python -m tools.stamp_colab --clear`"
DIFFICULTIES = ["easy", "medium", "hard"]


def read(path):
    return nbformat.read(path, as_version=4)


def cells_of(path):
    return {cell.id: cell for cell in read(path).cells}


def namespace_of(path):
    """What the notebook defines, from its imports and its answer cells alone."""
    defined = {}
    for cell in read(path).cells:
        if cell.id == "imports" or cell.metadata.get("nbgrader", {}).get("solution"):
            exec(compile(cell.source, f"{path.name}[{cell.id}]", "exec"), defined)
    return defined


# One source


def test_every_lab_has_a_source_and_a_release():
    for folder, paths in {"solutions": SOURCES, "exercises": RELEASES}.items():
        assert sorted((ROOT / folder).glob("*/*.ipynb")) == list(paths.values())


def test_exercises_are_regenerated_byte_for_byte(tmp_path, capsys):
    """And so is what is copied from the cards: in solutions/, and in labkit's table."""
    shutil.copytree(ROOT / "solutions", tmp_path / "solutions")
    main(tmp_path)
    for path in [*SOURCES.values(), *RELEASES.values(), ROOT / "labkit/selfcheck/cards.json"]:
        again = tmp_path / path.relative_to(ROOT)
        assert again.read_bytes() == path.read_bytes(), f"{path}: run `make exercises`"
    assert capsys.readouterr().out.splitlines()[0].endswith("lab1/lab1.ipynb")


@in_every(LABS)
def test_no_solution_is_left_in_an_exercise(lab):
    text = "\n".join(cell.source for cell in read(RELEASES[lab]).cells)
    assert "SOLUTION" not in text and "HIDDEN" not in text and "MARK SCHEME" not in text
    assert "score(" not in text
    names = "SOLUTION|HIDDEN TESTS|MARK SCHEME"
    for cell in read(SOURCES[lab]).cells:
        regions = re.findall(
            rf"### BEGIN (?:{names})\n(.*?)### END (?:{names})", cell.source, re.DOTALL
        )
        for line in "\n".join(regions).splitlines():
            if len(line.strip()) > 24:
                assert line.strip() not in text


# nbgrader's rules

ANSWER = {"nbgrader": {"solution": True, "grade": False, "locked": False, "grade_id": "a"}}
CHECK = {"nbgrader": {"solution": False, "grade": True, "locked": True, "grade_id": "b"}}


def release(*cells):
    return released(new_notebook(cells=list(cells))).cells


def test_a_solution_becomes_an_indented_stub():
    source = (
        "def f(x):\n    ### BEGIN SOLUTION\n    y = x\n    return y\n    ### END SOLUTION\n# end"
    )
    (cell,) = release(new_code_cell(source, metadata=ANSWER))
    assert cell.source == f"def f(x):\n    {STUB}\n# end"
    assert cell.metadata["deletable"] is False and "editable" not in cell.metadata


def test_hidden_tests_go_and_the_cell_is_locked():
    source = "check(f)\n### BEGIN HIDDEN TESTS\nassert f(1) == 2\n### END HIDDEN TESTS"
    cell = new_code_cell(source, metadata=CHECK, execution_count=3)
    cell.outputs = [nbformat.v4.new_output("stream", text="all right")]
    (cell,) = release(cell)
    assert cell.source == "check(f)"
    assert (cell.outputs, cell.execution_count) == ([], None)
    assert cell.metadata["deletable"] is False and cell.metadata["editable"] is False


def test_a_mark_scheme_goes():
    source = "Why?\n### BEGIN MARK SCHEME\n1 mark: because.\n### END MARK SCHEME\nIn words."
    (cell,) = release(new_markdown_cell(source))
    assert cell.source == "Why?\nIn words."
    assert "deletable" not in cell.metadata


@pytest.mark.parametrize(
    ("source", "metadata", "error"),
    [
        ("### BEGIN SOLUTION\n1", ANSWER, "### END SOLUTION is missing"),
        ("### END SOLUTION", ANSWER, "must alternate"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", ANSWER, "must alternate"),
        ("### BEGIN HIDDEN TESTS\n1", CHECK, "### END HIDDEN TESTS is missing"),
        ("### BEGIN SOLUTION\n1\n### END SOLUTION", {}, "must have both nbgrader's mark"),
        ("def f(): pass", ANSWER, "must have both nbgrader's mark"),
    ],
)
def test_a_broken_source_is_refused(source, metadata, error):
    with pytest.raises(ValueError, match=error) as raised:
        release(new_code_cell(source, id="lab4-fem", metadata=metadata))
    assert "cell lab4-fem" in str(raised.value)


def test_the_stub_is_nbgraders_too():
    class Section(dict):
        def __getattr__(self, name):
            return self.setdefault(name, Section())

        __setattr__ = dict.__setitem__

    config = Section()
    source = (ROOT / "nbgrader_config.py").read_text(encoding="utf-8")
    exec(compile(source, "nbgrader_config.py", "exec"), {"get_config": lambda: config})
    assert config.ClearSolutions.code_stub["python"] == STUB
    assert config.CourseDirectory.source_directory == "solutions"
    assert config.CourseDirectory.release_directory == "exercises"


@pytest.mark.slow
def test_nbgrader_releases_the_same_text(tmp_path):
    needs_module("nbgrader", "grading")
    shutil.copytree(ROOT / "solutions", tmp_path / "solutions")
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    # nbgrader starts alembic by name
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for lab in ("lab4", "lab5"):
        path = RELEASES[lab]
        command = [sys.executable, "-m", "nbgrader", "generate_assignment", lab]
        ran = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PATH": search}, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        theirs = read(tmp_path / "exercises" / lab / path.name)
        assert [cell.source for cell in theirs.cells] == [cell.source for cell in read(path).cells]


# The code in them


def coded(lab):
    return [one for one in exercises(lab) if one.function is not None]


@pytest.mark.parametrize("lab", LABS)
def test_the_solution_passes(lab):
    defined = namespace_of(SOURCES[lab])

    def passes(asked):
        for seed in range(3):
            call = asked_here(defined[asked.function])
            verdict = judge(asked, call, np.random.default_rng(seed))
            assert verdict.passed, verdict.messages
            assert verdict.points == asked.points

    assert not faults(passes, coded(lab))


@pytest.mark.parametrize("lab", LABS)
def test_the_stub_does_not(lab):
    defined = namespace_of(RELEASES[lab])

    def is_missing(asked):
        verdict = judge(asked, asked_here(defined[asked.function]), np.random.default_rng(0))
        assert (verdict.passed, verdict.points, verdict.causes) == (False, 0, ("missing",))

    assert not faults(is_missing, coded(lab))


@pytest.mark.parametrize("lab", LABS)
def test_the_hidden_test_gives_the_points(lab):
    cells = cells_of(SOURCES[lab])

    def gives_the_points(asked):
        defined = namespace_of(SOURCES[lab])
        source = re.sub(r"\n### END.*", "", cells[f"{asked.grade_id}-test"].source)
        *lines, last = source.splitlines()
        exec("\n".join(lines), defined)
        assert eval(last, defined) == asked.points

    assert not faults(gives_the_points, coded(lab))


@pytest.mark.parametrize("lab", LABS)
def test_exercises_run_from_the_top_but_for_the_stubs(lab):
    defined = {}
    for cell in read(RELEASES[lab]).cells:
        if cell.cell_type == "code":
            source = TransformerManager().transform_cell(cell.source)  # the set-up's "!"
            with contextlib.suppress(NotImplementedError):
                exec(compile(source, cell.id, "exec"), defined)


@in_every(LABS)
def test_answers_need_nothing_of_labkit_but_the_check(lab):
    for cell in read(SOURCES[lab]).cells:
        if cell.cell_type == "code" and not cell.id.endswith("-test"):
            for line in re.findall(r"^ *(?:from|import) .*labkit.*$", cell.source, re.MULTILINE):
                assert line == "from labkit.selfcheck import check"


# What a notebook owes its readers


@in_every([*SOURCES.values(), *RELEASES.values()])
def test_set_up_and_badge_are_what_make_colab_writes(path):
    """The same place as in the labs, if they name one."""
    start = cells_of(ROOT / "notebooks" / "00_start.ipynb")["set-up"].source
    written = re.search(r'^REPOSITORY, BRANCH = "(.*?)", "(.*?)"', start, re.MULTILINE)
    place = Place(written[1].removeprefix(GITHUB), written[2]) if written[1] else None
    text = path.read_text(encoding="utf-8")
    again = stamped(nbformat.reads(text, as_version=4), path.name, place, f"exercises/{path.stem}")
    assert nbformat.writes(again).rstrip("\n") + "\n" == text, STAMP


@in_every(LABS)
def test_a_notebook_holds_the_exercises_in_their_order(lab):
    ids = [cell.id for cell in read(RELEASES[lab]).cells]
    expected = ["opening", "set-up", "imports"]
    for one in exercises(lab):
        name = one.grade_id
        if one.function is None:
            expected += [f"{name}-card", name, f"{name}-answer"]
        else:
            expected += [f"{name}-card", name, f"{name}-check", f"{name}-test"]
    assert [name for name in ids if name != "colab-badge"] == [*expected, "closing"]


@in_every(LABS)
def test_a_notebook_says_minutes_and_points(lab):
    opening = cells_of(RELEASES[lab])["opening"].source
    cards = cards_of(read(SOURCES[lab])).values()
    minutes, points = (sum(getattr(card, of) for card in cards) for of in ("minutes", "points"))
    assert f"**Minutes:** {minutes}. **Points:** {points}." in opening
    assert "`NotImplementedError`" in opening


@in_every(CODED + WRITTEN)
def test_a_card_has_goal_minutes_difficulty_and_an_end(asked):
    cells = cells_of(RELEASES[asked.lab])
    number = exercises(asked.lab).index(asked) + 1
    card = cells[f"{asked.grade_id}-card"].source
    assert card.startswith(f"## {number}. {asked.title}\n\n**Goal:** ")
    assert re.search(r"\*\*Minutes:\*\* [1-9]\d*\. \*\*Difficulty:\*\* ", card)
    assert f"**Points:** {asked.points}. **You are done when** " in card
    assert difficulty_of(card) in DIFFICULTIES
    hints = card if asked.function else cells[asked.grade_id].source
    assert re.findall(r"<summary>(.*?)</summary>", hints) == ["Hint 1", "Hint 2"]
    assert hints.count("</details>") == 2


def difficulty_of(card):
    return re.search(r"\*\*Difficulty:\*\* (\w+)\.", card).group(1)


@in_every(LABS)
def test_exercises_get_harder(lab):
    cells = cells_of(RELEASES[lab])
    ranks = [
        DIFFICULTIES.index(difficulty_of(cells[f"{one.grade_id}-card"].source))
        for one in exercises(lab)
        if one.function is not None
    ]
    assert ranks == sorted(ranks)


@in_every(CODED)
def test_cells_carry_what_graders_read(asked):
    cells = cells_of(SOURCES[asked.lab])
    ids = [asked.grade_id, f"{asked.grade_id}-check", f"{asked.grade_id}-test"]
    answer, check, test = (cells[name] for name in ids)
    assert [cell.metadata["nbgrader"]["grade_id"] for cell in (answer, check, test)] == ids
    kinds = [
        [cell.metadata["nbgrader"][of] for of in ("solution", "grade", "locked", "task")]
        for cell in (answer, check, test)
    ]
    assert kinds == [
        [True, False, False, False],
        [False, False, True, False],
        [False, True, True, False],
    ]
    assert test.metadata["nbgrader"]["points"] == asked.points
    assert check.source == f'check("{asked.name}", {asked.function})'


@in_every(WRITTEN)
def test_a_question_in_words_has_a_mark_scheme(asked):
    cell = cells_of(SOURCES[asked.lab])[asked.grade_id]
    about = cell.metadata["nbgrader"]
    assert (about["task"], about["locked"], about["points"]) == (True, True, asked.points)
    scheme = cell.source.split("### BEGIN MARK SCHEME\n")[1].split("\n### END MARK SCHEME")[0]
    assert scheme.startswith("One mark for each of:\n- (a) ")
    assert len(re.findall(r"^- \([a-z]\) ", scheme, re.MULTILINE)) == asked.points
    answer = cells_of(RELEASES[asked.lab])[f"{asked.grade_id}-answer"]
    assert answer.cell_type == "markdown" and "editable" not in answer.metadata


@in_every([*SOURCES.values(), *RELEASES.values()])
def test_notebooks_are_clean(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@in_every(RELEASES.values())
def test_links_lead_somewhere(path):
    for cell in read(path).cells:
        for link in re.findall(r"\]\(([^)#]+)\)", cell.source):
            if not link.startswith("https://"):
                assert (path.parent / link).is_file(), link
