"""Simulate where people look at a monument. No person looked: every fixation here is made up.

The simulation knows the parts of the monument and turns a few findings about looking at pictures
into a random walk, much as Le Meur and Liu, "Saccadic model of eye movements for free-viewing
condition", Vision Research 116, 2015, https://people.irisa.fr/Olivier.Le_Meur/publi/2015_VR, draw
the next fixation from what is salient and from how the eye likes to jump. What is assumed, with
numbers chosen by hand and not fitted to anybody's eyes:

- Looking starts near the middle of the picture, and later fixations lean to it too. (Tatler, "The
  central fixation bias in scene viewing", Journal of Vision 7(14), 2007,
  https://doi.org/10.1167/7.14.4, found such a bias whatever the picture showed.)
- What draws the eye are the parts that tell a monument's style, each with a weight of its own, and
  every subject has a taste of their own for them. One fixation in twenty goes anywhere.
- Short jumps are more likely than long ones, they land a little beside their goal, and places just
  seen are less likely to be seen again.
- A fixation lasts about a quarter of a second, log-normally; a jump takes longer the farther it is.

Real gaze has much that is missing here: it follows faces, people and text, it depends on the task,
and it is not drawn to a part as such but to what stands out in it.
"""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from data_scripts.drawing import Array, downsample
from data_scripts.heritage.facades import PART_NAMES, STYLES

DURATION = 3.0  # seconds that a picture is shown
N_SUBJECTS = 20
WEIGHTS = {  # how strongly the parts draw the eye, of each style together 1
    "Prehispanic": {"tiers": 0.2, "stairs": 0.33, "temple": 0.47},
    "Colonial": {"dome": 0.2, "gable": 0.14, "portal": 0.3, "window": 0.12, "tower": 0.24},
    "Modern": {"curtain wall": 0.42, "roof": 0.22, "entrance": 0.36},
}
CELLS = 56  # places from border to border among which the next fixation is drawn
STRAY = 0.05  # share of fixations that go anywhere
LANDING = 0.015  # picture heights by which the eye misses, standard deviation in x and in y
TASTE = 8.0  # of the Dirichlet distribution of the subjects' weights: larger is more alike
FIRST_SPREAD = 0.06  # picture heights, standard deviation of the first fixation
CENTRE_SPREAD = 0.22  # picture heights, of the later lean to the middle
CENTRE_FLOOR = 0.2  # how likely the border is beside the middle
JUMP = 0.22  # picture heights in which a jump becomes e times less likely
RETURN_RADIUS = 0.09  # picture heights around a fixation that are left alone for a while
RETURN_FADE = 0.75  # how much of that is left after every further fixation
FIXATION_MEDIAN, FIXATION_SPREAD = 0.23, 0.35  # seconds, and of the logarithm
SHORTEST, LONGEST = 0.08, 0.9  # seconds
SCREEN_DEGREES = 20.5  # what a picture as high as the screen takes of the field of view
JUMP_START, JUMP_PER_DEGREE = 0.021, 0.0022  # seconds


def simulate_scanpaths(
    parts: Array, style: int, seed: int, n_subjects: int = N_SUBJECTS
) -> list[Array]:
    """Make up the gaze of some subjects who look at a picture for three seconds.

    Args:
        parts: uint8 [H, W], 0 background, then the parts of the style, as in `Building.parts`.
        style: index into STYLES.
        seed: the same seed gives the same subjects and the same gaze.
        n_subjects: how many look.

    Returns:
        One array [n, 3] a subject, a row for each fixation in its order: x and y in pixels from
        the picture's upper left corner, to a tenth of a pixel, and seconds, to a millisecond. The
        jumps between them take the rest of the time.

    Raises:
        ValueError: parts or style do not fit, or nobody looks.
    """
    _check(parts, style, n_subjects)
    maps = _part_maps(parts, style)
    subjects = [np.random.default_rng([seed, subject]) for subject in range(n_subjects)]
    return [_scanpath(rng, _interest(rng, maps), parts.shape) for rng in subjects]


