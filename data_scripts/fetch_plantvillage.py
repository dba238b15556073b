"""Fetch PlantVillage's apple leaves, healthy and with black rot.

    python -m data_scripts.fetch_plantvillage                    # to downloads/plantvillage
    python -m data_scripts.fetch_plantvillage --commit 0123...   # the state of a certain day
    python -m data_scripts.fetch_plantvillage --from FILE        # an archive of the repository

The repository https://github.com/spMohanty/PlantVillage-Dataset holds many plants and several
copies of each picture. Of one commit of it we take two folders: with git, or, where there is no
git, each file by itself. SOURCE.json beside them says which commit that was, and which pictures
labkit.data.load_leaves takes from them: of each class 200 for training and 50 for testing, those
that the camera numbered one after the other on one side. SOURCE.json is written last: without it,
the set is not complete.

Hughes and Salathe, "An open access repository of images on plant health to enable the development
of mobile disease diagnostics", 2015, https://arxiv.org/abs/1511.08060.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from data_scripts.download import (
    DOWNLOADS,
    add_options,
    check_space,
    digest,
    download,
    inside,
    read_json,
    run,
    unpack,
)
from labkit.data import PLANTVILLAGE_FOLDERS, load_leaves
from labkit.files import write_atomically

REPOSITORY = "spMohanty/PlantVillage-Dataset"
API, RAW = "https://api.github.com", "https://raw.githubusercontent.com"
ROOM = 200_000_000  # bytes; git does not say beforehand how much will come


class Listed(NamedTuple):
    """A file of the repository, as GitHub lists it."""

    name: str  # from the repository's root
    sha: str  # the name that git gives to its content
    size: int  # bytes


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=DOWNLOADS / "plantvillage")
    parser.add_argument("--commit", default="master", help="a commit, whole, or a branch")
    parser.add_argument(
        "--segmented", action="store_true", help="also the twins without background: leaf masks"
    )
    parser.add_argument("--n-train", type=int, default=200, help="pictures a class (%(default)s)")
    parser.add_argument("--n-test", type=int, default=50, help="pictures a class (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice (%(default)s)")
    parser.add_argument("--no-git", action="store_true", help="each file by itself, over https")
    parser.add_argument("--jobs", type=int, default=4, help="files at once without git")
    add_options(parser, f"a zip or tar file of github.com/{REPOSITORY}")
    run("fetch_plantvillage", fetch, parser.parse_args(arguments))


def fetch(options: argparse.Namespace) -> None:
    """Fetch the leaves, choose among them, and say so in SOURCE.json."""
    record = options.folder / "SOURCE.json"
    record.unlink(missing_ok=True)
    kinds = ("color", "segmented") if options.segmented else ("color",)
    wanted = [f"raw/{kind}/{name}" for kind in kinds for name in PLANTVILLAGE_FOLDERS]
    source = _bring(options, wanted)
    train, test = load_leaves(
        options.folder, n_train=options.n_train, n_test=options.n_test, seed=options.seed
    )
    chosen = {"seed": options.seed, "train": train.names, "test": test.names}
    write_atomically(record, (json.dumps(source | chosen, indent=1) + "\n").encode())
    print(f"{train.description}\nin a lab: DATA = {str(options.folder)!r}")


def _bring(options: argparse.Namespace, wanted: list[str]) -> dict[str, str]:
    """Bring the wanted folders; returns where they are from."""
    progress = not options.quiet
    if options.source:
        unpack(options.source, options.folder, only=wanted, progress=progress)
        return {"archive": options.source.name, "checksum": digest(options.source, "sha256")}
    if shutil.which("git") and not options.no_git:
        url = f"https://github.com/{REPOSITORY}"
        commit = clone(url, options.commit, wanted, options.folder)
    else:
        commit = download_files(
            options.commit, wanted, options.folder, jobs=options.jobs, progress=progress
        )
    return {"repository": REPOSITORY, "asked for": options.commit, "commit": commit}


def clone(url: str, commit: str, wanted: list[str], folder: Path) -> str:
    """Fetch some folders of one commit with git, without history and without all other files.

    Args:
        url: of the repository.
        commit: all 40 digits of it, or a branch or tag.
        wanted: folders in the repository.
        folder: where they come to lie, under their own names.

    Returns:
        The commit that was fetched.

    Raises:
        ConnectionError: git fails; the message ends with its own.
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_space(folder, ROOM)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        _git(work, "init", "--quiet")
        _git(work, "remote", "add", "origin", url)
        _git(work, "config", "core.sparseCheckout", "true")
        _git(work, "config", "core.autocrlf", "false")
        patterns = "".join(f"/{name}/\n" for name in wanted)
        (Path(work) / ".git" / "info" / "sparse-checkout").write_text(patterns, encoding="utf-8")
        _git(work, "fetch", "--quiet", "--depth=1", "--filter=blob:none", "--", "origin", commit)
        _git(work, "checkout", "--quiet", "--detach", "FETCH_HEAD")
        for name in wanted:
            _move(Path(work) / name, folder / name)
        return _git(work, "rev-parse", "HEAD")


