"""Networks: the embedded ones, torchvision's and timm's, each as one Classifier."""

from __future__ import annotations

import difflib
import json
import urllib.error
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

from labkit import checkpoints
from labkit.assets import asset
from labkit.classifier import Classifier, Preprocessing
from labkit.classifier import Picture as Picture
from labkit.classifier import Prediction as Prediction
from labkit.engine import layers
from labkit.timm_networks import LITE0, PREFIX, RANDOM, build, load_lite0, load_timm

EMBEDDED = ("minivgg", "minivgg-world", "minivgg-heritage")
PRETRAINED = ("vgg16", "vgg19", "resnet18", "resnet50", "squeezenet1_1", "mobilenet_v2")
ARCHITECTURES = ("minivgg", LITE0, *PRETRAINED)  # what these and the files of others are built as
PROJECT = Path(__file__).parents[1]
SUFFIXES = (".pt", ".pth", ".tar", ".ckpt", ".bin", ".safetensors", ".npz")  # files of weights

# VGG-16's plan of convolutions and poolings ("M") with an eighth of its channels or so.
MINIVGG_PLAN = (16, 16, "M", 32, 32, "M", 48, 48, 48, "M", 64, 64, 64, "M", 64, 64, 64, "M")


def minivgg(n_classes: int, *, batch_norm: bool = False) -> nn.Module:
    """VGG-16's layout, narrow, with global average pooling before one linear layer.

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    ICLR 2015, https://arxiv.org/abs/1409.1556. `features.N` is what it is in torchvision's vgg16.
    Differs from the paper: widths 16 to 64, and the head of network-in-network instead of three
    dense layers, so that Grad-CAM's averaged gradients lose nothing.

    Args:
        n_classes: outputs.
        batch_norm: normalise after each convolution, as in training; this renumbers `features`.
    """
    features = make_layers(list(MINIVGG_PLAN), batch_norm=batch_norm)
    return _MiniVGG(features, MINIVGG_PLAN[-2], n_classes)


class _MiniVGG(nn.Module):
    def __init__(self, features: nn.Sequential, width: int, n_classes: int) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, n_classes))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.avgpool(self.features(images))  # [N, 64, 1, 1]
        return self.classifier(maps.flatten(1))


def load_model(
    name: str | Path,
    *,
    weights: str | Path | None = None,
    classes: Sequence[str] | None = None,
    device: str | torch.device | None = None,
) -> Classifier:
    """Load a network by name, or one of your own from its file.

    Args:
        name: "minivgg" (tells healthy leaves from black rot), "minivgg-world" (never saw a leaf)
            and "minivgg-heritage" (tells the styles of buildings) ship with labkit;
            "efficientnet_lite0", trained on ImageNet, is installed with it; "vgg16", "vgg19",
            "resnet18", "resnet50", "squeezenet1_1" and "mobilenet_v2" come from torchvision with
            ImageNet weights; "timm/NAME" is any classifier of timm, such as "timm/resnet10t";
            "my_network.pt", a path seen from here or from the project's root, is what
            data_scripts/finetune.py wrote.
        weights: None for the usual ones; a torchvision name such as "IMAGENET1K_V2"; "random"; or
            the path of a file with this network's weights, see `labkit.checkpoints`.
        classes: names, where the weights of a file have others than the usual ones or another
            number of them.
        device: where to put it; by default on the GPU where torch sees one of CUDA's, else on the
            CPU. What the network prepares goes to the same place.

    Returns:
        The network in eval mode; its `description` says what it is.

    Raises:
        ValueError: there is no network or no weights of that name, or a file is cut off or holds
            something else, such as another head or another network.
        FileNotFoundError: there is no such file, or the weights are not on this machine and could
            not be downloaded.
        ModuleNotFoundError: a package that the network needs is missing.
    """
    if classes is not None and (weights is None or not Path(weights).is_file()):
        raise ValueError(
            f"classes must come with weights from a file, got weights={weights!r}; leave it out, "
            "and the network has its own"
        )
    if name in EMBEDDED:
        model = _load_embedded(str(name), weights, classes)
    elif name in PRETRAINED:
        model = _load_torchvision(str(name), weights, classes)
    elif name == LITE0:
        model = load_lite0(weights, classes)
    elif str(name).startswith(PREFIX):
        model = load_timm(str(name), weights, classes)
    elif Path(name).suffix in SUFFIXES or Path(name).is_file():
        model = _load_finetuned(_finetuned_file(name), weights)
    else:
        known = [*EMBEDDED, LITE0, *PRETRAINED]
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"name must be one of {', '.join(known)}, 'timm/' and a name of timm's, or the path of "
            f"a network that you fine-tuned, such as 'my_network.pt', got {name!r}; "
            f"{hint}".rstrip("; ")
        )
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    # The layout in which convolutions run fastest; the numbers are the same.
    return model.to(memory_format=torch.channels_last).to(device).eval()


