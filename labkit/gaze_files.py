"""Files beside a picture: density maps, part masks, fixations and scanpaths, and their names."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from labkit.images import PICTURE_ENDINGS, checked_path, open_stored

NEARLY_GREY = 16  # of 255, between the channels of a pixel; colour maps differ by 32 and more
LOSSY = ("JPEG", "MPO", "JPEG2000")
NO_INDICES = {"F": "fractions", "LA": "transparency", "PA": "transparency"}
WAY_TO_GREY = "save the map as grey: plt.imsave('map.png', density, cmap='gray')"

# What MexCulture142 and MIT1003 keep where, by the name of the folder without spaces.
GAZE_FOLDERS = {
    "images": "picture",
    "allstimuli": "picture",
    "fixations": "fixations",
    "scanpaths": "scanpaths",
    "densitymaps": "density map",
    "allfixationmaps": "density map",
    "partmasks": "part mask",
}
# And by a word in the file's name, wherever it lies: SSS_XXX_YYY_GFDM_N_# and X_fixMap.
GAZE_WORDS = {
    "gfdm": "density map",
    "fixmap": "density map",
    "parts": "part mask",
    "gazefix": "fixations",
    "scanpath": "scanpaths",
    "fixpts": "fixation picture",
}
WORD = re.compile(r"_(GFDM|fixMap|Parts(?=_N_)|GazeFix|ScanPath|fixPts)(?=_|$)", re.IGNORECASE)
SUBJECT = re.compile(r"(?<=_N_\d)_P_.*$")
GAZE_ENDINGS = {
    "picture": PICTURE_ENDINGS,
    "density map": (*PICTURE_ENDINGS, ".npy"),
    "part mask": PICTURE_ENDINGS,
    "fixations": (".txt",),
    "scanpaths": (".txt",),
}
OF_THE_SYSTEM = ("thumbs.db", "desktop.ini")


def gaze_files(folders: dict[str, Path]) -> tuple[dict[str, dict[str, list[Path]]], list[str]]:
    """Sort the files of some folders by what they are, and by the picture that they belong to.

    Args:
        folders: the folder of each kind, that of the pictures first; kinds may share a folder.

    Returns:
        The files of each kind by the name of their picture; and a line for what is not read.
    """
    found: dict[str, dict[str, list[Path]]] = {kind: {} for kind in GAZE_ENDINGS}
    unread: dict[tuple[Path, str], list[Path]] = {}
    homes: dict[Path, tuple[str, Path]] = {}
    for kind, folder in folders.items():
        homes.setdefault(folder.resolve(), (kind, folder))
    for home, folder in homes.values():
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name.lower() in OF_THE_SYSTEM:
                continue
            ending = path.suffix.lower()
            kind = kind_in_name(path) or ("density map" if ending == ".npy" else home)
            if path.is_dir():
                if home == "picture" and path.resolve() not in homes:
                    unread[path, "folder"] = [path]
            elif ending in GAZE_ENDINGS.get(kind, ()):
                name = SUBJECT.sub("", WORD.sub("", path.stem))
                found[kind].setdefault(name, []).append(path)
            else:
                what = f"{ending or 'such'} files are not read as {kind.removesuffix('s')}s"
                unread.setdefault((folder, what), []).append(path)
    return found, [_left_out(paths, what) for (_, what), paths in unread.items()]


def pictures_in(folder: Path, pattern: str = "*") -> list[Path]:
    """The pictures in a folder, sorted; gaze, by its name, and hidden files are none."""
    return [
        path
        for path in sorted(folder.glob(pattern))
        if path.suffix.lower() in PICTURE_ENDINGS
        and not path.name.startswith(".")
        and kind_in_name(path) is None
    ]


def kind_in_name(path: Path) -> str | None:
    """What a file is by a word in its name, "density map" for `X_GFDM_N_1.png`; None if none."""
    word = WORD.search(path.stem)
    return GAZE_WORDS[word[1].lower()] if word else None


def _left_out(paths: list[Path], what: str) -> str:
    first = paths[0].name
    if what == "folder":
        return f"the folder {first} is left out: pass it by itself to read what is in it"
    others = f" and {len(paths) - 1} more are" if len(paths) > 1 else " is"
    return f"{first}{others} left out: {what}"


def read_density_map(path: str | Path, size: Sequence[int] | None = None) -> Tensor:
    """A density map from a grey picture of any depth, or from an array in a .npy file.

    Divided by its maximum, as MexCulture142's are: maps are compared by their shape, and 8, 12 or
    16 bits, or floats of any unit, then give the same map.

    Args:
        path: the file. Red, green and blue may be there if they are equal (nearly, for JPEG).
        size: (H, W) of the picture, if known: a map that lies on its side is refused.

    Returns:
        `[H, W]`, float32, 0 to 1.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, has colours or transparent pixels, is constant, holds NaN or
            negative numbers, or lies on its side.
    """
    name = f"path {str(path)!r}"
    is_array = Path(path).suffix.lower() == ".npy"
    values = _array_in(path, name) if is_array else _grey_in(path, name)
    check_density(values, name)
    H, W = values.shape
    h, w = size or (H, W)
    if (H > W) != (h > w) and H != W and round(W * w / h) == H:
        raise ValueError(
            f"{name} must have the shape of its picture, {h} x {w} pixels (H x W), got {H} x {W}: "
            "rows and columns are swapped; save its transpose, density.T"
        )
    return torch.from_numpy((values.astype(np.float64) / values.max()).astype(np.float32))


def check_density(values: np.ndarray, name: str) -> None:
    """Refuse numbers `[H, W]` that cannot say where people looked.

    Raises:
        ValueError: they are all equal, negative, infinite or NaN.
    """
    low, high = values.min(), values.max()  # NaN if there is any
    if not 0 <= low < high < math.inf:
        raise ValueError(
            f"{name} must be a density map of finite numbers from 0 upwards, not all equal, got "
            f"{low:.4g} to {high:.4g}; save the map again, or leave it out"
        )


def _array_in(path: str | Path, name: str) -> np.ndarray:
    try:
        with checked_path(path, "path").open("rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        raise ValueError(
            f"{name} must hold an array of numbers, got a file that cannot be read ({error}); "
            "write it with np.save(path, density)"
        ) from None
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "buif":
        raise ValueError(
            f"{name} must hold a density map [H, W] of numbers, got {list(values.shape)} of "
            f"{values.dtype}; write one map with np.save(path, density)"
        )
    return values.astype(np.float64)


def _grey_in(path: str | Path, name: str) -> np.ndarray:
    image = open_stored(path, _without_palette)
    values = np.asarray(image)
    if values.ndim == 2:
        return values
    if image.mode.endswith("A"):
        if values[..., -1].min() < 255:
            raise ValueError(
                f"{name} must be a grey density map, got transparent pixels ({image.mode}), which "
                f"may hide the gaze or hold it; {WAY_TO_GREY}"
            )
        values = values[..., :-1]
    if np.ptp(values, axis=-1).max() > NEARLY_GREY:
        raise ValueError(
            f"{name} must be a grey density map, got colours ({image.mode}): those of a colour map "
            f"such as jet or viridis cannot be turned back; {WAY_TO_GREY}"
        )
    return values.mean(axis=-1)


def _without_palette(image: Image.Image) -> Image.Image:
    """In a mode whose numbers say how bright a pixel is; alpha is kept."""
    clear = image.has_transparency_data
    if image.mode[0] in "IF" or image.mode in ("LA", "RGBA"):
        return image
    if image.mode in ("L", "RGB") and not clear:
        return image
    return image.convert("RGBA" if clear else "RGB")


def read_part_mask(path: str | Path) -> np.ndarray:
    """The index of the part that each pixel shows, 0 for none, from a PNG.

    Args:
        path: of a file with a palette, whose indices are read and not the colours; or black and
            white (0 and 1); or grey, whose values are the indices.

    Returns:
        `[H, W]`, uint8; uint16 if an index is above 255.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or holds colours, transparency, floats, or a JPEG's values.
    """
    image = open_stored(path, lambda image: image)
    mode, values = image.mode, np.asarray(image)
    if image.format in LOSSY:
        came = f"a {image.format} file, which blurs indices"
    elif mode not in ("1", "L", "P", "I") and not mode.startswith("I;16"):
        came = f"{NO_INDICES.get(mode, 'colours')} ({mode})"
    elif values.min() < 0:
        came = f"negative numbers, down to {values.min()}"
    else:
        return values.astype(np.min_scalar_type(int(values.max())))
    raise ValueError(
        f"path {str(path)!r} must hold the index of a part for each pixel, 0 for none, got {came}; "
        "save the indices: Image.fromarray(indices.astype(np.uint8)).save('mask.png')"
    )


def read_gaze(path: Path, columns: int) -> Tensor:
    """Fixations or a scanpath from a text file: numbers in columns, a line for each fixation.

    Args:
        path: the file; numbers are separated by spaces, tabs, commas or semicolons.
        columns: 2 for x and y, 3 with the duration.

    Returns:
        `[n, columns]`, float64.

    Raises:
        ValueError: a line has fewer columns or no finite numbers; the message names file and line.
    """
    rows = []
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        words = re.split(r"[\s,;]+", line.strip())
        if words == [""]:
            continue
        try:
            rows.append([float(word) for word in words[:columns]])
        except ValueError:
            rows.append([])
        if len(rows[-1]) < columns or not all(map(math.isfinite, rows[-1])):
            raise ValueError(
                f"{path.name} must have {columns} numbers a line, got {line!r} in line {number}; "
                "correct or remove the line"
            )
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, columns)
