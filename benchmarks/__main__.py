"""Run all workloads and write the report: `make bench`; python -m benchmarks --quick --out FOLDER.

Each module runs in a process of its own. What it measured is kept in `results.json`, from which
`results.md`, `results.png`, `scaling.png` and the numbers in docs/scale.md are written; --again
writes them from that file without measuring.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks import report
from benchmarks.timing import Measurement, from_json, machine, read

HERE = Path(__file__).parent
PLAN = HERE.parent / "docs" / "scale.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"

MODULES = (
    *("forward", "gradients", "occlusion", "gradcam", "rise", "faithfulness", "perturbation"),
    *("evaluation", "grading", "imports", "scaling"),
)


def measured(module: str, quick: bool) -> list[Measurement]:
    """What a module measures, in a process of its own; its tables are printed meanwhile."""
    print(f"\n== {module}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "measured.json"
        command = [sys.executable, "-m", f"benchmarks.{module}", "--json", str(kept)]
        subprocess.run([*command, *["--quick"] * quick], check=True, cwd=HERE.parent)
        return read(kept)


def run(quick: bool) -> dict:
    """All measurements, what they were made on, and how long that took."""
    begin, about = time.perf_counter(), machine()
    done = [asdict(one) for module in MODULES for one in measured(module, quick)]
    minutes = (time.perf_counter() - begin) / 60
    return {"about": about, "minutes": minutes, "quick": quick, "measurements": done}


def write(kept: dict, out: Path, plan: Path) -> None:
    """The report, its figures, and the numbers of the plan."""
    done = [from_json(one) for one in kept["measurements"]]
    text = report.results(done, kept["about"], kept["minutes"], kept["quick"])
    (out / "results.md").write_text(text, encoding="utf-8")
    report.overview(done).save(out / "results.png")
    report.growths(done).save(out / "scaling.png")
    plan.write_text(filled(PLAN.read_text(encoding="utf-8"), report.plan(done)), encoding="utf-8")


def filled(text: str, rows: object) -> str:
    """A text with these lines between its two marks."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return before + BEGIN + "".join(f"{row}\n" for row in rows) + END + after


def main() -> None:
    """Measure, unless that is done, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smallest networks, one repeat")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write")
    parser.add_argument("--again", action="store_true", help="write from what was measured before")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if not arguments.again:
        text = json.dumps(run(arguments.quick), indent=1) + "\n"
        (out / "results.json").write_text(text, encoding="utf-8")
    kept = json.loads((out / "results.json").read_text(encoding="utf-8"))
    write(kept, out, PLAN if out == HERE else out / PLAN.name)


if __name__ == "__main__":
    main()