def _load_embedded(
    name: str, weights: str | Path | None, classes: Sequence[str] | None
) -> Classifier:
    card = json.loads(asset(f"networks/{name}.json").read_text(encoding="utf-8"))
    classes = classes or card["classes"]
    network = minivgg(len(classes))
    if weights == "random":
        origin = RANDOM
    else:
        path = asset(f"networks/{name}.pt") if weights is None else Path(weights)
        checkpoints.fill_from_file(network, path, n_classes=len(classes), name=name)
        origin = card["description"] if weights is None else f"weights from the file {weights}"
    return Classifier(
        network,
        name=name,
        classes=classes,
        description=f"{name}: {origin}",
        preprocessing=Preprocessing(resize=224),
        architecture="minivgg",
    )


def _load_torchvision(
    name: str, weights: str | Path | None, classes: Sequence[str] | None
) -> Classifier:
    available = torchvision.models.get_model_weights(name)
    choice = "IMAGENET1K_V1" if weights is None else str(weights)
    meta = available["IMAGENET1K_V1"].meta
    classes = list(classes or meta["categories"])
    network = _to_be_filled(name, len(classes))
    if choice in available.__members__:
        _fetch(network, available[choice])
        accuracy = meta_accuracy(available[choice])
        origin = (
            f"torchvision's {choice} weights, trained on the 1000 classes of ImageNet{accuracy}"
        )
    elif choice == "random":
        network = torchvision.models.get_model(name)
        origin = RANDOM
    elif Path(choice).is_file():
        checkpoints.fill_from_file(network, Path(choice), n_classes=len(classes), name=name)
        origin = f"weights from the file {choice}"
    else:
        raise ValueError(
            f"weights must be None, 'random', one of {', '.join(available.__members__)} or the "
            f"path of a state dict, got {choice!r}, which is no file"
        )
    crop, resize = 224, 256
    if choice in available.__members__:
        transform = available[choice].transforms()
        crop, resize = transform.crop_size[0], transform.resize_size[0]
    return Classifier(
        network,
        name=name,
        classes=classes,
        description=f"{name}: {origin}",
        preprocessing=Preprocessing(resize=resize, crop=crop),
        architecture=name,
    )


def _to_be_filled(architecture: str, n_classes: int) -> nn.Module:
    """A network whose weights are to be replaced."""
    if architecture == "minivgg":
        return minivgg(n_classes)
    if architecture == LITE0 or architecture.startswith(PREFIX):
        return build(architecture, n_classes)
    # VGG's own way to draw weights takes long.
    drawn = {"init_weights": False} if architecture in ("vgg16", "vgg19") else {}
    return torchvision.models.get_model(architecture, num_classes=n_classes, **drawn)


def _finetuned_file(name: str | Path) -> Path:
    """The file as given, or seen from the project's root; notebooks run one floor below it."""
    tried = [Path(name).expanduser()]
    if not tried[0].is_absolute():
        tried.append(PROJECT / name)
    for path in tried:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"name must be the path of a network that you fine-tuned, got {str(name)!r}, which is no "
        f"file here (looked for {' and '.join(str(path.absolute()) for path in tried)}); check the "
        f"path, or make it: `python -m data_scripts.finetune FOLDER --model resnet18 --out {name}`"
    )


def _load_finetuned(path: Path, weights: str | Path | None) -> Classifier:
    if weights is not None:
        raise ValueError(
            f"weights must be None for a network from a file, got {str(weights)!r}; {path} holds "
            "its own"
        )
    content = checkpoints.read(path, "copy it again or fine-tune the network again")
    if not checkpoints.is_finetuned(content):
        checkpoints.weights_in(content, path)  # says what there is instead
        raise ValueError(
            f"{path} holds weights alone, without the network's name; name the network that they "
            f"belong to: load_model('resnet18', weights={str(path)!r})"
        )
    try:
        return _finetuned(content, path.stem)
    except Exception as error:  # many kinds, by what is missing or does not fit
        reason = str(error).partition("\n")[0]  # torch goes on to list every layer
        raise ValueError(
            f"{path} is no network that data_scripts/finetune.py wrote to the end "
            f"({type(error).__name__}: {reason}); fine-tune the network again"
        ) from error


