"""The wheel holds all that the course needs: it works where there is no checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
SOURCES = ("labkit", "pyproject.toml", "README.md", "LICENSE", "LICENSE-CONTENT")
# An editable install leads every Python of `.venv` to the checkout; this one must not go there.
NO_CHECKOUT = f"""
import sys
sys.path[:] = [path for path in sys.path if not path.startswith({str(ROOT)!r}) or ".venv" in path]
sys.meta_path[:] = [one for one in sys.meta_path if "__editable__" not in str(one)]
"""


def pip(*words):
    command = [sys.executable, "-m", "pip", "--quiet", *words]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """An empty folder."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """In which labkit comes from the wheel, or from nowhere."""
    folder = tmp_path_factory.mktemp("wheel")
    copy, installed = folder / "copy", folder / "installed"
    for name in SOURCES:  # a build leaves things beside its sources
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy)
    offline = ("--no-deps", "--no-index")
    pip("wheel", *offline, "--no-build-isolation", f"--wheel-dir={folder}", str(copy))
    shutil.rmtree(copy)
    (wheel,) = folder.glob("what_did_it_look_at-*.whl")
    pip("install", *offline, "--no-compile", f"--target={installed}", str(wheel))
    (folder / "sitecustomize.py").write_text(NO_CHECKOUT)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder, installed)))}


def python(environment, folder, *words):
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_labkit_comes_from_the_wheel_or_from_nowhere(environment, elsewhere):
    place = python(environment, elsewhere, "-c", "import labkit; print(labkit.__file__)")
    alone, installed = environment["PYTHONPATH"].split(os.pathsep)
    assert Path(place.stdout.strip()) == Path(installed) / "labkit" / "__init__.py"
    assert (Path(installed) / "labkit" / "py.typed").exists()
    without = {**environment, "PYTHONPATH": alone}
    assert "No module named 'labkit'" in python(without, elsewhere, "-c", "import labkit").stderr


def test_the_doctor_finds_that_every_lab_can_run(environment, elsewhere):
    ran = python(environment, elsewhere, "-m", "labkit", "doctor")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("every lab can run\n")


def test_a_notebook_runs_in_a_folder_of_its_own(environment, elsewhere):
    notebook = nbformat.read(ROOT / "notebooks" / "00_start.ipynb", as_version=4)
    where = nbformat.v4.new_code_cell("import labkit; print(labkit.__file__)")
    notebook.cells.append(where)
    resources = {"metadata": {"path": str(elsewhere)}}
    client = NotebookClient(notebook, kernel_name="python3", timeout=60, resources=resources)
    client.execute(env=environment)
    assert where.outputs[0].text.startswith(environment["PYTHONPATH"].split(os.pathsep)[1])
