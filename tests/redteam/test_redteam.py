"""Honest and hostile notebooks, graded in one batch: fair to the ones, safe from the others."""

import math
import os
import re
import socket
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psutil
import pytest
from made import FULL, HONEST, hostile
from sandboxed import GENEROUS, PATIENCE, needs_a_sandbox
from toy_lab import IMPORTS, RELEASE, RIGHT, WORDS

from grader.batch import grade_all
from grader.grade import Bundle, Seconds, Submission, grade_one
from grader.kernel import Kernel
from grader.sandbox import GIB, Limits

pytestmark = [needs_a_sandbox, pytest.mark.slow]
SLEEP = 600 + os.getpid() / 1e6  # seconds: names the processes that must not stay
LIMITS = Limits(memory=GIB, disk=GIB // 32)
HOSTILE = hostile("", "", 0, 0)  # the names; the fixture has the true ones


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A folder with a solution and without a canary, and a server that gives the solution away."""
    folder = tmp_path_factory.mktemp("machine")
    folder.chmod(0o755)
    (folder / "solution.py").write_text("\n".join(RIGHT.values()))
    visits = []

    def serve(server):
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            visits.append(1)
            with connection:
                connection.sendall("\n".join(RIGHT.values()).encode())

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield folder, server.getsockname()[1], visits
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def tight():
    """Limits for what does not end by itself: four times what this machine needs for a cell.

    The cell imports torch and touches as much memory as a memory hog may.
    """
    with Kernel(LIMITS) as kernel:
        begin = time.monotonic()
        assert kernel.run(f"{IMPORTS}\nhoard = [b'x' * 2**26 for _ in range(8)]", PATIENCE) == ""
        needed = time.monotonic() - begin
    seconds = max(10, math.ceil(4 * needed))
    return Seconds(seconds, seconds, 6 * seconds)


@pytest.fixture(scope="module")
def graded(machine, tight, tmp_path_factory):
    """The result of every made submission."""
    folder, port, _ = machine
    results = {}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        for made, seconds in (
            (HONEST, GENEROUS),
            (hostile(folder / "solution.py", folder / "canary", port, SLEEP), tight),
        ):
            submissions = [Submission(name, one.content) for name, one in made.items()]
            bundle = Bundle("toy_lab", RELEASE, seconds=seconds, limits=LIMITS)
            out = tmp_path_factory.mktemp("out")
            by_hash = grade_all(submissions, bundle, out, executor=executor, workers=2)
            results |= {one.student: by_hash[one.hash] for one in submissions}
    return results


def assert_as_expected(name, result, made):
    assert tuple(one.points for one in result.exercises) == made.points, f"{name}: {result}"
    for one in result.exercises:
        wanted = made.causes.get(one.name, ())
        if wanted:
            wanted = {wanted} if isinstance(wanted, str) else set(wanted)
            assert set(one.causes) <= wanted, f"{name}: {one}"
        lost = one.points < one.possible
        assert bool(one.causes) == bool(one.messages) == lost, f"{name}: {one}"
    for words in made.notes:
        assert any(words in note for note in result.notes), f"{name}: {result.notes}"
    assert result.sandboxed, name


def test_honest_notebooks_get_what_they_earn(graded):
    for name, made in HONEST.items():
        assert_as_expected(name, graded[name], made)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_notebooks_gain_nothing(graded, name):
    assert_as_expected(name, graded[name], HOSTILE[name])


def test_nothing_is_harmed(graded, machine):
    folder, _, visits = machine
    assert sorted(path.name for path in folder.iterdir()) == ["solution.py"]
    assert not visits
    running = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in running if str(SLEEP) in command]


def test_what_was_answered_in_words_is_found(graded):
    for name in HONEST.keys() - {"empty", "no notebook at all", "cells deleted"}:
        assert graded[name].words == {"toy.q1": WORDS}, name


def test_each_lost_point_has_words_for_the_student(graded):
    def said(name, exercise=2):
        return " ".join(graded[name].exercises[exercise].messages)

    assert "They grow with `maps`." in said("a common mistake", 0)
    assert "SyntaxError" in said("syntax error", 1)
    assert "there is no function `weights`" in said("a function under another name", 0)
    assert re.search("was stopped after [0-9]+ s", said("endless loop in a function", 0))
    assert "labkit.explain is not there while a notebook is graded" in said("imports the solution")
    assert "Network is unreachable" in said("calls outside")
    assert "expected numbers, arrays or tensors" in said("equal to everything")
    assert len(said("30 MB in an error")) < 1000
    assert "the answer has 15 MB" in said("a large answer")


@pytest.mark.parametrize("name", ["reads the solution", "fetches from loopback"])
def test_it_is_the_sandbox_that_stops_them(machine, name):
    folder, port, _ = machine
    made = hostile(folder / "solution.py", folder / "canary", port, SLEEP)[name]
    trusting = Bundle("toy_lab", RELEASE, seconds=GENEROUS, sandboxed=False)
    result = grade_one(Submission(name, made.content), trusting)
    assert tuple(one.points for one in result.exercises) == FULL
    assert not result.sandboxed
