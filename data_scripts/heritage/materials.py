"""What monuments are made of: masonry, plaster, carving, steps, openings and glass, all weathered.

A material is a function (fragments, daylight) -> Coat. Its colours are linear, twice the value is
twice the light; `linear` makes them from colours as the eye knows them. Everything finer than a
pixel fades into its mean, lest it flicker.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from data_scripts.drawing import TILE, Array, Tile, mirrored, noise_tile, smoothstep
from data_scripts.heritage.daylight import Daylight
from data_scripts.heritage.raycast import UP, Coat, Fragments, Outline, dot, unit

TEXEL = 0.1  # metres, about what a canvas pixel shows of a monument
TABLE = 64  # random values per row of blocks and panes; then they repeat


# Age


class Age(NamedTuple):
    """What age did to one monument."""

    rough: Tile  # grain of the surface
    blotches: Tile  # stains of a metre and more
    streaks: Tile  # where rain ran down
    dirt: float  # 0 new to 1 neglected
    moss: float

    def share(self, dirt: float, moss: float) -> "Age":
        """The same with some share of dirt and moss."""
        return self._replace(dirt=dirt * self.dirt, moss=moss * self.moss)

    def stain(self, fragments: Fragments) -> Array:
        """What grain and stains leave of the light, [n, 3], about 1."""
        u, v = place_on_wall(fragments)
        blotch = self.blotches.near(u / (3.0 * TEXEL), v / (3.0 * TEXEL))
        streak = self.streaks.near(u / TEXEL, v / (6.0 * TEXEL))
        foot = np.exp(-fragments.position[:, 2] / 1.5)
        dark = smoothstep(0.2, 1.8, streak + 0.7 * blotch + foot) * 0.55 * self.dirt
        damp = blotch + 1.2 * fragments.normal[:, 2] + 0.5 * foot
        green = smoothstep(0.3, 1.6, damp) * self.moss
        grain = 1.0 + 0.09 * self.rough.near(u / TEXEL, v / TEXEL) + 0.06 * blotch
        return (grain * (1.0 - dark))[:, None] * (1.0 - green[:, None] * [0.5, 0.25, 0.65])


def draw_age(rng: Generator) -> Age:
    """Anything from new to neglected."""
    return Age(
        rough=noise_tile(rng, 20, 4, 0.8),
        blotches=noise_tile(rng, 3, 5, 0.62),
        streaks=noise_tile(rng, 3, 4, 0.7, stretch=9.0),
        dirt=rng.uniform(0.15, 1.0),
        moss=max(0.0, rng.uniform(-0.5, 0.7)),
    )


def place_on_wall(fragments: Fragments) -> tuple[Array, Array]:
    """(u, v) in metres: v is the height, so that courses run on around a corner."""
    level = np.abs(fragments.normal[:, 2]) > 0.8
    v = np.where(level, fragments.b, fragments.position[:, 2])
    # No two surfaces alike, none below 0, where tiles are mirrored.
    return fragments.a + 7.31 * fragments.surface + 50.0, v + 100.0


def tilted(fragments: Fragments, slope_a: Array, slope_b: Array) -> Array:
    """Normals [n, 3] where a surface rises along a and b by so many metres a metre."""
    tilt = slope_a[:, None] * fragments.right + slope_b[:, None] * fragments.up
    return unit(fragments.normal - tilt)


def joined(fragments: Fragments, pieces: list[tuple[Array, Coat]]) -> Coat:
    """One coat from the coats of some rows each."""
    n = len(fragments.a)
    albedo, glow, sunlit = np.zeros((n, 3)), np.zeros((n, 3)), np.ones(n)
    normal = fragments.normal.copy()
    for rows, coat in pieces:
        albedo[rows], glow[rows], sunlit[rows] = coat.albedo, coat.glow, coat.sunlit
        if coat.normal is not None:
            normal[rows] = coat.normal
    return Coat(albedo, glow, sunlit, normal)


# Walls


class Plain(NamedTuple):
    """A smooth surface."""

    age: Age

    def __call__(self, fragments: Fragments, daylight: Daylight) -> Coat:
        """One colour."""
        return Coat(fragments.colour * self.age.stain(fragments))


class Masonry(NamedTuple):
    """Blocks in courses."""

    age: Age
    course: float  # metres
    block: float
    irregular: float  # 0 ashlar to 1 rubble
    variation: float  # of the brightness from block to block
    joint: float  # how dark joints are
    table: Array  # [2, TABLE, TABLE], brightness and warmth of the blocks

    def __call__(self, fragments: Fragments, daylight: Daylight) -> Coat:
        """Every block of its own shade, with rounded edges."""
        row, column, x, y = self._blocks(fragments)
        bright, warm = self.table[:, row % TABLE, column % TABLE] * self.variation
        seen = np.clip(self.course / (2.5 * fragments.grain), 0.0, 1.0)
        width = np.maximum(0.03 + 0.05 * self.irregular, 0.5 * fragments.grain)
        edge = np.minimum(np.minimum(x, self.block - x), np.minimum(y, self.course - y))
        joint = smoothstep(1.6 * width, 0.4 * width, edge) * seen * self.joint
        shade = np.clip(1.0 + bright * seen, 0.3, None) * (1.0 - joint)
        colour = fragments.colour * shade[:, None]
        colour *= 1.0 + 0.5 * warm[:, None] * [1.0, 0.1, -1.0]
        bevel = (0.25 + 0.5 * self.irregular) * seen
        slopes = (bevel * _bevel(t) for t in (x / self.block, y / self.course))
        return Coat(colour * self.age.stain(fragments), normal=tilted(fragments, *slopes))

    def _blocks(self, fragments: Fragments) -> tuple[Array, Array, Array, Array]:
        """Course, block, and metres from the block's left and lower joint."""
        u, v = place_on_wall(fragments)
        blotches, wave = self.age.blotches, 0.6 * self.irregular * self.course
        v, u = v + wave * blotches.near(4 * u, 4 * v), u + wave * blotches.near(5 * v, 5 * u)
        row = np.floor(v / self.course).astype(int)
        along = u / self.block + self.table[0, row % TABLE, 0] + 0.5 * (row % 2)
        column = np.floor(along).astype(int)
        return row, column, (along - column) * self.block, v - row * self.course


