"""Tasks on an executor: a few under way at a time, each handed back with its future."""

from __future__ import annotations

import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor

import pytest

from labkit.executors import finished


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
            task: future.result()
            for task, future in finished(executor, lambda k, a, b: k * a + b, 10, tasks, 3)
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
        task, future = first.result(timeout=10)
    assert (task, future.result()) == ((2,), "two")
    assert len(executor.futures) == 4
    results.close()
    assert [future.cancelled() for future in executor.futures] == [True, True, False, True]


def test_a_failure_belongs_to_its_task():
    def fail_on_two(shared, number):
        if number == 2:
            raise ValueError("two")
        return number

    with ThreadPoolExecutor(1) as executor:
        failed = [
            task
            for task, future in finished(executor, fail_on_two, None, [(1,), (2,), (3,)], 1)
            if future.exception() is not None
        ]
    assert failed == [(2,)]


def test_a_broken_executor_fails_every_task_instead_of_hanging():
    results = list(finished(Broken(), print, None, [(1,), (2,)], 1))
    assert [task for task, _ in results] == [(1,), (2,)]
    for _, future in results:
        with pytest.raises(BrokenExecutor, match="a worker died"):
            future.result()
