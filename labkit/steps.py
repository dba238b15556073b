"""A long function in steps, so that a notebook can do other things between them.

It takes turns with its caller: it runs in a thread of its own, but never while the caller does. It
waits before a layer of a network, and there it can be stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

Result = TypeVar("Result")


class Stopped(BaseException):
    """Ends what runs; like KeyboardInterrupt, it is no error that anyone should handle."""


def in_steps(work: Callable[[], Result], every: float = 0.1) -> Generator[None, None, Result]:
    """Run a function that asks networks, and come back about so often.

    Between two steps the networks may be in the middle of a pass. What runs then must not put hooks
    on their layers, nor must the function, if others ask the same networks meanwhile.

    Args:
        work: the function; what it changes it must put back itself, also after an exception.
        every: seconds of a step; more where a layer takes longer.

    Yields:
        None, after each step. Closed before the last one, the work ends with `Stopped`.

    Returns:
        What work returns.
    """
    turns = _Turns(every)
    with ThreadPoolExecutor(1) as executor, register_module_forward_pre_hook(turns.wait):
        future = executor.submit(turns.run, work)
        try:
            while turns.step():
                yield
        finally:
            turns.stop()
        return future.result()


class _Turns:
    """Who may run: the work, or its caller."""

    def __init__(self, every: float) -> None:
        self._every, self._stopped, self._over = every, False, False
        self._work, self._caller = threading.Semaphore(0), threading.Semaphore(0)

    def run(self, work: Callable[[], Result]) -> Result:
        """In the thread: the work, from its first turn."""
        self._thread = threading.get_ident()
        self._begin_turn()
        try:
            return work()
        finally:
            self._over = True
            self._caller.release()

    def wait(self, module: nn.Module, inputs: object) -> None:
        """In the thread, before a layer: give the turn away when it has been long enough."""
        mine = threading.get_ident() == self._thread
        if mine and time.monotonic() - self._since > self._every:
            self._caller.release()
            self._begin_turn()

    def _begin_turn(self) -> None:
        self._work.acquire()
        self._since = time.monotonic()
        if self._stopped:
            raise Stopped

    def step(self) -> bool:
        """For the caller: let the work run for a turn; False when that was the last."""
        self._work.release()
        self._caller.acquire()
        return not self._over

    def stop(self) -> None:
        """For the caller: let the work end at its next layer, if it has not."""
        self._stopped = True
        self._work.release()