def _bevel(t: Array) -> Array:
    """Slope of a block's face: up after one edge (t = 0), down before the other (t = 1)."""
    return smoothstep(0.35, 0.0, t) - smoothstep(0.65, 1.0, t)


def draw_masonry(
    rng: Generator, age: Age, course: float, block: float, irregular: float
) -> Masonry:
    """Blocks of about this size, metres."""
    variation = rng.uniform(0.05, 0.12) + 0.13 * irregular
    joint = rng.uniform(0.15, 0.35) + 0.3 * irregular
    table = np.clip(rng.standard_normal((2, TABLE, TABLE)), -2.0, 2.0)
    return Masonry(age, course, block, irregular, variation, joint, table)


class Plaster(NamedTuple):
    """A coat of lime that peels off the masonry under it."""

    under: Masonry
    under_colour: Array  # [3]
    peeled: float  # -1 nowhere to 1 widely

    @property
    def age(self) -> Age:
        """That of the masonry."""
        return self.under.age

    def __call__(self, fragments: Fragments, daylight: Daylight) -> Coat:
        """Lime where it holds, stones where it does not."""
        u, v = place_on_wall(fragments)
        age = self.age
        patches = age.blotches.near(4.5 * u, 4.5 * v) + 0.3 * age.rough.near(5 * u, 5 * v)
        foot = 1.2 * np.exp(-fragments.position[:, 2] / 2.0)
        bare = smoothstep(0.0, 0.12, patches + foot + self.peeled - 2.2)[:, None]
        albedo = fragments.colour * age.stain(fragments)
        if np.any(bare):
            colour = np.broadcast_to(self.under_colour, albedo.shape)
            stones = self.under(fragments._replace(colour=colour), daylight)
            albedo += bare * (stones.albedo - albedo)
        return Coat(albedo)


class Carved(NamedTuple):
    """Relief, the same to both sides of the surface's axis."""

    age: Age
    height: Tile  # 0 ground to 1
    slope_a: Tile  # metres a metre
    slope_b: Tile
    pitch: float  # metres a sample

    def __call__(self, fragments: Fragments, daylight: Daylight) -> Coat:
        """Dark where it is low, bright where it faces the sun."""
        u, v = fragments.a / self.pitch + 1024 * TILE, fragments.b / self.pitch
        cavity = 0.55 + 0.45 * self.height.near(u, v)
        albedo = fragments.colour * self.age.stain(fragments) * cavity[:, None]
        slopes = self.slope_a.near(u, v), self.slope_b.near(u, v)
        return Coat(albedo, normal=tilted(fragments, *slopes))