def _check(parts: Array, style: int, n_subjects: int) -> None:
    if style not in range(len(STYLES)):
        raise ValueError(f"style must be 0 to {len(STYLES) - 1}, got {style!r}; STYLES names them")
    n_parts = len(PART_NAMES[STYLES[style]])
    if parts.ndim != 2 or parts.max() > n_parts:
        raise ValueError(
            f"parts must be [H, W] with values 0 to {n_parts} for style {style}, got "
            f"{list(parts.shape)} up to {parts.max()}; pass Building.parts with its own style"
        )
    if n_subjects < 1:
        raise ValueError(f"n_subjects must be at least 1, got {n_subjects}")


class _PartMaps(NamedTuple):
    """Where the parts of a picture are."""

    shares: Array  # [k, CELLS, CELLS], each adds up to 1
    weights: Array  # [k], together 1


def _part_maps(parts: Array, style: int) -> _PartMaps:
    """The parts that the picture shows; its middle, where it shows none."""
    shown = [
        (downsample((parts == k) * 1.0, CELLS), weight)
        for k, weight in enumerate(WEIGHTS[STYLES[style]].values(), start=1)
        if np.any(parts == k)
    ]
    if not shown:
        shown = [(_near(np.array([0.5, 0.5]), CENTRE_SPREAD), 1.0)]
    shares = np.stack([cover / cover.sum() for cover, _ in shown])
    weights = np.array([weight for _, weight in shown])
    return _PartMaps(shares, weights / weights.sum())


def _centres() -> Array:
    """[2, CELLS, CELLS], x and y of the cells' centres, in 0..1."""
    middle = (np.arange(CELLS) + 0.5) / CELLS
    return np.stack(np.meshgrid(middle, middle))


def _near(place: Array, spread: float) -> Array:
    """[CELLS, CELLS], Gaussian around a place [2] in 0..1."""
    x, y = _centres() - place[:, None, None]
    return np.exp(-(x * x + y * y) / (2.0 * spread**2))


def _interest(rng: Generator, maps: _PartMaps) -> Array:
    """[CELLS, CELLS], how much a subject wants to look where; adds up to 1."""
    taste = rng.dirichlet(TASTE * maps.weights)
    wanted = np.tensordot(taste, maps.shares, axes=1)
    wanted *= CENTRE_FLOOR + (1.0 - CENTRE_FLOOR) * _near(np.array([0.5, 0.5]), CENTRE_SPREAD)
    return wanted / wanted.sum()


def _scanpath(rng: Generator, interest: Array, size: tuple[int, int]) -> Array:
    """One subject's fixations, until the time is over."""
    place = np.clip(rng.normal(0.5, FIRST_SPREAD, 2), 0.0, 1.0)
    seen, path, time = np.zeros_like(interest), [], 0.0
    while True:
        lasts = FIXATION_MEDIAN * np.exp(rng.normal(0.0, FIXATION_SPREAD))
        lasts = min(np.clip(lasts, SHORTEST, LONGEST), DURATION - time)
        if lasts < SHORTEST:
            return _rounded(np.array(path), size)
        path.append((*place, lasts))
        seen = np.maximum(RETURN_FADE * seen, _near(place, RETURN_RADIUS))
        place, before = _next_place(rng, interest, place, seen), place
        degrees = SCREEN_DEGREES * np.sqrt(np.sum((place - before) ** 2))
        time += lasts + JUMP_START + JUMP_PER_DEGREE * degrees


def _next_place(rng: Generator, interest: Array, place: Array, seen: Array) -> Array:
    """Where the eye jumps to, [2] in 0..1."""
    if rng.random() < STRAY:
        return rng.random(2)
    x, y = _centres() - place[:, None, None]
    chance = interest * np.exp(-np.hypot(x, y) / JUMP) * (1.0 - seen)
    cell = rng.choice(chance.size, p=chance.ravel() / chance.sum())
    row, column = divmod(cell, CELLS)
    return (np.array([column, row]) + rng.random(2)) / CELLS + rng.normal(0.0, LANDING, 2)


def _rounded(path: Array, size: tuple[int, int]) -> Array:
    """Places in pixels, to the resolution of the files, and inside the picture."""
    height, width = size
    places = np.clip(path[:, :2] * [width, height], 0.0, [width - 0.1, height - 0.1])
    return np.column_stack([np.round(places, 1), np.floor(path[:, 2] * 1000.0) / 1000.0])
