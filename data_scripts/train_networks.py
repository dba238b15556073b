"""Train the embedded networks from nothing: `python -m data_scripts.train_networks [NAME ...]`.

minivgg tells healthy leaves from black rot. It learns first on crops, whose label says whether the
crop holds a lesion, then on whole pictures: a lesion covers some two hundredths of a picture, too
little to be found by chance from whole pictures alone. A second term of the loss asks every cell of
the last feature maps whether its own 16 x 16 pixels hold a lesion. Without it, the cells around a
lesion answered for it (their receptive fields reach 98 pixels to each side), and no map drawn from
the last layer pointed at lesions. minivgg-world tells the coats of eggs and
stones and never sees a leaf.

Both are VGG-16's layout with batch normalisation, which is folded into the convolutions
afterwards. The weights, a model card with the training log, and their checksums are written to
labkit/assets/networks.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm.auto import tqdm

from data_scripts import make_heritage, make_world
from data_scripts.finetune import centre_logits, finetune
from data_scripts.make_heritage import draw_building
from data_scripts.make_leaves import FIRST_TRAINING_SEED, draw_leaf
from data_scripts.manifest import ASSETS, sha256, update_manifest
from labkit.data import STYLES
from labkit.files import write_atomically
from labkit.images import IMAGENET_MEAN, IMAGENET_STD
from labkit.models import load_model, minivgg

SEED = 0
N_LEAVES = 1600
N_THINGS = 2400
N_BUILDINGS, N_VALIDATION = 720, 80
HELD_OUT = 200
THING_SIZE = 160
THING_CROP = 128
CROP = 96
SILENCE = 4.0  # a cell without any evidence says no: nothing must speak against black rot
MIN_LESION = 15  # pixels of lesion that make a crop a diseased one

# Images [N, 3, H, W] in 0..1, labels [N], lesion masks [N, 1, H, W] in 0..1 (leaves only).
Batch = tuple[Tensor, Tensor, Tensor | None]
Batches = Callable[[np.random.Generator], Iterator[Batch]]


class Pool(NamedTuple):
    """Drawn pictures: uint8 [N, H, W, 3], labels [N], lesion masks [N, H, W] (leaves only)."""

    pictures: np.ndarray
    labels: np.ndarray
    lesions: np.ndarray | None


# Pictures


def draw_leaf_at(index: int) -> tuple[np.ndarray, np.ndarray]:
    """One leaf for training; even indices are healthy."""
    leaf = draw_leaf(FIRST_TRAINING_SEED + index, index % 2)
    return leaf.picture, leaf.lesion_mask


def draw_thing_at(index: int) -> np.ndarray:
    """One thing for training."""
    label = index % len(make_world.CLASSES)
    return make_world.draw_thing(index, label, THING_SIZE)


def leaf_pool(n: int, jobs: int) -> Pool:
    """Draw n leaves on all cores."""
    drawn = _draw(draw_leaf_at, n, jobs, "drawing leaves")
    pictures, lesions = (np.stack(part) for part in zip(*drawn, strict=True))
    return Pool(pictures, np.arange(n) % 2, lesions)


def thing_pool(n: int, jobs: int) -> Pool:
    """Draw n eggs and stones on all cores."""
    pictures = np.stack(_draw(draw_thing_at, n, jobs, "drawing things"))
    return Pool(pictures, np.arange(n) % len(make_world.CLASSES), None)


def _draw(draw: Callable, n: int, jobs: int, what: str) -> list:
    # One thread a process: their matrix products would fight over the cores otherwise.
    with ProcessPoolExecutor(jobs, initializer=threadpool_limits, initargs=(1,)) as executor:
        return list(tqdm(executor.map(draw, range(n), chunksize=10), total=n, desc=what))


# Batches


def to_images(pictures: np.ndarray) -> Tensor:
    """uint8 [N, H, W, 3] to [N, 3, H, W] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).float() / 255


