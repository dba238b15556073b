"""Pictures with known truth: the embedded ones, and downloaded sets in their own folders.

Leaves with their lesions, and buildings with where people looked.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from labkit.assets import FOLDER, asset, assets_in
from labkit.checks import check_choice, check_count
from labkit.gaze_files import (
    GAZE_FOLDERS,
    gaze_files,
    pictures_in,
    read_density_map,
    read_gaze,
    read_part_mask,
)
from labkit.images import PICTURE_ENDINGS, open_image, shrunk
from labkit.sentence import Sentence

LEAF_CLASSES = ("healthy", "black rot")
PLANTVILLAGE_FOLDERS = ("Apple___healthy", "Apple___Black_rot")
PATHOLOGY_CLASSES = ("healthy", "multiple_diseases", "rust", "scab")
STYLES = ("Prehispanic", "Colonial", "Modern")
PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Leaves:
    """Pictures of leaves with their labels, and masks where they are known.

    Attributes:
        pictures: N arrays uint8 `[H, W, 3]`.
        labels: `[N]`, indices into classes: 0 healthy, 1 black rot.
        names: the files they came from.
        leaf_masks: bool `[H, W]`, or None where it is not known which pixels are leaf.
        lesion_masks: bool `[H, W]`, or None where it is not known which pixels are diseased.
        description: the sentence that notebooks print.
        classes: what the labels mean.
    """

    pictures: list[np.ndarray]
    labels: Tensor
    names: list[str]
    leaf_masks: list[np.ndarray | None]
    lesion_masks: list[np.ndarray | None]
    description: str
    classes: tuple[str, ...] = LEAF_CLASSES

    def __post_init__(self) -> None:
        object.__setattr__(self, "description", Sentence(self.description))

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
            self.classes,
        )

    def __add__(self, other: Leaves) -> Leaves:
        if self.classes != other.classes:
            raise ValueError(
                f"leaves must have the same classes to be added, got {self.classes} and "
                f"{other.classes}; load both with the same classes="
            )
        return Leaves(
            self.pictures + other.pictures,
            torch.cat([self.labels, other.labels]),
            self.names + other.names,
            self.leaf_masks + other.leaf_masks,
            self.lesion_masks + other.lesion_masks,
            f"{self.description}; {other.description}",
            self.classes,
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
        known = [(i, mask) for i in sick if (mask := masks[i]) is not None and mask.any()][:n]
        if known:
            return leaves.subset([i for i, _ in known]), [mask for _, mask in known], shown
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
            (`raw/color/Apple___healthy` and `Apple___Black_rot`, or those two folders themselves);
            one in downloads/, where data_scripts put it, goes by its name alone.
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
    _check_counts(n_train, n_test)
    if str(source) == "generated":
        return _generated("train", n_train), _generated("test", n_test)
    wanted = (
        "'generated' or a folder with the apple leaves of PlantVillage-Dataset "
        "(raw/color/Apple___healthy and raw/color/Apple___Black_rot are enough)"
    )
    way_out = "`python -m data_scripts.fetch_plantvillage` fetches them"
    return _plantvillage(_folder(source, wanted, way_out), n_train, n_test, seed)


def load_plant_pathology(
    source: str | Path = "plant_pathology",
    *,
    classes: Sequence[str] = PATHOLOGY_CLASSES,
    n_train: int = 60,
    n_test: int = 30,
    size: int = 256,
    seed: int = 0,
) -> tuple[Leaves, Leaves]:
    """Load apple leaves of Plant Pathology 2020, for training and for testing.

    Thapa, Zhang, Snavely, Belongie and Khan, "The Plant Pathology Challenge 2020 data set to
    classify foliar disease of apples", https://arxiv.org/abs/2004.11958.

    Args:
        source: a folder that holds the set, with a folder for each class as data_scripts makes
            them, or with train.csv and images/ as Kaggle has them; its name alone if in downloads/.
        classes: at least two of `PATHOLOGY_CLASSES`; a label is an index into them.
        n_train: pictures a class for training.
        n_test: pictures a class for testing. No number tells which pictures show the same leaf.
        size: larger pictures are shrunk to this shorter side, in pixels, to save memory.
        seed: which pictures are taken.

    Returns:
        Training and test leaves; neither leaf nor lesions are known.

    Raises:
        FileNotFoundError: the folder is missing, or a picture that train.csv names.
        ValueError: a class is unknown, train.csv or the folder has another form, or there are fewer
            pictures than asked for.
    """
    _check_counts(n_train, n_test)
    if isinstance(classes, str) or len(set(classes)) != len(classes) or len(classes) < 2:
        raise ValueError(
            f"classes must be at least two different ones of {', '.join(PATHOLOGY_CLASSES)}, got "
            f"{classes!r}; for example: classes=('healthy', 'scab')"
        )
    check_count("size", size)
    for name in classes:
        check_choice("classes", name, PATHOLOGY_CLASSES)
    way_out = "`python -m data_scripts.fetch_plant_pathology` fetches it from Kaggle"
    folder = _folder(source, "a folder with Plant Pathology 2020", way_out)
    paths_of = _pathology_pictures(folder, way_out)
    parts: tuple[list[tuple[Path, int]], list[tuple[Path, int]]] = ([], [])
    for label, name in enumerate(classes):
        _check_enough(f"the class {name} in {folder}", n_train, n_test, paths_of[name])
        order = np.random.default_rng([seed, label]).permutation(len(paths_of[name]))
        chosen = [(paths_of[name][i], label) for i in order[: n_train + n_test]]
        parts[0].extend(chosen[:n_train])
        parts[1].extend(chosen[n_train:])
    described = f"Plant Pathology 2020, {{}} apple leaves of each class, from {folder.name}"
    train, test = (
        _read(part, described.format(n), tuple(classes), size)
        for part, n in zip(parts, (n_train, n_test), strict=True)
    )
    return train, test


def _pathology_pictures(folder: Path, way_out: str) -> dict[str, list[Path]]:
    """The pictures of each class, from train.csv or from the classes' folders."""
    if not (folder / "train.csv").is_file():
        if not any((folder / name).is_dir() for name in PATHOLOGY_CLASSES):
            raise ValueError(
                f"source must hold train.csv and images, or a folder for each class, got {folder} "
                f"with {sorted(path.name for path in folder.iterdir())[:8]}; {way_out}"
            )
        return {name: pictures_in(folder / name) for name in PATHOLOGY_CLASSES}
    paths_of: dict[str, list[Path]] = {name: [] for name in PATHOLOGY_CLASSES}
    for stem, name in pathology_labels(folder / "train.csv"):
        path = folder / "images" / f"{stem}.jpg"
        if not path.is_file():
            raise FileNotFoundError(
                f"source must hold images/{stem}.jpg, which train.csv names, got {folder} without "
                f"it; {way_out}"
            )
        paths_of[name].append(path)
    return paths_of


