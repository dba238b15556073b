"""Draw with numpy: noise, soft edges, light, spots and materials.

Pictures are float64 arrays [N, N, 3], about 0..1; covers (how much of a pixel a thing hides, 0..1)
and height fields (in pixels) are [N, N]. Rows run down, columns run right.

Everything is float64 on purpose. numpy's exponentials and powers differ in their last bit between
the vector units of two processors; in 64 bits that is far too little to change a rounded 8-bit
pixel, so that a picture has the same sha256 wherever it is drawn.
"""

import colorsys
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from scipy import ndimage
from scipy.sparse import csr_array

Array = np.ndarray  # float64 unless said otherwise
GAMMA = 2.2  # of the eye's scale
TILE = 128  # samples of a noise tile's side, before it is mirrored


class Light(NamedTuple):
    """Where the light comes from: a unit vector in the picture plane, and radians above it."""

    x: float
    y: float
    elevation: float


class Spot(NamedTuple):
    """A roundish thing on a canvas, seen through the window `area` (two slices) around it."""

    area: tuple[slice, slice]
    radius: float  # in pixels
    x: Array  # offset from the centre, in radii
    y: Array
    distance: Array  # 0 in the centre, 1 on the outline
    cover: Array  # 1 inside, 0 outside, one pixel of transition


# Values, colours, sizes


def smoothstep(start: float, end: float, values: Array) -> Array:
    """Rise smoothly from 0 at `start` to 1 at `end`; `start > end` makes it fall."""
    t = np.clip((values - start) / (end - start), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(values: Array, width: float | Array) -> Array:
    """Gaussian bell, 1 where `values` is 0 and 1/e at `width`."""
    return np.exp(-((values / width) ** 2))


def hsv(hue: float, saturation: float, value: float) -> Array:
    """Colour [3]; the hue wraps around, the other two are clipped to 0..1."""
    clipped = np.clip([saturation, value], 0.0, 1.0)
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, *clipped))


def linear(hue: float, saturation: float, value: float) -> Array:
    """Colour [3] in linear light."""
    return hsv(hue, saturation, value) ** GAMMA


def blend(under: Array, over: Array, cover: Array) -> Array:
    """Lay the colour or picture `over` on `under` where `cover` [H, W] says so."""
    blended = over - under
    blended *= cover[..., None]  # in place: new arrays of this size cost more than the arithmetic
    blended += under
    return blended


def tinted(colour: Array, brightness: Array) -> Array:
    """Picture [H, W, 3] of one colour [3] or picture, its brightness changed by a field [H, W]."""
    return colour * brightness[..., None]


@lru_cache(maxsize=64)
def _area_weights(n_out: int, n_in: int) -> csr_array:
    """[n_out, n_in]: the share of every input pixel in every output pixel, rows sum to 1."""
    edges_out = np.arange(n_out + 1) * (n_in / n_out)
    edges_in = np.arange(n_in + 1.0)
    ends = np.minimum(edges_out[1:, None], edges_in[None, 1:])
    starts = np.maximum(edges_out[:-1, None], edges_in[None, :-1])
    return csr_array(np.clip(ends - starts, 0.0, None) * (n_out / n_in))


def downsample(picture: Array, size: int) -> Array:
    """Average [N, N] or [N, N, 3] over the areas of the pixels of a smaller square."""
    if picture.ndim == 2:
        return _resample(picture, *(_area_weights(size, n) for n in picture.shape))
    return np.stack([downsample(channel, size) for channel in np.moveaxis(picture, -1, 0)], axis=-1)


def _resample(field: Array, down: csr_array, across: csr_array) -> Array:
    """Weighted sums of rows and columns: down @ field @ across.T."""
    # Sparse products have no threads, and the same order of summation on every machine.
    return np.ascontiguousarray((across @ (down @ field).T).T)


