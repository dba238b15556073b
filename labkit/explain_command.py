"""The command `python -m labkit explain`: what a network looked at in a picture, in one line.

python -m labkit explain "my photo.jpg" --out "my photo explained.png"
python -m labkit explain photo.jpg --method gradcam rise --class palace --out report.html
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path

from labkit.evaluate import Plan, loaded
from labkit.evaluate_command import with_settings
from labkit.figures import OVERLAY_STRENGTH
from labkit.methods import REGISTRY
from labkit.workbench import Workbench, check_strength

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf", ".html", ".htm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    several = {"nargs": "+", "action": "extend"}
    parser.add_argument("picture", help="a file: JPEG, PNG, WebP, TIFF and others")
    parser.add_argument(
        "--model", default="efficientnet_lite0", help="a name, timm/NAME, or a file"
    )
    parser.add_argument("--weights", help="a file of weights for that network")
    parser.add_argument(
        "--method", **several, metavar="NAME", help=f"of {', '.join(REGISTRY)}; gradcam by default"
    )
    parser.add_argument("--class", dest="target", help="name or number; the likeliest by default")
    parser.add_argument(
        "--set", **several, default=[], metavar="METHOD.SETTING=VALUE", help="rise.n_masks=500"
    )
    parser.add_argument("--strength", type=float, default=OVERLAY_STRENGTH, help="0 to 1")
    parser.add_argument("--out", type=Path, help="FILE.png or report.html; PICTURE explained.png")


def main(arguments: argparse.Namespace) -> None:
    """Explain a picture, and write what came out to a file.

    Raises:
        ValueError, FileNotFoundError: what was asked for cannot be done.
    """
    picture = Path(arguments.picture).expanduser()
    out = (arguments.out or Path(f"{picture.stem} explained.png")).expanduser()
    _check_out(out, picture)
    check_strength(arguments.strength)
    asked = with_settings(arguments.method or ["gradcam"], arguments.set)
    plan = Plan(model=arguments.model, methods=asked, weights=arguments.weights)
    plan.check()
    bench = Workbench(loaded(plan.model, plan.weights))
    bench.open(picture)
    target = None if arguments.target is None else class_of(arguments.target, bench.model.classes)
    print(bench.model.description)
    print(bench.model.predict(bench.image))
    for method, settings in asked.items():
        try:
            said = bench.run(method, target, **settings)
        except TypeError as error:  # a setting of the wrong kind
            raise ValueError(f"--method {method}: {error}") from error
        note = f"; {said.note}" if said.note else ""
        print(f"{said.title}: {said.seconds:.1f} s{note}")
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() in (".html", ".htm"):
        bench.report(out, strength=arguments.strength)
    elif len(asked) == 1:
        bench.wholes(strength=arguments.strength)[0].save(out)
    else:
        bench.whole_figure(strength=arguments.strength).save(out)
    print(f"written: {out}")


def _check_out(out: Path, picture: Path) -> None:
    """Refuse what cannot be written before anything is computed for it."""
    if out.suffix.lower() not in ENDINGS:
        raise ValueError(f"--out must end in {', '.join(ENDINGS)}, got {out.name!r}")
    folder = next(parent for parent in out.parents if parent.exists())
    if out.is_dir() or not folder.is_dir():
        what = f"{folder} is a file" if not folder.is_dir() else "which is a folder"
        raise ValueError(f"--out must be a file in a folder, got {str(out)!r}, {what}")
    if out.exists() and picture.exists() and out.samefile(picture):
        raise ValueError(f"--out must be another file than the picture, got {str(out)!r} for both")


def class_of(text: str, classes: Sequence[str]) -> int:
    """The index of a class, from its number or its name in any case.

    Raises:
        ValueError: no class, or more than one, has that name; near ones are suggested.
    """
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    named = [i for i, name in enumerate(classes) if name.casefold() == text.casefold()]
    if len(named) == 1:
        return named[0]
    parts = [name for name in classes if text.casefold() in name.casefold()]
    near = parts[:5] or difflib.get_close_matches(text, classes, n=5)
    hint = f"; near ones: {', '.join(near)}" if near else ""
    many = f", which {len(named)} classes are called; give its number" if named else ""
    raise ValueError(
        f"--class must be a class of the network or its number, 0 to {len(classes) - 1}, "
        f"got {text!r}{many}{hint}"
    )
