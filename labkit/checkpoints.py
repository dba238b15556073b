"""Files of weights, as people save them: read without running code, fitted to a network by names.

What torch.save and safetensors write, and numpy's npz: the weights alone or inside a checkpoint,
under the network's names or with something before them, as Lightning, DataParallel and
torch.compile put it. A file that is whole is never called damaged: the error says what it holds.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

AGAIN = "copy or download it again"
MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # in the first bytes that torch.save wrote before zip archives
# Written into the names by torch.compile, FSDP and activation checkpointing, at any depth.
WRAPPED = re.compile(r"_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.")
# What checkpoints hold beside weights and what cannot run code: numbers of numpy, and options.
_REBUILD = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(1).__reduce__()[0]}
HARMLESS: list[Any] = [np.ndarray, np.dtype, argparse.Namespace]
HARMLESS += [type(np.dtype(code)) for code in "?bhilqBHILQefd"]
HARMLESS += [
    (function, f"numpy.{core}.multiarray.{name}")  # numpy 1 and 2 name it differently
    for name, function in _REBUILD.items()
    for core in ("core", "_core")
]


def read(path: Path, again: str = AGAIN) -> object:
    """What a file holds, without running code from it.

    Args:
        path: the file.
        again: what to do where it is cut off or damaged.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: it is a safetensors file, and that library is missing.
        ValueError: it is cut off, of another kind, or holds objects that could run code.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights must be the path of a file, got {path}; check the path")
    head = _head(path)
    if not head:
        raise ValueError(f"{path} is empty; {again}")
    if head.startswith(b"PK"):
        return _read_zip(path, again)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1e8:
        return _read_safetensors(path, again)
    if MAGIC in head[:32]:
        return _read_torch(path, again)
    raise ValueError(f"{path} {_kind(head)}; weights are files of torch.save or safetensors")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def _read_zip(path: Path, again: str) -> object:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:  # its list of contents is at its end
        raise ValueError(f"{path} is cut off or damaged ({error}); {again}") from error
    if names and all(name.endswith(".npy") for name in names):
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    if any(name.endswith("/constants.pkl") for name in names):
        raise ValueError(
            f"{path} is a TorchScript program, not weights; save the weights in it: "
            "torch.save(torch.jit.load(path).state_dict(), 'weights.pt')"
        )
    if not any(name.endswith("data.pkl") for name in names):
        raise ValueError(
            f"{path} is a zip archive that torch.save did not write, with {_some(names)} in it; "
            "unpack it, and give the file of weights"
        )
    return _read_torch(path, again)


def _read_safetensors(path: Path, again: str) -> object:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{path} is a safetensors file; `python -m pip install safetensors` brings its reader"
        ) from None
    try:
        return load_file(path)
    except Exception as error:  # the library's own kind
        raise ValueError(f"{path} is cut off or damaged ({error}); {again}") from error


def _read_torch(path: Path, again: str) -> object:
    try:
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters in them is an error here
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # many kinds, by where the file is damaged
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise _refusal(path, refused[1].removeprefix("builtins.")) from error
        said = str(error).rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
        reason = f"{type(error).__name__}: {said}"
        archive = zipfile.is_zipfile(path)
        newer = b"\x02" < _head(path)[1:2] < b"\x10"  # the protocol of the pickle
        if (archive and _is_whole(path)) or (not archive and newer):
            raise ValueError(
                f"{path} holds what torch.load opens only if it may run code ({reason}); where it "
                "was made, save its weights alone, in the usual protocol of pickle: "
                "torch.save(model.state_dict(), 'weights.pt')"
            ) from error
        raise ValueError(f"{path} is cut off or damaged ({reason}); {again}") from error


def _is_whole(path: Path) -> bool:
    """Whether it is a zip archive whose checksums are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # zipfile and zlib raise many kinds
        return False


def _pickled(path: Path) -> bytes:
    """The bytes that say what is in a file of torch.save, and perhaps the weights after them."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def _refusal(path: Path, kind: str) -> ValueError:
    """Of an object that is not made, because to make it could run code."""
    pickled = _pickled(path)
    if b"_modules" in pickled and b"_parameters" in pickled:
        return ValueError(
            f"{path} holds a whole network as a Python object ({kind}), and opening it could run "
            "code; where it was made, save its weights alone: "
            "torch.save(model.state_dict(), 'weights.pt')"
        )
    return ValueError(
        f"{path} holds a Python object ({kind}), and opening it could run code; if you trust the "
        "file, read it with torch.load(path, weights_only=False), and save its weights alone: "
        "torch.save(state_dict, 'weights.pt')"
    )


