import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import needs_module
from PIL import Image

import labkit
from labkit.__main__ import main
from labkit.evaluate_command import add_arguments, with_settings


@pytest.fixture
def folders(tmp_path):
    images, gaze = tmp_path / "images", tmp_path / "gaze"
    for folder in (images, gaze):
        folder.mkdir()
    for seed in range(3):
        noise = torch.rand(40, 50, 3, generator=torch.Generator().manual_seed(seed)) * 255
        Image.fromarray(noise.byte().numpy()).save(images / f"picture{seed}.png")
        Image.fromarray(noise[..., 0].byte().numpy()).save(gaze / f"picture{seed}.png")
    return images, gaze, tmp_path / "out"


def arguments(folders, *others, methods=("gradcam", "uniform"), metrics=("cc", "sim")):
    images, gaze, out = folders
    return [
        "evaluate",
        *("--images", str(images), "--density-maps", str(gaze), "--out", str(out)),
        *("--model", "minivgg", "--method", *methods, "--metric", *metrics),
        *others,
    ]


def test_tables_and_a_grid_are_written(folders, capsys):
    assert main(arguments(folders)) == 0
    out = folders[2]
    table = pd.read_csv(out / "table.csv")
    assert len(table) == 6
    assert set(table["method"]) == {"gradcam", "uniform"}
    assert table.loc[table["method"] == "uniform", "cc"].tolist() == [0.0] * 3
    assert pd.read_csv(out / "summary.csv")["n"].tolist() == [3] * 4
    assert set(pd.read_csv(out / "comparisons.csv")["metric"]) == {"cc", "sim"}
    with Image.open(out / "figures" / "grid_001.png") as grid:
        assert "gradcam, uniform" in grid.text["Description"]
    said = capsys.readouterr().out
    assert "3 pictures from images, 3 with a density map" in said
    assert "±" in said


def test_singles_have_a_figure_for_each_picture_and_method(folders):
    shown = ["--display", "singles", "--limit", "2"]
    assert main(arguments(folders, *shown, methods=["gradcam"], metrics=["deletion"])) == 0
    names = sorted(path.name for path in (folders[2] / "figures").iterdir())
    assert names == ["picture0_gradcam.png", "picture1_gradcam.png"]


def test_what_lacks_its_twin_is_said(folders, capsys):
    (folders[1] / "picture1.png").unlink()
    assert main(arguments(folders, "--display", "none")) == 0
    assert "picture1.png has no density map" in capsys.readouterr().out.splitlines()


def test_broken_pictures_stop_it_unless_it_may_go_on(folders, capsys):
    (folders[0] / "picture2.png").write_bytes(b"nothing")
    assert main(arguments(folders, "--display", "none")) == 1
    assert "picture2: " in capsys.readouterr().err
    assert main(arguments(folders, "--display", "none", "--keep-going")) == 0
    assert len(pd.read_csv(folders[2] / "table.csv")) == 4


def test_nothing_is_written_into_a_finished_evaluation(folders, monkeypatch):
    def files():  # a folder's time is that of the last file made in it
        return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in [out, *out.rglob("*")]}

    assert main(arguments(folders)) == 0
    out = folders[2]
    before = files()
    monkeypatch.setattr("os.replace", None)
    assert main(arguments(folders)) == 0
    assert files() == before


STOPPED = """
import signal, sys
from labkit.__main__ import main
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # wherever this runs
    sys.exit(main(sys.argv[1:]))
"""


def stopped(folders, jobs, stop):
    """What is said, and the exit code, when it is stopped in maps that take for ever."""
    endless = ["--set", "perturbation.steps=100000000", "--jobs", str(jobs)]
    script = folders[2].parent / "stopped.py"
    script.write_text(STOPPED)
    command = [sys.executable, str(script)]
    command += arguments(folders, *endless, methods=["uniform", "perturbation"], metrics=["cc"])
    env = os.environ | {"PYTHONPATH": str(Path(labkit.__file__).parents[1])}
    done = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=env
    )
    try:
        while len(list(folders[2].glob("results/*/uniform.json"))) < jobs:
            assert done.poll() is None, done.stderr.read()
            time.sleep(0.01)
        stop(done.pid)
        _, said = done.communicate()
    finally:
        done.kill()
    assert "Traceback" not in said
    return said.splitlines()[-1], done.returncode  # the bar, and then one line


