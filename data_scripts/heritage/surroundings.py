"""What is around a monument: the ground, plants, passers-by.

Nothing here knows of the monument, so that nothing here can tell its style.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from data_scripts.drawing import Array, Tile, linear, noise_tile, smoothstep
from data_scripts.heritage.daylight import Daylight
from data_scripts.heritage.materials import TABLE
from data_scripts.heritage.raycast import (
    UP,
    Coat,
    Fragments,
    Outline,
    Patch,
    View,
    cross,
    stretched,
    unit,
)

# Ground


class Spots(NamedTuple):
    """The points of the ground that some pixels show, one row each."""

    x: Array  # [n], metres
    y: Array
    grain: Array  # [n], metres that a pixel covers across
    slant: Array  # [n], metres that the ray falls per metre: along, it covers grain / slant

    def take(self, chosen: Array) -> "Spots":
        """Some of the rows."""
        return Spots(*(field[chosen] for field in self))


class Ground(NamedTuple):
    """Grass, earth, slabs or asphalt, with a forecourt or a path of the same or another kind."""

    kinds: tuple[str, str]  # around, and on the court
    colours: tuple[Array, Array]
    court: tuple[float, float]  # its half width, and the y of its near end, metres
    slab: tuple[float, float]  # metres
    noise: Tile
    table: Array  # [TABLE, TABLE], brightness of the slabs

    def __call__(self, fragments: Fragments, daylight: Daylight) -> Coat:
        """Each kind where it lies."""
        x, y, _ = fragments.position.T
        slant = np.clip(np.abs(fragments.direction[:, 2]), 0.001, 1.0)
        spots = Spots(x, y, fragments.grain, slant)
        ragged = 0.4 * self.noise.near(8.0 * x + 4000.0, 8.0 * y + 4000.0)
        wild = 0.0 if "slabs" in self.kinds else 1.0  # only slabs have a straight edge
        half_width, near = self.court
        court = (np.abs(x + wild * ragged) < half_width) & (y > near)
        albedo = np.empty_like(fragments.position)
        for inside, kind, colour in zip((~court, court), self.kinds, self.colours, strict=True):
            albedo[inside] = getattr(self, kind)(spots.take(inside), colour)
        return Coat(albedo)

    def speckle(self, spots: Spots, *scales: float) -> Array:
        """Noise [n] of some sizes in metres."""
        blur = 2.0 * spots.grain / np.sqrt(np.maximum(spots.slant, 0.02))
        total = np.zeros(len(blur))
        for k, scale in enumerate(scales):
            u, v = ((place + 600.0) * (8.0 / scale) for place in (spots.x, spots.y))
            total += self.noise.near(u + 37 * k, v) * np.minimum(scale / blur, 1.0)
        return total / np.sqrt(len(scales))

    def grass(self, spots: Spots, colour: Array) -> Array:
        """Tufts, with dry patches."""
        mottle = self.speckle(spots, 0.15, 0.35, 0.9, 3.0, 10.0)
        dry = smoothstep(0.0, 1.8, self.speckle(spots, 5.0, 22.0))[:, None]
        seen = colour + 0.55 * dry * (linear(0.13, 0.42, 0.6) - colour)
        return seen * np.clip(1.0 + 0.42 * mottle, 0.15, None)[:, None]

    def earth(self, spots: Spots, colour: Array) -> Array:
        """Trodden earth, with grass growing in."""
        mottle = self.speckle(spots, 0.2, 0.5, 2.0, 8.0, 30.0)
        grown = smoothstep(0.4, 1.5, self.speckle(spots, 0.4, 3.0, 14.0))[:, None]
        seen = colour + 0.6 * grown * (linear(0.22, 0.4, 0.42) - colour)
        return seen * np.clip(1.0 + 0.3 * mottle, 0.15, None)[:, None]

    def asphalt(self, spots: Spots, colour: Array) -> Array:
        """Patched and cracked."""
        mottle = self.speckle(spots, 0.2, 0.5, 3.0, 25.0)
        from_crack = np.abs(self.noise.near(9.0 * spots.x + 4000.0, 5.0 * spots.y + 4000.0))
        crack = smoothstep(0.05, 0.0, from_crack) * np.minimum(0.12 / spots.grain, 1.0)
        return colour * ((1.0 + 0.2 * mottle) * (1.0 - 0.35 * crack))[:, None]

    def slabs(self, spots: Spots, colour: Array) -> Array:
        """Slabs in rows; joints fade where a pixel covers half a slab."""
        wide, deep = self.slab
        row_place = spots.y / deep + 600.0
        row = np.floor(row_place).astype(int)
        place = spots.x / wide + 0.5 * (row % 2) + 600.0
        grains = spots.grain, spots.grain / spots.slant
        joint = np.zeros(len(place))
        for at, size, grain in zip((place, row_place), self.slab, grains, strict=True):
            width = np.maximum(0.05, 0.6 * grain)
            gap = smoothstep(1.5 * width, 0.3 * width, np.abs(at - np.round(at)) * size)
            joint = np.maximum(joint, gap * np.clip(0.5 * size / grain - 0.5, 0.0, 1.0))
        tint = self.table[row % TABLE, np.floor(place).astype(int) % TABLE]
        tint = 0.08 * tint * np.minimum(deep / (2.0 * grains[1]), 1.0)
        shade = 1.0 + tint + 0.1 * self.speckle(spots, 0.3, 0.7, 4.0, 20.0)
        return colour * (shade * (1.0 - 0.4 * joint))[:, None]


GROUNDS = {  # least and greatest hue, saturation and value
    "grass": ((0.18, 0.35, 0.34), (0.28, 0.55, 0.50)),
    "earth": ((0.06, 0.18, 0.50), (0.11, 0.40, 0.72)),
    "slabs": ((0.03, 0.03, 0.52), (0.13, 0.20, 0.78)),
    "asphalt": ((0.56, 0.00, 0.44), (0.64, 0.06, 0.60)),
}


def draw_ground(rng: Generator) -> Patch:
    """The plane on which everything stands."""
    kinds = tuple(rng.choice(list(GROUNDS), p=[0.36, 0.22, 0.3, 0.12]) for _ in range(2))
    path = rng.random() < 0.5
    half_width = rng.uniform(4.0, 9.0) if path else rng.uniform(20.0, 30.0)
    slab = rng.uniform(0.8, 2.6)
    material = Ground(
        kinds=kinds,
        colours=tuple(linear(*rng.uniform(*GROUNDS[kind])) for kind in kinds),
        court=(half_width, -400.0 if path else -rng.uniform(22.0, 60.0)),
        slab=(slab, slab * rng.uniform(0.6, 1.6)),
        noise=noise_tile(rng, 10, 4, 0.75),
        table=np.clip(rng.standard_normal((TABLE, TABLE)), -2.0, 2.0),
    )
    right, away = np.eye(3)[:2]
    plane = Outline((0.0, 3000.0), (2000.0, 2000.0))
    return Patch(-500.0 * away, right, away, plane, material, np.ones(3))


# Plants: painted once on a card, leaf by leaf; the card turns to whoever looks

CARD = 96  # samples of a card's side


class Leaves(NamedTuple):
    """A plant as a cloud of leaves."""

    places: Array  # [n, 3]: -1..1 from left to right, 0..1 from foot to top, nearness
    shades: Array  # [n], brightness
    half_width: float  # metres
    height: float
    trunk: float  # 0..1, up to where it is bare
    size: float = 1.6  # radius of a leaf in samples


class Plant(NamedTuple):
    """A plant on its card."""

    colour: Array  # [CARD, CARD, 3], its own light and shade included
    cover: Array  # bool [CARD, CARD]
    outline: Outline

    def __call__(self, fragments: Fragments, daylight: Daylight) -> Coat:
        """Leaves face any way: take the light as they do on average."""
        albedo = stretched(self.colour, self.outline, fragments.a, fragments.b)
        normal = np.broadcast_to(unit(daylight.towards_sun + 0.8 * UP), albedo.shape)
        return Coat(albedo, normal=normal)


def crown(rng: Generator, light: Array) -> Leaves:
    """A broad-leaved tree: clumps of leaves on a trunk; `light` is (right, up, near)."""
    n_clumps, n_leaves = int(rng.integers(10, 22)), 130
    wide, trunk = rng.uniform((0.75, 0.15), (1.0, 0.35))
    centres = unit(rng.standard_normal((n_clumps, 3))) * rng.random((n_clumps, 1)) ** (1 / 3)
    centres = centres * [0.7 * wide, 0.3, 0.6] + [0.0, 0.52 + trunk / 2.0, 0.0]
    size = rng.uniform(0.16, 0.3, (n_clumps, 1, 1)) * rng.uniform(0.7, 1.05, (1, n_leaves, 1))
    local = unit(rng.standard_normal((n_clumps, n_leaves, 3)))
    places = centres[:, None] + size * local * [1.0, 0.6, 1.0]
    outwards = unit(local + (places - [0.0, 0.55, 0.0]) * [0.9, 1.45, 0.9])
    shades = 0.42 + 0.5 * np.clip(outwards @ light, -0.6, 1.0) + 0.25 * local[..., 1]
    shades += 0.16 * rng.standard_normal(shades.shape)
    height = rng.uniform(5.0, 11.0)
    half_width = 0.5 * height * rng.uniform(0.8, 1.05)
    return Leaves(places.reshape(-1, 3), shades.ravel(), half_width, height, trunk)


def cypress(rng: Generator, light: Array) -> Leaves:
    """A slender column of leaves."""
    n = 1500
    z, angle = rng.random(n) ** 0.8, rng.uniform(0.0, 2.0 * np.pi, n)
    radius = 0.9 * np.sin(np.pi * np.clip(z, 0.02, 1.0) ** 0.6) ** 0.8 * rng.uniform(0.7, 1.0, n)
    aside, near = np.sin(angle), np.cos(angle)
    outwards = np.stack([aside, np.full(n, 0.4), near], axis=1)
    shades = 0.45 + 0.45 * np.clip(outwards @ light, -0.5, 1.0) + 0.13 * rng.standard_normal(n)
    places = np.stack([radius * aside, 0.04 + 0.94 * z, radius * near], axis=1)
    height = rng.uniform(7.0, 13.0)
    return Leaves(places, shades, 0.14 * height, height, 0.05)


def palm(rng: Generator, light: Array) -> Leaves:
    """Fronds that hang from the top of a trunk."""
    n, t = int(rng.integers(16, 28)), np.linspace(0.0, 1.0, 70)
    angle = rng.uniform(0.0, 2.0 * np.pi, (n, 1))
    rise, droop = rng.uniform(-0.1, 0.32, (n, 1)), rng.uniform(0.25, 0.5, (n, 1))
    out = 0.95 * t * (1.0 - 0.15 * t)
    x = np.sin(angle) * out + 0.07 * rng.standard_normal((n, 70)) * np.sqrt(t)
    z = 0.8 + rise * t - droop * t**2 + 0.03 * rng.standard_normal((n, 70))
    places = np.stack([x, z, np.cos(angle) * out], axis=-1)
    shades = 0.5 + 0.35 * (np.sin(angle) * light[0] + np.cos(angle) * light[2])
    shades = shades + 0.2 * rng.standard_normal((n, 70))
    height = rng.uniform(6.0, 12.0)
    return Leaves(places.reshape(-1, 3), shades.ravel(), 0.3 * height, height, 0.8, size=1.0)


def shrub(rng: Generator, light: Array) -> Leaves:
    """A crown that stands on the ground."""
    bush, height = crown(rng, light), rng.uniform(0.9, 2.2)
    places = bush.places * [1.0, 1.35, 1.0] - [0.0, 0.42, 0.0]
    return Leaves(places, bush.shades, height * rng.uniform(0.7, 1.2), height, 0.0)


PLANTS = (crown, cypress, palm, shrub)


def draw_plant(rng: Generator, kind: Callable[..., Leaves], light: Array) -> Plant:
    """Paint a plant's leaves on a card, the farthest first, and its trunk behind them."""
    leaves = kind(rng, light)
    green = linear(*rng.uniform((0.19, 0.32, 0.36), (0.30, 0.6, 0.56)))
    colour, cover = np.zeros((CARD, CARD, 3)), np.zeros((CARD, CARD), bool)
    x, up = (np.arange(CARD) + 0.5) * (2.0 / CARD) - 1.0, 1.0 - np.arange(CARD)[:, None] / CARD
    cover[...] = (np.abs(x) < 0.09 - 0.04 * up) & (up < leaves.trunk + 0.15)
    lit = np.where(x * light[0] > 0.0, 1.1, 0.6)
    colour[cover] = (linear(0.07, 0.3, 0.36) * lit[:, None])[np.nonzero(cover)[1]]
    rows, columns, order = _dabs(leaves)
    inside = (rows >= 0) & (rows < CARD) & (columns >= 0) & (columns < CARD)
    shades = np.broadcast_to(np.clip(leaves.shades[order], 0.12, 1.6)[:, None], rows.shape)
    # Of several values for one sample numpy keeps the last: the nearest leaf.
    colour[rows[inside], columns[inside]] = green * shades[inside][:, None]
    cover[rows[inside], columns[inside]] = True
    return Plant(colour, cover, Outline((0.0, leaves.height), (leaves.half_width,) * 2))


