"""Run all workloads and write the report: `make bench`; python -m benchmarks --quick --out FOLDER.

Each module runs in a process of its own. What it measured is kept in `results.json` as soon as it
is done, from which `results.md`, `results.png`, `scaling.png` and the numbers in docs/scale.md are
written. Names of modules measure these anew and keep the rest (python -m benchmarks rise imports);
--again measures nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import report
from benchmarks.timing import Measurement, from_json, machine, read
from labkit.files import write_atomically

HERE = Path(__file__).parent
PLAN = HERE.parent / "docs" / "scale.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"

MODULES = (
    *("forward", "gradients", "occlusion", "gradcam", "rise", "faithfulness", "perturbation"),
    *("lite0", "figures", "evaluation", "grading", "imports", "scaling", "widgets"),
)


def measured(module: str, quick: bool) -> list[Measurement]:
    """What a module measures, in a process of its own; its tables are printed meanwhile."""
    print(f"\n== {module}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "measured.json"
        command = [sys.executable, "-m", f"benchmarks.{module}", "--json", str(kept)]
        subprocess.run([*command, *["--quick"] * quick], check=True, cwd=HERE.parent)
        return read(kept)


def run(modules: Sequence[str], quick: bool, out: Path) -> dict:
    """What was measured so far, by module: on what, in how many minutes, and what came of it.

    Raises:
        ValueError: what is kept there was measured in quick runs, or these are.
    """
    kept = read_kept(out)
    if kept and kept["quick"] != quick:
        raise ValueError(
            f"{out / 'results.json'} holds measurements of {'whole' if quick else 'quick'} runs; "
            "remove it, or name another folder with --out"
        )
    about = machine()
    kept = kept or {"about": about, "quick": quick, "minutes": {}, "measurements": {}}
    for module in modules:
        # Each ratio stays within one run; what differs from the others' machine is said.
        other = {name: said for name, said in about.items() if said != kept["about"][name]}
        kept.setdefault("elsewhere", {}).pop(module, None)
        kept["elsewhere"] |= {module: "; ".join(other.values())} if other else {}
        begin = time.perf_counter()
        kept["measurements"][module] = [asdict(one) for one in measured(module, quick)]
        kept["minutes"][module] = (time.perf_counter() - begin) / 60
        text = json.dumps(kept, indent=1) + "\n"
        write_atomically(out / "results.json", text.encode("utf-8"))
    return kept


def read_kept(out: Path) -> dict | None:
    """What is in results.json; None where there is none."""
    path = out / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write(kept: dict, out: Path, plan: Path) -> None:
    """The report, its figures, and the numbers of the plan."""
    modules = [name for name in MODULES if name in kept["measurements"]]
    done = [from_json(one) for name in modules for one in kept["measurements"][name]]
    elsewhere = kept.get("elsewhere", {})
    about = kept["about"] | {f"{name} on": said for name, said in elsewhere.items()}
    if missing := [name for name in MODULES if name not in modules]:
        about["not measured yet"] = ", ".join(missing)
    text = report.results(done, about, sum(kept["minutes"].values()), kept["quick"])
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
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(MODULES)}")
    parser.add_argument("--quick", action="store_true", help="the smallest networks, one repeat")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write")
    parser.add_argument("--again", action="store_true", help="write from what was measured before")
    arguments = parser.parse_args()
    if unknown := set(arguments.modules) - set(MODULES):
        parser.error(f"MODULE must be of {', '.join(MODULES)}, got {', '.join(sorted(unknown))}")
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if not arguments.modules and not arguments.again:
        (out / "results.json").unlink(missing_ok=True)
    if not arguments.again:
        run(arguments.modules or MODULES, arguments.quick, out)
    write(read_kept(out), out, PLAN if out == HERE else out / PLAN.name)


if __name__ == "__main__":
    main()
