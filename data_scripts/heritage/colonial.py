"""Churches: portal, gable, towers, dome."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from data_scripts.drawing import Array, linear
from data_scripts.heritage.facades import (
    BACK,
    OLD_GLASS,
    Holes,
    Point,
    Room,
    Size,
    Skin,
    X,
    arch,
    around,
    box,
    disc,
    draw_colour,
    extruded,
    frustum,
    gloom,
    opening,
    rectangle,
    scaled,
    scrolls,
    slab,
    turned,
    varied,
)
from data_scripts.heritage.materials import (
    Age,
    Fill,
    Opening,
    Plain,
    Plaster,
    Tiled,
    carve,
    draw_age,
    draw_masonry,
    hollow,
    planks,
)
from data_scripts.heritage.raycast import UP, Outline, Patch, Round, Surface

DOME, GABLE, PORTAL, WINDOW, TOWER = 1, 2, 3, 4, 5  # as PART_NAMES has them


class Church(NamedTuple):
    """What a church is made of, and the main measures of its nave."""

    wall: Skin
    trim: Skin
    carved: Skin
    dome: Skin
    metal: Skin
    wood: Fill
    age: Age
    half: float  # half width of the nave, metres
    height: float
    depth: float
    front: float  # y of the front
    limit: float  # height of the towers


def draw_colonial(rng: Generator, room: Room) -> list[Surface]:
    """A church: carved portal, gable, towers or a wall with bells, a dome, a wing."""
    n_towers = int(rng.choice([2, 1, 0], p=[0.5, 0.3, 0.2]))
    church = _church(rng, room, n_towers)
    half, height, depth, front = church.half, church.height, church.depth, church.front
    tower_half = room.width * rng.uniform(0.08, 0.105)
    surfaces = box((0.0, 0.0, 0.0), (half, depth / 2.0), height, church.wall)
    cornice = half + 0.35, depth / 2.0 + 0.3
    surfaces += slab((0.0, 0.0, height - 0.5), cornice, 0.55, church.trim)
    surfaces += portal(rng, church) + gable(rng, church, bells=n_towers == 0) + flanks(rng, church)
    storeys, taller = int(rng.integers(1, 4)), int(rng.choice([-1, 1]))
    for side in ((), (taller,), (-1, 1))[n_towers]:
        lower = side != taller and rng.random() < 0.25
        place = side * (half + tower_half - 0.05), front + tower_half - 0.4
        surfaces += tower(rng, place, tower_half, max(1, storeys - lower), church)
    if rng.random() < 0.8:
        place = 0.0, rng.uniform(0.0, 0.3) * depth, height
        tall = room.height * rng.uniform(0.9, 1.02) - height
        surfaces += dome(rng, place, half * rng.uniform(0.62, 0.95), tall, church, DOME)
    if rng.random() < 0.65:
        start = half + (2.0 * tower_half if n_towers == 2 else 0.0)
        surfaces += wing(rng, taller if n_towers == 2 else -taller, start, room, church)
    return surfaces


def _church(rng: Generator, room: Room, n_towers: int) -> Church:
    age, wall = draw_age(rng), draw_colour(rng)
    trim = _contrasting(rng, wall)
    ashlar = draw_masonry(rng, age, *rng.uniform((0.34, 0.6), (0.55, 1.1)), 0.05)
    rubble = draw_masonry(rng, age, 0.4, 0.6, 0.8)
    lime = Plaster(rubble, draw_colour(rng), rng.uniform(-0.5, 1.0))
    carving = carve(age, scrolls(rng), rng.uniform(0.045, 0.07), 0.12)
    tiles = Tiled(
        age,
        2 * int(rng.integers(4, 9)),
        varied(rng, trim, 0.3),
        draw_colour(rng),
        zigzag=rng.random() < 0.4,
    )
    depth = room.width * rng.uniform(0.5, 0.68)
    return Church(
        wall=Skin(ashlar if rng.random() < 0.45 else lime, wall),
        trim=Skin(ashlar if rng.random() < 0.4 else Plain(age), trim),
        carved=Skin(carving, np.minimum(1.1 * trim, 0.8)),
        dome=Skin(tiles, _dome_colour(rng, wall)),
        metal=Skin(Plain(age), linear(0.1, 0.25, 0.22)),
        wood=Fill(planks, linear(rng.uniform(0.03, 0.09), 0.5, rng.uniform(0.25, 0.42)), 0.8),
        age=age,
        half=room.width * rng.uniform(0.18, 0.24) * (1.5, 1.2, 1.0)[n_towers],
        height=room.height * rng.uniform(0.48, 0.6),
        depth=depth,
        front=-depth / 2.0,
        limit=room.height,
    )


def _contrasting(rng: Generator, wall: Array) -> Array:
    """A colour that stands out from the wall's."""
    trim = draw_colour(rng)
    if np.abs(np.log(wall / trim)).sum() < 0.9:
        trim = wall * (0.55 if wall.mean() > 0.35 else 1.6)
    return np.minimum(trim, 0.8)


