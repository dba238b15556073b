"""The house itself: dependencies, Makefile, set-up, and the floors of labkit and grader."""

import ast
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections import namedtuple
from fnmatch import fnmatch
from pathlib import Path
from statistics import median

import nbformat
import pytest
import yaml
from conftest import needs

import labkit
from labkit import bootstrap
from tools.stamp_colab import SETUP

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHON_VERSION = ".".join(str(number) for number in bootstrap.NEEDED_PYTHON)

ONLY_IN = {
    "matplotlib": {"labkit.figures.charts"},
    "ipywidgets": {"labkit.widgets", "labkit.dashboard"},
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_of(path): path
    for package in ("labkit", "grader")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imported_names(path: Path, module: str) -> set[str]:
    """Every dotted name that a file imports, wherever in the file it does so."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{origin}.{alias.name}" for alias in node.names}
    return names


IMPORTS = {module: imported_names(path, module) for module, path in MODULES.items()}


def module_meant(name: str) -> str | None:
    """labkit.images.open_image means labkit.images; None for what is not ours."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def table_of_floors() -> dict[str, int]:
    """CONTRIBUTING's table: names of modules without `labkit.`, and patterns for several."""
    rules = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", rules, re.MULTILINE)
    names = [(name, int(floor)) for floor, row in rows for name in re.findall("`([^`]+)`", row)]
    assert names and len(dict(names)) == len(names), "a name stands twice in the table of floors"
    return dict(names)


def floors() -> dict[str, int]:
    """The floor of each module: by its name in the table, or else by the one pattern it fits."""
    table, found = table_of_floors(), {}
    for module in MODULES:
        name = module.removeprefix("labkit.")
        fitting = [name] if name in table else [one for one in table if fnmatch(name, one)]
        assert len(fitting) == 1, f"{module} must be on one floor of CONTRIBUTING.md, is {fitting}"
        found[module] = table[fitting[0]]
    return found


def test_the_median_cell_is_as_long_as_contributing_says():
    rules = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    said = re.search(r"15 lines at most, (\d+) in the median", rules)[1]
    notebooks = (nbformat.read(path, as_version=4) for path in (ROOT / "notebooks").glob("*.ipynb"))
    cells = [cell for notebook in notebooks for cell in notebook.cells]
    code = [cell for cell in cells if cell.cell_type == "code" and cell.id != "set-up"]
    assert median(len(cell.source.splitlines()) for cell in code) == int(said)


# One list of dependencies


def test_conda_installs_what_pyproject_lists_and_nothing_else():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, listed = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}"
    assert pip == "pip"
    (course,) = listed["pip"]
    extras = re.fullmatch(r"-e \.\[(.+)\]", course).group(1).split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    assert {"lab", "test"} <= set(extras)


def test_the_python_that_is_needed_is_said_once():
    assert PROJECT["requires-python"] == f">={PYTHON_VERSION}"
    words = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python {PYTHON_VERSION} or later" in words
    assert f"Python {PYTHON_VERSION} or later" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_distribution_has_not_the_name_of_somebody_elses_on_pypi():
    assert PROJECT["name"] == "what-did-it-look-at"
    words = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "Do not `pip install labkit`" in words
    assert f"./{PROJECT['name'].replace('-', '_')}-*.whl" in words


def test_dependencies_have_lower_bounds_only():
    for requirement in PROJECT["dependencies"]:
        assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+", requirement), requirement


COLAB = (ROOT / "tests" / "colab" / "constraints.txt").read_text(encoding="utf-8")


def test_colab_meets_the_lower_bounds():
    """What it meets is not installed a second time."""

    def number(version: str) -> list[int]:
        return [int(part) for part in version.split(".")]

    has = dict(re.findall(r"^([a-z-]+)==([0-9.]+)$", COLAB, re.MULTILINE))
    assert has.keys() >= {"torch", "torchvision", "numpy", "ipython", "ipywidgets"}
    extras = PROJECT["optional-dependencies"]
    listed = [*PROJECT["dependencies"], *extras["lab"], *extras["test"]]
    wanted = dict(one.split(">=") for one in listed if ">=" in one)
    assert wanted.keys() >= has.keys()
    for name, version in has.items():
        assert number(version) >= number(wanted[name]), name


