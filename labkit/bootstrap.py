"""Set up `.venv` for the course, or say in one line what is missing and the way out.

    python3 -m labkit.bootstrap --extras lab,test

Standard library only, and nothing newer than Python 3.6: an old Python must be able to read this
file in order to say that it is too old.
"""

import argparse
import ast
import glob
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time

NEEDED_PYTHON = (3, 11)
NEWER_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")

# What pip says when it cannot reach, or loses, the place that packages come from.
NETWORK_WORDS = re.compile(
    "Failed to establish a new connection|NewConnectionError|NameResolutionError|ConnectTimeout"
    "|ReadTimeout|Read timed out|ProxyError|ConnectionError"
    "|Connection (broken|reset|aborted|refused)|IncompleteRead"
    "|Max retries exceeded|Network is unreachable|SSLError"
    # setuptools is the first thing asked for, and every index has it
    "|requirement setuptools\\S* \\(from versions: none\\)"
)
# pip's settings of where packages come from, as uv reads them, and those that are of no concern to
# it. Where pip has others, such as a proxy, pip installs.
UV_NAMES = {
    "index-url": "UV_INDEX_URL",
    "extra-index-url": "UV_EXTRA_INDEX_URL",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
}
PIPS_OWN = ("timeout", "default-timeout", "retries", "disable-pip-version-check", "config-file")
PIPS_OWN += ("cache-dir", "no-cache-dir", "progress-bar")

DISK_WORDS = re.compile("No space left on device|Disk quota exceeded|not enough space on the disk")


class SetupError(Exception):
    """What is missing, and the way out, in one line."""


