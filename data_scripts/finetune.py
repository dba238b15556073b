"""Teach a trained network other classes: transfer learning.

    python -m data_scripts.finetune FOLDER --model resnet18 --out my_network.pt

The last layer is replaced, in place, by a new one with an output for each class; every other layer
keeps its name, so that the labs find it (`layer4`, `features.29`). With --frozen the new layer
alone learns: with SqueezeNet or MobileNet and 500 pictures, about a minute on one CPU core. Without
it, all layers do. Then, in any lab, MODEL = "my_network.pt".

FOLDER holds a folder of pictures for each class; or it is PlantVillage (its root, raw/color, or a
folder with the two apple folders), or MexCulture142 (its root or its folder Images). A part of each
class is held out: after each epoch the network is tried on it, and the best epoch is kept.

After each epoch all that is needed to go on is written beside the output, to my_network.pt.partial.
After an interruption the same command goes on from there; on a CPU it ends with the same weights,
bit for bit, as if nothing had happened.

Yosinski, Clune, Bengio and Lipson, "How transferable are features in deep neural networks?", NIPS
2014, https://arxiv.org/abs/1411.1792, take over the first layers of a network, few or many, frozen
or not; here it is always all but the last.
"""

from __future__ import annotations

import argparse
import copy
import io
import math
import os
import re
import sys
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from data_scripts.manifest import sha256
from labkit.checks import check_count
from labkit.data import PLANTVILLAGE_FOLDERS, STYLES, load_leaves
from labkit.engine.contract import untouched
from labkit.files import write_atomically
from labkit.gaze_files import pictures_in
from labkit.images import PICTURE_ENDINGS, open_image, resize_shorter_side, shrunk, to_tensor
from labkit.models import Classifier, Preprocessing, load_model

HELD_OUT = 0.2  # of each class
SMALLEST_CROP = 0.7  # of the picture's shorter side, that is half of a square's area
BACKBONE_RATE = 0.1  # of the new layer's learning rate, so that what was learned is not washed out
MONUMENT = re.compile(rf"({'|'.join(STYLES)})_(.+)_N_\d+")  # style, monument, number


class Photograph(NamedTuple):
    """A picture of a folder."""

    path: Path
    name: str  # of its class
    group: Hashable  # photographs of the same class and group stay on one side


class Examples(NamedTuple):
    """Pictures of some classes, and which of them are held out."""

    pictures: list[np.ndarray]  # uint8 [H, W, 3] each
    labels: list[int]
    classes: Sequence[str]
    held_out: Sequence[int]
    source: str  # for the network's description


# Pictures


def read_folder(folder: Path, *, share: float, seed: int, jobs: int, side: int) -> Examples:
    """Open all pictures of a folder and hold a part of them out.

    Args:
        folder: a folder for each class; or PlantVillage; or MexCulture142.
        share: how many of each class are held out, between 0 and 1.
        seed: which ones. Photographs of one leaf (PlantVillage) or of one monument (MexCulture142)
            stay on one side.
        jobs: processes that open pictures.
        side: larger pictures are shrunk to this shorter side, in pixels, to save memory.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no pictures, fewer than two classes, or a class with too few pictures;
            a picture is broken; or share is out of range.
    """
    if not 0 < share < 1:
        raise ValueError(
            f"share (--validation) must be between 0 and 1, got {share}; {HELD_OUT} is usual"
        )
    if not folder.is_dir():
        raise FileNotFoundError(
            f"FOLDER must hold a folder of pictures for each class, got {str(folder)!r}, which is "
            f"no folder here (paths start from {Path.cwd()}); check the spelling"
        )
    color = next((f for f in (folder / "raw/color", folder / "color", folder) if _apples(f)), None)
    if color is not None:
        return _plantvillage(color, share, seed)
    found = _monuments(folder) or _class_folders(folder)
    classes = _in_order({photograph.name for photograph in found})
    if len(classes) < 2:
        raise ValueError(
            f"FOLDER must hold pictures of at least two classes, got {classes or 'none'} in "
            f"{folder}; make a folder for each class and put its pictures there"
        )
    paths, names, groups = zip(*found, strict=True)
    held_out = hold_out(names, groups, share, seed)
    pictures = _opened(paths, side, jobs)
    labels = [classes.index(name) for name in names]
    return Examples(pictures, labels, classes, held_out, f"the folder {folder.resolve().name}")


