"""Write the colour tables of `labkit.figures` from matplotlib's: `labkit/figures/colours.png`.

python -m tools.make_colours
"""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from labkit.figures import look


def tables() -> np.ndarray:
    """A row for each table, uint8 `[tables, 256, 3]`."""
    steps = np.linspace(0, 1, 256)
    return np.stack([colormaps[name](steps, bytes=True)[:, :3] for name in look.TABLES])


if __name__ == "__main__":
    Image.fromarray(tables()).save(Path(look.__file__).with_name("colours.png"), optimize=True)