def main(arguments=None) -> int:
    """Bring `.venv` up to date; return the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m labkit.bootstrap", description=__doc__)
    parser.add_argument("--extras", default="lab", help="extras of pyproject.toml, with commas")
    extras = set(parser.parse_args(arguments).extras.split(",")) - {""}
    try:
        set_up(extras)
    except SetupError as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nlabkit: interrupted; the same command starts again", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"labkit: cannot write {VENV}: {error}; free or allow it, then repeat", file=sys.stderr
        )
        return 1
    return 0


def set_up(extras: set) -> None:
    """Create `.venv` and install the course with these extras, unless that was done before."""
    python = suitable_python()
    if python != sys.executable:
        os.chdir(ROOT)
        os.execv(python, [python, "-m", "labkit.bootstrap", "--extras", ",".join(sorted(extras))])
    done = read_stamp()
    if is_current(done, extras):
        return
    check_disk_space()
    if not is_usable(done):
        create_venv()
    install(extras | set(done.get("extras", [])))


def suitable_python() -> str:
    """This Python, or a newer one on the PATH if this one is too old."""
    if sys.version_info[:2] >= NEEDED_PYTHON:
        return sys.executable
    for name in NEWER_PYTHONS:
        path = shutil.which(name)
        # A name on the PATH can be a shim without a Python behind it: run it.
        if path and succeeds([path, "-c", "import sys; assert sys.version_info >= (3, 11)"]):
            return path
    raise SetupError(
        f"Python {NEEDED_PYTHON[0]}.{NEEDED_PYTHON[1]} or later is needed, this is "
        f"{sys.version.split()[0]} ({sys.executable}); install a newer one from python.org, "
        "or name one you have: make lab PYTHON=/path/to/python3"
    )


def check_disk_space() -> None:
    """Compare the free space with what is still to be installed."""
    gigabyte = 1e9
    needed = max(needed_gigabytes() - size_of(VENV) / gigabyte, 1.0)
    free = shutil.disk_usage(ROOT).free / gigabyte
    if free < needed:
        raise SetupError(
            f"{needed:.1f} GB of free disk space are needed for {VENV}, {free:.1f} GB are left; "
            "free some, or move the course to a larger disk (where less will do: LABKIT_DISK_GB=3)"
        )


def needed_gigabytes() -> float:
    """Room for the installed packages and, until they are unpacked, their downloads."""
    if "LABKIT_DISK_GB" in os.environ:
        try:
            return float(os.environ["LABKIT_DISK_GB"])
        except ValueError:
            raise SetupError("LABKIT_DISK_GB must be a number of gigabytes, such as 3") from None
    # On Linux, torch brings its GPU libraries along, whether there is a GPU or not.
    return 12.0 if sys.platform.startswith("linux") else 4.0


def create_venv() -> None:
    """A fresh `.venv`, in place of any that does not work."""
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SetupError(
            f"Python's module {missing[0]} is missing; install it with: sudo apt install "
            f"python{version}-venv (Debian, Ubuntu), or use a Python from python.org"
        )
    print(f"Creating {VENV} with Python {sys.version.split()[0]}", flush=True)
    # Never from the Python inside .venv: --clear deletes it.
    base = getattr(sys, "_base_executable", None) or sys.executable
    made = subprocess.run([base, "-m", "venv", "--clear", VENV], stderr=subprocess.PIPE)
    if made.returncode != 0:
        words = last_words(made.stderr.decode(errors="replace"))
        raise SetupError(f"{base} cannot create {VENV}: {words}; try another: make lab PYTHON=...")


def install(extras: set) -> None:
    """Install the course in place; the stamp comes last, so that a broken run is redone."""
    unfinished, log = in_venv("labkit-unfinished"), in_venv("install.log")
    start = time.time()
    downloads = in_venv("downloads")  # /tmp is often a small disk in memory
    remove(stamp_path())
    for path in (unfinished, log):
        open(path, "w").close()
    os.makedirs(downloads, exist_ok=True)
    print(f"Installing what pyproject.toml lists [{', '.join(sorted(extras))}]; ", end="")
    print("the first time, this downloads some gigabytes", flush=True)
    course = ["--editable", f"{ROOT}[{','.join(sorted(extras))}]"]
    environment = {**os.environ, "TMPDIR": downloads, "PIP_USER": "0"}
    try:
        code = 0 if install_with_uv(course, environment) else install_with_pip(course, environment)
    finally:
        shutil.rmtree(downloads, ignore_errors=True)
    if code != 0:
        remove(unfinished)  # pip gave up in good order: what it had installed before is whole
        raise SetupError(reason_of_failure(log, code))
    write_stamp(extras)
    remove(unfinished)
    print(f"Installed in {time.time() - start:.0f} seconds", flush=True)


def install_with_pip(course: list, environment: dict) -> int:
    """The exit code; the progress is on stdout and stays in sight, what went wrong in the log."""
    command = [venv_python(), "-m", "pip", "install", "--disable-pip-version-check"]
    with open(in_venv("install.log"), "wb") as log:
        return subprocess.run(command + course, env=environment, stderr=log).returncode


def install_with_uv(course: list, environment: dict) -> bool:
    """Whether uv could be had and installed the course, in half of pip's time."""
    settings = settings_of_uv()
    if settings is None:
        return False
    get = [venv_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    get += ["--only-binary=:all:", "uv"]
    # Of all indexes the best version, and modules compiled, as by pip.
    use = [venv_python(), "-m", "uv", "pip", "install", "--python", venv_python()]
    use += ["--index-strategy=unsafe-best-match", "--compile-bytecode"] + course
    with open(in_venv("uv.log"), "wb") as log:
        return all(
            subprocess.run(command, env={**environment, **settings}, stderr=stream).returncode == 0
            for command, stream in ((get, log), (use, subprocess.STDOUT))
        )


def settings_of_uv() -> "dict | None":
    """Pip's settings as variables of uv's; None where uv cannot follow them."""
    command = [venv_python(), "-m", "pip", "config", "list"]
    asked = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    lines = asked.stdout.decode(errors="replace").splitlines()
    settings = {}
    for line in sorted(lines, reverse=True):  # the environment's last: they count
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if name in PIPS_OWN:
            continue
        if name not in UV_NAMES or section not in ("global", ":env:"):
            return None
        words = ast.literal_eval(value).split()
        settings[UV_NAMES[name]] = ("," if name == "find-links" else " ").join(words)
    return settings


def reason_of_failure(log: str, exit_code: int) -> str:
    """The one line that stands for all that pip wrote."""
    with open(log, encoding="utf-8", errors="replace") as messages:
        text = messages.read()
    if DISK_WORDS.search(text):
        return "the disk is full; free some gigabytes (pip's cache: pip cache purge), then repeat"
    if NETWORK_WORDS.search(text):
        return (
            "no network: pip cannot reach the package index; check the connection (behind a proxy, "
            f"set HTTPS_PROXY), then repeat; pip's words are in {log}"
        )
    absent = re.search("No matching distribution found for (.+)", text)
    if absent:
        return (
            f"there is no {absent.group(1).strip()} for Python {sys.version.split()[0]} on this "
            "machine; try another version: make lab PYTHON=python3.12 (after removing .venv)"
        )
    return f"pip stopped with exit code {exit_code}: {last_words(text)}; its words are in {log}"


def last_words(text: str) -> str:
    """The last error in a program's output, or its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["without a word"]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines)[-1]


def is_current(done: dict, extras: set) -> bool:
    """Whether the stamp says that just this list was installed just here."""
    return (
        done.get("list") == hash_of_list()
        and done.get("folder") == os.path.realpath(ROOT)
        and extras <= set(done.get("extras", []))
        and os.path.exists(venv_python())
    )


def is_usable(done: dict) -> bool:
    """Whether packages can be added to `.venv` as it is."""
    moved = done.get("folder", os.path.realpath(ROOT)) != os.path.realpath(ROOT)
    interrupted = os.path.exists(in_venv("labkit-unfinished"))
    question = "import sys, pip; assert sys.version_info >= (3, 11)"
    return not moved and not interrupted and succeeds([venv_python(), "-c", question])


def read_stamp() -> dict:
    """What was installed, or nothing if that is not known."""
    try:
        with open(stamp_path(), encoding="utf-8") as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(extras: set) -> None:
    """Say what was installed, from which list, and where."""
    stamp = {"list": hash_of_list(), "folder": os.path.realpath(ROOT), "extras": sorted(extras)}
    with open(stamp_path() + ".new", "w", encoding="utf-8") as file:
        json.dump(stamp, file)
    os.replace(stamp_path() + ".new", stamp_path())


def hash_of_list() -> str:
    """The sha256 of pyproject.toml."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def stamp_path() -> str:
    """Where the stamp lies."""
    return in_venv("labkit-installed.json")


def in_venv(name: str) -> str:
    """A path in `.venv`."""
    return os.path.join(VENV, name)


def venv_python() -> str:
    """The Python of `.venv`."""
    return in_venv("Scripts\\python.exe" if os.name == "nt" else "bin/python")


def size_of(folder: str) -> int:
    """Bytes in all files below a folder; 0 if there is none."""
    files = glob.iglob(os.path.join(folder, "**", "*"), recursive=True)
    return sum(os.lstat(path).st_size for path in files)


def succeeds(command: list) -> bool:
    """Whether a command exists, runs, and exits with 0."""
    try:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.run(command, **quiet).returncode == 0
    except OSError:
        return False


def remove(path: str) -> None:
    """Delete a file, if it is there."""
    if os.path.exists(path):
        os.remove(path)


if __name__ == "__main__":
    sys.exit(main())
