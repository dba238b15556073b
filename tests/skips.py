"""Tests that cannot run say what they need; `make test-skipped` runs them once that is there.

`conftest.py` hands what is here to pytest, and `needs` and `needs_module` to the tests.
"""

import os
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def needs(what: str, command: str | None = None, *, there: object) -> None:
    """Skip a test, from within, where what it needs is not there; the reason names the way out.

    Above a test, or as `pytestmark`, the mark `pytest.mark.needs` takes the same arguments.

    Args:
        what: such as "bubblewrap"; read after "needs".
        command: brings it; None where no command does, as on another system.
        there: true where the test can run.
    """
    if not there:
        pytest.skip(f"needs {what} ({command})" if command else f"needs {what}")


def needs_module(name: str, extra: str) -> ModuleType:
    """Import what an extra of pyproject.toml brings, or skip the test, from within."""
    python = sys.executable.removeprefix(f"{ROOT}{os.sep}")
    command = f"{python} -m pip install -e '.[{extra}]'"
    return pytest.importorskip(name, reason=f"needs the extra {extra} ({command})")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    for mark in item.iter_markers("needs"):
        needs(*mark.args, **mark.kwargs)


def pytest_addoption(parser):
    text = "write the ids of skipped tests into FILE, and one line about them into FILE.line"
    parser.addoption("--skipped-to", metavar="FILE", type=Path, help=text)


def pytest_terminal_summary(terminalreporter, config):
    file = config.getoption("--skipped-to")
    if file is None:
        return
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = {one.nodeid: one.longrepr[2].removeprefix("Skipped: ") for one in skipped}
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{name}\n" for name in reasons), encoding="utf-8")
    file.with_name(f"{file.name}.line").write_text(about(reasons.values()), encoding="utf-8")


def about(reasons):
    """What was skipped and what would run it, in one line."""
    if not reasons:
        return "skipped: no test\n"
    groups = []
    for reason, n in Counter(sorted(reasons)).most_common():
        what = reason.removeprefix("needs ")
        groups.append(f"{n} need {what}" if n > 1 else f"1 needs {what}")
    way_out = "once that is there, `make test-skipped` runs them"
    return f"skipped: {len(reasons)} tests: {', '.join(groups)}; {way_out}\n"
