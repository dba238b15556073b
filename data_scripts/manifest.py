"""Keep labkit/assets/MANIFEST.json: what ships, its sha256, and the script and seed that made it.

    {"files": {"leaves/train/healthy/leaf_0001.jpg": {"drawn_sha256": ..., "seed": 0,
        "script": "data_scripts/make_leaves.py", "sha256": ...}, ...}}

`sha256` is that of the file; labkit compares it before it uses the file. `drawn_sha256` is that of
the drawn array before it was encoded: a test draws the picture again and compares, whatever version
of the JPEG or PNG library is at hand.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from labkit.files import write_atomically

ASSETS = Path(__file__).parents[1] / "labkit" / "assets"


def read_manifest(assets: Path = ASSETS) -> dict[str, dict]:
    """The entries by file name; none before anything was made."""
    path = assets / "MANIFEST.json"
    return json.loads(path.read_text(encoding="utf-8"))["files"] if path.exists() else {}


def update_manifest(script: str, files: dict[str, dict], assets: Path = ASSETS) -> None:
    """Replace all entries of one script; those of other scripts stay as they are.

    Args:
        script: path of the script in the repository, such as "data_scripts/make_leaves.py".
        files: for each file name, relative to `assets`, its entry; "script" is added.
        assets: the folder that holds MANIFEST.json.
    """
    kept = {n: entry for n, entry in read_manifest(assets).items() if entry["script"] != script}
    made = {name: {**entry, "script": script} for name, entry in files.items()}
    # Sorted, so that the same files give the same manifest byte for byte.
    text = json.dumps({"files": kept | made}, indent=1, sort_keys=True) + "\n"
    write_atomically(assets / "MANIFEST.json", text.encode("utf-8"))


def sha256(content: bytes | np.ndarray) -> str:
    """Hexadecimal sha256 of a file's bytes or of an array's values."""
    if isinstance(content, np.ndarray):
        content = np.ascontiguousarray(content).tobytes()
    return hashlib.sha256(content).hexdigest()
