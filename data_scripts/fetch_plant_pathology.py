"""Fetch Plant Pathology 2020: apple leaves, healthy or with rust, scab or several diseases.

    python -m data_scripts.fetch_plant_pathology                 # to downloads/plant_pathology
    python -m data_scripts.fetch_plant_pathology --from FILE     # plant-pathology-2020-fgvc7.zip

Kaggle asks for an account and for a yes to the rules of the competition
(https://www.kaggle.com/c/plant-pathology-2020-fgvc7), and has a client of its own, which this
script calls: `python -m pip install kaggle`, and a token from the account's settings.

The labelled pictures come to lie in a folder for each class, as data_scripts.finetune and
labkit.data.load_plant_pathology want them.
Thapa, Zhang, Snavely, Belongie and Khan, "The Plant Pathology Challenge 2020 data set to classify
foliar disease of apples", Applications in Plant Sciences 2020, https://arxiv.org/abs/2004.11958.
"""

import argparse
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from data_scripts.download import DOWNLOADS, add_options, inside, run, unpack
from labkit.data import pathology_labels

COMPETITION = "plant-pathology-2020-fgvc7"
PAGE = f"https://www.kaggle.com/c/{COMPETITION}"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=DOWNLOADS / "plant_pathology")
    add_options(parser, f"{COMPETITION}.zip from {PAGE}")
    run("fetch_plant_pathology", fetch, parser.parse_args(arguments))


def fetch(options: argparse.Namespace) -> None:
    """Fetch the set and sort it."""
    archive = options.source or download_with_kaggle(options.folder)
    options.folder.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that sorting only renames; gone afterwards with what has no label.
    with tempfile.TemporaryDirectory(dir=options.folder) as unpacked:
        unpack(archive, Path(unpacked), progress=not options.quiet)
        counts = sort_by_class(Path(unpacked), options.folder)
    print(", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
    print(f"python -m data_scripts.finetune {options.folder} --model resnet18 --out my_network.pt")


def download_with_kaggle(folder: Path) -> Path:
    """Let Kaggle's client download the archive.

    Raises:
        FileNotFoundError: the client is not installed.
        ConnectionError: it fails; it has said why.
    """
    client = shutil.which("kaggle")
    if client is None:
        raise FileNotFoundError(
            "Kaggle's client must be installed, got no command kaggle; `python -m pip install "
            f"kaggle`, or download {COMPETITION}.zip from {PAGE} and pass it with --from"
        )
    ran = subprocess.run(
        [client, "competitions", "download", "-c", COMPETITION, "-p", str(folder)], check=False
    )
    archive = folder / f"{COMPETITION}.zip"
    if ran.returncode or not archive.is_file():
        raise ConnectionError(
            f"Kaggle's client must bring {archive}, got exit status {ran.returncode} (what it says "
            "is above); it needs a token from your account's settings and a yes to the rules at "
            f"{PAGE}"
        )
    return archive


def sort_by_class(unpacked: Path, folder: Path) -> Counter[str]:
    """Move the labelled pictures into a folder for each class.

    Args:
        unpacked: holds train.csv (image_id, and a column of 0 and 1 for each class) and images/.
        folder: where the folders of the classes come to lie.

    Returns:
        How many pictures each class has.

    Raises:
        ValueError: the set has another form, or a picture is missing.
    """
    moves = {}
    if not (unpacked / "train.csv").is_file():
        raise ValueError(
            f"the set must hold train.csv, got {sorted(p.name for p in unpacked.iterdir())}; "
            f"pass {COMPETITION}.zip from {PAGE}"
        )
    for name, label in pathology_labels(unpacked / "train.csv"):
        picture = inside(unpacked / "images", f"{name}.jpg")
        if not picture.is_file():
            raise ValueError(f"the set must hold images/{name}.jpg, got none; fetch it again")
        moves[picture] = inside(folder, f"{label}/{name}.jpg")
    for picture, place in moves.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        picture.replace(place)
    return Counter(place.parent.name for place in moves.values())


if __name__ == "__main__":
    main()
