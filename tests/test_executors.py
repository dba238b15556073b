"""Tasks on an executor: a few under way at a time, each handed back with its future."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor

import pytest
import torch

from labkit.executors import add_workers, finished, workers_of


class Waiting(Executor):
    """Never begins a task; keeps the futures that it handed out."""

    def __init__(self):
        self.futures = []

    def submit(self, work, /, *arguments):
        future: Future = Future()
        self.futures.append(future)
        return future


class Broken(Executor):
    def submit(self, work, /, *arguments):
        raise BrokenExecutor("a worker died")


def test_every_task_comes_once_with_its_own_result():
    tasks = [(number, number + 1) for number in range(20)]
    with ThreadPoolExecutor(2) as executor:
        done = {
            task: result()
            for task, result in finished(executor, lambda k, a, b: k * a + b, 10, tasks, 3)
        }
    assert done == {(a, b): 10 * a + b for a, b in tasks}


def test_no_more_than_the_window_is_under_way_and_the_rest_is_cancelled():
    executor = Waiting()
    tasks = [(number,) for number in range(10)]
    results = finished(executor, print, None, tasks, 4)
    with ThreadPoolExecutor(1) as other:
        first = other.submit(next, results)
        while len(executor.futures) < 4:
            time.sleep(0.01)
        executor.futures[2].set_result("two")
        task, result = first.result(timeout=10)
    assert (task, result()) == ((2,), "two")
    assert len(executor.futures) == 4
    results.close()
    assert [future.cancelled() for future in executor.futures] == [True, True, False, True]


def test_a_failure_belongs_to_its_task():
    def fail_on_two(shared, number):
        if number == 2:
            raise ValueError("two")
        return number

    with ThreadPoolExecutor(1) as executor:
        results = dict(finished(executor, fail_on_two, None, [(1,), (2,), (3,)], 1))
    assert (results[(1,)](), results[(3,)]()) == (1, 3)
    with pytest.raises(ValueError, match="two"):
        results[(2,)]()


def test_without_an_executor_the_work_is_done_when_its_result_is_asked_for():
    done = []
    results = finished(None, lambda shared, number: done.append(number), None, [(1,), (2,)], 1)
    (_, first), (_, _second) = results
    assert done == []
    first()
    assert done == [1]


def test_a_broken_executor_fails_every_task_instead_of_hanging():
    results = list(finished(Broken(), print, None, [(1,), (2,)], 1))
    assert [task for task, _ in results] == [(1,), (2,)]
    for _, result in results:
        with pytest.raises(BrokenExecutor, match="a worker died"):
            result()


FAULTS = """
import resource, torch
from labkit.executors import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
work = lambda: torch.ones(2_000_000).sum()  # 8 MB
for _ in range(40):  # until there is a block that fits
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.needs("glibc", there=platform.libc_ver()[0] == "glibc")
def test_freed_memory_is_used_again():
    def faults(keep):
        plain = {name: v for name, v in os.environ.items() if not name.startswith("MALLOC_")}
        plain |= {"MALLOC_MMAP_THRESHOLD_": "131072"}  # as long as nothing else is said
        code = [sys.executable, "-c", FAULTS.format(keep=keep)]
        return int(subprocess.run(code, env=plain, capture_output=True, check=True).stdout)

    assert faults(True) < 2000 < faults(False)  # one block of 8 MB, or one each time


def asked(*options):
    parser = argparse.ArgumentParser()
    add_workers(parser)
    return parser.parse_args(options)


def threads_of_a_worker():
    return torch.get_num_threads()


def test_processes_share_the_cores():
    with workers_of(asked("--jobs", "2")) as (executor, n):
        assert n == 2
        assert executor.submit(threads_of_a_worker).result() == max(1, os.cpu_count() // 2)


def test_one_job_needs_no_executor():
    with workers_of(asked()) as (executor, n):
        assert (executor, n) == (None, 1)