def _dabs(leaves: Leaves) -> tuple[Array, Array, Array]:
    """Rows and columns [n, k] of the samples of every leaf, from back to front, and that order."""
    order = np.argsort(leaves.places[:, 2], kind="stable")
    reach = int(np.ceil(leaves.size))
    dy, dx = (d.ravel() for d in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    disc = dx * dx + dy * dy <= leaves.size**2
    across, up = leaves.places[order, 0], leaves.places[order, 1]
    rows = np.floor((1.0 - up) * CARD).astype(int)[:, None] + dy[disc]
    columns = np.floor((across + 1.0) * (CARD / 2)).astype(int)[:, None] + dx[disc]
    return rows, columns, order


class Growth(NamedTuple):
    """Plants and where they stand."""

    plants: list[Plant]
    places: Array  # [n, 3], metres
    kinds: Array  # [n], index of the plant

    def cards(self, view: View) -> list[Patch]:
        """The plants as they turn to a view."""
        right = unit(cross(view.forward, UP))
        chosen = [self.plants[k] for k in self.kinds]
        return [
            Patch(place, right, UP, plant.outline, plant, np.ones(3), stencil=plant.cover)
            for place, plant in zip(self.places, chosen, strict=True)
        ]


def draw_growth(rng: Generator, view: View, towards_sun: Array) -> Growth:
    """Plants behind the place of the monument, beside it and before it."""
    forward, right = _level_axes(view)
    light = np.array([towards_sun @ right, towards_sun[2], -towards_sun @ forward])
    kinds = rng.choice(len(PLANTS), size=rng.integers(1, 4), p=[0.45, 0.17, 0.13, 0.25])
    plants = [draw_plant(rng, PLANTS[k], light) for k in kinds]
    behind, beside, before = rng.integers(0, (14, 5, 4))
    sides = rng.choice([-1.0, 1.0], beside + before)
    aside = np.repeat([[17.0, 34.0], [9.0, 22.0]], (beside, before), axis=0)
    across = [rng.uniform(-75.0, 75.0, behind), sides * rng.uniform(aside[:, 0], aside[:, 1])]
    along = np.repeat([[24.0, 70.0], [-16.0, 18.0], [-36.0, -20.0]], (behind, beside, before), 0)
    away = rng.uniform(along[:, 0], along[:, 1])
    places = np.concatenate(across)[:, None] * right + away[:, None] * forward
    return Growth(plants, places, rng.integers(len(plants), size=len(places)))


def _level_axes(view: View) -> tuple[Array, Array]:
    """Where a view looks, and its right hand, both level."""
    forward = unit(view.forward * [1.0, 1.0, 0.0])
    return forward, cross(forward, UP)


# People

FIGURE = Outline(
    (0.0, 0.02, 0.8, 0.9, 1.3, 1.42, 1.46, 1.5, 1.6, 1.7, 1.72),
    (0.13, 0.15, 0.17, 0.19, 0.23, 0.2, 0.07, 0.1, 0.12, 0.08, 0.0),
)
BETWEEN_LEGS = ((0.0, 0.0, Outline((0.0, 0.75), (0.04, 0.0))),)
HEM, NECK, FOREHEAD = 0.85, 1.44, 1.62  # metres above the ground


class Clothes(NamedTuple):
    """Trousers, shirt, skin and hair of a passer-by, [4, 3]."""

    colours: Array

    def __call__(self, fragments: Fragments, daylight: Daylight) -> Coat:
        """A round body, as far as one can tell from a distance."""
        band = np.searchsorted((HEM, NECK, FOREHEAD), fragments.b)
        rounded = 1.0 - 6.0 * fragments.a**2
        normal = np.broadcast_to(unit(daylight.towards_sun + 0.8 * UP), fragments.normal.shape)
        return Coat(self.colours[band] * rounded[:, None], normal=normal)


class Crowd(NamedTuple):
    """Passers-by and where they stand."""

    clothes: list[Clothes]
    places: Array  # [n, 3], metres

    def cards(self, view: View) -> list[Patch]:
        """The figures as they turn to a view."""
        right = unit(cross(view.forward, UP))
        return [
            Patch(place, right, UP, FIGURE, clothes, np.ones(3), holes=BETWEEN_LEGS)
            for clothes, place in zip(self.clothes, self.places, strict=True)
        ]


def draw_crowd(rng: Generator, view: View) -> Crowd:
    """Nobody, some or many."""
    n = int(rng.choice([0, rng.integers(1, 6), rng.integers(6, 16)], p=[0.35, 0.4, 0.25]))
    forward, right = _level_axes(view)
    across, along = rng.uniform(-20.0, 20.0, n), rng.uniform(-42.0, -20.0, n)
    low = (0.55, 0.0, 0.15), (0.0, 0.0, 0.2), (0.05, 0.3, 0.4), (0.05, 0.2, 0.06)
    high = (0.70, 0.5, 0.45), (1.0, 0.6, 0.9), (0.07, 0.5, 0.8), (0.09, 0.5, 0.30)
    clothes = [Clothes(np.stack([linear(*c) for c in rng.uniform(low, high)])) for _ in range(n)]
    return Crowd(clothes, across[:, None] * right + along[:, None] * forward)