def hold_out(
    names: Sequence[str], groups: Sequence[Hashable], share: float, seed: int
) -> list[int]:
    """Choose, class by class, the pictures to validate on.

    Args:
        names: the class of each picture.
        groups: pictures of the same class and group, of one monument say, stay on one side.
        share: how many of each class, between 0 and 1; at least one group on either side.
        seed: which ones.

    Returns:
        Their indices.

    Raises:
        ValueError: a class has a single group.
    """
    rng, chosen = np.random.default_rng(seed), []
    for name in sorted(set(names)):
        members: dict[Hashable, list[int]] = {}
        for i in (i for i, other in enumerate(names) if other == name):
            members.setdefault(groups[i], []).append(i)
        _check_enough(name, len(members))
        chosen += _fitting(list(members.values()), share, rng)
    return sorted(chosen)


def _fitting(groups: list[list[int]], share: float, rng: np.random.Generator) -> list[int]:
    """Groups in random order as long as they fit into the share; the smallest if none does."""
    wanted = _share_of(sum(map(len, groups)), share)
    chosen: list[int] = []
    for k in rng.permutation(len(groups)):
        if len(chosen) + len(groups[k]) <= wanted:
            chosen += groups[k]
    return chosen or min(groups, key=len)


def _share_of(n: int, share: float) -> int:
    """A share of n pictures, but at least one on either side."""
    return min(max(1, round(share * n)), n - 1)


def _check_enough(name: str, n: int) -> None:
    if n < 2:
        raise ValueError(
            f"each class must have a picture to learn from and another to validate on, of two "
            f"different things (leaves, monuments), got {n} of {name!r}; add some, or leave the "
            "class out"
        )


def _apples(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in PLANTVILLAGE_FOLDERS)


def _plantvillage(color: Path, share: float, seed: int) -> Examples:
    """As many healthy leaves as sick ones, split as lab 1 splits them."""
    n_of_class = {name: len(pictures_in(color / name)) for name in PLANTVILLAGE_FOLDERS}
    for name, n in n_of_class.items():
        _check_enough(name, n)
    n = min(n_of_class.values())
    n_test = _share_of(n, share)
    train, test = load_leaves(color, n_train=n - n_test, n_test=n_test, seed=seed)
    both = train + test
    held_out = range(len(train), len(both))
    return Examples(both.pictures, both.labels.tolist(), both.classes, held_out, "PlantVillage")


def _in_order(names: set[str]) -> list[str]:
    """The classes as labkit.data orders the styles of buildings, others by the alphabet."""
    return [style for style in STYLES if style in names] if names <= {*STYLES} else sorted(names)


def _monuments(folder: Path) -> list[Photograph]:
    """MexCulture142's pictures, if it is there."""
    inner = [path for path in folder.iterdir() if path.is_dir() and path.name.lower() == "images"]
    return [
        Photograph(path, *match.groups())
        for path in pictures_in(inner[0] if inner else folder)
        if (match := MONUMENT.fullmatch(path.stem))
    ]


def _class_folders(folder: Path) -> list[Photograph]:
    """The pictures in each folder and below it, each on its own."""
    inner = [f for f in sorted(folder.iterdir()) if f.is_dir() and not f.name.startswith(".")]
    of_class = {f.name: pictures_in(f, "**/*") for f in inner}
    empty = [name for name, paths in of_class.items() if not paths]
    if empty:
        raise ValueError(
            f"each folder in {folder} must hold pictures of one class, got none in {empty}; "
            f"they end in {', '.join(PICTURE_ENDINGS)}"
        )
    return [Photograph(path, name, path) for name, paths in of_class.items() for path in paths]


def _opened(paths: Sequence[Path], side: int, jobs: int) -> list[np.ndarray]:
    with ProcessPoolExecutor(jobs) as executor:
        pictures = executor.map(partial(_opened_small, side=side), paths, chunksize=8)
        return list(tqdm(pictures, total=len(paths), desc="opening pictures"))


