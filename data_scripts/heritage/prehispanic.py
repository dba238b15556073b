"""Stepped pyramids with their temples, and long palaces on platforms."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from data_scripts.heritage.facades import (
    BACK,
    Point,
    Room,
    Size,
    Skin,
    X,
    beam,
    bosses,
    box,
    draw_colour,
    extruded,
    frets,
    frustum,
    gloom,
    lattice,
    opening,
    rectangle,
    scrolls,
    slab,
    turned,
    turned_surface,
    varied,
)
from data_scripts.heritage.materials import (
    TABLE,
    Age,
    Fill,
    Niches,
    Stairs,
    carve,
    darkness,
    draw_age,
    draw_masonry,
)
from data_scripts.heritage.raycast import UP, Outline, Patch, Surface, cross, unit

TIERS, STAIRS, TEMPLE = 1, 2, 3  # as PART_NAMES has them
BEFORE_TIERS = 0.5  # metres that stairs keep before the mouldings of the tiers


class Stone(NamedTuple):
    """What a pyramid is made of."""

    wall: Skin
    trim: Skin
    steps: Skin
    carved: Skin
    age: Age


class Steps(NamedTuple):
    """The tiers of a pyramid: equal, each set back from the one below."""

    n: int
    half: tuple[float, float]  # half extent of the lowest in x and in y, metres
    height: float  # of one
    set_back: float
    slope: float  # share of the set-back that the wall itself leans

    def half_at(self, k: int) -> tuple[float, float]:
        """Half extent of a tier's foot."""
        return self.half[0] - k * self.set_back, self.half[1] - k * self.set_back

    @property
    def top(self) -> tuple[float, float]:
        """Half extent of the platform."""
        inset = (self.n - 1 + self.slope) * self.set_back
        return self.half[0] - inset, self.half[1] - inset


def draw_prehispanic(rng: Generator, room: Room) -> list[Surface]:
    """A stepped pyramid with a temple, or a long palace on platforms."""
    stone = _stone(rng)
    build = palace if rng.random() < 0.2 else pyramid
    return build(rng, room, stone)


def _stone(rng: Generator) -> Stone:
    age, colour = draw_age(rng), draw_colour(rng)
    size = rng.uniform((0.28, 0.5), (0.6, 1.1))
    wall = draw_masonry(rng, age, *size, rng.uniform(0.2, 1.0))
    trim = draw_masonry(rng, age, 0.5, 1.2, 0.1)
    ornament = (frets, scrolls, lattice, bosses)[rng.integers(4)](rng)
    carving = carve(age, ornament, rng.uniform(0.06, 0.09), 0.16)
    steps = Stairs(age.share(0.4, 0.3), rng.uniform(0.55, 0.85), rng.standard_normal(TABLE))
    return Stone(
        Skin(wall, colour),
        Skin(trim, varied(rng, colour, 0.12)),
        Skin(steps, varied(rng, colour, 0.1)),
        Skin(carving, varied(rng, colour, 0.12)),
        age,
    )


def pyramid(rng: Generator, room: Room, stone: Stone) -> list[Surface]:
    """Tiers, one or two staircases (or one on each side), one or two temples."""
    steps, temple_height = _pyramid_steps(rng, room)
    height, top = steps.n * steps.height, steps.top[0]
    surfaces = tiers(rng, steps, stone)
    twin = rng.random() < 0.15 and top > 4.0
    places = (-0.5 * top, 0.5 * top) if twin else (0.0,)
    width = min(rng.uniform(0.16, 0.3) * steps.half[0], 0.8 * top) / (1.6 if twin else 1.0)
    for x in places:
        surfaces += staircase(rng, x, steps, steps.half[1], width, stone)
    if rng.random() < 0.3:
        for quarters in (1, 3):
            flight = staircase(rng, 0.0, steps, steps.half[0], width, stone)
            surfaces += [turned_surface(s, quarters) for s in flight]
    if rng.random() < 0.92:
        half = np.array(steps.top) * (rng.uniform(0.6, 0.85) * (0.48 if twin else 1.0), 0.55)
        for x in places:
            place = x, -0.1 * steps.top[1], height
            surfaces += temple(rng, place, half, temple_height, stone)
    return surfaces


def _pyramid_steps(rng: Generator, room: Room) -> tuple[Steps, float]:
    """The tiers, and what they leave for the temple's height."""
    n = int(rng.integers(3, 10))
    temple_height = room.height * rng.uniform(0.16, 0.3)
    half = room.width / 2.0
    height = min(room.height - temple_height, half * rng.uniform(0.75, 1.35))
    set_back = half * (1.0 - rng.uniform(0.26, 0.46)) / n
    ground = half, half * rng.uniform(0.75, 1.0)
    return Steps(n, ground, height / n, set_back, rng.uniform(0.25, 0.8)), temple_height