def test_colab_is_rebuilt_as_the_set_up_cell_leaves_it(monkeypatch, tmp_path):
    """Only what the cell adds, and that without what it asks for."""
    path = ROOT / "tests" / "colab" / "run.py"
    spec = importlib.util.spec_from_file_location("colab_run", path)
    colab = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(colab)
    commands = []
    monkeypatch.setattr(colab.subprocess, "run", lambda words, **named: commands.append(words))
    monkeypatch.setattr(colab, "PYTHON", tmp_path)  # there already
    colab.set_up()
    has, adds = commands
    assert set(adds[adds.index("--no-deps") + 1 :]) == set(re.findall(r'"(\S+?>=\S+?)"', SETUP))
    assert {"torch>=2.6", colab.CONSTRAINTS} <= set(has) and "--no-deps" not in has
    assert not set(has) & set(adds[adds.index("--no-deps") :])


def test_colab_gets_no_jupyterlab():
    assert not any("jupyterlab" in requirement for requirement in PROJECT["dependencies"])
    assert any(
        "jupyterlab" in requirement for requirement in PROJECT["optional-dependencies"]["lab"]
    )


# make


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    needs("make", "sudo apt install make", there=shutil.which("make"))
    return subprocess.run(
        # without a Python, no target can start a set-up, whatever the Makefile says
        ["make", "--no-print-directory", "PYTHON=no-such-python", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_help_lists_every_target_with_a_line():
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z][a-z-]*):(?!=)", rules, re.MULTILINE)
    listed = dict(re.findall(r"^make ([a-z-]+) +(.+)$", make("help").stdout, re.MULTILINE))
    assert {"help", "lab", "test", "notebooks", "data"} <= set(targets)
    assert list(listed) == targets
    (phony,) = re.findall(r"^\.PHONY: (.+)$", rules, re.MULTILINE)
    assert phony.split() == targets


def test_make_alone_is_make_help():
    assert make().stdout == make("help").stdout


def check_that_scripts_exist(text: str) -> None:
    for module in re.findall(r"-m ((?:data_scripts|labkit|tools)[.\w]*)", text):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module
    for script in re.findall(r"(?:python|bash) (\S+\.py|\.ci/\S+)", text):
        assert (ROOT / script).exists(), script


def test_every_script_that_a_target_runs_exists():
    check_that_scripts_exist((ROOT / "Makefile").read_text(encoding="utf-8"))


def test_make_says_in_a_line_that_there_is_no_python():
    ran = make("lint")
    own = [line for line in ran.stderr.splitlines() if not line.startswith(("make:", "make["))]
    assert ran.returncode != 0
    assert own == [
        f"labkit: there is no no-such-python; install Python {PYTHON_VERSION} or later from "
        "python.org"
    ]


# GitHub