def _dome_colour(rng: Generator, wall: Array) -> Array:
    """Like the wall, or red, yellow or blue tiles."""
    tiles = (
        wall,
        linear(rng.uniform(0.02, 0.06), 0.5, 0.6),
        linear(rng.uniform(0.12, 0.16), 0.6, 0.75),
        linear(rng.uniform(0.52, 0.62), 0.35, 0.55),
    )
    return tiles[rng.choice(4, p=[0.4, 0.3, 0.15, 0.15])]


def column(place: Point, radius: float, height: float, skin: Skin, part: int) -> list[Surface]:
    """Round shaft between a square base and a capital."""
    x, y, z = place
    end = 1.6 * radius
    shaft = Round(np.array([x, y, z + end]), radius, height - 2.0 * end, 0.0, *skin, part)
    foot, head = (1.4 * radius,) * 2, (1.5 * radius,) * 2
    capital = frustum((x, y, z + height - end), (radius,) * 2, head, end, skin, part)
    return [*box(place, foot, end, skin, part), shaft, *capital]


def portal(rng: Generator, church: Church) -> list[Surface]:
    """The door between columns, an entablature, and the choir window above."""
    half, trim = church.half, church.trim
    door, storey = rng.uniform(0.16, 0.22) * half, church.height * rng.uniform(0.42, 0.52)
    wide, y = 2.3 * door, church.front - 0.35
    backing = church.carved if rng.random() < 0.5 else trim
    surfaces = box((0.0, y, 0.0), (wide, 0.4), storey, backing, PORTAL)
    surfaces += doorway(rng, door, 0.78 * storey, y - 0.4, church)
    pairs = (1.5, 2.05) if rng.random() < 0.5 else (1.85,)
    for x in (side * door * pair for pair in pairs for side in (-1, 1)):
        size = 0.13 * door + 0.12, storey - 0.4
        surfaces += column((x, y - 0.55, 0.0), *size, trim, PORTAL)
    surfaces += slab((0.0, y - 0.25, storey - 0.4), (wide + 0.35, 0.8), 0.35, trim, PORTAL)
    surfaces += slab((0.0, y - 0.3, storey - 0.05), (wide + 0.6, 0.95), 0.3, trim, PORTAL)
    window = round_window if rng.random() < 0.45 else framed_window
    surfaces += window(rng, door, storey + 0.25, church)
    if rng.random() < 0.6:  # a band across the whole front
        surfaces += slab((0.0, church.front, storey - 0.2), (half + 0.2, 0.35), 0.4, trim)
    if rng.random() < 0.5:  # pilasters at its corners
        for side in (-1, 1):
            place = side * (half - 0.4), church.front, 0.0
            surfaces += box(place, (0.45, 0.25), church.height, trim)
    return surfaces


