"""Fetch MexCulture142: pictures of Mexican buildings, and where people looked in them.

    python -m data_scripts.fetch_mexculture                # to downloads/mexculture142
    python -m data_scripts.fetch_mexculture --from FILE    # an archive that was fetched elsewhere

The set is at https://nakala.fr/11280/2752cdec. Who uses it cites Montoya Obeso, Benois-Pineau,
Garcia Vazquez, Ramirez Acosta, Guissous and Gouet-Brunet, "Comparative study of visual saliency
maps in the problem of classification of architectural images with deep CNNs", IPTA 2018.
"""

import argparse
import tarfile
import zipfile
from pathlib import Path

from data_scripts.download import DOWNLOADS, add_options, download, inside, read_json, run, unpack
from labkit.data import load_heritage

SET = "11280/2752cdec"
API = "https://api.nakala.fr"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=DOWNLOADS / "mexculture142")
    add_options(parser, f"an archive of the set, from https://nakala.fr/{SET}")
    run("fetch_mexculture", fetch, parser.parse_args(arguments))


def fetch(options: argparse.Namespace) -> None:
    """Fetch the set, unpack it and open it."""
    progress = not options.quiet
    source = options.source
    files = [source] if source else download_all(options.folder, progress=progress)
    for file in files:
        if source or is_archive(file):
            # Under its own name: Images.zip may hold the pictures without their folder.
            unpack(file, options.folder / file.name.split(".")[0], progress=progress)
    root = root_of(options.folder)
    heritage = load_heritage(root)
    for line in heritage.missing:
        print(f"no matching file: {line}")
    print(f"{heritage.description}\nin a lab: DATA = {str(root)!r}")


def download_all(folder: Path, *, progress: bool = True, api: str = API) -> list[Path]:
    """Download the files of the set, checked by the sha1 that Nakala states for each.

    Raises:
        ValueError: Nakala answers in a form that we do not know, or names a file outside of folder.
        OSError: as `data_scripts.download.download`.
    """
    answer = read_json(f"{api}/datas/{SET}")
    try:
        listed = [(file["name"], file["sha1"]) for file in answer["files"]]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{api} must list files with name and sha1, got {str(answer)[:80]}; fetch the set from "
            f"https://nakala.fr/{SET} with a browser and pass the file with --from"
        ) from error
    paths = [inside(folder, name) for name, _ in listed]
    for path, (_, sha1) in zip(paths, listed, strict=True):
        download(f"{api}/data/{SET}/{sha1}", path, checksum=f"sha1:{sha1}", progress=progress)
    return paths


def is_archive(file: Path) -> bool:
    """Whether a file is a zip or tar file."""
    return zipfile.is_zipfile(file) or tarfile.is_tarfile(file)


def root_of(folder: Path) -> Path:
    """The folder that holds the folder Images.

    Raises:
        ValueError: there is none.
    """
    folders = sorted(path for path in folder.rglob("*") if path.is_dir())
    images = next((path for path in folders if path.name.lower() == "images"), None)
    if images is None:
        found = sorted(path.name for path in folder.iterdir())[:8]
        raise ValueError(
            f"the set must hold a folder Images, got {found} in {folder}; pass an archive of "
            f"MexCulture142 from https://nakala.fr/{SET}"
        )
    return images.parent


if __name__ == "__main__":
    main()
