"""Cast rays at flat and round surfaces: what every pixel sees, and what lies in the sun.

Lengths are metres; x runs right, y away from the viewer, z up, and the ground is z = 0. The sun
sees as a camera does, only that its rays are parallel: what it does not see lies in shadow.

All rays of a view are linear in the pixel's place (x, y) on the screen, so that their dot product
with a vector is the sum of a row and a column. A surface therefore costs a few additions per pixel
of the window around it. A second pass knows which surface won each pixel and works out the rest.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from data_scripts.drawing import Array

NEAR = 1e-3  # metres in front of the viewer where sight begins
UP = np.array([0.0, 0.0, 1.0])
SUN_DISTANCE = 200.0  # metres, beyond everything that casts a shadow


def cross(a: Array, b: Array) -> Array:
    """Cross product of two vectors [3]; numpy's own is slow for so few numbers."""
    (ax, ay, az), (bx, by, bz) = a, b
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def dot(a: Array, b: Array) -> Array:
    """Dot products [...] of vectors [..., 3]."""
    return np.einsum("...i,...i->...", a, b)


def unit(vectors: Array) -> Array:
    """Vectors [..., 3] of length 1."""
    return vectors / np.sqrt(dot(vectors, vectors))[..., None]


# Views


class View(NamedTuple):
    """The rays of a square picture, through points (x, y) of a screen a metre before the eye."""

    origin: Array  # [3]
    forward: Array  # [3], unit vectors at right angles
    right: Array
    up: Array
    x: Array  # [N], of the columns, rising
    y: Array  # [N], of the rows, falling
    parallel: bool  # rays start on the screen and run forward; otherwise they leave the eye

    @property
    def step(self) -> float:
        """Screen metres from one pixel to the next."""
        return self.x[1] - self.x[0]

    def rays(self, vector: Array, x: Array, y: Array) -> tuple[Array, Array]:
        """Dot products of a vector [3] with start and direction of the rays through (x, y)."""
        across = x * (self.right @ vector) + y * (self.up @ vector)
        start, direction = self.origin @ vector, self.forward @ vector
        return (start + across, direction) if self.parallel else (start, direction + across)

    def directions(self, pixel: Array) -> Array:
        """Directions [n, 3] of a camera's rays through some pixels (flat indices)."""
        row, column = np.divmod(pixel, len(self.x))
        across = self.x[column, None] * self.right + self.y[row, None] * self.up
        return across + self.forward

    def project(self, points: Array) -> tuple[Array, Array, Array]:
        """Screen x, screen y and depth of points [..., 3]."""
        offset = points - self.origin
        x, y, depth = offset @ self.right, offset @ self.up, offset @ self.forward
        if not self.parallel:
            x, y = x / np.maximum(depth, NEAR), y / np.maximum(depth, NEAR)
        return x, y, depth


def camera(
    origin: Array,
    forward: Array,
    roll: float,
    x: tuple[float, float],
    y: tuple[float, float],
    n: int,
) -> View:
    """Camera with n x n pixels.

    Args:
        origin: [3], where the eye is.
        forward: [3], where it looks.
        roll: radians by which the camera is turned about `forward`.
        x: left and right border of the screen.
        y: lower and upper border of the screen.
        n: pixels of a side.
    """
    forward, right, up = _frame(forward)
    right, up = right * np.cos(roll) + up * np.sin(roll), up * np.cos(roll) - right * np.sin(roll)
    return View(origin, forward, right, up, _centres(*x, n), _centres(*y, n)[::-1], False)


def sun_view(towards_sun: Array, centre: Array, radius: float, n: int) -> View:
    """What the sun sees of a square, half a side `radius`, around a point [3]."""
    forward, right, up = _frame(-towards_sun)
    places = _centres(-radius, radius, n)
    origin = centre + SUN_DISTANCE * towards_sun
    return View(origin, forward, right, up, places, places[::-1], True)


def _frame(forward: Array) -> tuple[Array, Array, Array]:
    """Unit vectors forward, right (level) and up."""
    forward = unit(forward)
    right = unit(cross(forward, UP))
    return forward, right, cross(right, forward)