def doorway(
    rng: Generator, half_width: float, height: float, y: float, church: Church
) -> list[Surface]:
    """A wooden door in an arch."""
    outline = arch(half_width, height, rng.uniform(0.85, 1.1))
    ring = arch(1.28 * half_width, height + 0.3 * half_width)
    place, hole = np.array([0.0, y, 0.0]), ((0.0, 0.0, outline),)
    return [
        Patch(place - 0.04 * BACK, X, UP, ring, *church.trim, PORTAL, hole),
        opening(place, outline, church.wood, church.trim, PORTAL),
    ]


def round_window(rng: Generator, door: float, z: float, church: Church) -> list[Surface]:
    """A round or eight-cornered window in a ring."""
    room = church.height - z - 0.6
    radius = min(0.36 * room, 0.95 * door)
    corners = 8 if rng.random() < 0.4 else 24
    foot = np.array([0.0, church.front - 0.15, z + 0.5 * room - radius])
    ring = foot - 0.35 * radius * UP
    return [
        Patch(ring, X, UP, disc(1.35 * radius, corners), *church.trim, WINDOW),
        opening(foot, disc(radius, corners), OLD_GLASS, church.trim, WINDOW),
    ]


def framed_window(rng: Generator, door: float, z: float, church: Church) -> list[Surface]:
    """A tall window between two columns, before a carved panel."""
    room, y, trim = church.height - z - 0.6, church.front - 0.35, church.trim
    wide, tall = 0.72 * door, 0.62 * room
    outline = (arch if rng.random() < 0.6 else rectangle)(wide, tall)
    foot = np.array([0.0, y - 0.2, z + 0.12 * room])
    frame, hole = rectangle(1.25 * wide, tall + 0.25 * wide), ((0.0, 0.0, outline),)
    surfaces: list[Surface] = [
        *box((0.0, y + 0.1, z), (2.0 * wide, 0.3), 0.95 * room, church.carved, PORTAL),
        Patch(foot - 0.04 * BACK, X, UP, frame, *trim, WINDOW, hole),
        opening(foot, outline, OLD_GLASS, trim, WINDOW),
    ]
    for side in (-1, 1):
        place = side * 1.65 * wide, y - 0.3, z
        surfaces += column(place, 0.12 * door + 0.06, 0.95 * room, trim, PORTAL)
    return surfaces + slab((0.0, y - 0.1, z + 0.95 * room), (2.3 * wide, 0.6), 0.3, trim, PORTAL)


GABLES = {
    "curved": Outline(
        (0.0, 0.3, 0.38, 0.45, 0.62, 0.8, 0.92, 1.0), (1.0, 0.93, 0.72, 0.56, 0.52, 0.4, 0.24, 0.0)
    ),
    "steps": Outline((0.0, 0.33, 0.331, 0.66, 0.661, 1.0), (1.0, 1.0, 0.66, 0.66, 0.33, 0.33)),
    "scrolled": Outline(
        (0.0, 0.12, 0.3, 0.52, 0.56, 0.8, 0.84, 1.0), (1.0, 0.98, 0.82, 0.66, 0.42, 0.38, 0.3, 0.0)
    ),
    "triangle": Outline((0.0, 0.1, 1.0), (1.0, 1.0, 0.0)),
    "flat": Outline((0.0, 0.4), (1.0, 1.0)),
}