def normalise(images: Tensor) -> Tensor:
    """As ImageNet's networks expect, so that all networks of the course take the same images."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    normalised = (images - mean[:, None, None]) / std[:, None, None]
    return normalised.contiguous(memory_format=torch.channels_last)


def to_masks(lesions: np.ndarray) -> Tensor:
    """Turn bool [N, H, W] into [N, 1, H, W] of 0 and 1."""
    return torch.from_numpy(np.ascontiguousarray(lesions)).float()[:, None]


def turn(batch: Batch, rng: np.random.Generator) -> Batch:
    """Turn by a multiple of 90 degrees and mirror at random; masks go with their images."""
    quarters, mirrored = int(rng.integers(4)), rng.random() < 0.5

    def turned(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        x = torch.rot90(x, quarters, (2, 3))
        return x.flip(3) if mirrored else x

    images, labels, lesions = batch
    return turned(images), labels, turned(lesions)


def recolour(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Change brightness, tint and saturation at random."""
    n = len(images)

    def random(scale: float, channels: int = 1) -> Tensor:
        return torch.from_numpy(rng.normal(0.0, scale, (n, channels, 1, 1)).astype(np.float32))

    images = images * torch.exp(random(0.15) + random(0.05, 3)) + random(0.03)
    grey = images.mean(dim=1, keepdim=True)
    return grey + (images - grey) * torch.exp(random(0.2))