def _centres(start: float, end: float, n: int) -> Array:
    """Middles of n equal pieces."""
    return start + (np.arange(n) + 0.5) * ((end - start) / n)


# Surfaces


class Outline(NamedTuple):
    """A shape that is symmetrical about its upright axis: its half width at some heights."""

    heights: tuple[float, ...]  # rising from 0
    half_widths: tuple[float, ...]

    @property
    def height(self) -> float:
        """From foot to top."""
        return self.heights[-1]

    @property
    def half_width(self) -> float:
        """At the widest place."""
        return max(self.half_widths)

    def contains(self, a: Array, b: Array) -> Array:
        """Whether the point `a` beside the axis and `b` above the foot lies inside."""
        if self.half_widths[0] == self.half_widths[-1] and len(self.heights) == 2:
            return (np.abs(a) < self.half_widths[0]) & (b > 0.0) & (b < self.heights[-1])
        return np.abs(a) < np.interp(b, self.heights, self.half_widths, left=-1.0, right=-1.0)


class Fragments(NamedTuple):
    """The pixels that show one material, one row each."""

    pixel: Array  # [n], flat index in the picture
    surface: Array  # [n], index in the list of surfaces
    position: Array  # [n, 3]
    direction: Array  # [n, 3], of the ray
    normal: Array  # [n, 3], unit, outwards
    right: Array  # [n, 3], unit, along a
    up: Array  # [n, 3], unit, along b
    a: Array  # [n], metres along the surface, 0 on its axis
    b: Array  # [n], metres up the surface from its foot
    colour: Array  # [n, 3], of the surface
    grain: Array  # [n], metres that a pixel covers

    def take(self, chosen: Array) -> "Fragments":
        """Some of the rows."""
        return Fragments(*(field[chosen] for field in self))


class Coat(NamedTuple):
    """How fragments answer light."""

    albedo: Array  # [n, 3], share of the light that is scattered
    glow: Array | float = 0.0  # [n, 3], light that is mirrored or sent out
    sunlit: Array | float = 1.0  # [n], share of the sun's light that gets there
    normal: Array | None = None  # [n, 3], where it is not that of the fragments


Material = Callable  # (fragments, daylight) -> Coat


@dataclass(frozen=True)
class Patch:
    """A flat surface, seen from the side that `right` x `up` points to."""

    origin: Array  # [3], foot of the outline's axis
    right: Array  # [3], unit vectors at right angles
    up: Array
    outline: Outline
    material: Material
    colour: Array  # [3]
    part: int = 0
    holes: tuple[tuple[float, float, Outline], ...] = ()  # (a, b) of the foot, and the shape
    stencil: Array | None = None  # bool [h, w] over the outline, upper row first: what is there

    @cached_property
    def normal(self) -> Array:
        """Unit vector [3] on the side it is seen from."""
        return cross(self.right, self.up)

    def depth(self, view: View, x: Array, y: Array) -> Array:
        """Distance along the rays through (x, y), infinite where they miss."""
        start, slope = view.rays(self.normal, x, y)
        depth = (self.origin @ self.normal - start) / slope
        a, b = (self._along(axis, view, x, y, depth) for axis in (self.right, self.up))
        return np.where((depth > NEAR) & self._contains(a, b), depth, np.inf)

    def _along(self, axis: Array, view: View, x: Array, y: Array, depth: Array) -> Array:
        start, slope = view.rays(axis, x, y)
        return start - self.origin @ axis + depth * slope

    def _contains(self, a: Array, b: Array) -> Array:
        inside = self.outline.contains(a, b)
        for hole_a, hole_b, hole in self.holes:
            inside &= ~hole.contains(a - hole_a, b - hole_b)
        if self.stencil is not None:
            inside &= stretched(self.stencil, self.outline, a, b)
        return inside