def pathology_labels(table: Path) -> list[tuple[str, str]]:
    """Name and class of each picture in Plant Pathology's train.csv.

    Raises:
        ValueError: a column is missing, or a line does not have a 1 for a single class.
    """
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        columns, labels = rows.fieldnames or [], []
        if not {"image_id", *PATHOLOGY_CLASSES} <= {*columns}:
            raise ValueError(
                f"{table.name} must have the columns image_id, {', '.join(PATHOLOGY_CLASSES)}, got "
                f"{list(columns)}; fetch the set again"
            )
        for row in rows:
            ones = [name for name in PATHOLOGY_CLASSES if row[name] in ("1", "1.0")]
            if len(ones) != 1 or not row["image_id"]:
                raise ValueError(
                    f"{table.name} must have image_id and one class with 1 in each line, got "
                    f"{list(row.values())} in line {rows.line_num}; fetch the set again"
                )
            labels.append((row["image_id"], ones[0]))
    return labels


def _check_counts(n_train: int, n_test: int) -> None:
    if n_train < 1 or n_test < 1:
        raise ValueError(f"n_train and n_test must be at least 1, got {n_train} and {n_test}")


def _check_enough(what: str, n_train: int, n_test: int, paths: list[Path]) -> None:
    if len(paths) < n_train + n_test:
        raise ValueError(
            f"{what} must hold {n_train} + {n_test} pictures, got {len(paths)}; "
            "ask for fewer with n_train= and n_test="
        )


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


