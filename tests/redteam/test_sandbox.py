"""The sandboxed kernel by itself: any Jupyter client may start it, and nothing is left of it."""

import os
import shutil
import tempfile
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

from labkit.grading import sandbox
from labkit.grading.kernel import Kernel
from labkit.grading.sandbox import (
    GIB,
    NAME,
    PREFIX,
    Limits,
    NoKernel,
    Watch,
    kernel_spec,
    size_of,
    why_not,
)
from tools.stamp_colab import Place, setup_source

WHY_NOT = why_not()
needs_a_sandbox = pytest.mark.skipif(WHY_NOT is not None, reason=f"no sandbox: {WHY_NOT}")
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
    course = str(sandbox.PACKAGE.parent)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(LOOK.format(course=course))]
    )
    NotebookClient(notebook, kernel_name=NAME, timeout=60).execute()
    (output,) = notebook.cells[0].outputs
    assert output.text == "[] [] 65534 False\n"


@needs_a_sandbox
def test_a_kernel_leaves_nothing_behind(no_leftovers):
    with Kernel(Limits()) as kernel:
        assert kernel.run("open('/tmp/x', 'w').write('x'); y = 1", 20) == ""
        assert kernel.run("y / 0", 20) == "ZeroDivisionError: division by zero"
        (folder,) = no_leftovers.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        pid = kernel._manager.provisioner.pid
    assert not psutil.pid_exists(pid)


@needs_a_sandbox
@pytest.mark.parametrize("place", [None, Place("ada/heat-maps", "main")])
def test_the_set_up_for_colab_does_nothing_in_it(place, no_leftovers):
    look = "os.getcwd(), list(sys.path), dict(os.environ)"
    with Kernel(Limits()) as kernel:
        assert kernel.run(f"import os, sys; before = {look}", 20) == ""
        assert kernel.run("get_ipython().system = lambda command: 1 / 0", 20) == ""
        assert kernel.run(setup_source(place), 20) == ""
        assert kernel.run(f"assert before == ({look})", 20) == ""
        assert "ZeroDivisionError" in kernel.run("!pip", 20)  # as any command would end


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
    assert size_of(tmp_path, GIB) == 0
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(50_000))
    (tmp_path / "link").symlink_to("/usr")
    assert 50_000 + 3 * 4096 <= size_of(tmp_path, GIB) < 80_000
    assert size_of(tmp_path, 10_000) < 80_000
    for number in range(20):
        (tmp_path / f"{number}").touch()
    assert size_of(tmp_path, 10_000) < size_of(tmp_path, GIB)
    assert size_of(tmp_path / "nowhere", GIB) == 0


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(), ""),
        (Limits(processes=0), "processes"),
        (Limits(memory=1000), "memory"),
        (Limits(disk=1000), "disk"),
    ],
)
def test_the_watch_names_what_is_too_much(tmp_path, limits, reason):
    (tmp_path / "file").touch()
    assert Watch(os.getpid(), limits, tmp_path)._too_much() == reason


def test_memory_that_processes_share_is_counted_once(tmp_path):
    me = psutil.Process()
    held = me.memory_info().rss
    assert 0 < sandbox._share(me) <= held
    watch = Watch(os.getpid(), Limits(memory=2 * held), tmp_path)
    assert not watch._hold_too_much([me])
    assert watch._hold_too_much([me] * 30)