def carve(age: Age, height: Array, pitch: float, depth: float) -> Carved:
    """Relief `depth` metres deep from a height field [TILE, TILE] in 0..1."""
    field = mirrored(height)
    slope_b, slope_a = np.gradient(field * (depth / pitch))
    return Carved(age, Tile(field), Tile(slope_a), Tile(slope_b), pitch)


class Tiled(NamedTuple):
    """The skin of a dome: courses of tiles between ribs, sometimes in a zigzag of two colours."""

    age: Age
    n_ribs: int
    rib_colour: Array  # [3]
    second_colour: Array  # [3]
    zigzag: bool

    def __call__(self, fragments: Fragments, daylight: Daylight) -> Coat:
        """Tiles, gaps and ribs."""
        x, y = fragments.normal[:, 0], fragments.normal[:, 1]
        turn = np.arctan2(x, -y) * (self.n_ribs / (2.0 * np.pi))
        aside = np.abs(turn - np.round(turn))  # 0 on a rib, 1/2 between two
        course = fragments.b / 0.55
        albedo = fragments.colour
        if self.zigzag:
            second = np.floor(course + 2.0 * aside) % 3 == 0
            albedo = np.where(second[:, None], self.second_colour, albedo)
        gap = smoothstep(0.4, 0.5, np.abs(course - np.floor(course) - 0.5))
        albedo = albedo * (1.0 - 0.25 * gap)[:, None]
        rib = smoothstep(0.09, 0.05, aside * np.hypot(x, y))[:, None]
        return Coat((albedo + rib * (self.rib_colour - albedo)) * self.age.stain(fragments))


# Openings

Contains = Callable[[Array, Array], Array]  # whether points (a, b) lie inside, bool
WITHIN = 0.55  # share of the sky's light that reaches the back of an opening


class Recess(NamedTuple):
    """What rays meet that enter an opening, one row a fragment."""

    a: Array  # where they meet the plane of its back
    b: Array
    back: Array  # bool: they reach the back; otherwise they end on a reveal
    normal: Array  # [n, 3], of what they meet
    lit: Array  # bool: the sun reaches the back there


def look_into(fragments: Fragments, depth: float, contains: Contains, towards_sun: Array) -> Recess:
    """Follow rays into an opening.

    Args:
        fragments: of the wall in which it is.
        depth: of the opening, metres.
        contains: its outline.
        towards_sun: unit vector [3].
    """
    d = fragments.direction
    right, up, out = (dot(d, v) for v in (fragments.right, fragments.up, fragments.normal))
    a, b = fragments.a - depth * right / out, fragments.b - depth * up / out
    back, aside = contains(a, b), ~contains(a, fragments.b)
    to_side, to_top = np.sign(right)[:, None], np.sign(up)[:, None]
    reveal = np.where(aside[:, None], -to_side * fragments.right, -to_top * fragments.up)
    normal = np.where(back[:, None], fragments.normal, reveal)
    light = fragments.normal @ towards_sun
    slant = depth / np.maximum(light, 0.05)
    from_a = a + slant * (fragments.right @ towards_sun)
    from_b = b + slant * (fragments.up @ towards_sun)
    return Recess(a, b, back, normal, contains(from_a, from_b) & (light > 0.0))


class Fill(NamedTuple):
    """What is at the back of an opening."""

    paint: Callable[[Array, Array, Outline, Array], Array]  # a, b, outline, colour -> albedo [n, 3]
    colour: Array  # [3]
    depth: float  # metres
    mirror: float = 0.0  # share of the light that glass throws back


def darkness(a: Array, b: Array, outline: Outline, colour: Array) -> Array:
    """A room without light."""
    return np.broadcast_to(colour, (len(a), 3))


def planks(a: Array, b: Array, outline: Outline, colour: Array) -> Array:
    """A door of two leaves."""
    shade = 1.0 - 0.5 * _line(a, outline.half_width / 4.0, 0.05)
    shade *= 1.0 - 0.25 * _line(b, 1.1, 0.08)
    return (shade * (1.0 - 0.5 * smoothstep(0.06, 0.02, np.abs(a))))[:, None] * colour


def panes(a: Array, b: Array, outline: Outline, colour: Array) -> Array:
    """Glass between bars."""
    bars = np.maximum(_line(a, outline.half_width / 1.5, 0.05), _line(b, 0.8, 0.05))
    return (0.05 + 0.95 * bars)[:, None] * colour


