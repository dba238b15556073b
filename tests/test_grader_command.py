"""The command `python -m grader`: the whole cycle on three small exercises."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from grader import command, grade, sandbox
from grader.__main__ import main
from grader.grade import Bundle
from grader.sandbox import Limits
from labkit.__main__ import main as labkit_main

sys.path.insert(0, str(Path(__file__).parent / "redteam"))
import toy_lab  # noqa: E402
from sandboxed import GENEROUS, needs_a_sandbox  # noqa: E402

ROOT = Path(__file__).parents[1]
WRONG = toy_lab.RIGHT | {"weights": "def weights(maps):\n    return maps.sum(dim=(1, 2))"}


@pytest.fixture
def toy(monkeypatch):
    """`--lab` means the toy lab, whichever is asked for."""

    def bundle_of(arguments):
        return Bundle(
            "toy_lab",
            toy_lab.RELEASE,
            seconds=GENEROUS,
            sandboxed=not arguments.unsandboxed,
        )

    monkeypatch.setattr(command, "bundle_of", bundle_of)


@pytest.fixture
def handed_in(tmp_path):
    for name, answers in {"anna": toy_lab.RIGHT, "Zoë": WRONG}.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "Copy of lab4.ipynb").write_bytes(toy_lab.notebook(answers))
        (tmp_path / "in" / name / "numpy.py").write_text("raise ImportError('not numpy')")
    (tmp_path / "in" / "late").mkdir()
    return tmp_path / "in"


def run(handed_in, *others):
    out = handed_in.parent / "out"
    return main([str(handed_in), "--lab", "4", "--out", str(out), *others]), out


def book(out):
    with (out / "gradebook.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@needs_a_sandbox
@pytest.mark.slow
def test_the_whole_cycle(handed_in, toy, monkeypatch, capsys):
    code, out = run(handed_in)
    assert code == 0
    rows = book(out)
    assert [rows[name]["points"] for name in ("Zoë", "anna", "late")] == ["4", "6", "0"]
    assert rows["anna"]["open"] == "toy.q1" and rows["anna"]["sandboxed"] == "yes"
    assert "They grow with <code>maps</code>." in (out / "feedback" / "Zoë.html").read_text("utf-8")
    assert "   1  toy.weights: sum instead of mean" in (out / "summary.txt").read_text("utf-8")
    kept = {path: path.stat().st_mtime_ns for path in (out / "results").iterdir()}
    assert len(kept) == 2

    # Marks, and the same command again: nothing is graded twice.
    marks = (out / "marks.csv").read_text("utf-8-sig")
    (out / "marks.csv").write_text(marks.replace("anna,toy.q1,,3,", "anna,toy.q1,2.5,3,good"))
    monkeypatch.setattr(grade.Kernel, "__enter__", lambda self: pytest.fail("a kernel was started"))
    assert run(handed_in)[0] == 0
    assert book(out)["anna"]["points"] == "8.5" and book(out)["anna"]["open"] == ""
    assert {path: path.stat().st_mtime_ns for path in (out / "results").iterdir()} == kept
    monkeypatch.undo()


@needs_a_sandbox
@pytest.mark.slow
def test_corrected_checks_grade_what_they_touch_and_show_the_difference(
    handed_in, toy, monkeypatch, capsys
):
    assert run(handed_in, "--only-changed")[0] == 1
    assert "holds no results yet" in capsys.readouterr().err
    _, out = run(handed_in)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    weights, *rest = toy_lab.EXERCISES
    generous = weights.mistakes[0]._replace(points=1)
    monkeypatch.setattr(toy_lab, "EXERCISES", (weights._replace(mistakes=(generous,)), *rest))

    assert run(handed_in)[0] == 1
    assert "different: the checks of toy.weights" in capsys.readouterr().err
    asked = []
    ask = grade.RunningNotebook.ask
    monkeypatch.setattr(
        grade.RunningNotebook,
        "ask",
        lambda self, one, *more: asked.append(one.name) or ask(self, one, *more),
    )
    assert run(handed_in, "--only-changed")[0] == 0
    said = capsys.readouterr().out
    assert "1 scores of 1 students change:\n  Zoë: toy.weights 0 -> 1\nnothing was written" in said
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert set(asked) == {"toy.weights"}
    assert run(handed_in, "--only-changed", "--yes")[0] == 0
    assert book(out)["Zoë"]["points"] == "5"
    assert run(handed_in)[0] == 0


@needs_a_sandbox
@pytest.mark.slow
def test_a_batch_goes_on_where_it_was_stopped(handed_in, toy, monkeypatch):
    real, left = grade.Kernel.__enter__, [1]

    def stopped(self):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return real(self)

    monkeypatch.setattr(grade.Kernel, "__enter__", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(handed_in)
    out = handed_in.parent / "out"
    (first,) = (out / "results").iterdir()
    written = first.stat().st_mtime_ns
    monkeypatch.setattr(grade.Kernel, "__enter__", real)
    assert run(handed_in)[0] == 0
    assert len(list((out / "results").iterdir())) == 2
    assert first.stat().st_mtime_ns == written


@needs_a_sandbox
@pytest.mark.slow
def test_a_kernel_that_does_not_start_is_no_students_fault(handed_in, toy, monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "environment", lambda stand_in: {"PYTHONPATH": "/nowhere"})
    code, out = run(handed_in)
    assert code == 1
    said = capsys.readouterr().err
    assert "2 submission(s) could not be graded, for no fault of theirs" in said
    assert "No module named 'grader'" in said
    assert not (out / "results").exists() and not (out / "gradebook.csv").exists()


@needs_a_sandbox
@pytest.mark.slow
def test_a_dask_cluster_grades(handed_in, toy, tmp_path):
    distributed = pytest.importorskip(
        "distributed", reason="needs dask: python -m pip install distributed"
    )
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path
    ) as cluster:
        code, out = run(handed_in, "--scheduler", cluster.scheduler_address)
    assert code == 0
    assert [book(out)[name]["points"] for name in ("Zoë", "anna", "late")] == ["4", "6", "0"]


@pytest.mark.slow
def test_without_a_sandbox_the_results_say_so(handed_in, toy):
    code, out = run(handed_in, "--unsandboxed")
    assert code == 0
    assert book(out)["anna"]["points"] == "6" and book(out)["anna"]["sandboxed"] == "NO"
    assert "GRADED WITHOUT A SANDBOX" in (out / "summary.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("system", "bwrap", "said"),
    [
        ("Darwin", "/usr/bin/bwrap", "needs Linux, this is Darwin; grade on a Linux machine"),
        ("Linux", None, "there is no `bwrap` here; install it: `sudo apt install bubblewrap`"),
        ("Linux", "/bin/false", "cannot make a sandbox here"),
    ],
)
def test_where_no_sandbox_can_be_had_nothing_is_graded(
    handed_in, toy, monkeypatch, capsys, system, bwrap, said
):
    monkeypatch.setattr(sandbox.platform, "system", lambda: system)
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: bwrap)
    monkeypatch.setattr(sandbox, "bubblewrap", lambda folder, limits: ["/bin/false"])
    code, out = run(handed_in)
    assert code == 1 and not out.exists()
    error = capsys.readouterr().err
    assert said in error and "--unsandboxed grades without" in error


@needs_a_sandbox
def test_where_linux_forbids_namespaces_the_way_out_is_named(handed_in):
    forbidden = sandbox._no_further_namespaces()
    if not forbidden:
        pytest.skip("needs bubblewrap 0.8 or later: sudo apt install bubblewrap (Debian 12)")
    command = ["bwrap", "--unshare-user", *forbidden, "--dev-bind", "/", "/", sys.executable, "-m"]
    command += ["grader", str(handed_in), "--lab", "4", "--out", str(handed_in / "out")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 1 and not (handed_in / "out").exists()
    assert "bubblewrap cannot make a sandbox here (bwrap: " in ran.stderr
    assert sandbox._way_out() in ran.stderr and "--unsandboxed grades without" in ran.stderr


def test_apparmor_is_named(monkeypatch):
    monkeypatch.setattr(sandbox.Path, "is_file", lambda self: True)
    monkeypatch.setattr(sandbox.Path, "read_text", lambda self: "1\n")
    assert "kernel.apparmor_restrict_unprivileged_userns=0" in sandbox._way_out()


def test_labkit_grade_is_the_same_command(monkeypatch, capsys):
    def refuse(arguments):
        raise ValueError("no")

    words, asked = ["in", "--lab", "4", "--out", "o", "--yes"], []
    monkeypatch.setattr(command, "main", asked.append)
    assert main(words) == labkit_main(["grade", *words]) == 0
    assert vars(asked[1]) == vars(asked[0]) | {"command": "grade"}
    monkeypatch.setattr(command, "main", refuse)
    assert main(words) == labkit_main(["grade", *words]) == 1
    assert capsys.readouterr().err == "grader: no\nlabkit: no\n"


def test_where_there_is_no_grader_labkit_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "grader.command")
    monkeypatch.setitem(sys.modules, "grader", None)
    assert labkit_main(["grade", "in", "--lab", "4", "--out", "o"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "labkit: `grade` needs the package grader, which is not installed here; "
        "in a clone of the course, `make lab` installs it"
    )


def test_a_release_that_is_not_there_is_named(tmp_path, capsys):
    assert main([str(tmp_path), "--lab", "4", "--out", "o", "--release", "nowhere"]) == 1
    assert "not at nowhere; name it with --release" in capsys.readouterr().err


def test_all_file_systems_of_the_sandbox_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "_no_further_namespaces", tuple)  # which asks bubblewrap
    command = sandbox.bubblewrap(tmp_path, Limits(disk=12345))
    for place, option in enumerate(command):
        if option == "--tmpfs":
            assert command[place - 2] == "--size"
    assert command.count("--bind") == 1 and "12345" in command
