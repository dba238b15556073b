"""What the scripts that draw pictures have in common: files, sheets, and their command line."""

import argparse
import io
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from data_scripts.drawing import Array
from data_scripts.manifest import sha256, update_manifest

GAP = 3  # pixels between the pictures of a sheet


def coloured(mask: Array, palette: Sequence[int]) -> Image.Image:
    """A mask of small whole numbers as it is, with a palette that shows it to the eye."""
    image = Image.fromarray(mask)
    image.putpalette(palette)
    return image


def encode_png(image: Image.Image) -> bytes:
    """PNG, as small as it gets."""
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()


def checksums(drawn: Array, content: bytes, seed: int) -> dict[str, object]:
    """A drawn file's entry in the manifest."""
    return {"sha256": sha256(content), "drawn_sha256": sha256(drawn), "seed": seed}


def draw_all(tasks: Sequence[Callable[[], dict]], script: str, assets: Path, jobs: int) -> None:
    """Carry out the tasks, which write files and return their entries, and keep the manifest."""
    entries = {}
    # One thread a process: their matrix products would fight over the cores otherwise.
    with ProcessPoolExecutor(jobs, initializer=threadpool_limits, initargs=(1,)) as executor:
        done = executor.map(_call, tasks)
        for files in tqdm(done, total=len(tasks), desc=f"drawing: {Path(script).stem}"):
            entries |= files
    update_manifest(script, entries, assets)


def _call(task: Callable[[], dict]) -> dict:
    return task()


def write_sheet(path: Path, pictures: Iterable[Image.Image], n: int, columns: int = 6) -> None:
    """`n` pictures side by side, row by row, in one PNG."""
    sheet = None
    for number, picture in enumerate(tqdm(pictures, total=n, desc=f"drawing: {path.stem}")):
        width, height = (side + GAP for side in picture.size)
        if sheet is None:
            sheet = Image.new("RGB", (columns * width, -(-n // columns) * height), "white")
        row, column = divmod(number, columns)
        sheet.paste(picture, (column * width, row * height))
    sheet.save(path)


def read_arguments(description: str, folder: str) -> argparse.Namespace:
    """The command line: out, jobs, and sample, which is 0 where all that ships is wanted."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"folder for {folder}/ and MANIFEST.json"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument(
        "--sample", type=int, default=0, metavar="N", help="draw only a sheet of N pictures"
    )
    return parser.parse_args()