def yaml_of(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


JOBS = yaml_of(".github/workflows/test.yml")["jobs"]


def test_workflows_call_what_is_there():
    steps = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make ([\w-]+)", "\n".join([*steps, ci_script()]), re.MULTILINE)
    targets += re.findall(r" make ([\w-]+)$", ci_script(), re.MULTILINE)
    assert {"test", "test-skipped", "test-real"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", rules, re.MULTILINE), target
    assert "bash .ci/run" in steps
    check_that_scripts_exist("\n".join(steps))


def ci_script() -> str:
    return (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_workflows_test_the_oldest_python_and_a_newer_one_on_all_systems():
    versions = {name: job["strategy"]["matrix"] for name, job in JOBS.items() if "strategy" in job}
    systems = {*versions["make-test"]["os"], JOBS["windows"]["runs-on"]}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
    for matrix in versions.values():
        assert matrix["python"] == [PYTHON_VERSION, "3.13"]


def test_windows_runs_the_commands_of_make_test():
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    (by_hand,) = (step["run"] for step in JOBS["windows"]["steps"] if "nbval" in str(step))
    options = re.findall(r"--nbval\S+", rules)
    assert options and re.findall(r"--nbval\S+", by_hand) == options
    assert re.search(r"OMP_NUM_THREADS=(\d)", rules)[1] == JOBS["windows"]["env"]["OMP_NUM_THREADS"]


def test_versions_agree():
    hooks = yaml_of(".pre-commit-config.yaml")["repos"][0]["hooks"]
    pinned = {one for hook in hooks for one in hook.get("additional_dependencies", [])}
    assert pinned <= set(PROJECT["optional-dependencies"]["test"])
    assert yaml_of("CITATION.cff")["version"] == labkit.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = re.escape(labkit.__version__)
    assert re.search(rf"the version is {version}\b|^## \[{version}\]", changes, re.MULTILINE)


# Set-up: every failure is one line


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of its own, with nothing installed, and bootstrap working on it."""
    folder = tmp_path / "course"
    (folder / "labkit").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-CONTENT"):
        shutil.copy(ROOT / name, folder)
    for name in ("__init__.py", "bootstrap.py"):
        shutil.copy(ROOT / "labkit" / name, folder / "labkit")
    monkeypatch.setattr(bootstrap, "ROOT", str(folder))
    monkeypatch.setattr(bootstrap, "VENV", str(folder / ".venv"))
    monkeypatch.setenv("LABKIT_DISK_GB", "0")
    # Should a check fail to stop it, pip must find nothing: no test may install gigabytes.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return folder


def the_line(capsys) -> str:
    """All that was written to stderr, which must be one line."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


def pretend_python(monkeypatch, *version: int) -> None:
    Version = namedtuple("Version", "major minor micro")
    monkeypatch.setattr(sys, "version_info", Version(*version))
    monkeypatch.setattr(sys, "version", ".".join(map(str, version)) + " (simulated)")


def pretend_venv(folder: Path) -> None:
    """A `.venv` that runs, without the seconds that a real one takes."""
    python = Path(bootstrap.venv_python())
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)


def test_bootstrap_can_be_read_by_python_3_6():
    for name in ("__init__.py", "bootstrap.py"):
        ast.parse((ROOT / "labkit" / name).read_text(encoding="utf-8"), feature_version=(3, 6))


def test_bootstrap_needs_only_the_standard_library():
    names = imported_names(MODULES["labkit.bootstrap"], "labkit.bootstrap")
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_an_old_python_is_named_with_the_way_out(course, monkeypatch, capsys):
    pretend_python(monkeypatch, 3, 9, 18)
    monkeypatch.setenv("PATH", str(course))  # no newer one there
    assert bootstrap.main(["--extras", "lab"]) == 1
    line = the_line(capsys)
    assert line.startswith(f"labkit: Python {PYTHON_VERSION} or later is needed, this is 3.9.18")
    assert "make lab PYTHON=" in line
    assert not (course / ".venv").exists()


@pytest.mark.needs("programs that start with #!", there=os.name != "nt")
def test_a_newer_python_on_the_path_takes_over_if_it_runs(course, monkeypatch):
    for name, text in {"python3.13": "exit 127", "python3.12": "exit 0"}.items():
        (course / name).write_text(f"#!/bin/sh\n{text}\n")
        (course / name).chmod(0o755)
    pretend_python(monkeypatch, 3, 9, 18)
    monkeypatch.setenv("PATH", str(course))
    assert bootstrap.suitable_python() == str(course / "python3.12")
    started = []
    monkeypatch.setattr(os, "execv", lambda *call: started.append(call) or sys.exit(0))
    with pytest.raises(SystemExit):
        bootstrap.main(["--extras", "test,lab"])
    python = str(course / "python3.12")
    assert started == [(python, [python, "-m", "labkit.bootstrap", "--extras", "lab,test"])]


def test_a_full_disk_is_found_before_anything_is_written(course, monkeypatch, capsys):
    monkeypatch.delenv("LABKIT_DISK_GB")
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(9e10, 8.8e10, 2e9))
    assert bootstrap.main([]) == 1
    line = the_line(capsys)
    assert re.search(r"[0-9.]+ GB of free disk space are needed for .*, 2.0 GB are left", line)
    assert not (course / ".venv").exists()


def test_what_is_installed_already_needs_no_room_again(course, monkeypatch, capsys):
    (course / ".venv").mkdir()
    (course / ".venv" / "package").write_bytes(bytes(500_000))
    assert bootstrap.size_of(str(course / ".venv")) >= 500_000
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(9e10, 8.8e10, 2e9))
    monkeypatch.setattr(bootstrap, "size_of", lambda _: 5e9)
    monkeypatch.setenv("LABKIT_DISK_GB", "7.5")
    assert bootstrap.main([]) == 1
    assert "2.5 GB of free disk space are needed" in the_line(capsys)
    monkeypatch.setenv("LABKIT_DISK_GB", "6.5")
    bootstrap.check_disk_space()


