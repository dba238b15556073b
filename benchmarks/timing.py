"""Time several ways of doing one thing, side by side in one run."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

import torch

Seconds = dict[str, list[float]]


def measure(ways: dict[str, Callable[[], object]], repeats: int = 5) -> Seconds:
    """Run each way once unmeasured, then all of them in turn, `repeats` times.

    In turn, so that a machine that slows down for a while does so for all of them.
    """
    for way in ways.values():
        way()
    seconds: Seconds = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> str:
    """How many times as long the slow way takes: median and range over the repeats."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def machine(*packages: str) -> str:
    """A line that names the machine and the versions of torch and of other packages."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *packages))
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{platform.machine()}, {cores}; Python {platform.python_version()}, {versions}"


def table(seconds: Seconds, ours: str) -> str:
    """One row for each way: its median time, and how many times as long as ours it takes."""
    width = max(map(len, seconds))
    rows = [
        f"  {name:{width}}  {statistics.median(times):8.2f} s   {ratio(times, seconds[ours])}"
        for name, times in seconds.items()
    ]
    return "\n".join(rows)