def _folder(source: str | Path, wanted: str, way_out: str) -> Path:
    """The folder as given, seen from the project's root, or among what was downloaded there."""
    tried = [Path(source).expanduser()]
    if not tried[0].is_absolute():
        tried += [PROJECT / source, PROJECT / "downloads" / source]
    for path in tried:
        if path.is_dir():
            return path
    looked_in = ", ".join(str(path.resolve()) for path in tried)
    raise FileNotFoundError(
        f"source must be {wanted}, got {str(source)!r}, which is no folder here "
        f"(looked in {looked_in}); {way_out}"
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
    train, test = (
        _read(
            part,
            f"PlantVillage, {n} healthy apple leaves and {n} with black rot, from {folder.name}",
        )
        for part, n in zip(parts, (n_train, n_test), strict=True)
    )
    return train, test


def _has_classes(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in PLANTVILLAGE_FOLDERS)


def _split_by_leaf(
    folder: Path, n_train: int, n_test: int, seed: int
) -> tuple[list[Path], list[Path]]:
    """Fill the test set with whole runs of consecutive camera numbers, then the training set."""
    paths = pictures_in(folder)
    _check_enough(str(folder), n_train, n_test, paths)
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


def _read(
    part: list[tuple[Path, int]],
    description: str,
    classes: tuple[str, ...] = LEAF_CLASSES,
    size: int | None = None,
) -> Leaves:
    paths = [path for path, _ in part]
    return Leaves(
        pictures=[shrunk(open_image(path), size) for path in paths],
        labels=torch.tensor([label for _, label in part]),
        names=[path.name for path in paths],
        leaf_masks=[_segmented_mask(path) for path in paths],
        lesion_masks=[None] * len(paths),
        description=description,
        classes=classes,
    )


def _segmented_mask(path: Path) -> np.ndarray | None:
    """The leaf's mask from PlantVillage's own twin with the background blacked out, where it is."""
    twins = path.parents[2] / "segmented" / path.parent.name
    twin = next(iter(twins.glob(f"{path.stem}_final_masked.*")), None) if twins.is_dir() else None
    return None if twin is None else open_image(twin).max(axis=-1) > 16


class Opened(Sequence):
    """Files that are opened when they are asked for, so that a large set fits into memory."""

    def __init__(self, paths: Sequence[Path | None], reader: Callable[[Path], object]) -> None:
        self.paths = paths
        self.reader = reader

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> object:  # type: ignore[override]  # one at a time, no slices
        path = self.paths[i]
        return None if path is None else self.reader(path)


@dataclass(frozen=True)
class Heritage:
    """Pictures of buildings, and where people looked in them.

    Attributes:
        names: of the pictures' files, without ending.
        paths: of the pictures.
        labels: `[N]`, the index of the style in `classes`; -1 where the name does not tell.
        density_paths: of the density maps, None where there is none.
        part_paths: of the part masks, None where there is none.
        fixations: `[n, 2]`, x and y in pixels of the picture, of all subjects; or None.
        scanpaths: for each subject `[n, 3]`, x, y and duration in seconds; empty if unknown.
        missing: what has no matching file and what is left out, in lines to print.
        description: the sentence that notebooks print.
    """

    names: list[str]
    paths: list[Path]
    labels: Tensor
    density_paths: list[Path | None]
    part_paths: list[Path | None]
    fixations: list[Tensor | None]
    scanpaths: list[list[Tensor]]
    missing: list[str]
    description: str
    classes: tuple[str, ...] = STYLES

    def __post_init__(self) -> None:
        object.__setattr__(self, "description", Sentence(self.description))

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Sequence[int] | Tensor) -> Heritage:
        """The buildings at some places, in that order."""
        chosen = [int(i) for i in indices]
        lists = ("names", "paths", "density_paths", "part_paths", "fixations", "scanpaths")
        of_each: dict[str, Any] = {name: [getattr(self, name)[i] for i in chosen] for name in lists}
        return replace(self, labels=self.labels[chosen], **of_each)

    @property
    def pictures(self) -> Sequence[np.ndarray]:
        """The pictures, uint8 `[H, W, 3]`, opened when asked for."""
        return Opened(self.paths, open_image)

    @property
    def density_maps(self) -> Sequence[Tensor | None]:
        """The density maps `[H, W]`, 0 to 1, opened when asked for; none lies on its side."""
        picture_of = dict(zip(self.density_paths, self.paths, strict=True))
        return Opened(self.density_paths, partial(_density_map, picture_of))

    @property
    def part_masks(self) -> Sequence[np.ndarray | None]:
        """For each picture `[H, W]`, the index of the part that a pixel shows, 0 for none."""
        return Opened(self.part_paths, read_part_mask)


def _density_map(picture_of: dict[Path | None, Path], path: Path) -> Tensor:
    return read_density_map(path, open_image(picture_of[path]).shape[:2])


