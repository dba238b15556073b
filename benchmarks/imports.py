"""How long an import takes, in units of `import torch`, and what a Python holds after it.

Each is a Python of its own, started anew for each repeat, that reads its own high-water mark.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks import timing
from benchmarks.timing import REPEATS, Measurement

OURS = ("labkit.models", "labkit.explain", "labkit.evaluate")
PEERS = ("captum.attr", "torchcam.methods", "pytorch_grad_cam", "quantus")
HELD = """
from pathlib import Path
status = Path("/proc/self/status")
if status.exists():
    print(status.read_text().split("VmHWM:")[1].split()[0])
"""


def imported(module: str) -> tuple[float, float | None]:
    """Seconds from the start of Python to its end, and megabytes."""
    begin = time.perf_counter()
    command = [sys.executable, "-c", f"import {module}{HELD}"]
    told = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return time.perf_counter() - begin, int(told) / 1024 if told else None


def measurements(quick: bool = False) -> Iterator[Measurement]:
    """All imports in turn, once unmeasured: the first one reads from the disk."""
    modules = ("torch", *OURS, *(() if quick else PEERS))
    rounds = [[imported(name) for name in modules] for _ in range(1 + (1 if quick else REPEATS))]
    columns = dict(zip(modules, zip(*rounds[1:], strict=True), strict=True))
    seconds = {name: [seconds for seconds, _ in several] for name, several in columns.items()}
    peak = {name: several[-1][1] for name, several in columns.items()}
    yield Measurement("Import", "", OURS, (), seconds, peak)


if __name__ == "__main__":
    timing.main(measurements)
