"""What monuments of all styles are built from: rooms, colours, solids, outlines, ornament.

A monument stands on the ground around (0, 0), its front turned to -y, and keeps within a room of
some width and height, whatever its style. The styles share their colours, their masonry and their
dirt: what tells them is what they are built of, and those parts are known to the pixel.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from data_scripts.drawing import TILE, Array, fractal_noise, linear, smoothstep
from data_scripts.heritage.materials import Fill, Opening, darkness, panes
from data_scripts.heritage.raycast import UP, Material, Outline, Patch, Round, Surface, cross, unit

STYLES = ("Prehispanic", "Colonial", "Modern")
PART_NAMES = {
    "Prehispanic": ("tiers", "stairs", "temple"),
    "Colonial": ("dome", "gable", "portal", "window", "tower"),
    "Modern": ("curtain wall", "roof", "entrance"),
}
NO_PART = 0  # the parts of a style count from 1, in the order of their names

Point = tuple[float, float, float] | Array
Size = tuple[float, float] | Array  # half extents in x and in y
Holes = tuple[tuple[float, float, Outline], ...]  # (a, b) of the foot, and the shape
X, BACK = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])


class Room(NamedTuple):
    """The space that a monument may fill, metres."""

    width: float
    height: float


class Skin(NamedTuple):
    """What a surface is made of."""

    material: Material
    colour: Array  # [3], linear


# Colours


def draw_colour(rng: Generator) -> Array:
    """Stone or paint of any monument."""
    low, high = rng.choice(
        [
            ((0.07, 0.12, 0.60), (0.12, 0.35, 0.82)),  # tan stone
            ((0.05, 0.00, 0.50), (0.15, 0.10, 0.78)),  # grey stone
            ((0.99, 0.25, 0.44), (1.05, 0.48, 0.62)),  # red lava or brick
            ((0.08, 0.02, 0.80), (0.14, 0.12, 0.94)),  # whitewash
            ((0.09, 0.35, 0.74), (0.13, 0.58, 0.90)),  # ochre
            ((0.98, 0.12, 0.64), (1.05, 0.30, 0.84)),  # pink stone
        ],
        p=[0.3, 0.2, 0.14, 0.16, 0.1, 0.1],
    )
    return linear(*rng.uniform(low, high))


def varied(rng: Generator, colour: Array, spread: float) -> Array:
    """The same colour, a little lighter or darker."""
    return np.clip(colour * np.exp(rng.normal(0.0, spread)), 0.02, 0.85)


def gloom(depth: float) -> Fill:
    """A doorway into the dark."""
    return Fill(darkness, np.array([0.006, 0.005, 0.004]), depth)


OLD_GLASS = Fill(panes, linear(0.6, 0.1, 0.35), 0.5, mirror=0.18)


# Solids


def turned(vector: Point, quarters: int) -> Array:
    """A vector [3] after quarter turns to the left, seen from above."""
    x, y, z = vector
    for _ in range(quarters % 4):
        x, y = -y, x
    return np.array([x, y, z], float)


def turned_surface(surface: Surface, quarters: int) -> Surface:
    """A surface after quarter turns around the middle of the monument."""
    axes = ("origin",) if isinstance(surface, Round) else ("origin", "right", "up")
    return replace(surface, **{name: turned(getattr(surface, name), quarters) for name in axes})


def shifted(surface: Surface, x: float) -> Surface:
    """A surface some metres further to the right."""
    return replace(surface, origin=surface.origin + x * X)


def frustum(
    place: Point, low: Size, high: Size, height: float, skin: Skin, part: int = NO_PART
) -> list[Patch]:
    """Four sloping or upright walls, and the roof, last.

    Args:
        place: middle of the floor.
        low: half extent of the floor in x and in y.
        high: the same of the roof.
        height: from floor to roof.
    """
    place = np.array(place, float)
    walls = [_wall(place, low, high, height, quarters, skin, part) for quarters in range(4)]
    corner = place + [0.0, -high[1], height]
    return [*walls, Patch(corner, X, BACK, rectangle(high[0], 2.0 * high[1]), *skin, part)]


def _wall(place, low, high, height, quarters, skin, part) -> Patch:
    across, out = (0, 1) if quarters % 2 == 0 else (1, 0)
    slope = np.array([0.0, low[out] - high[out], height])
    length = np.sqrt(slope @ slope)
    foot = place + turned((0.0, -low[out], 0.0), quarters)
    outline = Outline((0.0, length), (low[across], high[across]))
    return Patch(foot, turned(X, quarters), turned(slope / length, quarters), outline, *skin, part)


def box(place: Point, half: Size, height: float, skin: Skin, part: int = NO_PART) -> list[Patch]:
    """Upright walls and a roof."""
    return frustum(place, half, half, height, skin, part)


def soffit(place: Point, half: Size, skin: Skin, part: int = NO_PART) -> Patch:
    """The under side of a slab."""
    corner = np.array(place, float) + [0.0, half[1], 0.0]
    return Patch(corner, X, -BACK, rectangle(half[0], 2.0 * half[1]), *skin, part)


def slab(place: Point, half: Size, height: float, skin: Skin, part: int = NO_PART) -> list[Patch]:
    """A box that is also seen from below."""
    return [*box(place, half, height, skin, part), soffit(place, half, skin, part)]


def beam(
    start: Array, end: Array, half_width: float, thickness: float, skin: Skin, part: int
) -> list[Patch]:
    """A bar on a slope that rises away from the viewer: its upper face and its cheeks."""
    along = unit(end - start)
    out, length = cross(X, along), np.sqrt((end - start) @ (end - start))
    surfaces = [Patch(start, X, along, rectangle(half_width, length), *skin, part)]
    cheek, foot = rectangle(length / 2.0, thickness), (start + end) / 2.0 - thickness * out
    for side in (-1.0, 1.0):
        # Lies along the slope; its own `up` is across it.
        surfaces.append(Patch(foot + side * half_width * X, side * along, out, cheek, *skin, part))
    return surfaces


def extruded(
    place: Point,
    outline: Outline,
    thickness: float,
    skin: Skin,
    part: int = NO_PART,
    holes: Holes = (),
) -> list[Patch]:
    """A wall of some outline; `place` is the foot of its front."""
    place = np.array(place, float)
    behind = tuple((-a, b, hole) for a, b, hole in holes)
    walls = [
        Patch(place, X, UP, outline, *skin, part, holes),
        Patch(place + thickness * BACK, -X, UP, outline, *skin, part, behind),
    ]
    corners = list(zip(outline.half_widths, outline.heights, strict=True))
    for (w0, h0), (w1, h1) in zip(corners[:-1], corners[1:], strict=True):
        length = np.hypot(w1 - w0, h1 - h0)
        edge = rectangle(thickness / 2.0, length)
        for side in (-1.0, 1.0):
            up = np.array([side * (w1 - w0), 0.0, h1 - h0]) / length
            foot = place + [side * w0, thickness / 2.0, h0]
            walls.append(Patch(foot, side * BACK, up, edge, *skin, part))
    return walls


def opening(
    place: Point, outline: Outline, fill: Fill, frame: Skin, part: int = NO_PART, quarters: int = 0
) -> Patch:
    """A door, window or niche; `place` is its foot, on a wall that looks to -y before turns."""
    before = turned((0.0, -0.03, 0.0), quarters)  # a finger's breadth, to be seen and not the wall
    material = Opening(frame.material.age, outline, fill)
    return Patch(place + before, turned(X, quarters), UP, outline, material, frame.colour, part)


def around(n: int, centre: Point, radius: float) -> list[tuple[Array, Array]]:
    """(place, direction to the right) of n things on a circle, seen from outside."""
    angles = 2.0 * np.pi * (np.arange(n) + 0.5) / n
    outs = [np.array([np.sin(t), -np.cos(t), 0.0]) for t in angles]
    return [(np.array(centre) + radius * out, cross(UP, out)) for out in outs]


# Outlines


def rectangle(half_width: float, height: float) -> Outline:
    """Four right angles."""
    return Outline((0.0, height), (half_width, half_width))


def arch(half_width: float, height: float, rise: float = 1.0) -> Outline:
    """Rectangle with a round top; a half circle, or flatter where `rise` is below 1."""
    angle = np.linspace(0.0, np.pi / 2.0, 8)
    heights = height - half_width * rise * (1.0 - np.sin(angle))
    return Outline((0.0, *heights), (half_width, *(half_width * np.cos(angle))))


def disc(radius: float, corners: int = 24) -> Outline:
    """Circle, or a polygon that stands on a corner."""
    angle = np.linspace(0.0, np.pi, corners // 2 + 1)
    return Outline(tuple(radius - radius * np.cos(angle)), tuple(radius * np.sin(angle)))


def scaled(outline: Outline, width: float, height: float) -> Outline:
    """An outline of unit size made this wide (half) and high."""
    return Outline(
        tuple(height * h for h in outline.heights), tuple(width * w for w in outline.half_widths)
    )


# Ornament: height fields [TILE, TILE] in 0..1

STEPPED_FRET = (
    "1111111111111111",
    "1000000000000000",
    "1011111111100000",
    "1010000000100111",
    "1010111110100100",
    "1010100010111101",
    "1010101110000001",
    "1010100000001111",
    "1010111111111000",
    "1010000000000011",
)


def frets(rng: Generator) -> Array:
    """Stepped frets in rows, as on the palaces of Mitla."""
    cell = np.array([[float(c) for c in row] for row in STEPPED_FRET[::-1]])
    large = np.kron(cell, np.ones((3, 3)))
    return np.pad(large, [(0, TILE - n) for n in large.shape], mode="wrap")


def scrolls(rng: Generator) -> Array:
    """Leaves, masks and scrolls, as far as one can tell from a distance."""
    return smoothstep(-0.9, 0.9, 2.0 * np.abs(fractal_noise(rng, TILE, 13, 2, 0.6)) - 0.7)


def lattice(rng: Generator) -> Array:
    """Crossing diagonal bars."""
    y, x = np.mgrid[0:TILE, 0:TILE] / 8.0
    bars = (smoothstep(0.3, 0.2, np.abs(t - np.round(t))) for t in (x + y, x - y))
    return np.maximum(*bars)


def bosses(rng: Generator) -> Array:
    """Rows of round studs."""
    y, x = np.mgrid[0:TILE, 0:TILE] / 10.0
    distance = np.hypot(x - np.round(x), y - np.round(y))
    return np.sqrt(np.clip(1.0 - (distance / 0.38) ** 2, 0.0, 1.0))
