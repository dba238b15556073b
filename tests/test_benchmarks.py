"""Ratios, promises, exponents and tables from hand-made numbers, and what `make bench` runs."""

import ast
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import needs

from benchmarks import __main__ as bench
from benchmarks import report, timing
from benchmarks.scaling import exponent, growth
from benchmarks.timing import Measurement, Promise, Ratio, Workload

ROOT = Path(__file__).parent.parent
INFRASTRUCTURE = {"__init__", "__main__", "jupyterlab", "timing", "report"}


def measured(**changes):
    """Ours takes twice as long as the limit, the peer eight times."""
    settings = {
        "name": "Work",
        "network": "net",
        "ours": ["ours"],
        "promises": [Promise("ours", "limit", at_most=1.5), Promise("peer", "ours", at_least=3)],
        "seconds": {"limit": [1.0, 2.0, 4.0], "ours": [2.0, 6.0, 4.0], "peer": [8.0, 16.0, 32.0]},
        "peak": {"limit": 10.4, "ours": None, "peer": 2000.0},
    }
    return Measurement(**settings | changes)


def grown(name, numbers, seconds, peaks):
    ways = [str(number) for number in numbers]
    return measured(
        name=name,
        promises=[],
        seconds={way: [value] * 3 for way, value in zip(ways, seconds, strict=True)},
        peak=dict(zip(ways, peaks, strict=True)),
    )


# Numbers


def test_a_ratio_is_taken_repeat_by_repeat():
    # 2/1, 6/2, 4/4
    assert timing.ratio([2.0, 6.0, 4.0], [1.0, 2.0, 4.0]) == Ratio(2.0, 1.0, 3.0)
    # 10/1, 4/4, 100/5: the ratio of the medians would be 10/4
    assert timing.ratio([10.0, 4.0, 100.0], [1.0, 4.0, 5.0]).median == 10.0


def test_ratios_need_as_many_repeats_of_both():
    with pytest.raises(ValueError, match="shorter"):
        timing.ratio([1.0, 2.0], [1.0])


def test_a_ratio_is_written_with_its_range():
    assert str(Ratio(2.0, 1.0, 3.456)) == "2.00 (1.00 to 3.46)"


@pytest.mark.parametrize(
    ("promise", "ratio", "kept"),
    [
        (Promise("a", "b", at_most=1.1), 1.1, True),
        (Promise("a", "b", at_most=1.1), 1.11, False),
        (Promise("a", "b", at_least=6), 6.0, True),
        (Promise("a", "b", at_least=6), 5.99, False),
    ],
)
def test_the_median_keeps_or_misses_a_promise(promise, ratio, kept):
    assert timing.holds(promise, Ratio(ratio, 0.0, 100.0)) is kept


def test_an_exponent_is_the_slope_in_logarithms():
    assert exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    assert exponent([1, 10, 100], [5, 5, 5]) == pytest.approx(0)
    # in log2 (0, 0), (1, 0), (2, 3), around x = 1: (1 * 3) / (1 + 1)
    assert exponent([1, 2, 4], [1, 1, 8]) == pytest.approx(1.5)


@pytest.mark.parametrize("y", [[1.0, None], [0.0, 2.0], [-1.0, 2.0]])
def test_there_is_no_exponent_of_what_has_no_logarithm(y):
    assert exponent([1, 2], y) is None


def test_growth_sorts_out_numbers_medians_and_peaks():
    one = grown("Work by number", [1, 10], [2.0, 20.0], [None, 5.0])
    assert growth(one) == ([1, 10], [2.0, 20.0], [None, 5.0])


def test_what_comes_next_lies_on_the_line_through_the_logarithms():
    assert report.onwards([10, 100], [3.0, 300.0], 1000) == pytest.approx(30_000)


# Measuring


