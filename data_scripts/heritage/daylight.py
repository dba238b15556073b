"""Sun, sky, clouds and what stands on the horizon, on some hour of some day."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from data_scripts.drawing import (
    Array,
    Tile,
    fractal_noise,
    linear,
    mirrored,
    noise_tile,
    smoothstep,
)
from data_scripts.heritage.raycast import UP

SKY_TILE = 256
COMPASS = 2 * SKY_TILE  # heights of the horizon around the compass


class Sky(NamedTuple):
    """Air, clouds and what stands on the horizon; colours [3] are linear."""

    zenith: Array
    horizon: Array
    clouds: Tile  # noise; there is cloud where it is above `clear`
    clear: float
    cloud_sun: Tile  # how much a place is turned to the sun
    cloud_light: Array
    cloud_shade: Array
    ridges: tuple[tuple[Array, Array], ...]  # heights [COMPASS] (tangents) and colour, far to near
    ground: Array  # what a mirror sees below the horizon

    def light(self, direction: Array) -> Array:
        """Light [n, 3] from some directions [n, 3]."""
        level = np.hypot(direction[:, 0], direction[:, 1])
        rise = direction[:, 2] / level
        seen = self._air(direction / level[:, None], np.maximum(rise, 0.0))
        bearing = (np.arctan2(direction[:, 0], direction[:, 1]) / np.pi + 2.0) * (1.6 * COMPASS)
        place, between = bearing.astype(int), bearing - np.floor(bearing)
        mottle = 1.0 + 0.25 * self.clouds.near(bearing, 900.0 * (rise + 1.0))
        for heights, colour in self.ridges:
            here, there = heights[place % COMPASS], heights[(place + 1) % COMPASS]
            top = here + between * (there - here)
            cover = smoothstep(top + 0.002, top - 0.002, rise)[:, None]
            seen += cover * (colour * mottle[:, None] - seen)
        return seen + smoothstep(0.0, -0.02, rise)[:, None] * (self.ground - seen)

    def _air(self, level: Array, rise: Array) -> Array:
        """Blue that deepens upwards, and a flat layer of clouds that shrink towards the horizon."""
        seen = self.horizon + (1.0 - np.exp(-2.6 * rise))[:, None] * (self.zenith - self.horizon)
        scale = 55.0 / (rise + 0.22)
        u, v = level[:, 0] * scale + 5000.0, level[:, 1] * scale * 1.6 + 5000.0
        dense = self.clouds.at(u, v) + 0.2 * self.clouds.at(4.3 * u, 4.3 * v)
        cover = smoothstep(self.clear, self.clear + 0.75, dense) * smoothstep(0.0, 0.06, rise)
        bright = 0.62 + self.cloud_sun.at(u, v) - 0.22 * (dense - self.clear)
        lit = np.clip(bright, 0.0, 1.1)[:, None]
        cloud = self.cloud_shade + lit * (self.cloud_light - self.cloud_shade)
        return seen + cover[:, None] * (cloud - seen)


class Daylight(NamedTuple):
    """Sun, sky, and what the ground throws back; colours [3] are linear."""

    towards_sun: Array  # unit vector [3]
    sun: Array  # light on a surface that faces the sun
    above: Array  # on a surface that faces up, from the sky
    below: Array  # on a surface that faces down, from the ground
    sky: Sky
    haze: float  # of the air's own light per 100 metres
    lamp: float  # how bright lamps look


Range = tuple[tuple[float, float, float], tuple[float, float, float]]  # hue, saturation, value


class Weather(NamedTuple):
    """One kind of weather."""

    chance: float
    sun: float  # light of the sun
    ambient: float  # light of the sky
    blue: float  # share of the sky's colour in its light
    zenith: Range  # least and greatest colour
    horizon: Range
    clear: tuple[float, float]  # noise above which there is cloud
    cloud_light: tuple[float, float, float]
    cloud_shade: tuple[float, float, float]


CLEAR = Weather(
    chance=0.34,
    sun=1.45,
    ambient=0.27,
    blue=1.0,
    zenith=((0.565, 0.50, 0.55), (0.605, 0.75, 0.82)),
    horizon=((0.540, 0.10, 0.86), (0.580, 0.26, 0.96)),
    clear=(0.8, 2.5),
    cloud_light=(0.10, 0.02, 1.0),
    cloud_shade=(0.6, 0.10, 0.68),
)
WEATHERS = {
    "clear": CLEAR,
    "fair": CLEAR._replace(chance=0.32, sun=1.4, ambient=0.32, clear=(-0.3, 0.9)),
    "hazy": Weather(
        chance=0.14,
        sun=0.9,
        ambient=0.45,
        blue=0.3,
        zenith=((0.565, 0.24, 0.62), (0.605, 0.38, 0.84)),
        horizon=((0.54, 0.04, 0.86), (0.58, 0.12, 0.95)),
        clear=(0.2, 2.0),
        cloud_light=(0.10, 0.02, 1.0),
        cloud_shade=(0.6, 0.06, 0.74),
    ),
    "overcast": Weather(
        chance=0.1,
        sun=0.06,
        ambient=0.85,
        blue=0.3,
        zenith=((0.58, 0.00, 0.64), (0.62, 0.08, 0.78)),
        horizon=((0.56, 0.00, 0.80), (0.60, 0.05, 0.90)),
        clear=(-2.5, -1.0),
        cloud_light=(0.6, 0.02, 0.88),
        cloud_shade=(0.6, 0.05, 0.64),
    ),
    "evening": Weather(
        chance=0.1,
        sun=1.3,
        ambient=0.27,
        blue=0.8,
        zenith=((0.57, 0.30, 0.52), (0.63, 0.50, 0.72)),
        horizon=((0.06, 0.12, 0.85), (0.11, 0.34, 0.98)),
        clear=(-0.4, 1.5),
        cloud_light=(0.07, 0.22, 1.0),
        cloud_shade=(0.75, 0.12, 0.58),
    ),
}


def draw_daylight(rng: Generator) -> Daylight:
    """Some hour of some day; mostly the sun is on the monument's front, which faces -y."""
    kind = rng.choice(list(WEATHERS), p=[weather.chance for weather in WEATHERS.values()])
    weather = WEATHERS[kind]
    aside = rng.uniform(1.25, 2.2) if rng.random() < 0.15 else rng.uniform(0.1, 1.25)
    bearing = np.pi + rng.choice([-1.0, 1.0]) * aside
    elevation = rng.uniform(0.2, 0.42) if kind == "evening" else rng.uniform(0.45, 1.1)
    level = np.array([np.sin(bearing), np.cos(bearing), 0.0])
    towards_sun = level * np.cos(elevation) + UP * np.sin(elevation)
    sky = draw_sky(rng, weather, level)
    warmth = rng.uniform(0.25, 0.42) if kind == "evening" else 0.06
    sun = weather.sun * linear(0.085, warmth, 1.0)
    blue = 1.0 + 0.4 * weather.blue * (sky.zenith / sky.zenith.mean() - 1.0)
    return Daylight(
        towards_sun=towards_sun,
        sun=sun,
        above=weather.ambient * blue,
        below=0.35 * weather.ambient * np.array([1.05, 1.0, 0.9]) + 0.08 * sun,
        sky=sky,
        haze=rng.uniform(0.02, 0.08) * (2.0 if kind == "hazy" else 1.0),
        lamp={"evening": 0.7, "overcast": 0.3}.get(kind, 0.0),
    )


