"""README's picture is what its command draws, and README says what one sees."""

from pathlib import Path

import numpy as np
from PIL import Image

from tools.make_readme_picture import ALT, OUT, figure

ROOT = Path(__file__).parents[1]


def test_readme_shows_it_with_its_alt_text():
    place = OUT.relative_to(ROOT).as_posix()
    assert f"![{ALT}]({place})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_stored_picture_is_what_the_command_draws(tmp_path):
    figure().save(tmp_path / "again.jpg")
    stored, again = (Image.open(path) for path in (OUT, tmp_path / "again.jpg"))
    assert stored.size == again.size
    pairs = (np.asarray(picture, dtype=float) for picture in (stored, again))
    assert np.abs(np.subtract(*pairs)).mean() < 2  # of 255; fonts differ between versions
