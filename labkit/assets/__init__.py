"""The embedded pictures and networks, each checked against MANIFEST.json before it is used."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent


@cache
def manifest() -> dict[str, dict]:
    """What ships: for each file its sha256, the script that made it, and its seed."""
    return json.loads((FOLDER / "MANIFEST.json").read_text(encoding="utf-8"))["files"]


@cache
def asset(name: str) -> Path:
    """The path of an embedded file, after checking that it is the one that was shipped.

    Args:
        name: the file's path inside the assets folder, such as "networks/minivgg.pt".

    Raises:
        FileNotFoundError: no such file ships, or it was removed.
        ValueError: the file was changed since it was shipped.
    """
    path = FOLDER / name
    if name not in manifest() or not path.is_file():
        raise FileNotFoundError(
            f"name must be one of the embedded files, got {name!r}; "
            "`python -m labkit doctor` lists what is at hand, `make data` rebuilds it"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != manifest()[name]["sha256"]:
        raise ValueError(
            f"{name} differs from the file that was shipped (its sha256 is not the one in "
            f"MANIFEST.json); restore it with `git checkout {path.name}` or rebuild it with "
            f"`make data`"
        )
    return path


def assets_in(folder: str, suffix: str) -> list[str]:
    """The names of the embedded files below a folder, sorted."""
    return sorted(
        name for name in manifest() if name.startswith(f"{folder}/") and name.endswith(suffix)
    )
