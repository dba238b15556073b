"""What is skipped says what it needs and what brings it, for a reader and for a second run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPED = """
import pytest
from skips import needs, needs_module

@pytest.mark.needs("a harp", "sudo apt install harp", there=False)
@pytest.mark.parametrize("string", ["a b", "c"])
def test_strings(string): raise AssertionError

@pytest.mark.needs("a drum", "sudo apt install drum", there=True)
def test_drum(): pass

def test_within():
    needs("a moon", there=False)

def test_extra():
    needs_module("no_such_module", "music")
"""
EXTRA = f"the extra music ({sys.executable} -m pip install -e '.[music]')"
LINE = (
    f"skipped: 4 tests: 2 need a harp (sudo apt install harp), 1 needs a moon, 1 needs {EXTRA}; "
    "once that is there, `make test-skipped` runs them\n"
)
HOOKS = "from skips import pytest_addoption, pytest_runtest_setup, pytest_terminal_summary"


@pytest.fixture
def ran(tmp_path):
    """Runs pytest on a folder with tests of its own."""
    (tmp_path / "tests").mkdir()
    shutil.copy(Path(__file__).with_name("skips.py"), tmp_path / "tests")
    (tmp_path / "tests" / "conftest.py").write_text(HOOKS)
    (tmp_path / "tests" / "test_music.py").write_text(SKIPPED)
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}

    def run(*words):
        command = [sys.executable, "-m", "pytest", "-ra", f"--rootdir={tmp_path}", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_ids_and_the_line_are_written(ran, tmp_path, processes):
    done = ran("-n", processes, "--skipped-to=out/skipped", "tests")
    assert done.returncode == 0 and "1 passed, 4 skipped" in done.stdout, done.stdout + done.stderr
    assert "needs a harp (sudo apt install harp)" in done.stdout
    assert (tmp_path / "out" / "skipped.line").read_text() == LINE
    ids = (tmp_path / "out" / "skipped").read_text().splitlines()
    assert sorted(ids) == [
        "tests/test_music.py::test_extra",
        "tests/test_music.py::test_strings[a b]",
        "tests/test_music.py::test_strings[c]",
        "tests/test_music.py::test_within",
    ]
    again = ran("@out/skipped")
    assert "4 skipped" in again.stdout and "passed" not in again.stdout


def test_nothing_skipped_is_said_too(ran, tmp_path):
    ran("--skipped-to=out/skipped", "tests/test_music.py::test_drum")
    assert (tmp_path / "out" / "skipped").read_text() == ""
    assert (tmp_path / "out" / "skipped.line").read_text() == "skipped: no test\n"