def test_a_size_that_is_no_number(course, monkeypatch, capsys):
    monkeypatch.setenv("LABKIT_DISK_GB", "plenty")
    assert bootstrap.main([]) == 1
    assert the_line(capsys) == "labkit: LABKIT_DISK_GB must be a number of gigabytes, such as 3"


def test_debians_missing_venv_is_named(course, monkeypatch, capsys):
    find_spec = bootstrap.importlib.util.find_spec
    monkeypatch.setattr(
        bootstrap.importlib.util,
        "find_spec",
        lambda name: None if name == "ensurepip" else find_spec(name),
    )
    assert bootstrap.main([]) == 1
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert (
        f"module ensurepip is missing; install it with: sudo apt install python{version}-venv"
        in (the_line(capsys))
    )


@pytest.mark.needs("links that anyone may make", there=os.name != "nt")
def test_a_folder_that_cannot_be_written(course, capsys):
    (course / ".venv").symlink_to("/dev/null/nowhere")  # where not even root may write
    assert bootstrap.main([]) == 1
    assert ".venv" in the_line(capsys)


@pytest.mark.slow
def test_no_network_is_one_line_and_the_next_run_tries_again(course):
    with socket.socket() as closed:  # a port where nobody listens once this is over
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    offline = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    offline |= {
        "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "0",
        "PIP_NO_CACHE_DIR": "1",
    }
    command = [sys.executable, "-m", "labkit.bootstrap", "--extras", "test"]
    for _ in range(2):
        ran = subprocess.run(command, cwd=course, env=offline, capture_output=True, text=True)
        assert ran.returncode == 1
        (line,) = ran.stderr.splitlines()
        assert line.startswith("labkit: no network: pip cannot reach the package index")
        assert not (course / ".venv" / "labkit-installed.json").exists()
        assert not (course / ".venv" / "downloads").exists()
    assert "Creating" not in ran.stdout  # what was whole is kept


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("ERROR: [Errno 28] No space left on device", "the disk is full; free some"),
        ("WARNING: Retrying ... ReadTimeoutError", "no network: pip cannot reach"),
        ("ERROR: No matching distribution found for torch>=2.4\n", "there is no torch>=2.4 for Py"),
        (
            "WARNING: w\nERROR: it broke\nnote: n\n",
            "pip stopped with exit code 2: ERROR: it broke;",
        ),
        ("", "pip stopped with exit code 2: without a word"),
    ],
)
def test_pips_failures_become_a_line(tmp_path, words, line):
    log = tmp_path / "install.log"
    log.write_text(words)
    reason = bootstrap.reason_of_failure(str(log), 2)
    assert reason.startswith(line) and "\n" not in reason