def _opened_small(path: Path, side: int) -> np.ndarray:
    return shrunk(open_image(path), side)


# The network


def replace_head(network: nn.Module, n_classes: int, *, seed: int = 0) -> str:
    """Put a new last layer with other outputs into a network, in place.

    The last linear layer or convolution is replaced: `fc` in a ResNet, `classifier.6` in VGG,
    `classifier.1` in MobileNet, SqueezeNet (a convolution) and minivgg. No other layer changes or
    gets another name.

    Args:
        network: one of torchvision's or labkit's.
        n_classes: outputs.
        seed: for the new weights, drawn as torchvision draws those of most classifiers, from a
            normal distribution with standard deviation 0.01; the biases are 0.

    Returns:
        The layer's name.
    """
    name, old = [
        (name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ][-1]
    # Without drawing weights from torch's global generator.
    if isinstance(old, nn.Linear):
        new = nn.utils.skip_init(nn.Linear, old.in_features, n_classes)
    else:
        new = nn.utils.skip_init(nn.Conv2d, old.in_channels, n_classes, old.kernel_size)
    nn.init.normal_(new.weight, std=0.01, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(new.bias)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new.to(old.weight.device))
    return name


@torch.no_grad()
def centre_logits(linear: nn.Linear) -> None:
    """Take the mean over the classes off the last layer, in place.

    Softmax does not see a shift that all logits share, so training leaves it to chance; but the
    gradient of a single logit does. Centred, a logit says what speaks for its class and against the
    others.
    """
    linear.weight -= linear.weight.mean(dim=0)
    linear.bias -= linear.bias.mean()


# Training


@dataclass(frozen=True)
class Settings:
    """How to train; see `finetune`."""

    frozen: bool
    epochs: int
    lr: float
    batch_size: int
    patience: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            check_count(name, getattr(self, name))
        check_count("seed", self.seed, minimum=0)
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be above 0 and finite, got {self.lr}; 0.001 is usual")


# From indices of pictures and the epoch to what a network, or its end, takes: [N, ...]. The epoch,
# in training, tells which crops to draw; None, in validation, means whole pictures.
Inputs = Callable[[Sequence[int], int | None], Tensor]


class Task(NamedTuple):
    """What learns, and from what."""

    network: nn.Module
    head: str  # the name of the new layer
    part: nn.Module  # what runs in training: the network, or its end
    inputs: Inputs  # of the part
    labels: Tensor
    train: np.ndarray
    held_out: np.ndarray
    settings: Settings


@dataclass
class State:
    """How far a training has come: what a checkpoint holds beside the weights."""

    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    history: list[dict] = field(default_factory=list)  # an entry for each epoch
    best: dict[str, Tensor] = field(default_factory=dict)  # what was learned by the best epoch


def finetune(
    model: Classifier,
    pictures: Sequence[np.ndarray],
    labels: Sequence[int] | Tensor,
    classes: Sequence[str],
    *,
    held_out: Sequence[int] | None = None,
    frozen: bool = True,
    epochs: int = 20,
    lr: float = 1e-3,
    batch_size: int = 16,
    patience: int = 3,
    seed: int = 0,
    name: str = "finetuned",
    source: str = "from memory",
    checkpoint: Path | None = None,
    progress: bool = False,
) -> tuple[Classifier, list[dict]]:
    """Train a copy of a network, with a new last layer, to tell other classes.

    AdamW on the cross-entropy, the learning rate falling to 0 as half a cosine. Training stops when
    the loss on the held-out pictures has not fallen for `patience` epochs, and the weights of the
    best epoch are kept. The logits of a linear head are centred; see `centre_logits`.

    Args:
        model: one that `labkit.models.load_model` gave; it is not changed.
        pictures: N arrays uint8 `[H, W, 3]`.
        labels: `[N]`, from 0 to K - 1.
        classes: K names.
        held_out: indices of the pictures to validate on; a fifth of each class by default.
        frozen: only the new layer learns. What the layers before it make of the pictures, as they
            are, is computed once and kept in memory (for SqueezeNet 0.35 MB a picture, the most).
            Otherwise all layers learn, those that were there at a tenth of the rate, from crops of
            half to all of a picture, mirrored at random.
        epochs: at most so many.
        lr: learning rate of the new layer at the start.
        batch_size: pictures a step, at most.
        patience: epochs without progress before training stops.
        seed: for the new weights, the order, the crops and the dropout.
        name: of the new network.
        source: where the pictures are from, for the description.
        checkpoint: a file to write after each epoch and, if it is there, to go on from; the caller
            deletes it once the result is safe.
        progress: show bars.

    Returns:
        The network, in eval mode, and the log: for each epoch the training loss (cross-entropy in
        nats), and loss and accuracy on the held-out pictures.

    Raises:
        TypeError: pictures are no arrays, or a count is not a whole number.
        IndexError: a label is no class, or held_out names no picture.
        ValueError: labels, classes, held-out pictures or settings do not fit, the loss is no longer
            finite, or the checkpoint is of another training.
    """
    labels = torch.as_tensor(labels).cpu()
    settings = Settings(frozen, epochs, lr, batch_size, patience, seed)
    _check_model(model)
    _check_pictures(pictures, labels, classes)
    if held_out is None:
        names = [classes[int(label)] for label in labels]
        held_out = hold_out(names, range(len(names)), HELD_OUT, seed)
    _check_held_out(held_out, labels, classes)
    tuned = copy.deepcopy(model)
    tuned.name, tuned.classes = name, tuple(classes)
    task = _task(tuned, pictures, labels, held_out, settings, progress)
    state = _start(task)
    signature = _signature(task, pictures, classes) if checkpoint else {}
    _resume(checkpoint, signature, task, state)
    _train(task, state, partial(_keep, checkpoint, signature), progress)
    _finish(task, state)
    tuned.description = f"{name}: {_story(model, task, state, classes, source)}"
    return tuned.eval(), state.history


def _task(
    tuned: Classifier,
    pictures: Sequence[np.ndarray],
    labels: Tensor,
    held_out: Sequence[int],
    settings: Settings,
    progress: bool,
) -> Task:
    """Put the new head on, and choose what learns from what."""
    network = tuned.network
    head = replace_head(network, len(tuned.classes), seed=settings.seed)
    network.requires_grad_(not settings.frozen).get_submodule(head).requires_grad_(True)
    if settings.frozen:
        part = network.get_submodule(head.partition(".")[0])
        inputs = feature_inputs(tuned, part, pictures, progress)
    else:
        part, inputs = network, picture_inputs(tuned, pictures, settings.seed)
    train = np.setdiff1d(np.arange(len(labels)), held_out)
    labels = labels.long().to(tuned.device)
    return Task(network, head, part, inputs, labels, train, np.unique(held_out), settings)


def feature_inputs(
    model: Classifier, part: nn.Module, pictures: Sequence[np.ndarray], progress: bool
) -> Inputs:
    """What reaches the end of a network, in eval mode, computed once for whole pictures."""
    received: list[Tensor] = []
    keep = part.register_forward_pre_hook(lambda module, inputs: received.append(inputs[0]))
    images, batches = picture_inputs(model, pictures, seed=0), _batches(np.arange(len(pictures)))
    with keep, torch.no_grad(), untouched(model):
        for batch in tqdm(batches, desc="forward passes", disable=not progress):
            model(images(batch, None))
    features = torch.cat(received)
    return lambda indices, epoch: features[indices]


def picture_inputs(model: Classifier, pictures: Sequence[np.ndarray], seed: int) -> Inputs:
    """Images `[N, 3, H, W]`: in an epoch random crops, otherwise as the model prepares them."""

    def image(i: int, epoch: int | None) -> Tensor:
        if epoch is None:
            return model.prepare(pictures[i])
        rng = np.random.default_rng((seed, epoch, i))
        return random_crop(pictures[i], model.preprocessing, rng).to(model.device)

    def inputs(indices: Sequence[int], epoch: int | None) -> Tensor:
        images = torch.stack([image(i, epoch) for i in indices])
        return images.contiguous(memory_format=torch.channels_last)

    return inputs


def random_crop(
    picture: np.ndarray, preprocessing: Preprocessing, rng: np.random.Generator
) -> Tensor:
    """A square from a picture, mirrored every other time, as an image `[3, H, W]`."""
    side = round(min(picture.shape[:2]) * rng.uniform(SMALLEST_CROP, 1))
    top, left = (rng.integers(length - side + 1) for length in picture.shape[:2])
    crop = picture[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    crop = resize_shorter_side(np.ascontiguousarray(crop), preprocessing.crop)
    return to_tensor(crop, preprocessing.mean, preprocessing.std)


def _start(task: Task) -> State:
    head, lr = task.network.get_submodule(task.head), task.settings.lr
    new = list(head.parameters())
    known = [p for p in task.part.parameters() if p.requires_grad and not any(p is q for q in new)]
    groups = [{"params": new, "lr": lr}, {"params": known, "lr": lr * BACKBONE_RATE}]
    optimiser = torch.optim.AdamW([group for group in groups if group["params"]])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, task.settings.epochs)
    return State(optimiser, schedule)


def _train(task: Task, state: State, keep: Callable[[Task, State], None], progress: bool) -> None:
    """Epoch after epoch, until all are done or nothing has been gained for a while."""
    n, settings = len(task.train), task.settings
    done, total = n * len(state.history), n * settings.epochs
    with tqdm(initial=done, total=total, desc="training", disable=not progress) as bar:
        while len(state.history) < settings.epochs and not _stalled(state, settings.patience):
            training_loss = _epoch(task, state, bar)
            loss, accuracy = _validate(task)
            if not math.isfinite(loss):
                raise ValueError(
                    f"lr must be small enough to learn, got {settings.lr}, with which the loss is "
                    f"no longer finite; try {settings.lr / 10:g}"
                )
            entry = {"loss": training_loss, "held_out_loss": loss, "held_out_accuracy": accuracy}
            state.history.append(entry)
            if _best_epoch(state) == len(state.history) - 1:
                state.best = {name: value.clone() for name, value in _learned(task).items()}
            keep(task, state)
            bar.set_postfix_str(f"held out: loss {loss:.3f}, accuracy {accuracy:.1%}")


def _epoch(task: Task, state: State, bar: tqdm) -> float:
    """One pass over the training pictures in a new order; the mean loss."""
    epoch, settings, total = len(state.history), task.settings, 0.0
    rng = np.random.default_rng((settings.seed, epoch))
    task.part.train()
    with torch.random.fork_rng():  # dropout knows the global generator only
        torch.manual_seed(int(rng.integers(2**63)))
        for batch in _batches(rng.permutation(task.train), settings.batch_size):
            logits = task.part(task.inputs(batch, epoch)).flatten(1)
            loss = F.cross_entropy(logits, task.labels[batch])
            state.optimiser.zero_grad()
            loss.backward()
            state.optimiser.step()
            total += loss.item() * len(batch)
            bar.update(len(batch))
    state.schedule.step()
    return total / len(task.train)


@torch.no_grad()
def _validate(task: Task) -> tuple[float, float]:
    """Loss and accuracy on the held-out pictures."""
    task.part.eval()
    batches = _batches(task.held_out)
    logits = torch.cat([task.part(task.inputs(batch, None)).flatten(1) for batch in batches])
    labels = task.labels[task.held_out]
    right = logits.argmax(dim=1) == labels
    return F.cross_entropy(logits, labels).item(), right.double().mean().item()


def _batches(indices: np.ndarray, size: int = 8) -> list[np.ndarray]:
    """Parts of nearly the same length: a rest of one picture would upset batch normalisation."""
    return np.array_split(indices, math.ceil(len(indices) / size))


def _best_epoch(state: State) -> int:
    losses = [entry["held_out_loss"] for entry in state.history]
    return losses.index(min(losses))


def _stalled(state: State, patience: int) -> bool:
    return bool(state.history) and len(state.history) - 1 - _best_epoch(state) >= patience


def _learned(task: Task) -> dict[str, Tensor]:
    """What training changes, by name: weights, and what batch normalisation counts."""
    start = f"{task.head}." if task.settings.frozen else ""
    state = task.network.state_dict()
    return {name: value for name, value in state.items() if name.startswith(start)}


def _finish(task: Task, state: State) -> None:
    """Leave the best weights, and nothing of the training, in the network."""
    task.network.load_state_dict(state.best, strict=False)
    head = task.network.get_submodule(task.head)
    if isinstance(head, nn.Linear):
        centre_logits(head)
    state.optimiser.zero_grad()
    task.network.requires_grad_(True)


def _story(model: Classifier, task: Task, state: State, classes: Sequence[str], source: str) -> str:
    """Which network, trained on what: the description of the result."""
    accuracy = state.history[_best_epoch(state)]["held_out_accuracy"]
    what = ", ".join(classes) if len(classes) <= 4 else f"{len(classes)} classes"
    others = "are those of" if task.settings.frozen else "learned too, starting from"
    return (
        f"{model.architecture} with a new head for {what}, trained by data_scripts/finetune.py on "
        f"{len(task.train)} pictures ({source}); validation accuracy {accuracy:.1%} on "
        f"{len(task.held_out)} others; the layers before the head {others} {model.description}"
    )


# Files


def save(path: Path, model: Classifier, history: list[dict]) -> None:
    """Write what `finetune` returned to one file that `load_model(path)` opens, or nothing."""
    content = {
        "network": model.architecture,
        "classes": [str(name) for name in model.classes],
        "preprocessing": asdict(model.preprocessing),
        "description": model.description.removeprefix(f"{model.name}: "),
        "state_dict": model.network.state_dict(),
        "history": history,
    }
    _write(path, content)


def _keep(path: Path | None, signature: dict[str, str], task: Task, state: State) -> None:
    """Write a checkpoint, if one is wanted."""
    if path is not None:
        content = {
            "signature": signature,
            "learned": _learned(task),
            "best": state.best,
            "optimiser": state.optimiser.state_dict(),
            "schedule": state.schedule.state_dict(),
            "history": state.history,
        }
        _write(path, content)


def _resume(path: Path | None, signature: dict[str, str], task: Task, state: State) -> None:
    """Go on from a checkpoint, if there is one. All chance is drawn anew from seed and epoch."""
    if path is None or not path.exists():
        return
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        theirs = content["signature"]
    except Exception as error:  # many kinds, by where the file is damaged
        raise ValueError(
            f"{path} is no readable checkpoint ({type(error).__name__}); delete it to start anew"
        ) from error
    other = [
        f"{key} {theirs.get(key)} instead of {ours}"
        for key, ours in signature.items()
        if theirs.get(key) != ours
    ]
    if other:
        raise ValueError(
            f"{path} was left by a training with {', '.join(other)}; start that one again to go "
            f"on, or delete {path} to start anew"
        )
    task.network.load_state_dict(content["learned"], strict=False)
    state.optimiser.load_state_dict(content["optimiser"])
    state.schedule.load_state_dict(content["schedule"])
    state.history, state.best = content["history"], content["best"]


def _signature(
    task: Task, pictures: Sequence[np.ndarray], classes: Sequence[str]
) -> dict[str, str]:
    """What a checkpoint must agree in."""
    weights = [value.cpu().numpy() for value in task.network.state_dict().values()]
    split = [task.labels.cpu().numpy(), task.held_out]
    return {
        **{name: str(value) for name, value in asdict(task.settings).items()},
        "classes": ", ".join(classes),
        "network": _fingerprint(weights),
        "pictures": _fingerprint([*pictures, *split]),
    }


def _fingerprint(arrays: Sequence[np.ndarray]) -> str:
    return sha256("".join(map(sha256, arrays)).encode())[:12]


def _write(path: Path, content: dict) -> None:
    written = io.BytesIO()
    torch.save(content, written)
    write_atomically(path, written.getvalue())


# Checks


def _check_model(model: Classifier) -> None:
    if getattr(model, "architecture", None) is None:
        raise ValueError(
            "model must be a network that labkit.models.load_model gave, got "
            f"{getattr(model, 'name', type(model).__name__)}; the result could not be loaded again"
        )


def _check_pictures(pictures: Sequence[np.ndarray], labels: Tensor, classes: Sequence[str]) -> None:
    kinds = {type(picture).__name__ for picture in pictures} - {"ndarray"}
    if kinds:
        raise TypeError(
            f"pictures must be arrays, got {', '.join(sorted(kinds))}; "
            "labkit.images.open_image(source) gives them"
        )
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ValueError(f"classes must be two different names or more, got {list(classes)}")
    if labels.shape != (len(pictures),):
        raise ValueError(
            f"labels must have shape [{len(pictures)}], one a picture, got {list(labels.shape)}"
        )
    strange = set(labels.tolist()) - set(range(len(classes)))
    if strange:
        raise IndexError(
            f"labels must be whole numbers from 0 to {len(classes) - 1}, got {sorted(strange)[:5]};"
            " classes.index(name) finds them"
        )


def _check_held_out(held_out: Sequence[int], labels: Tensor, classes: Sequence[str]) -> None:
    strange = set(held_out) - set(range(len(labels)))
    if strange or len(held_out) == 0:
        raise IndexError(
            f"held_out must be indices of pictures, 0 to {len(labels) - 1}, got "
            f"{sorted(strange)[:5] or 'none'}; without any, nothing tells when to stop"
        )
    learned = set(np.delete(labels.numpy(), list(held_out)).tolist())
    missing = [name for label, name in enumerate(classes) if label not in learned]
    if missing:
        raise ValueError(
            f"held_out must leave pictures of each class to learn from, got {len(held_out)} of "
            f"{len(labels)}, which leave none of {', '.join(missing)}; hold fewer out"
        )


# Command line


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of pictures for each class")
    parser.add_argument("--model", required=True, help="what load_model knows: a name, or a file")
    parser.add_argument("--out", required=True, type=Path, help="file to write, my_network.pt")
    parser.add_argument("--frozen", action="store_true", help="only the new layer learns")
    parser.add_argument("--epochs", type=int, default=20, help="at most (%(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="pictures a step (%(default)s)")
    parser.add_argument(
        "--validation", type=float, default=HELD_OUT, help="share held out (%(default)s)"
    )
    parser.add_argument(
        "--patience", type=int, default=3, help="epochs without progress (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn at random")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes that open pictures"
    )
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)"
    )
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Read the pictures, train, and write the network."""
    _check_writable(options.out)
    checkpoint = checkpoint_of(options.out)
    model = load_model(options.model, device=options.device)
    examples = read_folder(
        options.folder.expanduser(),
        share=options.validation,
        seed=options.seed,
        jobs=options.jobs,
        side=model.preprocessing.resize,
    )
    tuned, history = finetune(
        model,
        examples.pictures,
        examples.labels,
        examples.classes,
        held_out=examples.held_out,
        frozen=options.frozen,
        epochs=options.epochs,
        lr=options.lr,
        batch_size=options.batch_size,
        patience=options.patience,
        seed=options.seed,
        name=options.out.stem,
        source=examples.source,
        checkpoint=checkpoint,
        progress=True,
    )
    save(options.out, tuned, history)
    checkpoint.unlink()
    print(f"{tuned.description}\nin a lab: MODEL = {str(options.out)!r}")


def checkpoint_of(out: Path) -> Path:
    """Where a training that will write a file keeps its checkpoint."""
    return out.with_name(f"{out.name}.partial")


def _check_writable(out: Path) -> None:
    """Find out before hours of training whether the result can be written."""
    if out.suffix != ".pt" or out.is_dir():
        raise ValueError(
            f"--out must be a file whose name ends in .pt, by which load_model knows it, got {out};"
            " call it my_network.pt, for example"
        )
    probe = out.with_name(f"{out.name}.probe")
    try:
        write_atomically(probe, b"")
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"--out must be where a file can be written, got {out} ({error.strerror}); "
            "name another place"
        ) from error


def main(arguments: list[str] | None = None) -> None:
    """Command line; what is wrong with it becomes one line."""
    options = parse(arguments)
    try:
        run(options)
    except (OSError, ValueError) as error:
        sys.exit(f"finetune: {error}")
    except KeyboardInterrupt:
        sys.exit("finetune: stopped; the same command goes on after the last whole epoch")


if __name__ == "__main__":
    main()