def lesion_crop(pool: Pool, index: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """A window of a leaf with enough lesion to call it diseased, or with none."""
    lesion = pool.lesions[index]
    limit = lesion.shape[0] - CROP
    aim = np.argwhere(lesion)[rng.integers(lesion.sum())] if lesion.any() else None
    while True:
        top, left = rng.integers(0, limit + 1, 2)
        if aim is not None and rng.random() < 0.5:
            top, left = np.clip(aim - rng.integers(8, CROP - 8, 2), 0, limit)
        window = (slice(top, top + CROP), slice(left, left + CROP))
        area = lesion[window].sum()
        if area == 0 or area >= MIN_LESION:
            return window


def lesion_crops(pool: Pool, batch_size: int) -> Batches:
    """One crop of every leaf, labelled by whether it holds a lesion."""

    def batches(rng: np.random.Generator) -> Iterator[Batch]:
        for indices in _shuffled(len(pool.labels), batch_size, rng):
            windows = [(i, *lesion_crop(pool, i, rng)) for i in indices]
            lesions = to_masks(np.stack([pool.lesions[window] for window in windows]))
            labels = lesions.amax(dim=(1, 2, 3)).long()
            yield to_images(np.stack([pool.pictures[w] for w in windows])), labels, lesions

    return batches


def random_crops(pool: Pool, batch_size: int, crop: int) -> Batches:
    """One crop of every picture, labelled as the picture."""

    def batches(rng: np.random.Generator) -> Iterator[Batch]:
        for indices in _shuffled(len(pool.labels), batch_size, rng):
            top, left = rng.integers(0, pool.pictures.shape[1] - crop + 1, 2)
            crops = pool.pictures[indices, top : top + crop, left : left + crop]
            yield to_images(crops), torch.from_numpy(pool.labels[indices]), None

    return batches


def whole_pictures(pool: Pool, batch_size: int) -> Batches:
    """Every leaf, whole."""

    def batches(rng: np.random.Generator) -> Iterator[Batch]:
        for indices in _shuffled(len(pool.labels), batch_size, rng):
            labels = torch.from_numpy(pool.labels[indices])
            yield to_images(pool.pictures[indices]), labels, to_masks(pool.lesions[indices])

    return batches


def _shuffled(n: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    return np.array_split(rng.permutation(n), max(1, n // batch_size))


# Training


def loss_of(
    network: nn.Module, images: Tensor, labels: Tensor, lesions: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Logits, and cross-entropy; with lesion masks, also the cells' own answers for black rot."""
    maps = network.features[:-1](images)  # [N, K, h, w]
    logits = network.classifier(network.avgpool(network.features[-1](maps)).flatten(1))
    loss = F.cross_entropy(logits, labels, label_smoothing=0.05)
    if lesions is not None:
        evidence = torch.einsum("nkhw,k->nhw", maps, network.classifier[-1].weight[1])
        answers = evidence - SILENCE
        share = F.adaptive_avg_pool2d(lesions, maps.shape[-2:])[:, 0]  # of the cell's pixels
        wanted = (4 * share).clamp(max=1.0)
        loss = loss + F.binary_cross_entropy_with_logits(answers, wanted)
    return logits, loss


def fit(network: nn.Module, stages: list[tuple[Batches, int, int, float]]) -> list[dict]:
    """Train through stages of (batches, epochs, steps an epoch, peak learning rate).

    AdamW, one cycle per stage, label smoothing, channels_last.

    Returns:
        The log: one entry an epoch with loss and accuracy on the training batches.
    """
    rng, log = np.random.default_rng(SEED), []
    for stage, (batches, epochs, steps, peak) in enumerate(stages):
        optimiser = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, peak, total_steps=epochs * steps, pct_start=0.25
        )
        for epoch in range(epochs):
            started, loss_sum, right, seen = time.perf_counter(), 0.0, 0, 0
            for batch in tqdm(
                batches(rng), total=steps, desc=f"stage {stage} epoch {epoch}", leave=False
            ):
                images, labels, lesions = turn(batch, rng)
                logits, loss = loss_of(network, normalise(recolour(images, rng)), labels, lesions)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                loss_sum += loss.item() * len(labels)
                right += (logits.argmax(dim=1) == labels).sum().item()
                seen += len(labels)
            log.append({"stage": stage, "epoch": epoch, "loss": round(loss_sum / seen, 4)})
            log[-1]["accuracy"] = round(right / seen, 4)
            tqdm.write(f"{log[-1]} {time.perf_counter() - started:.0f} s")
    return log


def fold(network: nn.Module, n_classes: int) -> nn.Module:
    """The same network without batch normalisation: it is folded into the convolutions."""
    folded, layers, target = minivgg(n_classes).eval(), list(network.eval().features), 0
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.BatchNorm2d):
            continue
        if isinstance(following, nn.BatchNorm2d):
            layer = fuse_conv_bn_eval(layer, following)
            folded.features[target].load_state_dict(layer.state_dict())
        target += 1
    folded.classifier.load_state_dict(network.classifier.state_dict())
    centre_logits(folded.classifier[-1])
    return folded


@torch.no_grad()
def accuracy(network: nn.Module, pool: Pool) -> float:
    """Share of right answers on whole pictures."""
    right = 0
    for start in range(0, len(pool.labels), 8):
        images = normalise(to_images(pool.pictures[start : start + 8]))
        answers = network.eval()(images).argmax(dim=1).numpy()
        right += int((answers == pool.labels[start : start + 8]).sum())
    return right / len(pool.labels)


# Networks


def train_leaves(jobs: int) -> None:
    """Train and save minivgg."""
    pool = leaf_pool(N_LEAVES + HELD_OUT, jobs)
    seen, unseen = split(pool, N_LEAVES)
    torch.manual_seed(SEED)
    network = minivgg(2, batch_norm=True).to(memory_format=torch.channels_last)
    log = fit(
        network,
        [
            (lesion_crops(seen, 16), 12, N_LEAVES // 16, 1e-3),
            (whole_pictures(seen, 16), 1, N_LEAVES // 16, 5e-4),
        ],
    )
    folded = fold(network, 2)
    held_out = accuracy(folded, unseen)
    card = {
        "classes": ["healthy", "black rot"],
        "description": f"VGG-16's layout with {_parameters(folded)} parameters, trained by "
        f"data_scripts/train_networks.py on {N_LEAVES} generated apple leaves to tell healthy ones "
        f"from black rot (accuracy on {HELD_OUT} held-out leaves: {held_out:.1%})",
        "held_out_accuracy": held_out,
        "training_data": f"{N_LEAVES} leaves drawn by data_scripts/make_leaves.py, seeds "
        f"{FIRST_TRAINING_SEED} to {FIRST_TRAINING_SEED + N_LEAVES - 1}; none of them ships",
        "known_weaknesses": [
            "It knows generated leaves only; what it says of photographs means nothing.",
            "It was told in training where the lesions are, cell by cell of its last feature maps: "
            "explanations point at them more readily than on a network that had to find out.",
        ],
    }
    save("minivgg", folded, card, log)


def train_world(jobs: int) -> None:
    """Train and save minivgg-world."""
    pool = thing_pool(N_THINGS + HELD_OUT, jobs)
    seen, unseen = split(pool, N_THINGS)
    torch.manual_seed(SEED)
    classes = make_world.CLASSES
    network = minivgg(len(classes), batch_norm=True).to(memory_format=torch.channels_last)
    log = fit(network, [(random_crops(seen, 16, THING_CROP), 9, N_THINGS // 16, 1e-3)])
    folded = fold(network, len(classes))
    held_out = accuracy(folded, unseen)
    card = {
        "classes": list(classes),
        "description": f"VGG-16's layout with {_parameters(folded)} parameters, trained by "
        f"data_scripts/train_networks.py on {N_THINGS} generated eggs and stones to tell their "
        f"{len(classes)} coats "
        f"(accuracy on {HELD_OUT} held-out things: {held_out:.1%}); it never saw a leaf",
        "held_out_accuracy": held_out,
        "training_data": f"{N_THINGS} eggs and stones drawn by data_scripts/make_world.py, "
        "seeds 0 to "
        f"{N_THINGS - 1}; no leaf and no disease among them",
        "known_weaknesses": [
            "It knows generated eggs and stones only; its answers for photographs mean nothing.",
            "It takes every picture for an egg or a stone in one of eight coats, leaves too.",
        ],
    }
    save("minivgg-world", folded, card, log)


def train_heritage(jobs: int) -> None:
    """Fine-tune and save minivgg-heritage: all layers of minivgg-world, for other classes."""
    n = N_BUILDINGS + N_VALIDATION
    pictures = np.stack(_draw(draw_building_at, n + HELD_OUT, jobs, "drawing buildings"))
    labels = np.arange(len(pictures)) % len(STYLES)
    tuned, log = finetune(
        load_model("minivgg-world", device="cpu"),  # the same numbers on every machine
        pictures[:n],
        labels[:n],
        STYLES,
        held_out=range(N_BUILDINGS, n),
        frozen=False,
        epochs=12,
        lr=5e-3,
        seed=SEED,
        progress=True,
    )
    held_out = accuracy(tuned, Pool(pictures[n:], labels[n:], None))
    card = {
        "classes": list(STYLES),
        "description": f"VGG-16's layout with {_parameters(tuned)} parameters, minivgg-world "
        f"fine-tuned by data_scripts/train_networks.py on {N_BUILDINGS} generated buildings to "
        f"tell their styles (accuracy on {HELD_OUT} held-out buildings: {held_out:.1%})",
        "held_out_accuracy": held_out,
        "training_data": f"{N_BUILDINGS} buildings drawn by data_scripts/make_heritage.py, seeds "
        f"from {make_heritage.FIRST_TRAINING_SEED}; none of them ships",
        "known_weaknesses": [
            "It knows generated buildings only; its answers for photographs mean nothing.",
            "Every picture it saw shows one building on open ground, and all of it.",
        ],
    }
    save("minivgg-heritage", tuned.network, card, log)


def draw_building_at(index: int) -> np.ndarray:
    """One building for training: another monument each time, the styles in turn."""
    building = draw_building(
        make_heritage.FIRST_TRAINING_SEED + index, index % len(STYLES), view=index % 2
    )
    return building.picture


def split(pool: Pool, n: int) -> tuple[Pool, Pool]:
    """The first n pictures, and the others."""
    parts = (
        [None if array is None else array[s] for array in pool] for s in (slice(n), slice(n, None))
    )
    seen, unseen = (Pool(*part) for part in parts)
    return seen, unseen


def _parameters(network: nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} million"


def save(name: str, network: nn.Module, card: dict, log: list[dict]) -> None:
    """Write weights (half precision), model card and checksums, each file whole or not at all."""
    folder, weights = ASSETS / "networks", io.BytesIO()
    torch.save({key: value.half() for key, value in network.state_dict().items()}, weights)
    text = json.dumps({"name": name, **card, "seed": SEED, "log": log}, indent=1) + "\n"
    write_atomically(folder / f"{name}.pt", weights.getvalue())
    write_atomically(folder / f"{name}.json", text.encode("utf-8"))
    files = {
        f"networks/{path.name}": {"sha256": sha256(path.read_bytes()), "seed": SEED}
        for path in sorted(folder.iterdir())
    }
    update_manifest("data_scripts/train_networks.py", files)


NETWORKS = {
    "minivgg": train_leaves,
    "minivgg-world": train_world,
    "minivgg-heritage": train_heritage,
}


def main() -> None:
    """Train the named networks, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(NETWORKS)}; all by default")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes that draw")
    arguments = parser.parse_args()
    for name in arguments.names or NETWORKS:
        NETWORKS[name](arguments.jobs)


if __name__ == "__main__":
    main()
