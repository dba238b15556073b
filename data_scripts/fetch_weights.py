"""Fetch torchvision's ImageNet weights, for rooms without internet.

    python -m data_scripts.fetch_weights                    # all, to where torch keeps them
    python -m data_scripts.fetch_weights vgg16 --folder X   # one, to a folder that others can use
    python -m data_scripts.fetch_weights --from /mnt/stick  # from files that were fetched elsewhere

With --folder X the files go where torch looks for them when the variable TORCH_HOME is X. Their
names hold the first digits of their sha256, and so they are checked.
"""

import argparse
import re
from pathlib import Path

import torchvision

from data_scripts.download import add_options, copy, download, run
from labkit.models import PRETRAINED, weights_file


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(PRETRAINED)}; all by default")
    parser.add_argument("--folder", type=Path, help="what TORCH_HOME is to be, for a shared cache")
    add_options(parser, "a file of weights, or a folder that holds such files")
    run("fetch_weights", fetch, parser.parse_args(arguments))


def fetch(options: argparse.Namespace) -> None:
    """Put the files of weights where torch looks for them."""
    check_names(options.names)
    for name in options.names or PRETRAINED:
        weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
        path = weights_file(weights)
        if options.folder:
            path = options.folder / "hub" / "checkpoints" / path.name
        checksum = checksum_in_name(path.name)
        if options.source:
            copy(file_of(options.source, path.name), path, checksum=checksum)
        else:
            download(weights.url, path, checksum=checksum, progress=not options.quiet)
        print(f"{name}: {path}")
    if options.folder:
        print(f"they are found where the variable TORCH_HOME is {options.folder.resolve()}")


def check_names(names: list[str]) -> None:
    """Raise ValueError for a name that torchvision has no weights for."""
    strange = [name for name in names if name not in PRETRAINED]
    if strange:
        raise ValueError(f"names must be of {', '.join(PRETRAINED)}, got {', '.join(strange)}")


def checksum_in_name(name: str) -> str:
    """The checksum in the name of a file of weights, as torch.hub reads it.

    Raises:
        ValueError: there is none.
    """
    digits = re.search(r"-([0-9a-f]{8,})\.", name)
    if not digits:
        raise ValueError(
            f"a file of weights must have its checksum in its name, as resnet18-f37072fd.pth has, "
            f"got {name}"
        )
    return f"sha256:{digits[1]}"


def file_of(source: Path, name: str) -> Path:
    """The file of some weights: source itself, or the one of that name in the folder source."""
    return source / name if source.is_dir() else source


if __name__ == "__main__":
    main()