def hollow(a: Array, b: Array, outline: Outline, colour: Array) -> Array:
    """The rounded back of a niche."""
    return (0.85 - 0.4 * np.clip(a / outline.half_width, -1.0, 1.0) ** 2)[:, None] * colour


def _line(x: Array, pitch: float, width: float | Array) -> Array:
    """1 within `width` of every multiple of `pitch`, soft."""
    return smoothstep(1.4 * width, 0.6 * width, np.abs(x - np.round(x / pitch) * pitch))


class Opening(NamedTuple):
    """A door, window or niche in a wall; the fragments' colour is that of its reveals."""

    age: Age
    outline: Outline
    fill: Fill

    def __call__(self, fragments: Fragments, daylight: Daylight) -> Coat:
        """Back and reveals; little of the sky is seen from within."""
        recess = look_into(fragments, self.fill.depth, self.outline.contains, daylight.towards_sun)
        back = recess.back[:, None]
        reveal = fragments.colour * self.age.stain(fragments)
        filled = self.fill.paint(recess.a, recess.b, self.outline, self.fill.colour)
        albedo = np.where(back, WITHIN * filled, 0.65 * reveal)
        glow = 0.0
        if self.fill.mirror:
            mirror = daylight.sky.light(reflected(fragments.direction, recess.normal))
            glow = np.where(back, self.fill.mirror * mirror, 0.0)
        return Coat(albedo, glow, np.where(recess.back, recess.lit / WITHIN, 0.8), recess.normal)


class Niches(NamedTuple):
    """A row of square niches in a wall."""

    age: Age
    pitch: float  # metres from one to the next
    height: float  # of the row

    def __call__(self, fragments: Fragments, daylight: Daylight) -> Coat:
        """The wall, and the niches in it."""
        outline = Outline((0.0, 0.72 * self.height), (0.36 * self.pitch,) * 2)
        a = (fragments.a / self.pitch) % 1.0 - 0.5
        centred = fragments._replace(a=a * self.pitch, b=fragments.b - 0.14 * self.height)
        inside = outline.contains(centred.a, centred.b)
        niches, wall = np.flatnonzero(inside), np.flatnonzero(~inside)
        niche = Opening(self.age, outline, Fill(hollow, 0.5 * fragments.colour[0], 0.7))
        hollows = niche(centred.take(niches), daylight)
        between = Plain(self.age)(fragments.take(wall), daylight)
        return joined(fragments, [(niches, hollows), (wall, between)])


def reflected(direction: Array, normal: Array) -> Array:
    """Directions [n, 3] of rays after a mirror."""
    return direction - 2.0 * dot(direction, normal)[:, None] * normal


class Stairs(NamedTuple):
    """Steps on a slope: rays end on a riser or on a tread."""

    age: Age
    step: float  # metres along the slope
    table: Array  # [TABLE], brightness of the steps

    def __call__(self, fragments: Fragments, daylight: Daylight) -> Coat:
        """Worn edges, dirt in the corners."""
        rise, run = self.step * fragments.up[:, 2], self.step * fragments.normal[:, 2]
        out = unit(fragments.normal * [1.0, 1.0, 0.0])
        index = np.floor(fragments.b / self.step)
        up = fragments.b / self.step - index  # where the ray crosses the line of the edges
        fall = fragments.direction[:, 2] / dot(fragments.direction, out)
        # Falling by `fall` a metre it meets the tread, unless the next riser is nearer.
        tread = up * rise < fall * run * (1.0 - up)
        corner = np.where(tread, 0.0, 0.6 * smoothstep(0.5, 0.0, up))
        shade = (1.0 + 0.14 * self.table[index.astype(int) % TABLE]) * (1.0 - corner)
        shade *= 1.0 + 0.5 * smoothstep(0.7, 1.0, up)
        albedo = fragments.colour * self.age.stain(fragments) * shade[:, None]
        return Coat(albedo, normal=np.where(tread[:, None], UP, out))


# Fronts of modern buildings


class Glazing(NamedTuple):
    """The windows of one building."""

    pane: tuple[float, float, float, float]  # left, right, lower, upper border in a cell, 0..1
    depth: float  # metres from the wall to the glass
    bars: int  # columns of panes in a window
    tint: Array  # [3]
    mirror: float  # share of the light thrown back when seen head on
    blinds: float  # share of the windows with a blind
    lamps: float  # with a lamp on
    table: Array  # [4, TABLE, TABLE]: brightness, two tilts, and a number in 0..1 a window