def tiers(rng: Generator, steps: Steps, stone: Stone) -> list[Surface]:
    """All tiers, of one kind."""
    kind = (plain_tier, panelled_tier, niched_tier)[rng.choice(3, p=[0.5, 0.32, 0.18])]
    surfaces = []
    for k in range(steps.n):
        inset = steps.slope * steps.set_back
        surfaces += kind((0.0, 0.0, k * steps.height), steps.half_at(k), steps.height, inset, stone)
    return surfaces


def plain_tier(
    place: Point, half: Size, height: float, inset: float, stone: Stone
) -> list[Surface]:
    """Talud: a sloping wall under a narrow moulding."""
    x, y, z = place
    high, rim = (half[0] - inset, half[1] - inset), min(0.5, 0.22 * height)
    edge = high[0] + 0.18, high[1] + 0.18
    surfaces = frustum(place, half, high, height - rim, stone.wall, TIERS)
    return surfaces + slab((x, y, z + height - rim), edge, rim, stone.trim, TIERS)


def panelled_tier(
    place: Point, half: Size, height: float, inset: float, stone: Stone
) -> list[Surface]:
    """Talud-tablero: a sloping foot carries upright panels, each in a frame."""
    x, y, z = place
    high = half[0] - 0.6 * inset, half[1] - 0.6 * inset
    foot, panel = 0.4 * height, 0.6 * height
    surfaces = frustum(place, half, high, foot, stone.wall, TIERS)
    edge = high[0] + 0.3, high[1] + 0.3
    surfaces += slab((x, y, z + foot), edge, panel, stone.trim, TIERS)
    fill = Fill(darkness, np.clip(1.3 * stone.wall.colour, 0.0, 0.8), 0.35)
    for quarters in range(4):
        across, out = (0, 1) if quarters % 2 == 0 else (1, 0)
        at = turned((0.0, -edge[out], z + foot + 0.22 * panel), quarters)
        outline = rectangle(high[across] - 0.1 * panel, 0.58 * panel)
        surfaces.append(opening(at, outline, fill, stone.trim, TIERS, quarters))
    return surfaces


def niched_tier(
    place: Point, half: Size, height: float, inset: float, stone: Stone
) -> list[Surface]:
    """A wall of square niches under a flaring cornice, as at El Tajin."""
    x, y, z = place
    high = half[0] - 0.4 * inset, half[1] - 0.4 * inset
    foot, rim, middle = 0.25 * height, 0.2 * height, 0.55 * height
    flare = high[0] + 0.5, high[1] + 0.5
    surfaces = frustum(place, half, high, foot, stone.wall, TIERS)
    surfaces += box((x, y, z + foot), high, middle, stone.trim, TIERS)
    surfaces += frustum((x, y, z + height - rim), high, flare, rim, stone.trim, TIERS)
    niches = Niches(stone.age, 1.05 * middle, middle)
    for quarters in range(4):
        across, out = (0, 1) if quarters % 2 == 0 else (1, 0)
        at = turned((0.0, -high[out] - 0.03, z + foot), quarters)
        row = rectangle(high[across], middle), niches, stone.trim.colour, TIERS
        surfaces.append(Patch(at, turned(X, quarters), UP, *row))
    return surfaces


def staircase(
    rng: Generator, x: float, steps: Steps, half_depth: float, half_width: float, stone: Stone
) -> list[Surface]:
    """Steps up the front between two balustrades, some with a serpent's head at the foot."""
    start = np.array([x, -half_depth - steps.set_back - BEFORE_TIERS, 0.0])
    stop = start + steps.n * np.array([0.0, steps.set_back, steps.height])
    along = unit(stop - start)
    flight = rectangle(half_width, np.sqrt((stop - start) @ (stop - start)))
    rail = rng.uniform(0.1, 0.22) * half_width + 0.25
    landing = half_width + 2.0 * rail, steps.set_back / 2.0 + BEFORE_TIERS
    surfaces: list[Surface] = [
        Patch(start, X, along, flight, *stone.steps, STAIRS),
        *box(stop + landing[1] * BACK - UP, landing, 0.95, stone.trim, STAIRS),
    ]
    # Reaches the inner corners of the tiers.
    thickness = (steps.set_back + BEFORE_TIERS) * along[2] + 0.6
    raised, heads = 0.3 * cross(X, along), rng.random() < 0.4
    for side in (-1.0, 1.0):
        foot, top = (end + side * (half_width + rail) * X for end in (start, stop))
        ends = foot + raised - 4.0 * along, top + raised  # from below the ground
        surfaces += beam(*ends, rail, thickness, stone.trim, STAIRS)
        if heads:
            size = (1.15 * rail, 0.9), (0.9 * rail, 0.6), 1.3
            surfaces += frustum(foot - 0.5 * BACK, *size, stone.carved, STAIRS)
    return surfaces


