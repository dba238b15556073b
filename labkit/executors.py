"""Many tasks on any executor, a few of them under way at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from itertools import islice


def finished(
    executor: Executor,
    work: Callable,
    shared: object,
    tasks: Sequence[tuple],
    window: int,
) -> Iterator[tuple[tuple, Future]]:
    """Each task with its finished future, as they come.

    Args:
        executor: processes, a dask cluster.
        work: called as `work(shared, *task)`.
        shared: what every task needs.
        tasks: what is to be done; those not begun are cancelled where the loop is left early.
        window: never more tasks than this are under way, so that memory does not grow with their
            number.
    """
    waiting, under_way = iter(tasks), {}
    try:
        while True:
            for task in islice(waiting, window - len(under_way)):
                under_way[_submitted(executor, work, shared, task)] = task
            if not under_way:
                return
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                yield under_way.pop(future), future
    finally:
        for future in under_way:
            future.cancel()


def _submitted(executor: Executor, work: Callable, shared: object, task: tuple) -> Future:
    """A future; one that failed already where the executor has broken down."""
    try:
        return executor.submit(work, shared, *task)
    except BrokenExecutor as error:
        future: Future = Future()
        future.set_exception(error)
        return future