AGAIN = r"run the same command again; \d of 6 results are there"
WORKERS = list(Path("/proc/self/task").glob("*/children"))


@pytest.mark.slow
@pytest.mark.needs("POSIX signals", there=hasattr(os, "killpg"))
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_in_one_line(folders, jobs):
    line, code = stopped(folders, jobs, lambda pid: os.killpg(pid, signal.SIGINT))
    assert re.fullmatch(f"labkit: stopped: {AGAIN}", line)
    assert code == 130


def kill_a_worker(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    workers = [c for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
    os.kill(int(workers[0]), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.needs("the list of a process's children in /proc", there=bool(WORKERS))
def test_a_killed_worker_ends_in_one_line(folders):
    line, code = stopped(folders, 2, kill_a_worker)
    assert re.fullmatch(f"labkit: a worker was killed, .*: {AGAIN}", line)
    assert code == 1


def test_what_may_be_several_may_be_given_one_by_one():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = "--out x --method rise --method lime fem --metric cc --metric sim"
    words += " --set rise.p=0.1 --set lime.seed=1 rise.seed=2"
    given = parser.parse_args(words.split())
    assert given.method == ["rise", "lime", "fem"] and given.metric == ["cc", "sim"]
    assert given.set == ["rise.p=0.1", "lime.seed=1", "rise.seed=2"]


def test_settings_reach_the_method(folders):
    settings = ["--display", "none", "--set", "rise.n_masks=8", "--limit", "1"]
    assert main(arguments(folders, *settings, methods=["rise"])) == 0
    assert pd.read_csv(folders[2] / "table.csv")["forward_passes"].tolist() == [8]


def test_a_rule_of_the_biased_gradient_reaches_it(folders):
    given = ["--display", "none", "--set", "biased.rule=straight-through", "--limit", "1"]
    assert main(arguments(folders, *given, methods=["biased"])) == 0
    (settings,) = pd.read_csv(folders[2] / "table.csv")["settings"]
    assert settings == '{"rule": "straight-through"}'


def test_settings_are_read_as_python_writes_them():
    given = with_settings(["rise", "fem"], ["rise.p=0.1", "rise.normalise=official"])
    assert given == {"rise": {"p": 0.1, "normalise": "official"}, "fem": {}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--set", "rise.p=0.5"], "with a method of --method, got 'rise.p=0.5'"),
        (["--set", "gradcam"], "METHOD.SETTING=VALUE"),
        (["--set", "gradcam.k=2"], "settings of gradcam must be one of"),
        (["--set", "gradcam.layer=3"], "gradcam does not take layer=3: layer must be"),
        (["--set", "gradcam.layer=classifier.1"], "gradcam does not take layer='classifier.1': "),
        (["--method", "rise", "--set", "rise.p=1"], "rise does not take p=1: p must lie"),
        (["--method", "rise", "--set", "rise.n_masks=1e1"], "n_masks must be a whole number"),
        (["--method", "fem", "--set", "fem.k={[]: 1}"], "fem does not take k='{[]: 1}': "),
        (["--limit", "0"], "must be at least 1, got 0"),
        (["--model", "minivg"], "did you mean 'minivgg'?"),
        (["--images", "nowhere"], "got 'nowhere', which is no folder"),
        (["--method", "grad-cam"], "did you mean 'gradcam'?"),
        (["--metric", "cx"], "metrics must be one of"),
        (["--scheduler", "tcp://127.0.0.1:9"], "address of a running dask scheduler"),
    ],
)
def test_bad_input_is_one_line(folders, capsys, changed, said):
    if "--scheduler" in changed:
        needs_module("distributed", "cluster")
    assert main(arguments(folders, *changed)) == 1
    error = capsys.readouterr().err
    assert error.startswith("labkit: ") and error.count("\n") == 1
    assert said in error