# Set-up: nothing twice


class Installs:
    """Instead of pip and uv: what they were asked for, and the exit codes that they answer with."""

    def __init__(self, course, config):
        self.course, self.config = course, config
        self.asked, self.environments, self.codes = [], [], []

    def run(self, command, **settings):
        if "install" not in command:
            return subprocess.CompletedProcess(command, 0, stdout=self.config.encode())
        self.asked.append(command[-1].removeprefix(str(self.course)))
        self.environments.append(settings["env"])
        return subprocess.CompletedProcess(command, self.codes.pop(0) if self.codes else 0)


@pytest.fixture
def installs(course, monkeypatch):
    """Where pip has a setting that uv cannot follow."""
    pretend_venv(course)
    pretended = Installs(course, "global.proxy='http://proxy:3128'\n")
    monkeypatch.setattr(bootstrap.subprocess, "run", pretended.run)
    return pretended


def test_what_is_done_is_not_done_twice(course, installs, capsys):
    assert bootstrap.main(["--extras", "lab"]) == 0
    capsys.readouterr()
    assert bootstrap.main(["--extras", "lab"]) == 0
    assert installs.asked == ["[lab]"]
    assert capsys.readouterr() == ("", "")


def test_extras_add_up(course, installs):
    for extras in ("lab", "test", "lab", "lab,test"):
        bootstrap.main(["--extras", extras])
    assert installs.asked == ["[lab]", "[lab,test]"]