def _kind(head: bytes) -> str:
    """What a file is that begins so and holds no weights."""
    words = head.lstrip()[:40].decode("utf-8", errors="replace").partition("\n")[0]
    if words.startswith("version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself (`git lfs pull` fetches it)"
    if words.lower().startswith(("<!doctype", "<html")):
        return "is a web page, not the file that it links to; download that"
    if all(byte >= 32 or byte in b"\t\n\r" for byte in head):
        return f"is a text file that begins with {words!r}"
    if head.startswith(b"\x80"):
        return "is a pickle that torch.save did not write (if you trust it, pickle.load reads it)"
    return f"begins with {head[:8]!r}, as no file of weights does"


def tensors_in(content: object, before: str = "") -> dict[str, Tensor]:
    """All weights in what a file holds, by name.

    Names inside a dict inside the dict begin with its name and a slash, `state_dict/conv1.weight`.
    What an optimizer keeps is left out.
    """
    found: dict[str, Tensor] = {}
    if not isinstance(content, Mapping) or "param_groups" in content:
        return found
    for key, value in content.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            value = torch.as_tensor(value)
        if isinstance(value, Tensor):
            found[before + str(key)] = value.detach()
        else:
            found.update(tensors_in(value, f"{before}{key}/"))
    return found


def weights_in(content: object, path: Path) -> dict[str, Tensor]:
    """The weights in what the file at `path` holds, as `tensors_in` names them.

    Raises:
        ValueError: there are none.
    """
    found = tensors_in(content)
    if found:
        return found
    if not isinstance(content, Mapping):
        what = f"a {type(content).__name__}"
    elif "param_groups" in content:
        what = "what an optimizer keeps"
    else:
        what = f"a dict with {_some(content)}" if content else "an empty dict"
    raise ValueError(
        f"{path} holds no weights but {what}; save them with "
        "torch.save(model.state_dict(), 'weights.pt')"
    )


def fill(
    network: nn.Module, found: Mapping[str, Tensor], *, n_classes: int, path: Path, name: str
) -> None:
    """Load weights into a network, whatever stands before their names.

    Of several sets in a file, an average over training (EMA) is taken only where there is no other.

    Args:
        network: it is changed.
        found: from `weights_in`.
        n_classes: of the network.
        path: the file's, for the errors.
        name: the network's, for the errors.

    Raises:
        ValueError: the weights have another number of classes, are those of another network, or
            there are several sets of them.
    """
    own = network.state_dict()
    state = _named(found, own, path)
    strange = [key for key in state if key not in own and state[key].ndim]  # not an epoch's number
    missing = [key for key in own if key not in state and "num_batches_tracked" not in key]
    differing = [key for key in own if key in state and state[key].shape != own[key].shape]
    load = f"weights={str(path)!r}"
    counts = {len(state[key]) for key in differing if _is_head(state[key], own[key], n_classes)}
    if not strange and not missing and differing and len(counts) == 1:
        raise ValueError(
            f"{path} has a head for {counts.pop()} classes, the network is built for {n_classes}; "
            f"name those of the file: load_model({name!r}, {load}, classes=[...])"
        )
    if strange or missing or differing:
        shapes = [f"{k} {[*state[k].shape]} for {[*own[k].shape]}" for k in differing]
        lists = {"missing": missing, "unknown to it": strange, "of another shape": shapes}
        details = "; ".join(f"{what}: {_some(keys, 2)}" for what, keys in lists.items() if keys)
        n_fitting = sum(key in state for key in own) - len(differing)
        raise ValueError(
            f"{path} does not fit {name!r}: {n_fitting} of its {len(own)} weights are there in "
            f"their shapes; {details}; name the network that they were saved from: "
            f"load_model(NAME, {load})"
        )
    network.load_state_dict(state, strict=False)  # files of old have no num_batches_tracked


def fill_from_file(
    network: nn.Module, path: Path, *, n_classes: int, name: str, again: str = AGAIN
) -> None:
    """Read a file of weights and load them; see `read`, `weights_in` and `fill`.

    Raises:
        ValueError: it is a whole network that data_scripts/finetune.py wrote; and as there.
    """
    content = read(path, again)
    if is_finetuned(content):
        raise ValueError(
            f"{path} is a whole network, not its weights alone; load it with "
            f"load_model({str(path)!r})"
        )
    fill(network, weights_in(content, path), n_classes=n_classes, path=path, name=name)


def is_finetuned(content: object) -> bool:
    """Whether data_scripts/finetune.py wrote it: weights, and what they are."""
    return isinstance(content, dict) and {"network", "state_dict"} <= content.keys()


def _is_head(weight: Tensor, own: Tensor, n_classes: int) -> bool:
    """Whether a weight differs from the network's own in the number of classes only."""
    same = weight.shape[1:] == own.shape[1:]
    return same and weight.ndim == own.ndim > 0 and len(own) == n_classes


def _named(found: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights under the network's names, as far as they have them, and those beside them."""
    plain = {WRAPPED.sub("", name): value for name, value in found.items()}
    fitting = Counter(
        before for name in plain for before, rest in _splits(name) if rest in own
    )  # in the order of the file, which decides between equals
    best = max(fitting, key=lambda before: (fitting[before], "ema" not in before), default="")
    equal = [one for one in fitting if fitting[one] == fitting[best] and "ema" not in one]
    if fitting[best] < len(own) / 2:  # another network's
        containers = Counter(name[: name.rfind("/") + 1] for name in plain)
        best = max(containers, key=lambda before: containers[before])
    elif len(equal) > 1:
        raise ValueError(
            f"{path} holds several sets of weights, under {_some(equal)}; save the one that you "
            "want alone: torch.save(state_dict, 'weights.pt')"
        )
    rests = {name[len(best) :]: value for name, value in plain.items() if name.startswith(best)}
    return {name: value for name, value in rests.items() if "/" not in name}


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """All ways to take something from the beginning of a name: ("", name), ("model.", rest)."""
    for start in (0, *(mark.end() for mark in re.finditer(r"[./]", name))):
        yield name[:start], name[start:]


def _some(names: object, n: int = 3) -> str:
    """The first few names, and whether there are more."""
    listed = [str(name) for name in names]  # type: ignore[attr-defined]
    return ", ".join(listed[:n]) + (f" and {len(listed) - n} more" if len(listed) > n else "")
