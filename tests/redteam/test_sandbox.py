"""The sandboxed kernel by itself: any Jupyter client may start it, and nothing is left of it."""

import inspect
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from sandboxed import PATIENCE, needs_a_sandbox

from grader import sandbox
from grader.kernel import Kernel
from grader.sandbox import (
    GIB,
    NAME,
    PREFIX,
    Limits,
    NoKernel,
    Watch,
    bytes_in,
    kernel_spec,
)
from tools.stamp_colab import Place, setup_source

WITH_CODE = {"labkit/__init__.py", "labkit/selfcheck/__init__.py", "grader/__init__.py"}
WITH_CODE |= set(sandbox.SHARED)
LOOK = """import os
from pathlib import Path
visible = [str(path) for path in Path({course!r}).glob("*") if path.name != ".venv"]
writable = []
for folder in ("/", "/usr", "/dev", "/etc", {course!r}, os.environ["PYTHONPATH"]):
    try:
        (Path(folder) / "new").touch()
        writable.append(folder)
    except OSError:
        pass
print(visible, writable, os.getuid(), "TOKEN" in os.environ)"""


@pytest.fixture
def no_leftovers(tmp_path, monkeypatch):
    """A folder for temporary files, empty before and after."""
    folder = Path(tempfile.mkdtemp(prefix="t"))  # short: the path of a socket may have 107 bytes
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    left = list(folder.iterdir())
    shutil.rmtree(folder)
    assert left == []


@needs_a_sandbox
def test_any_client_starts_it_by_its_name(tmp_path, monkeypatch, no_leftovers):
    folder = tmp_path / "kernels" / NAME
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(kernel_spec().to_json())
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("TOKEN", "of the grader")
    course = str(Path(__file__).parents[2])
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(LOOK.format(course=course))]
    )
    NotebookClient(notebook, kernel_name=NAME, timeout=PATIENCE).execute()
    (output,) = notebook.cells[0].outputs
    assert output.text == "[] [] 65534 False\n"


def with_code(folder):
    """The modules below a folder that do more than to say that they are not there."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    return {name for name, path in paths.items() if "raise ImportError" not in path.read_text()}


def test_nothing_but_the_stand_ins_is_left_of_both_packages(tmp_path):
    stand_in = sandbox.write_stand_in(tmp_path)
    assert with_code(stand_in) == WITH_CODE
    for name in ("labkit/explain", "labkit/selfcheck/lab4", "labkit/cells", "grader/grade"):
        assert (stand_in / f"{name}.py").is_file(), name


RUN = """import sys
from grader.kernel import Kernel
from grader.sandbox import Limits

with Kernel(Limits()) as kernel:
    print(kernel.run(sys.argv[1], float(sys.argv[2])))"""


@needs_a_sandbox
def test_where_both_packages_are_installed_the_stand_ins_are_all_there_is(tmp_path):
    site = tmp_path / "site-packages"
    for package in sandbox.PACKAGES:
        shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("assets"))
    look = f"from pathlib import Path\n\n{inspect.getsource(with_code)}\n"
    look += f"raise LookupError(sorted(with_code(Path({str(site)!r}))))"
    ran = subprocess.run(
        [sys.executable, "-c", RUN, look, str(PATIENCE)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert ran.stdout == f"LookupError: {sorted(WITH_CODE)}\n", ran.stderr


@needs_a_sandbox
def test_a_kernel_leaves_nothing_behind(no_leftovers):
    with Kernel(Limits()) as kernel:
        assert kernel.run("open('/tmp/x', 'w').write('x'); y = 1", PATIENCE) == ""
        assert kernel.run("y / 0", PATIENCE) == "ZeroDivisionError: division by zero"
        (folder,) = no_leftovers.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        pid = kernel._manager.provisioner.pid
    assert not psutil.pid_exists(pid)


@needs_a_sandbox
def test_the_set_up_for_colab_does_nothing_in_it(no_leftovers):
    look = "os.getcwd(), list(sys.path), dict(os.environ)"
    with Kernel(Limits()) as kernel:
        assert kernel.run(f"import os, sys; before = {look}", PATIENCE) == ""
        assert kernel.run("get_ipython().system = lambda command: 1 / 0", PATIENCE) == ""
        for place in (None, Place("ada/heat-maps", "main")):
            assert kernel.run(setup_source(place), PATIENCE) == "", place
        assert kernel.run(f"assert before == ({look})", PATIENCE) == ""
        assert "ZeroDivisionError" in kernel.run("!pip", PATIENCE)  # as any command would end


def test_where_bubblewrap_is_gone_no_kernel_starts(monkeypatch, no_leftovers):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(NoKernel, match="there is no `bwrap` here"):
        Kernel(Limits()).__enter__()


def test_what_killed_graders_left_is_removed_after_a_day(no_leftovers):
    old, new, other = (no_leftovers / name for name in (f"{PREFIX}old", f"{PREFIX}new", "other"))
    for folder in (old, new, other):
        (folder / "inner").mkdir(parents=True)
    for folder in (old, other):
        os.utime(folder, (0, 0))
    (no_leftovers / f"{PREFIX}link").symlink_to(other)
    sandbox.remove_leftovers()
    assert sorted(path.name for path in no_leftovers.iterdir()) == sorted(
        [new.name, other.name, f"{PREFIX}link"]
    )
    assert (other / "inner").is_dir()
    shutil.rmtree(no_leftovers)
    no_leftovers.mkdir()


def test_a_folder_is_measured_as_far_as_needed(tmp_path):
    assert bytes_in(tmp_path, GIB) == 0
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(50_000))
    (tmp_path / "link").symlink_to("/usr")
    assert 50_000 + 3 * 4096 <= bytes_in(tmp_path, GIB) < 80_000
    assert bytes_in(tmp_path, 10_000) < 80_000
    for number in range(20):
        (tmp_path / f"{number}").touch()
    assert bytes_in(tmp_path, 10_000) < bytes_in(tmp_path, GIB)
    assert bytes_in(tmp_path / "nowhere", GIB) == 0


def test_the_watch_names_what_is_too_much(tmp_path):
    (tmp_path / "file").touch()
    for limits, reason in (
        (Limits(), ""),
        (Limits(processes=0), "processes"),
        (Limits(memory=1000), "memory"),
        (Limits(disk=1000), "disk"),
    ):
        assert Watch(os.getpid(), limits, tmp_path)._too_much() == reason, reason


def test_memory_that_processes_share_is_counted_once(tmp_path):
    me = psutil.Process()
    held = me.memory_info().rss
    assert 0 < sandbox._share(me) <= held
    watch = Watch(os.getpid(), Limits(memory=2 * held), tmp_path)
    assert not watch._hold_too_much([me])
    assert watch._hold_too_much([me] * 30)