def test_a_changed_list_is_installed_with_all_extras(course, installs):
    bootstrap.main(["--extras", "lab,test"])
    with (course / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    bootstrap.main(["--extras", "lab"])
    assert installs.asked == ["[lab,test]", "[lab,test]"]


def test_a_failed_install_is_redone(course, installs, capsys):
    installs.codes.append(1)
    assert bootstrap.main([]) == 1
    assert "pip stopped with exit code 1" in the_line(capsys)
    assert bootstrap.main([]) == 0
    assert installs.asked == ["[lab]", "[lab]"]


def test_uv_installs_where_it_can_be_had(course, installs, capsys):
    installs.config = ""
    assert bootstrap.main(["--extras", "test"]) == 0
    assert installs.asked == ["uv", "[test]"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("codes", "asked"), [([1], ["uv", "[lab]"]), ([0, 2], ["uv", "[lab]", "[lab]"])]
)
def test_pip_installs_where_uv_cannot(course, installs, codes, asked):
    installs.config, installs.codes = "", codes
    assert bootstrap.main(["--extras", "lab"]) == 0
    assert installs.asked == asked
    assert bootstrap.is_current(bootstrap.read_stamp(), {"lab"})


def test_uv_takes_packages_from_where_pip_does(course, installs):
    installs.config = """\
:env:.cert='/etc/mine.pem'
:env:.disable-pip-version-check='1'
:env:.timeout='60'
global.cert='/etc/all.pem'
global.constraint='/etc/one.txt\\n/etc/two.txt'
global.extra-index-url='https://a/simple https://b/simple'
global.find-links='/wheels\\n/more'
global.index-url='https://mirror/simple'
"""
    assert bootstrap.settings_of_uv() == {
        "UV_INDEX_URL": "https://mirror/simple",
        "UV_EXTRA_INDEX_URL": "https://a/simple https://b/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_CONSTRAINT": "/etc/one.txt /etc/two.txt",
        "SSL_CERT_FILE": "/etc/mine.pem",
    }
    bootstrap.main([])
    assert installs.environments[-1]["UV_FIND_LINKS"] == "/wheels,/more"


@pytest.mark.parametrize("setting", ["global.proxy", "install.index-url", ":env:.no-index"])
def test_uv_is_left_out_where_it_cannot_follow_pip(course, installs, setting):
    installs.config = f"global.index-url='https://mirror/simple'\n{setting}='1'\n"
    assert bootstrap.settings_of_uv() is None


def test_an_interrupted_install_starts_from_a_fresh_environment(course, monkeypatch, capsys):
    pretend_venv(course)

    def interrupted(command, **settings):
        if "install" in command:
            raise KeyboardInterrupt
        return subprocess.CompletedProcess(command, 0, stdout=b"")

    monkeypatch.setattr(bootstrap.subprocess, "run", interrupted)
    assert bootstrap.is_usable({})
    assert bootstrap.main([]) == 1
    assert "interrupted; the same command starts again" in capsys.readouterr().err
    assert not bootstrap.is_usable(bootstrap.read_stamp())
    assert not bootstrap.is_current(bootstrap.read_stamp(), {"lab"})


def test_a_moved_course_gets_a_fresh_environment(course, installs, monkeypatch):
    bootstrap.main([])
    moved = course.rename(course.parent / "moved")
    monkeypatch.setattr(bootstrap, "ROOT", str(moved))
    monkeypatch.setattr(bootstrap, "VENV", str(moved / ".venv"))
    assert not bootstrap.is_current(bootstrap.read_stamp(), {"lab"})
    assert not bootstrap.is_usable(bootstrap.read_stamp())


@pytest.mark.parametrize("stamp", ["", "{", "[]", "null"])
def test_a_broken_stamp_counts_as_none(course, installs, stamp):
    Path(bootstrap.stamp_path()).write_text(stamp)
    assert bootstrap.main([]) == 0
    assert installs.asked == ["[lab]"]


# The floors of labkit and grader


def test_import_labkit_loads_nothing():
    code = "import sys; before = set(sys.modules); import labkit; print(set(sys.modules) - before)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ast.literal_eval(ran.stdout) == {"labkit"}, ran.stderr


def test_every_module_has_a_floor_and_no_other_is_named():
    assert set(floors()) == set(MODULES)
    names = {module.removeprefix("labkit.") for module in MODULES}
    idle = [one for one in table_of_floors() if not any(fnmatch(name, one) for name in names)]
    assert not idle, f"on the floors of CONTRIBUTING.md, but not there: {idle}"


def test_labkit_imports_nothing_of_grader():
    """`python -m labkit grade` knows it by name only."""
    wrong = [
        module
        for module, names in IMPORTS.items()
        if module.startswith("labkit") and any(name.split(".")[0] == "grader" for name in names)
    ]
    assert not wrong


def test_imports_point_down():
    """To a lower floor only; a package's __init__ may gather its own modules."""
    floor, wrong = floors(), []
    for module, names in IMPORTS.items():
        for target in map(module_meant, names):
            if target in (None, "labkit", module):
                continue
            is_package = MODULES[module].name == "__init__.py"
            gathers_its_own = is_package and target.startswith(f"{module}.")
            if not gathers_its_own and floor[target] >= floor[module]:
                wrong.append(f"{module} imports {target}")
    assert not wrong


def test_only_their_floor_imports_matplotlib_and_ipywidgets():
    for package, owners in ONLY_IN.items():
        importing = {module for module in MODULES if package in packages_of(module)}
        assert importing <= owners, package


def packages_of(module: str) -> set[str]:
    return {name.split(".")[0] for name in IMPORTS[module]}


def test_the_package_imports_neither_tests_nor_scripts():
    outside = {"tests", "data_scripts", "notebooks"}
    assert not [module for module in MODULES if packages_of(module) & outside]


def test_arguments_of_public_functions_have_types():
    bare = []
    for module in MODULES.keys() - {"labkit.bootstrap"}:
        tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
        scopes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
        for function in (node for scope in scopes for node in scope.body):
            if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
                continue
            listed = function.args
            arguments = [*listed.posonlyargs, *listed.args, *listed.kwonlyargs]
            names = {one.arg for one in arguments if one.annotation is None} - {"self", "cls"}
            bare += [f"{name} of {module}.{function.name}" for name in sorted(names)]
    assert not bare
