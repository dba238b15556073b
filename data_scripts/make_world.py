"""Draw what the network that never saw a leaf is trained on: eggs and stones in eight coats.

They stand in for ImageNet: a world of objects, patterns and grounds from which features can be
transferred, with no leaf and no disease in it. They are drawn for training and not shipped;
`python -m data_scripts.make_world` draws a contact sheet.
"""

import argparse

import numpy as np
from PIL import Image
from scipy import ndimage

from data_scripts.drawing import (
    MATERIALS,
    Light,
    blend,
    cast_shadow,
    fractal_noise,
    hsv,
    paint,
    smoothstep,
    spot,
    tinted,
    to_uint8,
)

# Coats: each is a function (rng, size, ground) -> picture [size, size, 3] in which `ground` is one
# colour.


def plain(rng, size, ground):
    """One colour, a little uneven."""
    return tinted(ground, np.ones((size, size)))


def stripes(rng, size, ground):
    """Parallel bands with soft or sharp edges."""
    x, _ = _plane(rng, size)
    wave = np.sin(2 * np.pi * x * rng.uniform(6, 18))
    return _marked(rng, ground, smoothstep(-0.3, 0.3, wave))


def checkers(rng, size, ground):
    """Squares of two colours in turn."""
    x, y = _plane(rng, size)
    cells = rng.uniform(8, 20)
    return _marked(rng, ground, (np.floor(x * cells) + np.floor(y * cells)) % 2)


def patches(rng, size, ground):
    """Smooth clouds of a second colour, as on a cow."""
    noise = fractal_noise(rng, size, rng.uniform(5, 12), 3, 0.5)
    return _marked(rng, ground, smoothstep(-0.1, 0.3, noise))


def cracks(rng, size, ground):
    """Dark lines between polygons, as in glaze."""
    points = rng.uniform(-0.1, 1.1, (int(rng.integers(40, 160)), 2)) * size
    rows, columns = np.mgrid[0:size, 0:size]
    distance = np.hypot(rows[..., None] - points[:, 0], columns[..., None] - points[:, 1])
    nearest, second = np.moveaxis(np.partition(distance, 1, axis=-1)[..., :2], -1, 0)
    return _marked(rng, ground, smoothstep(rng.uniform(2.0, 4.0), 0.5, second - nearest))


def spots(rng, size, ground):
    """Discs of one other colour."""
    picture, colour = plain(rng, size, ground), _other_colour(rng, ground)
    for disc in _scattered(rng, size):
        paint(picture, disc, colour, disc.cover)
    return picture


def rings(rng, size, ground):
    """Circles, open in the middle."""
    picture, colour = plain(rng, size, ground), _other_colour(rng, ground)
    for disc in _scattered(rng, size):
        paint(picture, disc, colour, disc.cover * smoothstep(0.5, 0.65, disc.distance))
    return picture


def eyespots(rng, size, ground):
    """Discs of one colour with a rim of another, as on a butterfly's wing."""
    picture, rim = plain(rng, size, ground), _other_colour(rng, ground)
    middle = _other_colour(rng, rim)
    for disc in _scattered(rng, size):
        paint(picture, disc, rim, disc.cover)
        paint(picture, disc, middle, smoothstep(0.75, 0.6, disc.distance))
    return picture


COATS = {
    "plain": plain,
    "stripes": stripes,
    "checkers": checkers,
    "patches": patches,
    "cracks": cracks,
    "spots": spots,
    "rings": rings,
    "eyespots": eyespots,
}
CLASSES = tuple(COATS)