def to_uint8(picture: Array) -> Array:
    """Round 0..1 to 0..255."""
    return (np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


# Noise


@lru_cache(maxsize=256)
def _cubic_weights(n_out: int, n_in: int) -> csr_array:
    """[n_out, n_in]: Catmull-Rom interpolation of a coarse row of n_in values; rows sum to 1."""
    position = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
    left = np.floor(position).astype(int)
    weights = np.zeros((n_out, n_in))
    for neighbour in range(-1, 3):
        d = np.abs(position - (left + neighbour))
        near = 1.5 * d**3 - 2.5 * d**2 + 1.0
        far = -0.5 * d**3 + 2.5 * d**2 - 4.0 * d + 2.0
        column = np.clip(left + neighbour, 0, n_in - 1)  # the border repeats its last value
        np.add.at(weights, (np.arange(n_out), column), np.where(d < 1.0, near, far))
    return csr_array(weights)


def fractal_noise(
    rng: Generator,
    size: int,
    cells: float,
    octaves: int = 4,
    gain: float = 0.5,
    stretch: float = 1.0,
) -> Array:
    """Smooth random field [size, size], mean 0, standard deviation about 0.8.

    Args:
        cells: how many random values the coarsest octave has from border to border.
        octaves: every further one has about twice the cells.
        gain: amplitude of an octave relative to the one before.
        stretch: cells across per cell down; below 1 the grain runs from left to right.
    """
    noise, power, amplitude = np.zeros((size, size)), 0.0, 1.0
    for octave in range(octaves):
        down = int(cells * 2.03**octave)
        across = int(cells * 2.03**octave * stretch)
        if max(down, 2) >= size:
            break
        # 3 cells more than asked for: the interpolation needs neighbours beyond the border.
        grid = rng.standard_normal((max(down, 2) + 3, max(across, 2) + 3))
        noise += amplitude * _resample(grid, *(_cubic_weights(size, n) for n in grid.shape))
        power += amplitude**2
        amplitude *= gain
    return noise / np.sqrt(power)


class Tile(NamedTuple):
    """A field that repeats in both directions."""

    field: Array  # [N, N], N a power of 2

    def near(self, u: Array, v: Array) -> Array:
        """Values at (u, v), in samples right and down, each sample a square."""
        last = len(self.field) - 1
        return self.field[v.astype(int) & last, u.astype(int) & last]

    def at(self, u: Array, v: Array) -> Array:
        """Values at (u, v), interpolated."""
        left, top = np.floor(u), np.floor(v)
        right, below = u - left, v - top
        upper = self.near(left, top) * (1.0 - right) + self.near(left + 1, top) * right
        lower = self.near(left, top + 1) * (1.0 - right) + self.near(left + 1, top + 1) * right
        return upper * (1.0 - below) + lower * below


def mirrored(field: Array) -> Array:
    """Field [2 N, 2 N] whose opposite borders fit."""
    double = np.concatenate([field, field[::-1]])
    return np.concatenate([double, double[:, ::-1]], axis=1)


def noise_tile(
    rng: Generator, cells: float, octaves: int, gain: float, *, stretch: float = 1.0, n: int = TILE
) -> Tile:
    """Fractal noise, n samples wide before it is mirrored."""
    return Tile(mirrored(fractal_noise(rng, n, cells, octaves, gain, stretch)))


# Light


def surface_normals(height: Array) -> tuple[Array, Array, Array]:
    """Unit normals (x, y, z), [N, N] each, of a height field in pixels."""
    slope_y, slope_x = np.gradient(height)
    z = 1.0 / np.sqrt(1.0 + slope_x**2 + slope_y**2)
    return -slope_x * z, -slope_y * z, z


def diffuse_light(normals: tuple[Array, ...], light: Light) -> Array:
    """Lambert's cosine law, 1 for a flat surface."""
    x, y, z = normals
    flat, slant = np.sin(light.elevation), np.cos(light.elevation)
    return np.clip((x * light.x + y * light.y) * slant + z * flat, 0.0, None) / flat


def glossy_light(normals: tuple[Array, ...], light: Light, sharpness: float) -> Array:
    """Blinn's highlight: the cosine to the half-way vector (viewer above), to a power."""
    x, y, z = normals
    flat, slant = np.sin(light.elevation), np.cos(light.elevation)
    halfway = np.array([light.x * slant, light.y * slant, flat + 1.0])
    halfway /= np.sqrt(np.sum(halfway**2))
    return np.clip(x * halfway[0] + y * halfway[1] + z * halfway[2], 0.0, 1.0) ** sharpness


def relief(height: Array, light: Light) -> Array:
    """Brightness [N, N] around 1 of a rough matt surface."""
    return diffuse_light(surface_normals(height), light)


def cast_shadow(cover: Array, light: Light, drop: float, softness: float) -> Array:
    """Cover [N, N] of the shadow that falls `drop` pixels away from the light."""
    moved = ndimage.shift(cover, (-light.y * drop, -light.x * drop), order=1)
    return ndimage.gaussian_filter(moved, softness)


# Spots


def spot(
    rng: Generator,
    size: int,
    x: float,
    y: float,
    radius: float,
    *,
    wobble: float = 0.12,
    harmonics: tuple[int, ...] = (2, 3, 5),
    reach: float = 1.6,
) -> Spot:
    """Outline of a roundish thing, centre (x, y), on a canvas of `size` pixels.

    Args:
        wobble: how far the outline strays from a circle, in radii.
        harmonics: waves per turn of the outline.
        reach: half the width of the window around it, in radii.
    """
    half = int(radius * reach) + 3
    left, top = max(0, int(x) - half), max(0, int(y) - half)
    area = (slice(top, min(size, int(y) + half + 1)), slice(left, min(size, int(x) + half + 1)))
    rows, columns = np.mgrid[area]
    dx, dy = (columns - x) / radius, (rows - y) / radius
    angle = np.arctan2(dy, dx)
    stray = np.zeros_like(angle)
    for k in harmonics:
        stray += rng.normal(0.0, wobble / k) * np.cos(k * angle + rng.uniform(0.0, 2.0 * np.pi))
    distance = np.hypot(dx, dy) / np.clip(1.0 + stray, 0.4, None)
    edge = min(0.9, 0.75 / radius)
    return Spot(area, radius, dx, dy, distance, smoothstep(1.0 + edge, 1.0 - edge, distance))


def paint(picture: Array, thing: Spot, colour: Array, cover: Array) -> None:
    """Lay a colour on the window of a spot, in place."""
    picture[thing.area] = blend(picture[thing.area], colour, cover)


def paint_pebble(
    picture: Array,
    thing: Spot,
    colour: Array,
    light: Light,
    *,
    opacity: float = 1.0,
    dome: float = 0.45,
    shadow: float = 0.35,
) -> None:
    """Lay a domed, matt stone or crumb on a picture, with its small shadow, in place."""
    behind = np.hypot(thing.x + 0.35 * light.x, thing.y + 0.35 * light.y)
    picture[thing.area] *= (1.0 - shadow * smoothstep(1.45, 0.75, behind))[..., None]
    towards_light = (thing.x * light.x + thing.y * light.y) * np.clip(thing.distance, 0.0, 1.0)
    paint(picture, thing, tinted(colour, 1.0 + dome * towards_light), thing.cover * opacity)


# Materials: each is a function (rng, size, light) -> picture [size, size, 3]


def paper(rng: Generator, size: int, light: Light) -> Array:
    """Matt paper or card with fibres, nearly grey."""
    hue = rng.uniform(0.55, 0.85) if rng.random() < 0.6 else rng.uniform(0.05, 0.15)
    colour = hsv(hue, rng.uniform(0.0, 0.13), rng.uniform(0.5, 0.8))
    grain = 0.025 * fractal_noise(rng, size, 8, 3, 0.7)
    grain += 0.03 * rng.standard_normal((size, size))
    if rng.random() < 0.5:  # laid paper: fine lines from left to right
        grain += 0.02 * fractal_noise(rng, size, 40, 2, 0.8, stretch=0.15)
    return tinted(colour, (1.0 + grain) * (1.0 + 0.02 * fractal_noise(rng, size, 2, 2)))


def cloth(rng: Generator, size: int, light: Light) -> Array:
    """Plain weave: threads pass over and under each other, and the whole lies in soft folds."""
    hue = rng.uniform(0.5, 0.9) if rng.random() < 0.5 else rng.uniform(0.03, 0.16)
    colour = hsv(hue, rng.uniform(0.02, 0.12), rng.uniform(0.45, 0.78))
    warp, weft = _threads(rng, size)
    thread = np.where((np.floor(warp) + np.floor(weft)) % 2 == 0, warp, weft)
    profile = np.abs(np.sin(np.pi * thread))  # 0 in the gap between two threads
    uneven = 0.04 * fractal_noise(rng, size, 50, 2, 0.8, stretch=0.1)
    uneven += 0.04 * fractal_noise(rng, size, 50, 2, 0.8, stretch=0.1).T
    folds = relief(rng.uniform(0.01, 0.035) * size * fractal_noise(rng, size, 2, 2), light)
    return tinted(colour, (0.89 + 0.15 * profile + uneven) * (0.4 + 0.6 * folds))


def _threads(rng: Generator, size: int) -> tuple[Array, Array]:
    """Two fields [N, N] that count the threads of a turned, slightly warped weave."""
    rows, columns = np.mgrid[0:size, 0:size]
    turn, pitch = rng.uniform(-0.4, 0.4), size / rng.uniform(45, 75)
    warp = (columns * np.cos(turn) + rows * np.sin(turn)) / pitch
    weft = (rows * np.cos(turn) - columns * np.sin(turn)) / pitch
    return warp + fractal_noise(rng, size, 4, 3), weft + fractal_noise(rng, size, 4, 3)


def soil(rng: Generator, size: int, light: Light) -> Array:
    """Crumbly earth in moist and dry patches, strewn with pebbles."""
    colour = hsv(rng.uniform(0.045, 0.1), rng.uniform(0.2, 0.45), rng.uniform(0.25, 0.42))
    lumps = fractal_noise(rng, size, 7, 6, 0.72)
    crumbs = np.abs(fractal_noise(rng, size, 34, 3, 0.7))  # kinks at 0 make separate crumbs
    lit = relief(0.009 * size * lumps + 0.006 * size * crumbs, light)
    picture = tinted(colour, (1.0 + 0.16 * lumps + 0.12 * (crumbs - 0.6)) * (0.35 + 0.65 * lit))
    moist = 0.05 * fractal_noise(rng, size, 3, 2)
    picture *= 1.0 + moist[..., None] * np.array([1.0, 0.6, 0.2])
    for _ in range(rng.integers(8, 40)):
        radius = size * np.clip(0.006 * np.exp(rng.exponential(0.7)), 0.005, 0.035)
        stone = spot(rng, size, *rng.uniform(0, size, 2), radius, wobble=0.3)
        tint = hsv(rng.uniform(0.03, 0.12), rng.uniform(0.1, 0.45), rng.uniform(0.28, 0.62))
        mottled = tinted(tint, 1.0 + 0.1 * lumps[stone.area])
        paint_pebble(picture, stone, mottled, light)
    return np.clip(picture, 0.0, None)


def grass(rng: Generator, size: int, light: Light) -> Array:
    """A lawn out of focus: blades from deep and dark to high and bright."""
    colour = hsv(rng.uniform(0.2, 0.32), rng.uniform(0.3, 0.5), rng.uniform(0.14, 0.24))
    picture = tinted(colour, np.clip(1.0 + 0.35 * fractal_noise(rng, size, 6, 4, 0.7), 0.2, None))
    lean, n_blades = rng.normal(0.0, 0.5), 190
    for blade in range(n_blades):
        _paint_grass_blade(rng, picture, lean, height=blade / n_blades)
    blur = rng.uniform(0.6, 2.6) * size / 336
    return ndimage.gaussian_filter(picture, (blur, blur, 0))


def _paint_grass_blade(rng: Generator, picture: Array, lean: float, height: float) -> None:
    """One curved, tapering blade, folded along its middle, in place; `height` 0 deep to 1 high."""
    size = picture.shape[0]
    length, width = rng.uniform(0.12, 0.36) * size, rng.uniform(0.004, 0.011) * size
    angle, curl = lean + rng.normal(0.0, 0.8), rng.normal(0.0, 0.25)
    leaf = spot(rng, size, *rng.uniform(0, size, 2), length / 2, wobble=0.0, reach=1.0)
    along = leaf.x * np.sin(angle) - leaf.y * np.cos(angle)  # -1 root, 1 tip
    across = leaf.x * np.cos(angle) + leaf.y * np.sin(angle) - curl * along**2
    half_width = width * np.sqrt(np.clip(1.0 - along, 0.0, 2.0) / 2.0)
    inside = half_width - np.abs(across) * length / 2
    cover = smoothstep(-0.7, 0.7, inside) * smoothstep(1.0, 0.97, np.abs(along))
    value = rng.uniform(0.1, 0.2) + height * rng.uniform(0.1, 0.32)
    colour = hsv(rng.uniform(0.18, 0.33), rng.uniform(0.35, 0.6), value)
    if rng.random() < 0.08:  # a dry blade
        colour = hsv(rng.uniform(0.09, 0.14), 0.4, value * 1.2)
    picture[leaf.area] *= (1.0 - 0.35 * smoothstep(-2.5 * width, 0.0, inside))[..., None]
    paint(picture, leaf, tinted(colour, 0.9 + 0.2 * np.sign(across) + 0.12 * along), cover)


def wood(rng: Generator, size: int, light: Light) -> Array:
    """Boards with growth rings drawn out along the grain, pores, and sometimes a joint."""
    colour = hsv(rng.uniform(0.05, 0.1), rng.uniform(0.25, 0.5), rng.uniform(0.4, 0.65))
    waves = rng.uniform(4.0, 9.0) * fractal_noise(rng, size, 4, 4, 0.6, stretch=0.08)
    rings = (0.5 + 0.5 * np.sin(waves)) ** 2
    fibres = fractal_noise(rng, size, 70, 2, 0.9, stretch=0.06)
    pores = smoothstep(1.0, 2.2, fractal_noise(rng, size, 90, 1, stretch=0.12))
    height = rng.uniform(0.1, 0.3) * fibres - 0.8 * pores
    shade = (1.0 - 0.17 * rings + 0.05 * fibres - 0.22 * pores) * (
        0.6 + 0.4 * relief(height, light)
    )
    shade *= 1.0 + 0.06 * fractal_noise(rng, size, 3, 2)
    if rng.random() < 0.5:
        shade *= _board_joint(rng, size)
    return tinted(colour, shade.T if rng.random() < 0.5 else shade)


def _board_joint(rng: Generator, size: int) -> Array:
    """Brightness [N, N]: a dark gap between two boards, one a little lighter than the other."""
    distance = np.arange(size)[:, None] - rng.uniform(0.12, 0.88) * size
    gap = bump(distance, 0.006 * size) + 0.25 * bump(distance, 0.02 * size)
    step = 1.0 + rng.normal(0.0, 0.05) * np.sign(distance)
    return (step * (1.0 - 0.75 * np.clip(gap, 0.0, 1.0))) * np.ones((size, size))


MATERIALS = {"paper": paper, "cloth": cloth, "soil": soil, "grass": grass, "wood": wood}