@dataclass(frozen=True)
class Round:
    """A surface of revolution: a column (bulge 0) or the upper half of an ellipsoid (bulge 1)."""

    origin: Array  # [3], foot of the axis, which is upright
    radius: float
    height: float
    bulge: float
    material: Material
    colour: Array  # [3]
    part: int = 0

    @property
    def squash(self) -> float:
        """The weight of z in the equation x^2 + y^2 + squash z^2 = radius^2."""
        return self.bulge * (self.radius / self.height) ** 2

    def depth(self, view: View, x: Array, y: Array) -> Array:
        """Distance along the rays through (x, y), infinite where they miss."""
        starts, d = zip(*(view.rays(axis, x, y) for axis in np.eye(3)), strict=True)
        p = [start - o for start, o in zip(starts, self.origin, strict=True)]
        A = d[0] * d[0] + d[1] * d[1] + self.squash * d[2] * d[2]
        B = p[0] * d[0] + p[1] * d[1] + self.squash * p[2] * d[2]
        C = p[0] * p[0] + p[1] * p[1] + self.squash * p[2] * p[2] - self.radius**2
        root = B * B - A * C  # the depth solves A depth^2 + 2 B depth + C = 0
        depth = (-B - np.sqrt(np.maximum(root, 0.0))) / A
        z = p[2] + depth * d[2]
        inside = (root > 0.0) & (z > 0.0) & (z < self.height) & (depth > NEAR)
        return np.where(inside, depth, np.inf)


Surface = Patch | Round


def stretched(picture: Array, outline: Outline, a: Array, b: Array) -> Array:
    """Values of a picture [h, w, ...] that fills a rectangular outline, at points of it."""
    h, w = picture.shape[:2]
    row = np.clip((1.0 - b / outline.height) * h, 0, h - 1).astype(int)
    column = np.clip((a / outline.half_width + 1.0) * (w / 2), 0, w - 1).astype(int)
    return picture[row, column]


class Frames(NamedTuple):
    """Where some surfaces lie, one row each."""

    origin: Array  # [n, 3]
    right: Array  # [n, 3], unit; of round ones the x axis
    up: Array  # [n, 3], unit; of round ones the z axis
    normal: Array  # [n, 3]
    colour: Array  # [n, 3]
    radius: Array  # [n], 0 for flat ones
    squash: Array  # [n]
    half_width: Array  # [n]
    height: Array  # [n]

    def corners(self) -> Array:
        """[8, n, 3], corners of a box around each."""
        aside = self.half_width[:, None] * self.right
        over, out = self.height[:, None] * self.up, self.radius[:, None] * self.normal
        signs = [(i, j, k) for i in (-1, 1) for j in (0, 1) for k in (-1, 1)]
        return np.stack([self.origin + i * aside + j * over + k * out for i, j, k in signs])

    def faces(self, view: View) -> Array:
        """[n], whether the seen side is turned to the viewer."""
        sight = view.forward if view.parallel else self.origin - view.origin
        return (dot(self.normal, sight) < 0.0) | (self.radius > 0.0)


def frames_of(surfaces: list[Surface]) -> Frames:
    """The frames of some surfaces."""
    x = np.array([1.0, 0.0, 0.0])
    rows = [
        (s.origin, x, UP, cross(x, UP), s.colour, s.radius, s.squash, s.radius, s.height)
        if isinstance(s, Round)
        else (s.origin, s.right, s.up, s.normal, s.colour, 0.0, 0.0, *_extent(s.outline))
        for s in surfaces
    ]
    return Frames(*(np.array(column) for column in zip(*rows, strict=True)))


def _extent(outline: Outline) -> tuple[float, float]:
    return outline.half_width, outline.height


# Tracing


class Trace(NamedTuple):
    """What the rays of a view met first."""

    depth: Array  # [N, N], metres; infinite where they met nothing
    surface: Array  # [N, N], index in the list of surfaces, -1 for none
    frames: Frames


def trace(view: View, surfaces: list[Surface]) -> Trace:
    """Find the nearest surface along every ray."""
    n = len(view.x)
    depth, nearest = np.full((n, n), np.inf), np.full((n, n), -1)
    frames = frames_of(surfaces)
    for index, rows, columns in _windows(view, frames):
        met = surfaces[index].depth(view, view.x[None, columns], view.y[rows, None])
        closer = met < depth[rows, columns]
        depth[rows, columns][closer] = met[closer]
        nearest[rows, columns][closer] = index
    return Trace(depth, nearest, frames)