def gable(rng: Generator, church: Church, bells: bool) -> list[Surface]:
    """The top of the front, with a cross; in a church without towers it carries the bells."""
    chances = [0.4, 0.3, 0.3, 0.0, 0.0] if bells else [0.3, 0.15, 0.25, 0.2, 0.1]
    kind = rng.choice(list(GABLES), p=chances)
    share = rng.uniform(0.55, 0.85) if bells else rng.uniform(0.25, 0.5)
    tall, half, z = (church.limit - church.height) * share, church.half, church.height
    outline = scaled(GABLES[kind], half, tall)
    holes = ()
    if bells:
        hole = arch(0.14 * half, 0.36 * tall)
        holes = tuple((x * half, 0.12 * tall, hole) for x in (-0.27, 0.27))
    foot = np.array([0.0, church.front - 0.2, z])
    surfaces: list[Surface] = extruded(foot, outline, 0.9, church.wall, GABLE, holes)
    for a, b, hole in holes:
        at = foot + [a, 0.5, 1.8 * b]
        surfaces += bell(at, 0.7 * hole.half_width, church, GABLE)
    if kind != "flat":
        surfaces += rim(foot, outline, holes, church)
        surfaces += crucifix((0.0, foot[1] + 0.4, z + tall), 0.09 * church.limit, church, GABLE)
    for side in (-1, 1):
        place = side * 0.93 * half, foot[1] + 0.4, z
        surfaces += pinnacle(place, 0.06 * half + 0.15, 0.3 * tall + 0.8, church, GABLE)
    return surfaces


def rim(foot: Array, outline: Outline, holes: Holes, church: Church) -> list[Surface]:
    """The moulding along a gable's edge, and a niche where there are no bells."""
    inner = Outline(
        tuple(0.94 * h for h in outline.heights),
        tuple(max(0.0, 0.94 * w - 0.2) for w in outline.half_widths),
    )
    edge = ((0.0, 0.0, inner), *holes)
    surfaces = [Patch(foot - 0.12 * BACK, X, UP, outline, *church.trim, GABLE, edge)]
    if not holes:
        niche = arch(0.1 * outline.half_width, 0.4 * outline.height)
        at, fill = foot + 0.12 * outline.height * UP, Fill(hollow, church.trim.colour, 0.5)
        surfaces.append(opening(at, niche, fill, church.wall, GABLE))
    return surfaces


def crucifix(place: Point, height: float, church: Church, part: int) -> list[Surface]:
    """Two bars of iron."""
    x, y, z = place
    bar = 0.06 * height
    upright = box(place, (bar, bar), height, church.metal, part)
    arms = box((x, y, z + 0.6 * height), (0.3 * height, bar), 2.0 * bar, church.metal, part)
    return upright + arms


def pinnacle(place: Point, half: float, height: float, church: Church, part: int) -> list[Surface]:
    """A small spire on a block."""
    x, y, z = place
    low, high = (0.8 * half,) * 2, (0.1 * half,) * 2
    block = box(place, (half, half), 0.35 * height, church.trim, part)
    spire = (x, y, z + 0.35 * height), low, high, 0.65 * height
    return block + frustum(*spire, church.trim, part)


BELL = Outline((0.0, 0.1, 0.5, 0.85, 1.0), (1.0, 0.85, 0.6, 0.5, 0.1))


def bell(place: Point, radius: float, church: Church, part: int) -> list[Surface]:
    """A bell that hangs free: its outline, seen from four sides."""
    outline, colour = scaled(BELL, radius, 1.9 * radius), linear(0.1, 0.4, 0.34)
    skin = Skin(church.metal.material, colour)
    return [Patch(np.array(place), turned(X, q), UP, outline, *skin, part) for q in range(4)]


def dome(
    rng: Generator, place: Point, radius: float, height: float, church: Church, part: int
) -> list[Surface]:
    """Drum with windows, dome and lantern, of this height in all."""
    x, y, z = place
    drum, rise = height * rng.uniform((0.2, 0.38), (0.32, 0.46))
    n, window = 2 * int(rng.integers(3, 6)), arch(0.14 * radius, 0.62 * drum)
    surfaces: list[Surface] = [
        Round(np.array([x, y, z]), radius, drum, 0.0, *church.wall, part),
        Round(np.array([x, y, z + drum - 0.35]), radius + 0.3, 0.4, 0.0, *church.trim, part),
        Round(np.array([x, y, z + drum]), 0.97 * radius, rise, 1.0, *church.dome, part),
    ]
    material = Opening(church.age, window, OLD_GLASS)
    for foot, right in around(n, (x, y, z + 0.18 * drum), radius + 0.05):
        surfaces.append(Patch(foot, right, UP, window, material, church.trim.colour, part))
    top = x, y, z + drum + rise - 0.15
    return surfaces + lantern(top, 0.2 * radius, height - drum - rise, church, part)