def load_heritage(
    source: str | Path = "generated", *, density_maps: str | Path | None = None
) -> Heritage:
    """Load pictures of buildings with gaze.

    Args:
        source: "generated", the pictures that ship with labkit, whose gaze is simulated; or a
            folder that holds MexCulture142 (Images, Fixations, Density Maps, Scanpaths) or MIT1003
            (ALLSTIMULI, ALLFIXATIONMAPS), or a part of them; or a folder of pictures. A file with
            GFDM, fixMap, Parts, GazeFix or ScanPath in its name, as those sets have them, is no
            picture, even beside the pictures.
        density_maps: a folder of density maps, where they are elsewhere. They belong to the picture
            of the same name, or of those sets' name for it.

    Returns:
        The pictures in the order of their names, and what belongs to them. `missing` lists
        pictures without gaze, gaze without a picture, and files and folders that are not read.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: it holds no pictures, or a file of fixations cannot be read.
    """
    if str(source) == "generated":
        for name in assets_in("heritage", ""):
            asset(name)  # compared with the manifest before anything is used
        folder = FOLDER / "heritage"
    else:
        way_out = "`python -m data_scripts.fetch_mexculture` fetches MexCulture142"
        folder = _folder(source, "'generated' or a folder of pictures", way_out)
    folders = {
        kind: path
        for path in sorted(folder.iterdir())
        if path.is_dir() and (kind := GAZE_FOLDERS.get(re.sub(r"[ _-]", "", path.name.lower())))
    }
    folders = {"picture": folders.get("picture", folder)} | folders
    if density_maps is not None:
        folders["density map"] = _folder(density_maps, "a folder of density maps", "check the path")
    return _heritage(folders, str(source))


def _heritage(folders: dict[str, Path], source: str) -> Heritage:
    found, unread = gaze_files(folders)
    images, densities, parts, fixations, scanpaths = found.values()
    if not images:
        there = sorted(path.name for path in folders["picture"].iterdir())[:8]
        raise ValueError(
            f"source must hold pictures ({', '.join(PICTURE_ENDINGS)}), got {folders['picture']} "
            f"with {there}; pass the folder that holds Images, or the pictures' own"
        )
    expected = {
        k: files for k, files in found.items() if k != "picture" and (files or k in folders)
    }
    names = sorted(images)
    styles = [name.split("_")[0] for name in names]
    return Heritage(
        names=names,
        paths=[images[name][0] for name in names],
        labels=torch.tensor([STYLES.index(s) if s in STYLES else -1 for s in styles]),
        density_paths=[densities.get(name, [None])[0] for name in names],
        part_paths=[parts.get(name, [None])[0] for name in names],
        fixations=[
            read_gaze(fixations[name][0], 2) if name in fixations else None for name in names
        ],
        scanpaths=[[read_gaze(path, 3) for path in scanpaths.get(name, [])] for name in names],
        missing=_without_twin(images, expected) + _one_too_many(images, expected) + unread,
        description=_description(source, len(names), len(images.keys() & densities)),
    )


def _description(source: str, n: int, n_with_gaze: int) -> str:
    if source == "generated":
        return (
            f"generated buildings in three styles, {n} pictures, drawn by "
            "data_scripts/make_heritage.py and shipped with labkit; their gaze is simulated, "
            "nobody looked"
        )
    return f"{n} pictures from {Path(source).resolve().name}, {n_with_gaze} with a density map"


def _without_twin(
    images: dict[str, list[Path]], kinds: dict[str, dict[str, list[Path]]]
) -> list[str]:
    lines = []
    for kind, files in kinds.items():
        lines += [f"{images[n][0].name} has no {kind}" for n in sorted(images.keys() - files)]
        orphans = [path for n in sorted(files.keys() - images) for path in files[n]]
        lines += [f"{path.name} has no picture" for path in orphans]
    return lines


def _one_too_many(
    images: dict[str, list[Path]], kinds: dict[str, dict[str, list[Path]]]
) -> list[str]:
    """Files that are not used, because another one goes by the same name; subjects are many."""
    used_once = [images, *(files for kind, files in kinds.items() if kind != "scanpaths")]
    return [
        f"{path.name} is left out: {first.name} has the same name"
        for files in used_once
        for first, *others in files.values()
        for path in others
    ]


class Street(NamedTuple):
    """A picture of two buildings side by side, the one on the left first.

    picture: uint8 `[H, W, 3]`.
    masks: bool `[2, H, W]`, where each building is seen.
    labels: their styles, indices into `STYLES`.
    """

    picture: np.ndarray
    masks: np.ndarray
    labels: tuple[int, int]


def load_streets() -> list[Street]:
    """Load the generated pictures of two buildings in two styles, which ship with labkit."""
    streets = []
    for name in assets_in("streets", "_Generated.png"):
        which = read_part_mask(asset(name.replace(".png", "_Masks.png")))
        left, right = (STYLES.index(style) for style in Path(name).stem.split("_")[:2])
        masks = np.stack([which == 1, which == 2])
        streets.append(Street(open_image(asset(name)), masks, (left, right)))
    return streets


def describe_embedded() -> dict[str, int]:
    """How many pictures ship, by folder; what the doctor prints."""
    counts: dict[str, int] = {}
    for name in [*assets_in("leaves", ".jpg"), *assets_in("heritage/Images", ".png")]:
        folder = name.rsplit("/", 1)[0]
        counts[folder] = counts.get(folder, 0) + 1
    return counts