def _windows(view: View, frames: Frames) -> Iterator[tuple[int, slice, slice]]:
    """Index, rows and columns of every surface that can be seen."""
    x, y, depth = view.project(frames.corners())  # [8, n] each
    left, right = (np.searchsorted(view.x, end) for end in (x.min(0), x.max(0)))
    top, bottom = (np.searchsorted(-view.y, end) for end in (-y.max(0), -y.min(0)))
    behind = depth.min(0) < NEAR  # what reaches behind the viewer cannot be projected
    left, top = np.where(behind, 0, left), np.where(behind, 0, top)
    right, bottom = np.where(behind, len(view.x), right), np.where(behind, len(view.y), bottom)
    seen = frames.faces(view) & (depth.max(0) > NEAR) & (left < right) & (top < bottom)
    for k in np.flatnonzero(seen):
        yield k, slice(top[k], bottom[k]), slice(left[k], right[k])


def fragments(
    view: View, traced: Trace, surfaces: list[Surface]
) -> Iterator[tuple[Material, Fragments]]:
    """All that is known of the pixels that show a surface, material by material."""
    materials = {id(s.material): s.material for s in surfaces}
    number = {key: k for k, key in enumerate(materials)}
    # The last entry, index -1, is for the rays that met nothing.
    made_of = np.array([number[id(s.material)] for s in surfaces] + [len(number)], np.int16)
    shown = made_of[traced.surface.ravel()]
    order = np.argsort(shown, kind="stable")
    ends = np.searchsorted(shown[order], np.arange(len(number) + 1))
    for material, start, end in zip(materials.values(), ends[:-1], ends[1:], strict=True):
        if end > start:
            yield material, _fragments_at(order[start:end], view, traced)


def _fragments_at(pixel: Array, view: View, traced: Trace) -> Fragments:
    """The fragments of some pixels."""
    frames, index = traced.frames, traced.surface.ravel()[pixel]
    depth, direction = traced.depth.ravel()[pixel], view.directions(pixel)
    position = view.origin + depth[:, None] * direction
    offset = position - frames.origin[index]
    normal, right, up = (field[index] for field in (frames.normal, frames.right, frames.up))
    a, b = dot(offset, right), dot(offset, up)
    radius = frames.radius[index]
    bent = np.flatnonzero(radius)
    if len(bent):
        x, y, z = offset[bent].T
        normal[bent] = unit(np.stack([x, y, frames.squash[index[bent]] * z], axis=1))
        right[bent] = unit(np.stack([-y, x, np.zeros_like(x)], axis=1))
        up[bent] = np.cross(normal[bent], right[bent])
        a[bent], b[bent] = radius[bent] * np.arctan2(x, -y), z
    colour, grain = frames.colour[index], view.step * depth
    return Fragments(pixel, index, position, direction, normal, right, up, a, b, colour, grain)


def sunlit(sun: View, seen: Trace, fragments: Fragments, bias: float) -> Array:
    """Share [n] of the sun that reaches each fragment, by what the sun itself sees.

    Args:
        sun: the sun's view.
        seen: what it met.
        fragments: the pixels of another view.
        bias: metres off the surface and towards the sun; a surface lies in its own shadow without.
    """
    x, y, depth = sun.project(fragments.position + bias * fragments.normal)
    column, row = (x - sun.x[0]) / sun.step, (sun.y[0] - y) / sun.step
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right_share, lower_share = column - left, row - top
    light = np.zeros(len(x))
    for i, height in ((0, 1.0 - lower_share), (1, lower_share)):
        for j, width in ((0, 1.0 - right_share), (1, right_share)):
            rows, columns = (np.clip(k, 0, len(sun.x) - 1) for k in (top + i, left + j))
            light += width * height * (seen.depth[rows, columns] > depth - bias)
    return light