def lantern(place: Point, radius: float, height: float, church: Church, part: int) -> list[Surface]:
    """The little turret that ends a dome."""
    x, y, z = place
    body = 0.42 * height
    surfaces: list[Surface] = [
        Round(np.array([x, y, z]), radius, body, 0.0, *church.trim, part),
        Round(np.array([x, y, z + body]), 1.2 * radius, 0.2 * body, 0.0, *church.trim, part),
        Round(np.array([x, y, z + 1.1 * body]), radius, 0.22 * height, 1.0, *church.dome, part),
    ]
    window = arch(0.34 * radius, 0.75 * body)
    material = Opening(church.age, window, gloom(0.3))
    for foot, right in around(6, place, 1.03 * radius):
        surfaces.append(Patch(foot, right, UP, window, material, church.trim.colour, part))
    return surfaces + crucifix((x, y, z + body + 0.24 * height), 0.34 * height, church, part)


def tower(rng: Generator, place: Size, half: float, storeys: int, church: Church) -> list[Surface]:
    """Shaft, storeys with bells, each narrower, and a cupola with a lantern or a cross."""
    x, y = place
    shaft, left = church.height, church.limit - church.height
    surfaces = box((x, y, 0.0), (half, half), shaft, church.wall)
    surfaces += slab((x, y, shaft - 0.45), (half + 0.3,) * 2, 0.5, church.trim)
    surfaces += slits(rng, place, half, shaft, church)
    heights = 0.62 * left * 0.85 ** np.arange(storeys) / np.sum(0.85 ** np.arange(storeys))
    z = shaft
    for k, height in enumerate(heights):
        size = half * (0.92 - 0.14 * k)
        surfaces += belfry(rng, (x, y, z), size, height, church)
        z += height
    drum, rise = 0.05 * left, 0.16 * left + 0.3 * size
    ends = np.array([x, y, z]), np.array([x, y, z + drum])
    surfaces.append(Round(ends[0], 0.82 * size, drum, 0.0, *church.trim, TOWER))
    surfaces.append(Round(ends[1], 0.76 * size, rise, 1.0, *church.dome, TOWER))
    top = x, y, z + drum + rise - 0.1
    over = max(church.limit - top[2], 1.2)
    if rng.random() < 0.5:
        return surfaces + lantern(top, 0.24 * size, over + 0.6, church, TOWER)
    return surfaces + crucifix(top, over, church, TOWER)


def slits(rng: Generator, place: Size, half: float, shaft: float, church: Church) -> list[Surface]:
    """Small windows in three sides of a tower's shaft."""
    x, y = place
    shape = (arch if rng.random() < 0.5 else rectangle)(0.16 * half, 0.15 * shaft)
    sides = ((0, (x, y - half)), (1, (x + half, y)), (3, (x - half, y)))
    return [
        opening((*at, z), shape, gloom(0.5), church.wall, quarters=quarters)
        for z in (0.3 * shaft, 0.66 * shaft)
        for quarters, at in sides
        if quarters or rng.random() < 0.7
    ]