def temple(rng: Generator, place: Point, half: Size, height: float, stone: Stone) -> list[Surface]:
    """A house on the platform: doors, a carved frieze between mouldings, often a comb on top."""
    x, y, z = place
    comb = rng.random() < 0.5
    body = height * (0.62 if comb else 0.95)
    wall = body * rng.uniform(0.5, 0.62)
    n_doors = int(rng.choice([1, 2, 3, 5], p=[0.45, 0.1, 0.35, 0.1]))
    surfaces = house(place, half, wall, body, rng.uniform(0.0, 0.12), stone)
    wide = min(0.5 * wall, 0.62 * half[0] / n_doors)
    surfaces += doors(place, half, n_doors, 0.8 * wide, 0.8 * wall, stone)
    for quarters, side in ((1, 1.0), (3, -1.0)):
        at = np.array([x + side * half[0], y, z])
        side_door = rectangle(0.25 * half[1], 0.75 * wall)
        surfaces.append(opening(at, side_door, gloom(1.2), stone.trim, TEMPLE, quarters))
    if comb:
        size = half[0] * rng.uniform(0.5, 0.8), height - body
        surfaces += roof_comb(rng, (x, y, z + body), *size, stone)
    return surfaces


def house(
    place: Point, half: Size, wall: float, height: float, lean: float, stone: Stone
) -> list[Surface]:
    """Walls, and a frieze between two mouldings that leans back by some share of its width."""
    x, y, z = place
    rim = 0.14 * (height - wall)
    low = half[0] + 0.3, half[1] + 0.3
    high = half[0] * (1.0 - lean), half[1] - lean * half[0]
    edge = high[0] + 0.3, high[1] + 0.3
    return [
        *box(place, half, wall, stone.trim, TEMPLE),
        *slab((x, y, z + wall), low, rim + 0.1, stone.trim, TEMPLE),
        *frustum((x, y, z + wall + rim), half, high, height - wall - 2 * rim, stone.carved, TEMPLE),
        *slab((x, y, z + height - rim), edge, rim, stone.trim, TEMPLE),
    ]


def doors(
    place: Point, half: Size, n: int, half_width: float, height: float, stone: Stone
) -> list[Surface]:
    """A row of doorways, the middle one a little wider."""
    x, y, z = place
    surfaces = []
    for k in range(n):
        at = np.array([x + (k - (n - 1) / 2.0) * 2.0 * half[0] / (n + 0.25), y - half[1], z])
        outline = rectangle(half_width * (1.2 if 2 * k == n - 1 else 1.0), height)
        surfaces.append(opening(at, outline, gloom(1.6), stone.trim, TEMPLE))
    return surfaces


def roof_comb(
    rng: Generator, place: Point, half_width: float, height: float, stone: Stone
) -> list[Surface]:
    """A pierced wall on the ridge of a roof."""
    outline = Outline((0.0, height), (half_width, half_width * rng.uniform(0.7, 1.0)))
    n = int(rng.integers(3, 7))
    pitch = 1.6 * half_width / n
    hole = rectangle(0.22 * pitch, 0.2 * height)
    columns, rows = (np.arange(n) - (n - 1) / 2.0) * pitch, (0.2 * height, 0.6 * height)
    holes = tuple((a, b, hole) for a in columns for b in rows)
    return extruded(place, outline, 0.7, stone.carved, TEMPLE, holes)


def palace(rng: Generator, room: Room, stone: Stone) -> list[Surface]:
    """Low platforms carry a long house with many doors."""
    n = int(rng.integers(2, 5))
    half = room.width / 2.0, room.width * rng.uniform(0.28, 0.4)
    height = room.height * rng.uniform(0.3, 0.5)
    set_back = rng.uniform(0.05, 0.09) * half[0]
    steps = Steps(n, half, height / n, set_back, 0.5)
    surfaces = tiers(rng, steps, stone)
    flat = steps._replace(n=1, height=height, set_back=0.35 * height + n * set_back)
    front = half[1] + 0.35 * height - flat.set_back + set_back
    surfaces += staircase(rng, 0.0, flat, front, rng.uniform(0.22, 0.4) * half[0], stone)
    body = min(room.height - height, rng.uniform(0.18, 0.26) * room.width)
    size = half[0] - (n + 0.3) * set_back, 0.4 * half[1]
    place, wall = (0.0, -0.1 * half[1], height), 0.5 * body
    surfaces += house(place, size, wall, body, 0.0, stone)
    n_doors = int(rng.integers(5, 12))
    wide = 0.36 * min(1.9 * size[0] / n_doors, wall)
    return surfaces + doors(place, size, n_doors, wide, 0.78 * wall, stone)
