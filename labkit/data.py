"""Pictures with known truth: the embedded ones, and downloaded sets in their own folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from labkit.assets import asset, assets_in
from labkit.images import open_image

LEAF_CLASSES = ("healthy", "black rot")
PLANTVILLAGE_FOLDERS = ("Apple___healthy", "Apple___Black_rot")
PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Leaves:
    """Pictures of leaves with their labels, and masks where they are known.

    Attributes:
        pictures: N arrays uint8 `[H, W, 3]`.
        labels: `[N]`, 0 healthy, 1 black rot.
        names: the files they came from.
        leaf_masks: bool `[H, W]`, or None where it is not known which pixels are leaf.
        lesion_masks: bool `[H, W]`, or None where it is not known which pixels are diseased.
        description: the sentence that notebooks print.
    """

    pictures: list[np.ndarray]
    labels: Tensor
    names: list[str]
    leaf_masks: list[np.ndarray | None]
    lesion_masks: list[np.ndarray | None]
    description: str
    classes: tuple[str, str] = LEAF_CLASSES

    def __len__(self) -> int:
        return len(self.pictures)

    def subset(self, indices: Sequence[int] | Tensor) -> Leaves:
        """The leaves at some places, in that order."""
        chosen = [int(i) for i in indices]
        return Leaves(
            [self.pictures[i] for i in chosen],
            self.labels[chosen],
            [self.names[i] for i in chosen],
            [self.leaf_masks[i] for i in chosen],
            [self.lesion_masks[i] for i in chosen],
            self.description,
        )

    def __add__(self, other: Leaves) -> Leaves:
        return Leaves(
            self.pictures + other.pictures,
            torch.cat([self.labels, other.labels]),
            self.names + other.names,
            self.leaf_masks + other.leaf_masks,
            self.lesion_masks + other.lesion_masks,
            f"{self.description}; {other.description}",
        )

    def where(self, label: int) -> Leaves:
        """The leaves of one class."""
        return self.subset(torch.nonzero(self.labels == label).flatten())


def known_truth(leaves: Leaves, n: int | None = None) -> tuple[Leaves, list[np.ndarray], str]:
    """The sick leaves on which an explanation can be judged, and where it should be.

    Args:
        leaves: with lesion masks, or at least with leaf masks for some.
        n: at most so many; all by default.

    Returns:
        The leaves with black rot whose truth is known, a mask `[H, W]` for each, and what the masks
        show: "the lesions", or "the leaf" where no lesions are known.

    Raises:
        ValueError: neither is known of any sick leaf.
    """
    sick = [i for i in range(len(leaves)) if leaves.labels[i] == 1]
    for masks, shown in ((leaves.lesion_masks, "the lesions"), (leaves.leaf_masks, "the leaf")):
        known = [i for i in sick if masks[i] is not None and masks[i].any()][:n]
        if known:
            return leaves.subset(known), [masks[i] for i in known], shown
    raise ValueError(
        "leaves must have a mask for at least one leaf with black rot, got none; "
        "use load_leaves('generated'), or PlantVillage with its folder raw/segmented"
    )


def load_leaves(
    source: str | Path = "generated", *, n_train: int = 200, n_test: int = 50, seed: int = 0
) -> tuple[Leaves, Leaves]:
    """Load healthy apple leaves and leaves with black rot, for training and for testing.

    Args:
        source: "generated", the pictures that ship with labkit; or a folder that holds PlantVillage
            (`raw/color/Apple___healthy` and `Apple___Black_rot`, or those two folders themselves).
        n_train: pictures a class for training, 200 at most for "generated".
        n_test: pictures a class for testing, 50 at most for "generated".
        seed: which pictures of a larger folder are taken; pictures that the camera numbered one
            after the other (often the same leaf) stay on the same side.

    Returns:
        Training and test leaves.

    Raises:
        FileNotFoundError: the folder is missing.
        ValueError: it holds no apple leaves, or fewer than asked for.
    """
    if n_train < 1 or n_test < 1:
        raise ValueError(f"n_train and n_test must be at least 1, got {n_train} and {n_test}")
    if str(source) == "generated":
        return _generated("train", n_train), _generated("test", n_test)
    return _plantvillage(_folder(source), n_train, n_test, seed)


def _generated(part: str, n: int) -> Leaves:
    names = []
    for name in ("healthy", "black_rot"):
        of_class = assets_in(f"leaves/{part}/{name}", ".jpg")
        if n > len(of_class):
            raise ValueError(
                f"n_{part} must be at most {len(of_class)} for source='generated', got {n}; "
                "`python -m data_scripts.make_leaves` draws more"
            )
        names += of_class[:n]
    masks = [np.asarray(Image.open(asset(name.replace(".jpg", "_mask.png")))) for name in names]
    return Leaves(
        pictures=[open_image(asset(name)) for name in names],
        labels=torch.tensor([0] * n + [1] * n),
        names=names,
        leaf_masks=[mask > 0 for mask in masks],
        lesion_masks=[mask == 2 for mask in masks],
        description=f"generated leaves, {n} healthy and {n} with black rot, drawn by "
        f"data_scripts/make_leaves.py and shipped with labkit ({part} set)",
    )


def _folder(source: str | Path) -> Path:
    """The folder as given, or seen from the project's root; notebooks run one floor below it."""
    tried = [Path(source).expanduser()]
    if not tried[0].is_absolute():
        tried.append(PROJECT / source)
    for path in tried:
        if path.is_dir():
            return path
    looked_in = " and ".join(str(path.resolve()) for path in tried)
    raise FileNotFoundError(
        f"source must be 'generated' or a folder with PlantVillage's apple leaves, got "
        f"{str(source)!r}, which is no folder here (looked in {looked_in}); clone "
        "github.com/spMohanty/PlantVillage-Dataset (the two folders raw/color/Apple___healthy and "
        "raw/color/Apple___Black_rot are enough) and pass its path"
    )