def _git(folder: str, *arguments: str) -> str:
    ran = subprocess.run(
        ["git", "-C", folder, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},  # never wait for a password
        check=False,
    )
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"]
        raise ConnectionError(
            f"git {arguments[0]} must succeed, got {said[-1]!r}; check --commit and the "
            "connection, or go without git: --no-git"
        )
    return ran.stdout.strip()


def _move(source: Path, place: Path) -> None:
    """Move the files of one folder, links left out."""
    place.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir() if source.is_dir() else ():
        if path.is_file() and not path.is_symlink():
            path.replace(place / path.name)


def download_files(
    commit: str,
    wanted: list[str],
    folder: Path,
    *,
    jobs: int = 4,
    progress: bool = True,
    api: str = API,
    raw: str = RAW,
) -> str:
    """Download the files of some folders of one commit, checked by the names git gives to them.

    Args:
        commit: all 40 digits of it, or a branch or tag.
        wanted: folders in the repository.
        folder: where they come to lie, under their own names.
        jobs: files at once.
        progress: show a bar.
        api: where GitHub's interface is.
        raw: where GitHub's files are.

    Returns:
        The commit that was fetched.

    Raises:
        ValueError: a folder is not there, or GitHub answers in a form that we do not know.
        OSError: as `data_scripts.download.download`.
    """
    repository = f"{api}/repos/{REPOSITORY}"
    try:
        answer = read_json(f"{repository}/commits/{urllib.parse.quote(commit)}")
        sha, root = answer["sha"], answer["commit"]["tree"]["sha"]
        files = [file for name in wanted for file in _files(f"{repository}/git/trees", root, name)]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{api} must list a commit's files as it used to, got an answer without {error}; "
            "fetch with git, or pass an archive of the repository with --from"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    check_space(folder, sum(file.size for file in files))

    def one(file: Listed) -> None:
        url = f"{raw}/{REPOSITORY}/{sha}/{urllib.parse.quote(file.name)}"
        download(url, inside(folder, file.name), checksum=f"git:{file.sha}", progress=False)

    with ThreadPoolExecutor(jobs) as pool:
        list(tqdm(pool.map(one, files), total=len(files), unit="file", disable=not progress))
    return sha


def _files(trees: str, root: str, folder: str) -> list[Listed]:
    """The files that a folder holds, found from the root's tree down."""
    entries = read_json(f"{trees}/{root}")["tree"]
    for part in folder.split("/"):
        sha = next((entry["sha"] for entry in entries if entry["path"] == part), None)
        if sha is None:
            raise ValueError(
                f"the repository must hold {folder}, got no {part!r} in this commit; "
                "try --commit master"
            )
        entries = read_json(f"{trees}/{sha}")["tree"]
    blobs = [entry for entry in entries if entry["type"] == "blob"]
    return [Listed(f"{folder}/{b['path']}", b["sha"], b["size"]) for b in blobs]


if __name__ == "__main__":
    main()