def belfry(
    rng: Generator, place: Point, half: float, height: float, church: Church
) -> list[Surface]:
    """One storey, open on four sides, with pilasters at its corners and bells inside."""
    x, y, z = place
    body, edge = 0.86 * height, 0.07 * height
    n = 1 if rng.random() < 0.6 else 2
    hole = arch((0.46, 0.24)[n - 1] * half, 0.78 * body)
    holes = tuple(((k - (n - 1) / 2.0) * 0.8 * half, 0.1 * body, hole) for k in range(n))
    surfaces = open_walls(place, half, body, holes, church)
    surfaces += slab((x, y, z + body), (1.12 * half,) * 2, edge, church.trim, TOWER)
    surfaces += slab((x, y, z + body + edge), (1.2 * half,) * 2, edge, church.trim, TOWER)
    if rng.random() < 0.6:
        for corner in ((-half, -half), (half, -half), (-half, half), (half, half)):
            at = x + corner[0], y + corner[1], z + height
            surfaces += pinnacle(at, 0.12 * half, 0.3 * height, church, TOWER)
    for a, b, _ in holes:
        at = x + a, y - 0.5 * half, z + b + 0.25 * body
        surfaces += bell(at, 0.28 * half / n, church, TOWER)
    return surfaces


def open_walls(
    place: Point, half: float, height: float, holes: Holes, church: Church
) -> list[Surface]:
    """Four pierced walls, seen from within too."""
    place = np.array(place)
    shade = Skin(church.wall.material, 0.5 * church.wall.colour)
    surfaces: list[Surface] = []
    for quarters in range(4):
        out, right = turned((0.0, -half, 0.0), quarters), turned(X, quarters)
        outer, inner = rectangle(half, height), rectangle(0.75 * half, height)
        surfaces.append(Patch(place + out, right, UP, outer, *church.wall, TOWER, holes))
        surfaces.append(Patch(place + 0.75 * out, -right, UP, inner, *shade, TOWER, holes))
        corner = place + turned((0.88 * half, -0.88 * half, 0.0), quarters)
        surfaces += box(corner, (0.17 * half,) * 2, height, church.trim, TOWER)
    return surfaces


def flanks(rng: Generator, church: Church) -> list[Surface]:
    """Buttresses along the nave, and windows between them."""
    n = int(rng.integers(3, 6))
    pitch = 0.76 * church.depth / (n - 1)
    window = arch(0.05 * church.depth, 0.25 * church.height)
    surfaces: list[Surface] = []
    for k, (side, quarters) in ((k, s) for k in range(n) for s in ((1, 1), (-1, 3))):
        x, y = side * church.half, church.front + 0.12 * church.depth + k * pitch
        size = (0.9, 0.6), (0.4, 0.6), 0.75 * church.height
        surfaces += frustum((x, y, 0.0), *size, church.wall)
        if k + 1 < n:
            at = np.array([x, y + pitch / 2.0, 0.5 * church.height])
            surfaces.append(opening(at, window, OLD_GLASS, church.wall, WINDOW, quarters))
    return surfaces


def wing(rng: Generator, side: int, start: float, room: Room, church: Church) -> list[Surface]:
    """A low house beside the church, with an arcade or plain windows, where there is room."""
    half = (0.56 * room.width - start) / 2.0
    if half < 1.5:
        return []
    deep, tall = 0.22 * church.depth, church.height * rng.uniform(0.35, 0.55)
    x, y = side * (start + half), church.front + deep + rng.uniform(1.0, 3.0)
    surfaces = box((x, y, 0.0), (half, deep), tall, church.wall)
    surfaces += slab((x, y, tall - 0.25), (half + 0.25, deep + 0.25), 0.3, church.trim)
    n = max(2, int(half / 1.3))
    pitch, arcade = 2.0 * half / n, rng.random() < 0.5
    outline = arch(0.34 * pitch, 0.7 * tall) if arcade else rectangle(0.2 * pitch, 0.35 * tall)
    fill = gloom(1.5) if arcade else OLD_GLASS
    for k in range(n):
        foot = 0.0 if arcade else 0.4 * tall
        at = np.array([x + (k - (n - 1) / 2.0) * pitch, y - deep, foot])
        surfaces.append(opening(at, outline, fill, church.trim))
    return surfaces
