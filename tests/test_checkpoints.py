"""Files of weights as people save them: what is loaded, and what the errors say of the others."""

import argparse
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch
import torchvision
from cases import case
from torch import nn
from torch.testing import assert_close

from labkit.models import load_model, minivgg


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return minivgg(2).state_dict()


@pytest.fixture
def saved(tmp_path):
    """Writes a content to a file, as torch.save does."""

    def save(content, name="mine.pt", **how):
        torch.save(content, tmp_path / name, **how)
        return tmp_path / name

    return save


def loaded(path, **settings):
    return load_model("minivgg", weights=path, **settings).network.state_dict()


def before(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def refusal(path, name="minivgg", error=ValueError):
    """What is said of a file; a sound one must never be called damaged."""
    with pytest.raises(error) as caught:
        load_model(name, weights=path)
    said = str(caught.value)
    assert str(path) in said
    if "cut off" not in said:
        assert "damaged" not in said and "delete" not in said
    return said


def contents(state):
    noise = {name: torch.rand_like(value) for name, value in state.items()}
    optimizer = {"state": {0: {"exp_avg": state["features.0.weight"]}}, "param_groups": []}
    lightning = {"pytorch-lightning_version": "2.4.0", "hyper_parameters": {"lr": 0.1}}
    return {
        "alone": state,
        "state_dict": {"state_dict": state, "epoch": 3},
        "model_state_dict": {"model_state_dict": state, "optimizer_state_dict": optimizer},
        "optimizer first": {"optimizer": optimizer, "model": state, "loss": torch.tensor(0.5)},
        "DataParallel": before("module.", state),
        "compile": before("_orig_mod.", state),
        "both": {"model": before("module._orig_mod.", state)},
        "both, the other way": before("_orig_mod.module.", state),
        "compiled inside": {k.replace("features.", "features._orig_mod."): state[k] for k in state},
        "Lightning": {**lightning, "state_dict": before("model.", state)},
        "Lightning, with a metric": {
            "state_dict": {**before("net.", state), "accuracy.total": torch.tensor(3)}
        },
        "several floors": {"a": {"b": {"c": before("module.backbone.net.", state)}}},
        "EMA alone": {"ema": {"module": state, "updates": 7}},
        "EMA beside": {"ema": {"module": noise}, "model": state},
        "EMA in the names": {**before("ema_model.", noise), **before("online_model.", state)},
        "average of torch": {"n_averaged": torch.tensor(2), **before("module.", state)},
        "numbers beside": {**state, "epoch": torch.tensor(3), "best": np.float64(0.9), "n": "x"},
        "a dict beside": {**state, "schedule": {"rates": torch.ones(3)}},
        "numpy arrays": {name: value.numpy() for name, value in state.items()},
        "options": {"model": state, "args": argparse.Namespace(lr=0.1)},
        "parameters": {name: nn.Parameter(value) for name, value in state.items()},
        "double": {name: value.double() for name, value in state.items()},
    }


def test_weights_are_found_in_whatever_is_around_them(state, saved):
    for name, content in contents(state).items():
        for legacy in (False, True):
            path = saved(content, _use_new_zipfile_serialization=not legacy)
            with case(f"{name}, legacy: {legacy}"):
                assert_close(loaded(path), state, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(dtype, state, saved):
    half = {name: value.to(dtype) for name, value in state.items()}
    expected = {name: value.float() for name, value in half.items()}
    assert_close(loaded(saved({"state_dict": half})), expected, rtol=0, atol=0)


def test_safetensors_and_npz_are_read(state, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(before("model.", state), tmp_path / "mine.safetensors")
    np.savez(tmp_path / "mine.npz", **{name: value.numpy() for name, value in state.items()})
    for path in (tmp_path / "mine.safetensors", tmp_path / "mine.npz"):
        assert_close(loaded(path), state, rtol=0, atol=0)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "mine.safetensors").read_bytes()[:9000])
    assert "cut off or damaged" in refusal(tmp_path / "cut.safetensors")


def test_without_safetensors_the_error_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    (tmp_path / "mine").write_bytes((2).to_bytes(8, "little") + b"{}")
    said = refusal(tmp_path / "mine", error=ModuleNotFoundError)
    assert "`python -m pip install safetensors`" in said


def test_old_files_without_counters_of_batches_are_loaded(saved):
    full = torchvision.models.mobilenet_v2(num_classes=1000).state_dict()
    old = {name: value for name, value in full.items() if "num_batches" not in name}
    path = saved(old)
    assert_close(load_model("mobilenet_v2", weights=path).network.state_dict(), full)


# Another head


def test_another_head_says_both_counts_and_its_names_are_asked_for(saved):
    four = torchvision.models.squeezenet1_1(num_classes=4)
    path = saved(four.state_dict())
    said = refusal(path, "squeezenet1_1")
    assert "has a head for 4 classes, the network is built for 1000" in said
    assert f"load_model('squeezenet1_1', weights={str(path)!r}, classes=[...])" in said
    model = load_model("squeezenet1_1", weights=path, classes=list("abcd"))
    assert model.classes == tuple("abcd")
    assert_close(model.network.state_dict(), four.state_dict(), rtol=0, atol=0)
    with pytest.raises(ValueError, match="for 4 classes, the network is built for 3"):
        load_model("squeezenet1_1", weights=path, classes=list("abc"))


def test_names_need_a_file_whose_classes_they_are(state, saved):
    path = saved(state)
    assert load_model("minivgg", weights=path, classes=["x", "y"]).classes == ("x", "y")
    for weights in (None, "random"):
        with pytest.raises(ValueError, match="classes must come with weights from a file, got"):
            load_model("minivgg", weights=weights, classes=["x", "y"])


# What is no file of weights for this network


class Own(nn.Module):
    """A network of somebody's own, without a layer of torch's."""

    def forward(self, x):
        return x


def test_a_pickled_network_is_refused_and_the_way_to_save_it_named(saved):
    for content in (minivgg(2), Own(), {"model": minivgg(2), "epoch": 3}):
        for legacy in (False, True):
            path = saved(content, _use_new_zipfile_serialization=not legacy)
            said = refusal(path)
            assert "holds a whole network as a Python object (" in said
            assert "torch.save(model.state_dict(), 'weights.pt')" in said
            with pytest.raises(ValueError, match="holds a whole network as a Python object"):
                load_model(path)


class Settings:
    """Of somebody's own."""


def test_another_object_is_refused_by_its_name(state, saved):
    said = refusal(saved({"state_dict": state, "settings": Settings()}))
    assert "holds a Python object (test_checkpoints.Settings)" in said
    assert "torch.load(path, weights_only=False)" in said


def test_newer_protocols_of_pickle_are_not_called_damage(state, saved):
    for legacy in (False, True):
        how = {"pickle_protocol": 4, "_use_new_zipfile_serialization": not legacy}
        said = refusal(saved(state, **how))
        assert "only if it may run code (UnpicklingError: Unsupported operand" in said
        assert "in the usual protocol of pickle: torch.save(" in said


def test_what_holds_no_weights_says_what_it_holds(saved):
    optimizer = torch.optim.Adam(minivgg(2).parameters()).state_dict()
    for content, words in {
        "an optimizer": (optimizer, "holds no weights but what an optimizer keeps"),
        "an optimizer inside": ({"optimizer": optimizer}, "but a dict with optimizer;"),
        "nothing": ({}, "holds no weights but an empty dict"),
        "numbers": ({"epoch": 3, "loss": 0.5}, "holds no weights but a dict with epoch, loss"),
        "a list": ([torch.ones(2)], "holds no weights but a list"),
        "a tensor": (torch.ones(2), "holds no weights but a Tensor"),
    }.values():
        assert words in refusal(saved(content))


def test_another_network_says_how_much_fits_and_names_two_of_each(saved):
    said = refusal(saved({"state_dict": torchvision.models.squeezenet1_1().state_dict()}))
    assert "does not fit 'minivgg': 0 of its 28 weights are there in their shapes" in said
    assert "missing: features.2.weight, features.2.bias and 22 more" in said
    assert "unknown to it: features.3.squeeze.weight, features.3.squeeze.bias and " in said
    assert "load_model(NAME, weights=" in said
    deeper = refusal(saved(torchvision.models.resnet50().state_dict()), "resnet18")
    assert "unknown to it: layer1.0.conv3.weight, layer1.0.bn3.weight and " in deeper


def test_a_stem_of_another_shape_is_named(state, saved):
    said = refusal(saved({**state, "features.0.weight": torch.zeros(16, 1, 3, 3)}))
    assert "of another shape: features.0.weight [16, 1, 3, 3] for [16, 3, 3, 3]" in said


def test_two_sets_of_weights_are_not_chosen_from(state, saved):
    said = refusal(saved({"best": state, "last": before("module.", state)}))
    assert "several sets of weights, under best/, last/module.; save the one" in said


def test_a_file_that_is_cut_off_says_so(state, saved, tmp_path):
    for legacy in (False, True):
        whole = saved(state, _use_new_zipfile_serialization=not legacy).read_bytes()
        for length in (20, 1000, len(whole) - 100):
            (tmp_path / "cut.pt").write_bytes(whole[:length])
            with case((legacy, length)):
                said = refusal(tmp_path / "cut.pt")
                assert "is cut off" in said and said.endswith("; copy or download it again")
    (tmp_path / "cut.pt").write_bytes(b"")
    assert "cut.pt is empty; copy" in refusal(tmp_path / "cut.pt")


def test_a_damaged_archive_says_so(state, saved, tmp_path):
    whole = bytearray(saved(state).read_bytes())
    start = whole.index(b"features.0.weight")  # in the archive's list of names
    whole[start : start + 200] = bytes(200)
    (tmp_path / "bad.pt").write_bytes(whole)
    assert "is cut off or damaged (" in refusal(tmp_path / "bad.pt")


def test_files_of_other_kinds_are_told_apart(state, tmp_path):
    path = tmp_path / "mine.pt"
    for content, words in {
        b"layer,weight\n1,2\n": "is a text file that begins with 'layer,weight'",
        b"\n<!DOCTYPE html><html>": "is a web page, not the file",
        b"version https://git-lfs.github.com/spec/v1\noid": "is a pointer of Git LFS",
        pickle.dumps(state["features.0.bias"].tolist()): "is a pickle that torch.save did not",
        b"\x89HDF\r\n\x1a\n" + bytes(99): r"begins with b'\x89HDF\r\n\x1a\n', as no file of w",
    }.items():
        path.write_bytes(content)
        with case(content[:9]):
            assert words in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no weights")
    assert "a zip archive that torch.save did not write, with readme.txt in it" in refusal(path)
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), path)
    assert "is a TorchScript program, not weights" in refusal(path)
    with pytest.raises(FileNotFoundError, match="none.pt; check the path"):
        load_model("minivgg", weights=tmp_path / "none.pt")
