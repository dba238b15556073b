"""Many tasks on any executor, a few of them under way at a time; and executors for the commands."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context
from threading import RLock

import torch
from tqdm import tqdm

# mallopt's numbers, in glibc's malloc.h, and what the Makefile sets for the processes it starts
FREED_MEMORY = {-1: 2**28, -3: 2**25}  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, bytes


def finished(
    executor: Executor | None, work: Callable, shared: object, tasks: Iterable[tuple], window: int
) -> Iterator[tuple[tuple, Callable]]:
    """Each task, as it is done, with a function that gives its result or raises its error.

    Args:
        executor: processes, a dask cluster; None does the work here, when its result is asked for.
        work: called as `work(shared, *task)`.
        shared: what every task needs.
        tasks: what is to be done; those not begun are cancelled where the loop is left early.
        window: never more tasks than this are under way, so that memory does not grow with their
            number.
    """
    if executor is None:
        yield from ((task, partial(work, shared, *task)) for task in tasks)
        return
    waiting, under_way = iter(tasks), {}
    try:
        while True:
            for task in islice(waiting, window - len(under_way)):
                under_way[_submitted(executor, work, shared, task)] = task
            if not under_way:
                return
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                yield under_way.pop(future), future.result
    finally:
        for future in under_way:
            future.cancel()


def _submitted(executor: Executor, work: Callable, shared: object, task: tuple) -> Future:
    """A future; one that failed already where the executor has broken down."""
    try:
        with _interrupts_held():
            return executor.submit(work, shared, *task)
    except BrokenExecutor as error:
        future: Future = Future()
        future.set_exception(error)
        return future


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process that starts meanwhile hears no Ctrl-C until it is prepared."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The options that say where a command's work is done; see `workers_of`."""
    workers = parser.add_mutually_exclusive_group()
    workers.add_argument("--jobs", type=int, default=1, help="processes")
    workers.add_argument("--scheduler", help="address of a dask scheduler; extra 'cluster'")


@contextmanager
def workers_of(arguments: argparse.Namespace) -> Iterator[tuple[Executor | None, int]]:
    """Where the work is done, and how many work there."""
    if arguments.scheduler:
        with _client(arguments.scheduler) as client:
            yield client.get_executor(pure=False), len(client.scheduler_info()["workers"])
    elif arguments.jobs > 1:
        threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
        with ProcessPoolExecutor(
            arguments.jobs,
            mp_context=get_context("spawn"),
            initializer=_prepare_worker,
            initargs=(threads,),
        ) as executor:
            yield executor, arguments.jobs
    else:
        keep_freed_memory()
        yield None, 1


def keep_freed_memory() -> bool:
    """Let this process keep the memory of one layer for the next.

    glibc gives large blocks back to the system as soon as they are free, and gets them again, page
    by page: up to two fifths of the time of a small network's forward pass.

    Returns:
        Whether there is a glibc to be told.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # macOS, Windows, another C library
        return False
    return all(mallopt(number, size) for number, size in FREED_MEMORY.items())


def _prepare_worker(threads: int) -> None:
    """Ctrl-C is for whoever gave the work; a worker ends by it without a word."""
    signal.signal(signal.SIGINT, lambda *_: None)  # forgets one that came meanwhile
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    tqdm.set_lock(RLock())  # its own is one of all processes, which a killed one leaves behind
    torch.set_num_threads(threads)
    keep_freed_memory()


def _client(address: str):
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(
            "--scheduler needs dask, which is not installed; python -m pip install distributed"
        ) from None
    try:
        return Client(address, timeout=10)
    except OSError as error:
        raise ValueError(
            f"--scheduler must be the address of a running dask scheduler, got {address!r} "
            f"({error}); `dask scheduler` prints its address when it starts"
        ) from error