def _finetuned(content: Any, name: str) -> Classifier:
    architecture, classes = content["network"], content["classes"]
    if architecture not in ARCHITECTURES and not architecture.startswith(PREFIX):
        raise ValueError(f"there is no network {architecture!r}")
    network = _to_be_filled(architecture, len(classes))
    network.load_state_dict(content["state_dict"])
    return Classifier(
        network,
        name=name,
        classes=classes,
        description=f"{name}: {content['description']}",
        preprocessing=Preprocessing(**content["preprocessing"]),
        architecture=architecture,
    )


def meta_accuracy(weights: torchvision.models.WeightsEnum) -> str:
    """The top-1 accuracy that torchvision states for its weights, as a clause."""
    accuracy = weights.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    return f" (top-1 accuracy {accuracy:.1f} % by torchvision's own figures)" if accuracy else ""


def weights_file(weights: torchvision.models.WeightsEnum) -> Path:
    """Where torch keeps, or would keep, the downloaded file of some weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]


def _fetch(network: nn.Module, weights: torchvision.models.WeightsEnum) -> None:
    path = weights_file(weights)
    if path.is_file():
        again = "delete it, and load_model downloads it again"
        n_classes = len(weights.meta["categories"])
        checkpoints.fill_from_file(
            network, path, n_classes=n_classes, name=str(weights), again=again
        )
        return
    try:
        state = weights.get_state_dict(progress=True, check_hash=True, map_location="cpu")
    except (urllib.error.URLError, OSError) as error:
        raise FileNotFoundError(
            f"the weights of this network are not on this machine and could not be downloaded "
            f"({error}); connect to the internet and run the cell again, or download "
            f"{weights.url} elsewhere and put the file at {path}; "
            f"the embedded networks {', '.join(map(repr, EMBEDDED))} need no download"
        ) from error
    network.load_state_dict(state)


def last_maps(model: nn.Module, image: Tensor | None = None) -> str:
    """Name the layer that Grad-CAM usually explains: the last maps that everything passes through.

    Found by running the network once; see `labkit.engine.layers.last_maps`.

    Args:
        model: any network.
        image: `[C, H, W]`, such as it takes; by default one of the size that a `Classifier`
            prepares, and of 224 x 224 pixels for other networks.

    Returns:
        The layer's name: "features.29" for VGG-16 and minivgg (the ReLU of conv5_3), "layer4" for
        ResNets, the last block of `features` for SqueezeNet and MobileNet, the last block but one
        for a vision transformer with a class token.

    Raises:
        ValueError: the network has no such maps, or cannot run on such an image.
    """
    network = model.network if isinstance(model, Classifier) else model
    name = layers.last_maps(network, any_image(model) if image is None else image)
    hidden = name.partition(".")[0] == "network" and network is not model
    return f"network.{name}" if hidden else name  # the Classifier's own goes before


last_conv = last_maps  # its name of old


def any_image(model: nn.Module) -> Tensor:
    """An image `[C, H, W]` of the kind that a network takes."""
    side = model.preprocessing.crop if isinstance(model, Classifier) else 224
    convolutions = (m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    device = next((p.device for p in model.parameters()), None)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(next(convolutions, 3), side, side, generator=generator).to(device)


def feature_layers(model: nn.Module) -> list[str]:
    """Name the layers that a probe may read, from the first stage to the last.

    The poolings of a chain such as VGG or SqueezeNet, the four stages of a ResNet, the blocks of
    MobileNet at which the maps shrink, the stages that timm names; the last one is what the
    network's own head reads.
    """
    network = model.network if isinstance(model, Classifier) else model
    if isinstance(getattr(network, "layer4", None), nn.Module):
        return ["layer1", "layer2", "layer3", "layer4"]
    if stages := {stage["module"] for stage in getattr(network, "feature_info", [])}:
        end = last_maps(model)
        before = takewhile(lambda name: name != end, dict(network.named_modules()))
        return [*(name for name in before if name in stages), end]
    chain = getattr(network, "features", None)
    children = list(chain.named_children()) if isinstance(chain, nn.Module) else []
    pools = [f"features.{n}" for n, layer in children if isinstance(layer, nn.MaxPool2d)]
    last = [f"features.{n}" for n, _ in children[-1:]]
    if pools:
        return [*pools, *(name for name in last if name not in pools)]
    strided = [
        f"features.{children[i - 1][0]}"
        for i, (_, block) in enumerate(children)
        if i > 0 and any(m.stride == (2, 2) for m in block.modules() if isinstance(m, nn.Conv2d))
    ]
    return [*strided, *last] or [last_maps(model)]