def draw_thing(seed, label, size=160):
    """Draw one egg or stone on paper, cloth, soil, grass or wood.

    Args:
        seed: the picture is the same for the same seed and label.
        label: index into CLASSES: the coat.
        size: width and height in pixels.

    Returns:
        uint8 [size, size, 3].
    """
    rng = np.random.default_rng([seed, label])
    angle = rng.uniform(0, 2 * np.pi)
    light = Light(np.cos(angle), np.sin(angle), rng.uniform(0.6, 1.1))
    picture = MATERIALS[rng.choice(list(MATERIALS))](rng, size, light)
    cover, dome = _body(rng, size, light)
    picture = tinted(
        picture, 1.0 - rng.uniform(0.3, 0.6) * cast_shadow(cover, light, 0.03 * size, 3.0)
    )
    coat = COATS[CLASSES[label]](rng, size, _colour(rng))
    grain = 1.0 + 0.07 * fractal_noise(rng, size, 5, 4, 0.7)
    picture = blend(picture, tinted(coat, dome * grain), cover)
    _strew_dirt(rng, picture)
    blur = rng.uniform(0.0, 0.8)
    picture = ndimage.gaussian_filter(picture, (blur, blur, 0)) * rng.uniform(0.8, 1.2)
    return to_uint8(picture + rng.normal(0.0, 0.01, picture.shape))


def _body(rng, size, light):
    """Cover and shading [N, N] of a roundish, stretched, domed thing in the middle."""
    radius = rng.uniform(0.3, 0.46) * size
    centre = size / 2 + rng.normal(0.0, 0.03 * size, 2)
    body = spot(rng, size, *centre, radius, wobble=0.25, harmonics=(2, 3), reach=1.9)
    cover, dome = np.zeros((size, size)), np.ones((size, size))
    cover[body.area] = body.cover
    slope = (body.x * light.x + body.y * light.y) * np.clip(body.distance, 0.0, 1.0)
    dome[body.area] = 1.0 + rng.uniform(0.0, 0.4) * slope
    return cover, dome


def _plane(rng, size):
    """Coordinates x, y [N, N] around 0..1, turned by any angle and slightly warped."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    turn, warp = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.03)
    x = columns * np.cos(turn) + rows * np.sin(turn) + warp * fractal_noise(rng, size, 3, 2)
    y = rows * np.cos(turn) - columns * np.sin(turn) + warp * fractal_noise(rng, size, 3, 2)
    return x + 2.0, y + 2.0  # kept positive, so that the patterns do not mirror at 0


def _colour(rng):
    return hsv(rng.uniform(), rng.uniform(0.1, 0.7), rng.uniform(0.2, 0.85))


def _other_colour(rng, ground):
    """A colour that is clearly not the ground's."""
    colour = _colour(rng)
    while np.abs(ground - colour).max() < 0.25:
        colour = _colour(rng)
    return colour


def _marked(rng, ground, cover):
    return blend(np.broadcast_to(ground, (*cover.shape, 3)), _other_colour(rng, ground), cover)


def _strew_dirt(rng, picture):
    """Specks anywhere, for every coat alike: a speck is no spot."""
    size = picture.shape[0]
    for _ in range(int(rng.integers(0, 25))):
        radius = rng.uniform(0.004, 0.013) * size
        speck = spot(rng, size, *rng.uniform(0, size, 2), radius, wobble=0.6)
        colour = hsv(rng.uniform(0.03, 0.1), rng.uniform(0.2, 0.5), rng.uniform(0.08, 0.3))
        paint(picture, speck, colour, 0.8 * speck.cover)


def _scattered(rng, size):
    """A few to many roundish outlines of similar size."""
    typical = rng.uniform(0.025, 0.06) * size
    for _ in range(int(rng.integers(6, 40))):
        radius = np.clip(typical * np.exp(rng.normal(0.0, 0.3)), 2.5, 0.1 * size)
        yield spot(
            rng, size, *rng.uniform(0.1, 0.9, 2) * size, radius, wobble=rng.uniform(0.0, 0.3)
        )


def main():
    """Write a contact sheet with eight things in each coat."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", default="world.png", help="where the contact sheet goes")
    arguments = parser.parse_args()
    rows = [
        np.concatenate([draw_thing(seed, label) for seed in range(8)], axis=1)
        for label in range(len(CLASSES))
    ]
    Image.fromarray(np.concatenate(rows)).save(arguments.out)


if __name__ == "__main__":
    main()
