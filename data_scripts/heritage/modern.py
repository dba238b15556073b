"""Offices and flats of the twentieth century."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from data_scripts.drawing import Array, linear
from data_scripts.heritage.facades import (
    Point,
    Room,
    Size,
    Skin,
    box,
    draw_colour,
    frustum,
    slab,
    soffit,
)
from data_scripts.heritage.materials import (
    TABLE,
    Age,
    Front,
    Glazing,
    Plain,
    draw_age,
    draw_masonry,
)
from data_scripts.heritage.raycast import UP, Round, Surface

CURTAIN_WALL, ROOF, ENTRANCE = 1, 2, 3  # as PART_NAMES has them


class Block(NamedTuple):
    """What a modern building is made of."""

    wall: Skin
    trim: Skin
    glazing: Glazing
    bay: float  # metres, width of a window with its share of the wall
    storey: float  # metres; less than in life, for the room is small beside a real block
    age: Age


# Left, right, lower and upper border of a window in its cell, and its depth in metres.
FRONTS = {
    "curtain wall": ((0.04, 0.96, 0.05, 0.95), (0.02, 0.12)),
    "bands": ((-0.01, 1.01, 0.34, 0.88), (0.1, 0.35)),
    "fins": ((0.14, 0.86, 0.06, 0.97), (0.35, 0.8)),
    "holes": ((0.22, 0.78, 0.24, 0.8), (0.2, 0.5)),
    "screen": ((0.1, 0.9, 0.12, 0.88), (0.5, 0.9)),
}


def draw_modern(rng: Generator, room: Room) -> list[Surface]:
    """Offices or flats: a tower, a slab, a pile of boxes, twins, a cylinder, a tapered block."""
    shapes = (high_rise, long_slab, stack, twins, cylinder, tapered)
    shape = shapes[rng.choice(len(shapes), p=[0.26, 0.24, 0.16, 0.1, 0.1, 0.14])]
    return shape(rng, room, _block(rng))


def _block(rng: Generator) -> Block:
    age = draw_age(rng).share(0.6, 0.0)
    stone = draw_masonry(rng, age, 0.7, 1.3, 0.0)
    pane, depth = FRONTS[rng.choice(list(FRONTS), p=[0.36, 0.2, 0.16, 0.16, 0.12])]
    normals = np.clip(rng.standard_normal((3, TABLE, TABLE)), -2.0, 2.0)
    windows = Glazing(
        pane=pane,
        depth=rng.uniform(*depth),
        bars=int(rng.integers(1, 3)),
        tint=linear(rng.uniform(0.08, 0.62), rng.uniform(0.0, 0.3), rng.uniform(0.75, 1.0)),
        mirror=rng.uniform(0.15, 0.55),
        blinds=rng.choice([0.0, 0.15, 0.4]),
        lamps=rng.choice([0.0, 0.05, 0.2]),
        table=np.concatenate([normals, rng.random((1, TABLE, TABLE))]),
    )
    return Block(
        wall=Skin(stone if rng.random() < 0.3 else Plain(age), draw_colour(rng)),
        trim=Skin(Plain(age), draw_colour(rng)),
        glazing=windows,
        bay=rng.uniform(0.9, 2.2),
        storey=rng.uniform(1.3, 2.4),
        age=age,
    )


def clad(
    place: Point, low: Size, high: Size, height: float, block: Block, part: int = CURTAIN_WALL
) -> list[Surface]:
    """A frustum with windows in its four walls."""
    *walls, roof = frustum(place, low, high, height, block.wall, part)
    surfaces: list[Surface] = [replace(roof, part=ROOF if part == CURTAIN_WALL else part)]
    for wall in walls:
        half, length = wall.outline.half_width, wall.outline.height
        # An even number of bays: the axis of the wall is a border between two.
        n_bays = 2 * max(1, round(half / block.bay))
        n_storeys = max(1, round(length / block.storey))
        front = Front(block.age, 2.0 * half / n_bays, length / n_storeys, block.glazing)
        surfaces.append(replace(wall, material=front))
    return surfaces


def block_roof(rng: Generator, place: Point, half: Array, block: Block) -> list[Surface]:
    """Parapet or a slab on stilts, machine rooms, sometimes a mast."""
    x, y, z = place
    surfaces: list[Surface] = []
    if rng.random() < 0.25:
        for i, j in ((-0.85, -0.85), (0.85, -0.85), (-0.85, 0.85), (0.85, 0.85)):
            at = x + i * half[0], y + j * half[1], z
            surfaces += box(at, (0.2, 0.2), 1.6, block.trim, ROOF)
        edge = half[0] + 0.6, half[1] + 0.6
        surfaces += slab((x, y, z + 1.6), edge, 0.5, block.trim, ROOF)
    else:
        edge = half[0] + 0.12, half[1] + 0.12
        surfaces += slab((x, y, z - 0.1), edge, rng.uniform(0.5, 1.0), block.trim, ROOF)
    for _ in range(rng.integers(0, 3)):
        size, aside = half * rng.uniform(0.15, 0.45, 2), half * rng.uniform(-0.5, 0.5, 2)
        at = x + aside[0], y + aside[1], z
        surfaces += box(at, size, rng.uniform(1.2, 2.6), block.wall, ROOF)
    if rng.random() < 0.3:
        foot = np.array([x + rng.uniform(-0.4, 0.4) * half[0], y, z])
        surfaces.append(Round(foot, 0.12, rng.uniform(2.0, 5.0), 0.0, *block.trim, ROOF))
    return surfaces


def entrance(rng: Generator, wide: float, front: float, block: Block) -> list[Surface]:
    """A glazed hall before a front at y, `wide` to both sides; a canopy on columns, steps."""
    tall, deep = rng.uniform(2.6, 4.2), rng.uniform(0.8, 2.0)
    hall = _glazed(block, 0.8, tall)
    floor = wide, deep / 2.0
    surfaces = clad((0.0, front - deep / 2.0, 0.0), floor, floor, tall, hall, ENTRANCE)
    reach = deep + rng.uniform(1.0, 2.5)
    middle = front - reach / 2.0
    surfaces += slab((0.0, middle, tall), (wide + 0.5, reach / 2.0), 0.45, block.trim, ENTRANCE)
    for x in np.linspace(-wide, wide, rng.integers(2, 6)):
        foot = np.array([x, front - reach + 0.4, 0.0])
        surfaces.append(Round(foot, 0.18, tall, 0.0, *block.trim, ENTRANCE))
    if rng.random() < 0.5:
        for k in range(3):
            tread = wide + 1.5 - 0.35 * k, reach / 2.0 + 1.2 - 0.35 * k
            surfaces += box((0.0, middle, 0.0), tread, 0.17 * (k + 1), block.trim, ENTRANCE)
    return surfaces


def _glazed(block: Block, bay: float, storey: float) -> Block:
    """The same building with glass from floor to ceiling."""
    windows = block.glazing._replace(pane=(0.04, 0.96, 0.0, 0.9), depth=0.15, bars=2)
    return block._replace(glazing=windows, bay=bay, storey=storey)


def high_rise(rng: Generator, room: Room, block: Block) -> list[Surface]:
    """A tower, sometimes with balconies, sometimes on a broad base."""
    half = room.width * rng.uniform((0.2, 0.16), (0.34, 0.28))
    height = 0.93 * room.height
    surfaces = clad((0.0, 0.0, 0.0), half, half, height, block)
    surfaces += block_roof(rng, (0.0, 0.0, height), half, block)
    if rng.random() < 0.3:
        surfaces += balconies(rng, half, height, block)
    low = half
    if rng.random() < 0.5:
        low = np.array([room.width * rng.uniform(0.38, 0.5), 1.3 * half[1]])
        tall = room.height * rng.uniform(0.14, 0.24)
        surfaces += clad((0.0, 0.0, 0.0), low, low, tall, block, ENTRANCE)
        surfaces += slab((0.0, 0.0, tall), low + 0.2, 0.4, block.trim, ROOF)
    return surfaces + entrance(rng, low[0] * rng.uniform(0.3, 0.9), -low[1], block)


def balconies(rng: Generator, half: Array, height: float, block: Block) -> list[Surface]:
    """Slabs that stick out at every floor."""
    n = max(1, round(height / block.storey))
    edge = half + rng.uniform(0.3, 0.8)
    levels = height * np.arange(1, n) / n
    return [
        s for z in levels for s in slab((0.0, 0.0, z - 0.12), edge, 0.25, block.trim, CURTAIN_WALL)
    ]


def long_slab(rng: Generator, room: Room, block: Block) -> list[Surface]:
    """A long house, sometimes on stilts."""
    half = room.width * rng.uniform((0.5, 0.12), (0.5, 0.24))
    height = room.height * rng.uniform(0.5, 0.8)
    lift = 3.0 if rng.random() < 0.4 else 0.0
    surfaces = clad((0.0, 0.0, lift), half, half, height - lift, block)
    surfaces += block_roof(rng, (0.0, 0.0, height), half, block)
    if lift:
        surfaces.append(soffit((0.0, 0.0, lift), half, block.trim, ENTRANCE))
        hall = 0.7 * half
        surfaces += clad((0.0, 0.0, 0.0), hall, hall, lift, _glazed(block, 1.0, lift), ENTRANCE)
        for x in np.linspace(-0.95, 0.95, rng.integers(4, 9)) * half[0]:
            for y in (-0.85 * half[1], 0.85 * half[1]):
                foot = np.array([x, y, 0.0])
                surfaces.append(Round(foot, 0.35, lift, 0.0, *block.trim, ENTRANCE))
    return surfaces + entrance(rng, half[0] * rng.uniform(0.15, 0.4), -half[1], block)


def stack(rng: Generator, room: Room, block: Block) -> list[Surface]:
    """Boxes piled up out of line."""
    n = int(rng.integers(2, 5))
    tall, x, surfaces = 0.92 * room.height / n, 0.0, []
    for k in range(n):
        half = room.width * rng.uniform((0.24, 0.16), (0.46, 0.3))
        if k == 0:
            surfaces += entrance(rng, half[0] * rng.uniform(0.3, 0.8), -half[1], block)
        else:
            x = rng.uniform(-0.8, 0.8) * (room.width / 2.0 - half[0])
        surfaces += clad((x, 0.0, k * tall), half, half, tall - 0.3, block)
        surfaces += slab((x, 0.0, (k + 1) * tall - 0.3), half + 0.15, 0.3, block.trim, ROOF)
        surfaces.append(soffit((x, 0.0, k * tall), half, block.trim, CURTAIN_WALL))
    return surfaces + block_roof(rng, (x, 0.0, n * tall), half, block)


def twins(rng: Generator, room: Room, block: Block) -> list[Surface]:
    """Two towers, sometimes joined at the top into a gate."""
    half = room.width * rng.uniform(0.12, (0.17, 0.2))
    aside, height = room.width * rng.uniform(0.26, 0.33), 0.92 * room.height
    surfaces = entrance(rng, aside + half[0], -half[1], block)
    if rng.random() < 0.4:
        bridge, deep = np.array([aside + half[0] + 0.02, half[1] + 0.02]), 0.22 * height
        surfaces += clad((0.0, 0.0, height - deep), bridge, bridge, deep, block)
        surfaces.append(soffit((0.0, 0.0, height - deep), bridge, block.trim, CURTAIN_WALL))
        surfaces += block_roof(rng, (0.0, 0.0, height), bridge, block)
        heights = (height - deep,) * 2
    else:
        heights = height, height * rng.uniform(0.75, 1.0)
        for x, tall in zip((-aside, aside), heights, strict=True):
            surfaces += block_roof(rng, (x, 0.0, tall), half, block)
    for x, tall in zip((-aside, aside), heights, strict=True):
        surfaces += clad((x, 0.0, 0.0), half, half, tall, block)
    return surfaces


def cylinder(rng: Generator, room: Room, block: Block) -> list[Surface]:
    """A round tower, sometimes ringed by balconies or under a dome of metal."""
    radius, height = room.width * rng.uniform(0.22, 0.36), 0.92 * room.height
    n, n_bays = max(2, round(height / block.storey)), 2 * round(np.pi * radius / block.bay)
    front = Front(block.age, 2.0 * np.pi * radius / n_bays, height / n, block.glazing)
    shell = front, block.wall.colour, CURTAIN_WALL
    surfaces: list[Surface] = [Round(np.zeros(3), radius, height, 0.0, *shell)]
    if rng.random() < 0.4:
        for z in height * np.arange(1, n) / n:
            ring = (z - 0.15) * UP, radius + 0.35, 0.3, 0.0
            surfaces.append(Round(*ring, *block.trim, CURTAIN_WALL))
    surfaces.append(Round((height - 0.1) * UP, radius + 0.15, 1.0, 0.0, *block.trim, ROOF))
    if rng.random() < 0.5:
        cap = (height + 0.9) * UP, 0.95 * radius, 0.3 * radius, 1.0
        surfaces.append(Round(*cap, *block.trim, ROOF))
    else:
        surfaces.append(Round((height + 0.9) * UP, 0.5 * radius, 1.5, 0.0, *block.wall, ROOF))
    return surfaces + entrance(rng, radius * rng.uniform(0.4, 0.8), 0.6 - radius, block)


def tapered(rng: Generator, room: Room, block: Block) -> list[Surface]:
    """Narrower towards the top, or wider."""
    low = room.width * rng.uniform((0.26, 0.2), (0.4, 0.3))
    wider = rng.random() < 0.4
    height = room.height * (0.65 if wider else 0.92)
    high = low * (rng.uniform(1.1, 1.25) if wider else rng.uniform(0.45, 0.8))
    surfaces = clad((0.0, 0.0, 0.0), low, high, height, block)
    surfaces += block_roof(rng, (0.0, 0.0, height), high, block)
    return surfaces + entrance(rng, low[0] * rng.uniform(0.3, 0.9), 0.2 - low[1], block)
