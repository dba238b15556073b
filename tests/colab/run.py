"""Run the labs and the tests of the widgets on what Colab has installed: `make test-colab`.

    make test-colab PYTHON=python3.13

constraints.txt holds Colab's versions; what Colab lacks is added as the notebooks' set-up cell does
it, without what it asks for. The environment is made once for each Python, takes some minutes and
6 GB, and has no labkit: as in Colab, the path leads to it.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

COLAB_PYTHON = "3.13"
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
ROOT = Path(__file__).parents[2]
VENV = ROOT / f".venv-colab-{sys.version_info[0]}.{sys.version_info[1]}"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
TOOLS = ("ipykernel", "nbclient", "nbformat", "nbval", "pytest")
OF_TIMM = ("huggingface-hub", "pyyaml", "safetensors")  # what it asks for, and Colab has
SETUP_CELL = ROOT / "tools" / "stamp_colab.py"
WIDGETS = ("test_widgets.py", "test_dashboard.py", "test_workbench.py")
LABS = ("--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300", "notebooks")


def main() -> int:
    """Return 0 where all of it runs."""
    set_up()
    print(f"Python {sys.version.split()[0]}, where Colab has {COLAB_PYTHON}", flush=True)
    codes = [run_tests(*(f"tests/{name}" for name in WIDGETS)), run_tests(*LABS)]
    return max(codes)


def set_up() -> None:
    """An environment with Colab's versions of what the course needs and of what runs it here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    added = added_by_the_cell()
    there = [one for one in project["dependencies"] if one not in added]
    install = [PYTHON, "-m", "pip", "install", "--quiet"]
    colab = [*install, "--constraint", CONSTRAINTS, *there, *OF_TIMM, *TOOLS]
    subprocess.run(colab, check=True)
    subprocess.run([*install, "--no-deps", *added], check=True)


def added_by_the_cell() -> list[str]:
    """The packages that the set-up cell installs, as it asks for them."""
    (line,) = re.findall(r"^    PACKAGES = '(.+)'$", SETUP_CELL.read_text("utf-8"), re.MULTILINE)
    return re.findall('"(.+?)"', line)


def run_tests(*words: str) -> int:
    """The exit code of pytest."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)}
    command = [PYTHON, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