class Front(NamedTuple):
    """A grid of windows in a wall of the fragments' colour."""

    age: Age
    bay: float  # metres, width of a cell
    storey: float  # metres, height of a cell
    glazing: Glazing

    def __call__(self, fragments: Fragments, daylight: Daylight) -> Coat:
        """The wall, and the windows in it."""
        column, row = np.floor(fragments.a / self.bay), np.floor(fragments.b / self.storey)
        inside = self._contains(column, row)(fragments.a, fragments.b)
        windows, wall = np.flatnonzero(inside), np.flatnonzero(~inside)
        cells = column[windows], row[windows]
        glazed = self._windows(fragments.take(windows), *cells, daylight)
        return joined(fragments, [(windows, glazed), (wall, self._wall(fragments.take(wall)))])

    def _contains(self, column: Array, row: Array) -> Contains:
        """The outline of the windows in some cells."""
        left, right, lower, upper = self.glazing.pane

        def contains(a: Array, b: Array) -> Array:
            x, y = a / self.bay - column, b / self.storey - row
            return (x > left) & (x < right) & (y > lower) & (y < upper)

        return contains

    def _wall(self, fragments: Fragments) -> Coat:
        """Slabs with joints along the grid."""
        width = np.maximum(0.03, 0.5 * fragments.grain)
        grid = (fragments.a, self.bay), (fragments.b, self.storey)
        joint = np.maximum(*(_line(x, pitch, width) for x, pitch in grid))
        shade = 1.0 - 0.3 * joint * np.clip(0.06 / fragments.grain, 0.0, 1.0)
        return Coat(fragments.colour * self.age.stain(fragments) * shade[:, None])

    def _windows(self, fragments: Fragments, column: Array, row: Array, daylight: Daylight) -> Coat:
        """Panes, bars and reveals."""
        contains = self._contains(column, row)
        recess = look_into(fragments, self.glazing.depth, contains, daylight.towards_sun)
        left, right, lower, upper = self.glazing.pane
        across = recess.a - (column + left) * self.bay  # metres from the left reveal
        up = (recess.b / self.storey - row - lower) / (upper - lower)
        pitch = self.bay * (right - left) / self.glazing.bars
        bar = _line(across, pitch, np.maximum(0.05, fragments.grain / 2.0))
        pane = np.flatnonzero(recess.back & (bar < 0.5))
        frame = np.where(recess.back, 0.5, 0.75)[:, None] * fragments.colour
        rest = Coat(frame, sunlit=np.where(recess.back, recess.lit, 0.8), normal=recess.normal)
        cells = row[pane].astype(int) % TABLE, column[pane].astype(int) % TABLE
        glass = self._glass(fragments.take(pane), up[pane], self.glazing.table[:, *cells], daylight)
        glass = glass._replace(sunlit=recess.lit[pane])
        return joined(fragments, [(np.arange(len(up)), rest), (pane, glass)])

    def _glass(self, fragments: Fragments, up: Array, table: Array, daylight: Daylight) -> Coat:
        """What is mirrored, and what is seen of the room; `up` is 0 to 1 from sill to lintel."""
        bright, tilt_a, tilt_b, chance = table
        # Panes are never quite flat or upright: each mirrors another piece of the sky.
        facet = tilted(fragments, 0.02 * tilt_a, 0.02 * tilt_b)
        sight = dot(unit(fragments.direction), facet)
        share = self.glazing.mirror + (1.0 - self.glazing.mirror) * (1.0 - np.abs(sight)) ** 5
        mirrored_light = daylight.sky.light(reflected(fragments.direction, facet))
        glow = (share * (1.0 + 0.12 * bright))[:, None] * mirrored_light * self.glazing.tint
        lamp = (chance > 1.0 - self.glazing.lamps) * daylight.lamp
        blind = (chance < self.glazing.blinds) & (up > 1.3 * (7.0 * chance % 1.0) - 0.3)
        room = np.clip(0.03 + 0.025 * bright, 0.005, None)[:, None] * self.glazing.tint
        albedo = np.where(blind[:, None], 0.28 * (1.0 - share)[:, None] * [1.0, 0.97, 0.9], room)
        return Coat(albedo, glow + lamp[:, None] * np.array([0.9, 0.7, 0.4]))
