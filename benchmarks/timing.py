"""Time several ways of doing one thing side by side, and the memory that each needs.

All ways run in one process, in turn, so that a machine that slows down for a while does so for all
of them. The memory of a way is taken in a fresh process: the high-water mark of its resident set
(VmHWM in /proc/self/status, after /proc/self/clear_refs has set it back), less what was resident
just before, that is Python, the libraries and the network. Only Linux tells it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

REPEATS = 5
PACKAGES = ("torch", "torchvision", "captum", "grad-cam", "lime", "nbgrader", "quantus")
PACKAGES += ("torchcam", "zennit")
SETTINGS = ("GOMP_SPINCOUNT", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
# The clock is read without waiting for a GPU, and the pictures are on the CPU.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

Ways = Mapping[str, Callable[[], object]]


class Promise(NamedTuple):
    """One way takes at most, or at least, so many times as long as another."""

    way: str
    of: str
    at_most: float | None = None
    at_least: float | None = None


@dataclass(frozen=True)
class Workload:
    """One thing to do on one network, and several ways of doing it.

    Attributes:
        name: what is done.
        network: on which; empty where there is none.
        ways: by name; the first is the limit, in units of which the others are given.
        ours: which ways are labkit's.
        promises: what must hold.
        times: how often each way does it in one go; 1 where nothing is said. What is over too soon
            is done several times, and seconds are those of one.
        repeats: how often all ways are timed in turn; more where each is over soon.
    """

    name: str
    network: str
    ways: Ways
    ours: Sequence[str]
    promises: Sequence[Promise] = ()
    times: Mapping[str, int] = field(default_factory=dict)
    repeats: int = REPEATS


@dataclass(frozen=True)
class Measurement:
    """What a workload took.

    Attributes:
        name, network, ours, promises: those of the workload.
        seconds: of each way, one a repeat; the first way is the unit.
        peak: of each way, megabytes; None where they cannot be told.
    """

    name: str
    network: str
    ours: Sequence[str]
    promises: Sequence[Promise]
    seconds: Mapping[str, Sequence[float]]
    peak: Mapping[str, float | None]

    @property
    def unit(self) -> str:
        """The way that counts as 1."""
        return next(iter(self.seconds))

    def median(self, way: str) -> float:
        """Seconds."""
        return statistics.median(self.seconds[way])

    def ratio(self, way: str, of: str) -> Ratio:
        """How many times as long one way takes as another."""
        return ratio(self.seconds[way], self.seconds[of])


class Ratio(NamedTuple):
    """Median and range over the repeats."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Ratio:
    """How many times as long the slow way takes, repeat by repeat."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def holds(promise: Promise, measured: Ratio) -> bool:
    """Whether the median keeps a promise."""
    too_long = promise.at_most is not None and measured.median > promise.at_most
    too_short = promise.at_least is not None and measured.median < promise.at_least
    return not too_long and not too_short


# Measuring


def measure(ways: Ways, repeats: int) -> dict[str, list[float]]:
    """Run each way once unmeasured, then all of them in turn, `repeats` times; seconds."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def peak(way: Callable[[], object]) -> float | None:
    """Megabytes that this process holds at most while a way runs, beyond what it held before."""
    if not CLEAR.exists():
        return None
    ctypes.CDLL(None).malloc_trim(0)  # or the way would be given what the set-up has freed
    CLEAR.write_text("5")
    before = resident("VmHWM")
    way()
    return resident("VmHWM") - before


def resident(field: str) -> float:
    """A figure of /proc/self/status, in megabytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


Build = Callable[[str], Workload]


def measurements(
    builds: Mapping[Build, Sequence[str]], quick: bool = False
) -> Iterator[Measurement]:
    """Measure each workload on each of its networks; quickly, on the first, and once."""
    for build, networks in builds.items():
        for network in networks[:1] if quick else networks:
            measured = in_a_process(_timed, build, network, quick)
            peaks = {way: in_a_process(_peak, build, network, way) for way in measured.seconds}
            measured.peak.update(peaks)
            yield measured


def in_a_process(function: Callable, *arguments: object) -> object:
    """What a function returns in a process of its own, in which torch has not run yet."""
    with ProcessPoolExecutor(1, get_context("fork")) as executor:
        return executor.submit(function, *arguments).result()


def _timed(build: Build, network: str, quick: bool) -> Measurement:
    work = _built(build, network)
    seconds = {
        way: [together / work.times.get(way, 1) for together in several]
        for way, several in measure(work.ways, 1 if quick else work.repeats).items()
    }
    return Measurement(work.name, work.network, work.ours, work.promises, seconds, {})


def _peak(build: Build, network: str, way: str) -> float | None:
    return peak(_built(build, network).ways[way])


def _built(build: Build, network: str) -> Workload:
    torch.manual_seed(1)  # the same random weights in every run; some have Grad-CAMs of 0 alone
    return build(network)


def repeated(way: Callable[[], object], n: int) -> Callable[[], None]:
    """The same, n times."""

    def ways() -> None:
        for _ in range(n):
            way()

    return ways


def random_image() -> Tensor:
    """`[3, 224, 224]`; what is in a picture does not change how long it takes."""
    return torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(0))


# Telling


def machine() -> dict[str, str]:
    """What ratios may depend on: machine, settings, versions."""
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(": ")[1] for line in cpu.splitlines() if line.startswith("model name")]
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    settings = {name: os.environ.get(name, "not set") for name in SETTINGS}
    return {
        "machine": f"{(models or [platform.machine()])[0]}, {threads}, {platform.system()}",
        "settings": ", ".join(f"{name} {value}" for name, value in settings.items()),
        "versions": f"Python {platform.python_version()}, {', '.join(_versions())}",
    }


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} not installed"


def table(measured: Measurement) -> str:
    """One row for each way: median time, how many times as long as the first, memory."""
    width = max(map(len, measured.seconds))
    rows = [f"{measured.name}, {measured.network}".rstrip(", ")]
    for way in measured.seconds:
        megabytes = written(measured.peak[way])
        seconds, times = measured.median(way), measured.ratio(way, measured.unit)
        rows.append(f"  {way:{width}}  {seconds:9.3f} s  {times!s:24}  {megabytes:>6} MB")
    return "\n".join(rows)


def written(megabytes: float | None) -> str:
    """A peak as it is written."""
    return "-" if megabytes is None else f"{megabytes:.0f}"


def main(measurements: Callable[[bool], Iterable[Measurement]]) -> None:
    """Print a table as soon as it is measured; keep all in a file, if one is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="the smallest networks, one repeat")
    parser.add_argument("--json", type=Path, help="a file for the measurements")
    arguments = parser.parse_args()
    print("\n".join(machine().values()))
    done = []
    for measured in measurements(arguments.quick):
        print(f"\n{table(measured)}", flush=True)
        done.append(measured)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in done]), encoding="utf-8")


def read(path: Path) -> list[Measurement]:
    """What `main` has kept."""
    return [from_json(one) for one in json.loads(path.read_text(encoding="utf-8"))]


def from_json(one: dict) -> Measurement:
    """The measurement that was written as this."""
    return Measurement(**one | {"promises": [Promise(*promise) for promise in one["promises"]]})