def _plantvillage(folder: Path, n_train: int, n_test: int, seed: int) -> tuple[Leaves, Leaves]:
    color = next(
        (f for f in (folder / "raw/color", folder / "color", folder) if _has_classes(f)), None
    )
    if color is None:
        found = sorted(path.name for path in folder.iterdir())[:8]
        raise ValueError(
            f"source must hold the folders {' and '.join(PLANTVILLAGE_FOLDERS)} (or raw/color with "
            f"them), got {folder} with {found}; pass the root of PlantVillage-Dataset"
        )
    parts: tuple[list[tuple[Path, int]], list[tuple[Path, int]]] = ([], [])
    for label, name in enumerate(PLANTVILLAGE_FOLDERS):
        split = _split_by_leaf(color / name, n_train, n_test, seed)
        for part, paths in zip(parts, split, strict=True):
            part += [(path, label) for path in paths]
    train, test = (_read(part, folder, n) for part, n in zip(parts, (n_train, n_test), strict=True))
    return train, test


def _has_classes(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in PLANTVILLAGE_FOLDERS)


def _split_by_leaf(
    folder: Path, n_train: int, n_test: int, seed: int
) -> tuple[list[Path], list[Path]]:
    """Fill the test set with whole runs of consecutive camera numbers, then the training set."""
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if len(paths) < n_train + n_test:
        raise ValueError(
            f"{folder} must hold {n_train} + {n_test} pictures, got {len(paths)}; "
            "ask for fewer with n_train= and n_test="
        )
    paths.sort(key=_camera_number)
    starts = [
        i
        for i in range(len(paths))
        if i == 0 or _camera_number(paths[i])[1] - _camera_number(paths[i - 1])[1] not in (0, 1)
    ]
    runs = [paths[i:j] for i, j in zip(starts, [*starts[1:], len(paths)], strict=True)]
    order = np.random.default_rng(seed).permutation(len(runs))
    test: list[Path] = []
    train: list[Path] = []
    for run in (runs[i] for i in order):
        side = test if len(test) + len(run) <= n_test else train
        side += run
    missing = n_test - len(test)  # no run was short enough to fill the last places
    test, train = test + train[len(train) - missing :], train[: len(train) - missing]
    return train[:n_train], test


def _camera_number(path: Path) -> tuple[str, int]:
    """Session and number at the end of PlantVillage's file names: 'UUID___JR_FrgE.S 8727.JPG'."""
    match = re.search(r"___(.*?)(\d+)(?:_\w+)?$", path.stem)
    return (match[1], int(match[2])) if match else (path.stem, 0)


def _read(part: list[tuple[Path, int]], folder: Path, n: int) -> Leaves:
    paths = [path for path, _ in part]
    return Leaves(
        pictures=[open_image(path) for path in paths],
        labels=torch.tensor([label for _, label in part]),
        names=[path.name for path in paths],
        leaf_masks=[_segmented_mask(path) for path in paths],
        lesion_masks=[None] * len(paths),
        description=f"PlantVillage, {n} healthy apple leaves and {n} with black rot, "
        f"from {folder.name}",
    )


def _segmented_mask(path: Path) -> np.ndarray | None:
    """The leaf's mask from PlantVillage's own twin with the background blacked out, where it is."""
    twins = path.parents[2] / "segmented" / path.parent.name
    twin = next(iter(twins.glob(f"{path.stem}_final_masked.*")), None) if twins.is_dir() else None
    return None if twin is None else open_image(twin).max(axis=-1) > 16


def describe_embedded() -> dict[str, int]:
    """How many pictures ship, by folder; what the doctor prints."""
    counts: dict[str, int] = {}
    for name in assets_in("leaves", ".jpg"):
        folder = name.rsplit("/", 1)[0]
        counts[folder] = counts.get(folder, 0) + 1
    return counts