def test_every_way_runs_once_unmeasured_and_then_in_turn():
    ran = []
    ways = {"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}
    seconds = timing.measure(ways, 3)
    assert ran == ["a", "b"] * 4
    assert {name: len(several) for name, several in seconds.items()} == {"a": 3, "b": 3}


def test_seconds_are_those_of_the_clock(monkeypatch):
    clock = iter([0.0, 1.5, 2.0, 2.25])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert timing.measure({"a": lambda: None, "b": lambda: None}, 1) == {"a": [1.5], "b": [0.25]}


def sleepless(network):
    """One that does it twice in one go."""
    return Workload("Idle", network, {"a": int, "b": int}, [], times={"b": 2})


def test_seconds_are_those_of_one(monkeypatch):
    clock = iter([0.0, 3.0, 10.0, 13.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(timing, "in_a_process", lambda function, *given: function(*given))
    (one,) = timing.measurements({sleepless: ("net",)}, quick=True)
    assert one.seconds == {"a": [3.0], "b": [1.5]}


def blocks(network):
    """Ways that hold 128 and 48 megabytes; smaller ones may be given what was freed before."""
    ways = {
        "large": lambda: bytearray(b"1" * 2**27),
        "small": lambda: bytearray(b"1" * (3 * 2**24)),
    }
    return Workload("Blocks", network, ways, ["small"])


@pytest.mark.needs("Linux, which tells a process' peak", there=timing.CLEAR.exists())
def test_the_peak_of_a_way_is_its_own():
    (one,) = timing.measurements({blocks: ("first", "second")}, quick=True)
    assert one.network == "first"
    assert len(one.seconds["small"]) == 1
    # the bytes and their copy
    assert one.peak["large"] == pytest.approx(256, abs=8)
    assert one.peak["small"] == pytest.approx(96, abs=8)


def test_what_was_kept_comes_back(tmp_path, monkeypatch, capsys):
    path = tmp_path / "measured.json"
    monkeypatch.setattr(sys, "argv", ["bench", "--json", str(path)])
    timing.main(lambda quick: [measured(network=str(quick))])
    assert timing.read(path) == [measured(network="False")]
    printed = capsys.readouterr().out
    assert "torch" in printed
    assert timing.table(measured(network="False")) in printed


# Text


def test_a_table_has_a_row_a_way():
    heading, *rows = timing.table(measured()).splitlines()
    assert heading == "Work, net"
    assert [" ".join(row.split()) for row in rows] == [
        "limit 2.000 s 1.00 (1.00 to 1.00) 10 MB",
        "ours 4.000 s 2.00 (1.00 to 3.00) - MB",
        "peer 16.000 s 8.00 (8.00 to 8.00) 2000 MB",
    ]


def test_promises_are_shown_kept_or_missed():
    # the peer took 4, 8/3 and 8 times as long as ours
    assert list(report.promise_table([measured()]))[2:] == [
        "| Work | net | ours at most 1.5 x limit | 2.00 (1.00 to 3.00) | **missed** |",
        "| Work | net | peer at least 3 x ours | 4.00 (2.67 to 8.00) | holds |",
    ]


def test_the_report_has_every_way_and_every_growth():
    done = [measured(), grown("More by masks", [1, 10], [0.5, 50.0], [3.0, 3.0])]
    text = report.results(done, {"machine": "a quiet one"}, 12.4, quick=False)
    assert "- machine: a quiet one" in text
    assert "this run took 12 minutes" in text
    assert "quick run" not in text
    assert "|  |  | ours (labkit) | 4 s | 2.00 (1.00 to 3.00) | - MB |" in text
    assert "| More | masks | 1, 10 | 500 ms, 50 s | 2.00 | 3, 3 MB | 0.00 |" in text
    assert "quick run" in report.results(done, {}, 1.0, quick=True)


def test_the_plan_multiplies_what_was_measured():
    # two workers, 36 s for 4 submissions: 18 worker-seconds; 10,000 of them on 100: half an hour
    graded = measured(name="Grade 4 submissions", seconds={"labkit, 2 workers": [36.0]})
    # ten times as many notebooks as 1000, and so 100 times as long as 6 s
    alike = grown("Similar notebooks by number", [10, 100, 1000], [1, 0.06, 6], [1, 102.4, 1024])
    alike = Measurement(**vars(alike) | {"network": ""})
    rows = list(report.plan([graded, alike]))
    assert "| g, worker-seconds a submission | 18.0 s | 10,000 submissions: 0.5 hours" in rows[2]
    assert rows[3].endswith("| 1,000: 6 s, 1024 MB | extrapolated: 10 minutes, 10 GB |")
    assert all("not measured yet" in row for row in rows[4:])


def test_a_million_pictures_are_so_many_passes():
    # 452 passes of 0.0864 s are a day for 2212.4 pictures
    bare = measured(name="One forward pass", network="resnet18", seconds={"ours": [0.0864]})
    (row,) = (row for row in report.plan([bare]) if "resnet18" in row)
    assert row.endswith("| 86.4 ms | 1,000,000 pictures: 450 machine-days, 4.5 on 100 machines |")


def test_numbers_go_between_the_marks_and_nowhere_else():
    text = f"before\n{bench.BEGIN}old\n{bench.END}after\n"
    once = bench.filled(text, ["new", "rows"])
    assert once == f"before\n{bench.BEGIN}new\nrows\n{bench.END}after\n"
    assert bench.filled(bench.PLAN.read_text(encoding="utf-8"), ["x"]).count(bench.BEGIN) == 1


# Figures


def test_a_figure_shows_the_last_network_of_those_with_most_ways():
    small = measured(network="fewer", seconds={"limit": [1.0], "ours": [1.0]})
    done = [measured(network="first"), measured(network="last"), small]
    assert [one.network for one in report.shown(done)] == ["last"]


def test_figures_say_what_they_show():
    more = grown("More by masks", [1, 10], [0.5, 50.0], [None, 3.0])
    assert "Work on net: ours 2.00, peer 8.00" in report.overview([measured(), more]).alt
    assert report.growths([measured(), more]).alt.endswith("More by masks 2.00.")


def test_a_report_is_written_again_without_measuring(tmp_path, monkeypatch):
    done = {"rise": [vars(measured())]}
    kept = {"about": {}, "quick": False, "minutes": {"rise": 1.0}, "measurements": done}
    (tmp_path / "results.json").write_text(timing.json.dumps(kept))
    monkeypatch.setattr(sys, "argv", ["bench", "--again", "--out", str(tmp_path)])
    before = bench.PLAN.read_text(encoding="utf-8")
    bench.main()
    assert {path.name for path in tmp_path.iterdir()} == {
        *("results.json", "results.md", "results.png", "scaling.png", "scale.md")
    }
    assert bench.PLAN.read_text(encoding="utf-8") == before
    said = (tmp_path / "results.md").read_text(encoding="utf-8")
    others = [name for name in bench.MODULES if name != "rise"]
    assert f"- not measured yet: {', '.join(others)}\n" in said


def test_a_module_is_measured_anew_and_the_others_are_kept(tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr(
        bench, "measured", lambda module, quick: runs.append(module) or [measured(name=module)]
    )
    for names in (["imports"], ["rise", "imports"]):
        kept = bench.run(names, False, tmp_path)
    assert runs == ["imports", "rise", "imports"]
    assert set(kept["measurements"]) == {"imports", "rise"}
    assert bench.read_kept(tmp_path) == timing.json.loads(timing.json.dumps(kept))
    with pytest.raises(ValueError, match="holds measurements of whole runs"):
        bench.run(["rise"], True, tmp_path)


def test_what_another_machine_measured_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "measured", lambda module, quick: [measured(name=module)])
    for processor, names in (("old", ["rise", "imports"]), ("new", ["rise"])):
        monkeypatch.setattr(bench, "machine", lambda said=processor: {"machine": said, "os": "x"})
        kept = bench.run(names, False, tmp_path)
    assert kept["about"] == {"machine": "old", "os": "x"}
    assert kept["elsewhere"] == {"rise": "new"}
    bench.write(kept, tmp_path, tmp_path / "scale.md")
    assert "- machine: old\n- os: x\n- rise on: new\n" in (tmp_path / "results.md").read_text()
    monkeypatch.setattr(bench, "machine", lambda: {"machine": "old", "os": "x"})
    assert bench.run(["rise"], False, tmp_path)["elsewhere"] == {}


def test_what_was_measured_before_a_stop_is_kept(tmp_path, monkeypatch):
    def stopped(module, quick):
        if module == "rise":
            raise KeyboardInterrupt
        return [measured(name=module)]

    monkeypatch.setattr(bench, "measured", stopped)
    with pytest.raises(KeyboardInterrupt):
        bench.run(["imports", "rise"], False, tmp_path)
    assert set(bench.read_kept(tmp_path)["measurements"]) == {"imports"}


# The house


def test_every_module_is_run():
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert modules - INFRASTRUCTURE == set(bench.MODULES)
    assert len(set(bench.MODULES)) == len(bench.MODULES)


@pytest.mark.parametrize("module", bench.MODULES)
def test_every_module_measures_when_it_is_run(module):
    # read, not imported: the peers may be missing
    tree = ast.parse((ROOT / "benchmarks" / f"{module}.py").read_text(encoding="utf-8"))
    assert "timing.main(measurements)" in ast.unparse(tree.body[-1])


def test_make_bench_runs_them_all():
    needs("make", "sudo apt install make", there=shutil.which("make"))
    ran = subprocess.run(["make", "-n", "bench"], cwd=ROOT, capture_output=True, text=True)
    assert re.search(r"--extras lab,conformance,cluster,grading\b", ran.stdout)
    assert re.search(r"-m benchmarks$", ran.stdout, re.MULTILINE)