def draw_sky(rng: Generator, weather: Weather, towards_sun: Array) -> Sky:
    """Colours, clouds, hills and a line of trees."""
    zenith, horizon = (linear(*rng.uniform(*c)) for c in (weather.zenith, weather.horizon))
    clouds = noise_tile(rng, 5, 6, 0.55, n=SKY_TILE)
    across, along = np.round(6.0 * towards_sun[:2]).astype(int)
    behind = np.roll(clouds.field, (-along, -across), (0, 1))  # what is nearer to the sun
    hills = rng.uniform(-0.05, 0.05) + rng.uniform(0.01, 0.05) * _skyline(rng, 5, 0.45)
    trees = rng.uniform(-0.004, 0.02) + 0.004 * np.abs(_skyline(rng, 34, 0.8))
    far = 0.5 * horizon + 0.5 * linear(rng.uniform(0.3, 0.65), 0.25, 0.42)
    green = linear(*rng.uniform((0.2, 0.15, 0.22), (0.4, 0.4, 0.38)))
    near = 0.18 * horizon + 0.82 * green
    return Sky(
        zenith=zenith,
        horizon=horizon,
        clouds=clouds,
        clear=rng.uniform(*weather.clear),
        cloud_sun=Tile(0.55 * (clouds.field - behind)),
        cloud_light=linear(*weather.cloud_light),
        cloud_shade=linear(*weather.cloud_shade),
        ridges=((np.clip(hills, 0.0, None), far), (np.clip(trees, 0.0, None), near)),
        ground=linear(0.1, 0.12, 0.42),
    )


def _skyline(rng: Generator, cells: float, gain: float) -> Array:
    """Random heights [COMPASS] around the compass, without a seam."""
    return mirrored(fractal_noise(rng, SKY_TILE, cells, 5, gain))[0]
