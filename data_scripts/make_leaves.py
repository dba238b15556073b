"""Draw apple leaves, healthy or with black rot, and know every lesion to the pixel.

    python -m data_scripts.make_leaves                # all shipped pictures, labkit/assets/leaves/
    python -m data_scripts.make_leaves --sample 30    # only a contact sheet, leaves_sheet.png

The label changes the lesions and nothing else: a seed gives the same leaf, background and camera
for both labels, and the lesions come from a random generator of their own. Insect holes, dew, dirt,
pale residue, cast shadows and yellowing befall both classes alike, so that neither the mean colour
nor "something brown" gives the disease away; its tan spots with purple-dark rims do.

Seeds: 0..499 are the shipped pictures (train healthy 0..199, train black rot 200..399, test healthy
400..449, test black rot 450..499); those from 1_000_000 on are kept for training networks, which
therefore never see a shipped picture.
"""

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image
from scipy import ndimage

from data_scripts.drawing import (
    MATERIALS,
    Array,
    Light,
    Spot,
    blend,
    bump,
    cast_shadow,
    diffuse_light,
    downsample,
    fractal_noise,
    glossy_light,
    hsv,
    paint,
    paint_pebble,
    smoothstep,
    spot,
    surface_normals,
    tinted,
    to_uint8,
)
from data_scripts.manifest import ASSETS
from data_scripts.shipping import (
    checksums,
    coloured,
    draw_all,
    encode_png,
    read_arguments,
    write_sheet,
)
from labkit.files import write_atomically

SCRIPT = "data_scripts/make_leaves.py"
HEALTHY, BLACK_ROT = 0, 1
CLASSES = ("healthy", "black_rot")
N_PICTURES = {"train": 200, "test": 50}  # shipped, per class
MASK_PALETTE = [40, 40, 48, 70, 150, 60, 220, 70, 40]  # background grey, leaf green, lesion red
SIZE, MIN_SIZE = 224, 64  # pixels of a picture's side
OVERSAMPLING = 1.5  # canvas pixels per picture pixel
FIRST_TRAINING_SEED = 1_000_000
MIN_LESION_SHARE = 12 / 224**2  # of the picture: what a diseased leaf shows at least
CHLOROSIS_SIGMA, CHLOROSIS_TRUNCATE = 7.0, 3.0  # pixels of a 224-pixel picture; its reach is 21

# One random generator per part, so that a change to one part leaves all others as they were.
PARTS = ("scene", "outline", "holes", "veins", "tissue", "lesions", "litter", "camera")


class Leaf(NamedTuple):
    """A drawn leaf and its ground truth."""

    picture: np.ndarray  # uint8 [H, W, 3]
    leaf_mask: np.ndarray  # bool [H, W], pixels that show the blade: no stalk, no holes
    lesion_mask: np.ndarray  # bool [H, W], part of leaf_mask, also under dew and dirt
    label: int  # HEALTHY or BLACK_ROT


class Canvas(NamedTuple):
    """The square that everything is drawn on, larger than the picture to come."""

    size: int  # N, in canvas pixels
    picture_size: int  # H and W
    unit: float  # canvas pixels per pixel of a 224-pixel picture
    x: Array  # [N, N], -1 left border to 1 right border
    y: Array  # [N, N], -1 upper border to 1 lower border


class Blade(NamedTuple):
    """A leaf's outline and its own coordinates, [N, N] each; lengths in half leaf lengths."""

    along: Array  # -1 at the stalk, 1 at the tip
    across: Array  # 0 on the midrib, negative on one side
    half_width: Array  # of the blade, at `along`
    scale: float  # canvas pixels per half leaf length
    cover: Array  # 1 on the blade, holes not yet taken out
    stalk: Array  # cover of the stalk
    stalk_across: Array  # -1 and 1 at the two edges of the stalk
    depth: Array  # canvas pixels to the nearest margin, 0 outside

    def random_place(self, rng: Generator, depth: float) -> tuple[float, float]:
        """Centre (x, y) of a canvas pixel at least `depth` canvas pixels inside the margin."""
        rows, columns = np.nonzero(self.depth > depth)
        pick = rng.integers(len(rows))
        return columns[pick] + rng.uniform(-0.5, 0.5), rows[pick] + rng.uniform(-0.5, 0.5)


class Veins(NamedTuple):
    """Cover of the veins by rank, and where a pixel lies between them, [N, N] each."""

    midrib: Array
    side: Array
    net: Array
    distance: Array  # canvas pixels to the nearest side vein
    reach: Array  # 0 on the midrib, 1 at the margin


class Tone(NamedTuple):
    """The colours of one leaf, [3] each, and how bright it is beside the usual leaf (1)."""

    green: Array
    vein: Array
    brightness: float


class Tissue(NamedTuple):
    """A healthy blade and all that is known of it."""

    blade: Blade
    cover: Array  # [N, N], without the holes
    veins: Veins
    tone: Tone


class Lesions(NamedTuple):
    """What the disease made of a blade: its colour, how it sinks in, and where it is."""

    colour: Array  # [N, N, 3]
    height: Array  # [N, N], canvas pixels
    cover: Array  # [N, N]


def draw_leaf(seed: int, label: int, size: int = SIZE) -> Leaf:
    """Draw one leaf; the same seed and label give the same pixels on every machine.

    Args:
        seed: 0 or more.
        label: 0 healthy, 1 black rot; changes the lesions and nothing else.
        size: side of the picture in pixels; the outline of the leaf stays, its details change.

    Raises:
        ValueError: a label or seed that does not exist, or too small a picture.
    """
    _check(seed, label, size)
    rng = {part: np.random.default_rng([seed, number]) for number, part in enumerate(PARTS)}
    canvas = make_canvas(size)
    light = Light(*_unit_vector(rng["scene"]), elevation=rng["scene"].uniform(0.6, 1.1))
    blade = draw_blade(rng["outline"], canvas)
    holes, scars = insect_holes(rng["holes"], canvas, blade)
    veins, tone = draw_veins(rng["veins"], canvas, blade), pick_tone(rng["tissue"])
    tissue = Tissue(blade, blade.cover * (1.0 - holes), veins, tone)
    lesions = living_tissue(rng, canvas, tissue)
    if label == BLACK_ROT:
        lesions = black_rot(rng["lesions"], canvas, tissue, lesions)
    picture = shaded_ground(rng["scene"], canvas, light, tissue)
    picture = blend(picture, lit_blade(rng["tissue"], lesions, scars, tone, light), tissue.cover)
    picture = add_stalk(rng["tissue"], picture, tissue, light)
    picture = add_litter(rng["litter"], picture, canvas, tissue, light)
    picture = photograph(rng["camera"], picture, canvas)
    return Leaf(picture, *ground_truth(canvas, tissue, lesions), int(label))


def _check(seed: int, label: int, size: int) -> None:
    if label not in (HEALTHY, BLACK_ROT):
        raise ValueError(f"label must be 0 (healthy) or 1 (black rot), got {label!r}")
    if seed < 0:
        raise ValueError(
            f"seed must be 0 or more, got {seed}; the shipped pictures have 0 to 499, "
            f"those for training networks {FIRST_TRAINING_SEED} and more"
        )
    if size < MIN_SIZE:
        raise ValueError(
            f"size must be at least {MIN_SIZE} pixels, got {size}: a lesion would not show; "
            "draw larger and shrink the picture"
        )


def make_canvas(size: int) -> Canvas:
    """Empty canvas for a picture of `size` pixels."""
    n = round(size * OVERSAMPLING)
    y, x = (np.mgrid[0:n, 0:n] + 0.5) * (2.0 / n) - 1.0
    return Canvas(n, size, n / SIZE, x, y)


def ground_truth(canvas: Canvas, tissue: Tissue, lesions: Lesions) -> tuple[Array, Array]:
    """Leaf mask and lesion mask, bool [H, W], the second a part of the first."""
    leaf_mask = downsample(tissue.cover, canvas.picture_size) > 0.5
    diseased = downsample(lesions.cover * tissue.cover, canvas.picture_size) > 0.4
    return leaf_mask, leaf_mask & diseased


def _unit_vector(rng: Generator) -> tuple[float, float]:
    angle = rng.uniform(0.0, 2.0 * np.pi)
    return np.cos(angle), np.sin(angle)


# Background


def shaded_ground(rng: Generator, canvas: Canvas, light: Light, tissue: Tissue) -> Array:
    """Paper, cloth, soil, grass or wood, unevenly lit, with the shadow of the leaf on it."""
    kind = rng.choice(list(MATERIALS), p=[0.38, 0.22, 0.2, 0.1, 0.1])
    ground = MATERIALS[kind](rng, canvas.size, light)
    slope_x, slope_y = rng.normal(0.0, 0.06, 2)
    ground = tinted(ground, 1.0 + slope_x * canvas.x + slope_y * canvas.y)
    drop = rng.uniform(0.008, 0.05) * canvas.size
    softness = rng.uniform(1.5, 2.5 + 0.35 * drop)
    thing = np.maximum(tissue.cover, 0.7 * tissue.blade.stalk)
    shadow = cast_shadow(thing, light, drop, softness)
    return tinted(ground, 1.0 - rng.uniform(0.35, 0.65) * shadow)


# Outline


def draw_blade(rng: Generator, canvas: Canvas) -> Blade:
    """Lay an apple leaf somewhere near the middle, turned and bent at random."""
    length = rng.uniform(0.66, 0.92)  # of the picture
    scale = length * canvas.size / 2
    along, across = _leaf_coordinates(rng, canvas, length)
    half_width = _outline(rng, along, across)
    inside = (half_width - np.abs(across)) * scale  # canvas pixels
    cover = np.where(np.abs(along) < 1.0, smoothstep(-1.0, 1.0, inside), 0.0)
    stalk, stalk_across = _stalk(rng, along, across)
    depth = ndimage.distance_transform_edt(cover > 0.5)
    stalk = stalk * (1.0 - cover)
    return Blade(along, across, half_width, scale, cover, stalk, stalk_across, depth)


def _leaf_coordinates(rng: Generator, canvas: Canvas, length: float) -> tuple[Array, Array]:
    """(along, across): turn, shift and bend the canvas so that the midrib lies on across = 0."""
    upright = rng.random() < 0.5
    turn = rng.normal(-np.pi / 2, 0.35) if upright else rng.uniform(0.0, 2.0 * np.pi)
    shift_x, shift_y = rng.normal(0.0, 0.06, 2)
    x, y = canvas.x - shift_x, canvas.y - shift_y
    along = (x * np.cos(turn) + y * np.sin(turn)) / length
    across = (y * np.cos(turn) - x * np.sin(turn)) / length
    bow, sway = rng.normal(0.0, 0.12), rng.normal(0.0, 0.05)
    across = across - bow * (along**2 - 0.4) - sway * np.sin(3.0 * along)
    return along + 0.6 * bow * across * along, across


def _outline(rng: Generator, along: Array, across: Array) -> Array:
    """Half width [N, N] of the blade: a beta curve with a drawn-out tip, waves and teeth."""
    t = np.clip((along + 1.0) / 2.0, 0.0, 1.0)
    base, tip = rng.uniform(0.48, 0.68), rng.uniform(0.78, 1.15)
    widest = rng.uniform(0.46, 0.66) * (1.0 if rng.random() < 0.8 else 0.85)
    peak = (base / (base + tip)) ** base * (tip / (base + tip)) ** tip
    drawn_out = rng.uniform(0.0, 0.13)  # share of the length that is only a narrow tip
    body = np.clip(t * (1.0 + drawn_out), 0.0, 1.0)
    half_width = widest * body**base * (1.0 - body) ** tip / peak
    if drawn_out > 0.03:
        half_width = np.maximum(half_width, 0.05 * smoothstep(1.0, 0.84, t) * (t > 0.5))
    left, right = across < 0.0, across >= 0.0
    half_width *= 1.0 + rng.normal(0.0, 0.04) * (right * 1.0 - left)  # the halves differ
    n_teeth, tooth = rng.uniform(26, 46), rng.uniform(0.008, 0.028)
    for half in (left, right):
        wave = 0.02 * np.sin(rng.uniform(8.0, 9.0) * t + rng.uniform(0.0, 6.0))
        half_width += half * wave * smoothstep(0.0, 0.2, t) * smoothstep(1.0, 0.8, t)
        half_width += half * tooth * _teeth(rng, t, n_teeth)
    return half_width


def _teeth(rng: Generator, t: Array, n_teeth: float) -> Array:
    """Saw teeth in -0.5..0.5 that point towards the tip, of uneven pitch and size."""
    count = t * n_teeth + 0.3 * np.sin(0.7 * n_teeth * t + rng.uniform(0.0, 6.0)) + rng.random()
    position = count - np.floor(count)  # 0 to 1 within a tooth
    rise, fall = np.sqrt(position / 0.78), (1.0 - position) / 0.22
    size = 1.0 + 0.35 * np.sin(2.3 * np.floor(count) + rng.uniform(0.0, 6.0))
    ends = smoothstep(0.02, 0.12, t) * smoothstep(1.0, 0.93, t)
    return (np.minimum(rise, fall) - 0.5) * size * ends


def _stalk(rng: Generator, along: Array, across: Array) -> tuple[Array, Array]:
    """(cover, across in half widths) of a curved stalk that reaches a little into the blade."""
    length, half_width = rng.uniform(0.15, 0.4), rng.uniform(0.013, 0.02)
    below = 0.06 - 1.0 - along  # 0 just inside the blade, growing outwards
    swollen = 1.0 + 0.5 * smoothstep(0.7 * length, length, below)  # where it sat on the twig
    offset = (across - rng.normal(0.0, 0.25) * below**2) / (half_width * swollen)
    return ((below > 0.0) & (below < length)) * smoothstep(1.3, 0.7, np.abs(offset)), offset


# Veins and relief


def draw_veins(rng: Generator, canvas: Canvas, blade: Blade) -> Veins:
    """Midrib, side veins that curve towards the tip, and a fine net between them."""
    side = np.abs(blade.across)
    reach = np.clip(side / np.maximum(blade.half_width, 1e-3), 0.0, 1.0)
    t = np.clip((blade.along + 1.0) / 2.0, 0.0, 1.0)
    midrib_width = (rng.uniform(1.6, 2.6) * (1.0 - 0.7 * t) + 0.35) * canvas.unit
    midrib = bump(blade.across * blade.scale, midrib_width) * smoothstep(1.0, 0.9, t)
    distance, started = _side_vein_distance(rng, canvas, blade, side)
    width = (rng.uniform(0.8, 1.3) * (1.0 - 0.55 * reach) + 0.15) * canvas.unit
    veins = bump(distance, width) * smoothstep(1.0, 0.8, reach) * started
    net = np.zeros_like(reach)
    for cells in (30, 60):  # noise passes through 0 along a net of thin lines
        from_line = np.abs(fractal_noise(rng, canvas.size, cells, 1))
        net += 0.55 * np.clip(1.0 - 1.6 * from_line, 0.0, 1.0) ** 4
    return Veins(midrib, veins, net, distance, reach)


def _side_vein_distance(
    rng: Generator, canvas: Canvas, blade: Blade, side: Array
) -> tuple[Array, Array]:
    """(canvas pixels to the nearest side vein, 1 where side veins exist)."""
    lean, curve = rng.uniform(0.65, 1.0), rng.uniform(0.35, 0.8)
    per_length = rng.uniform(3.4, 5.2)
    # Where on the midrib a vein through here would start.
    root = blade.along - lean * side - curve * side**2
    spread = root + 0.08 * root**2  # wider apart towards the tip
    count = spread * per_length + 0.06 * fractal_noise(rng, canvas.size, 4, 2)
    for half in (blade.across < 0.0, blade.across >= 0.0):  # the two sides alternate
        count += half * (rng.random() + 0.12 * np.sin(5.0 * spread + rng.uniform(0.0, 6.0)))
    fraction = np.abs(count - np.round(count)) / per_length
    slant = np.sqrt(1.0 + (lean + 2.0 * curve * side) ** 2)
    return fraction / slant * blade.scale, root > -1.05


def blade_relief(rng: Generator, canvas: Canvas, blade: Blade, veins: Veins) -> Array:
    """Height [N, N]: cushions between sunken veins on a gently rolling, folded blade."""
    unit, n = canvas.unit, canvas.size
    cushion = np.minimum(1.0, veins.distance / (4.5 * unit)) ** 0.8 * (1.0 - 0.5 * veins.reach)
    height = rng.uniform(0.6, 1.5) * unit * cushion - 0.35 * unit * veins.net
    height -= 1.6 * unit * bump(blade.across * blade.scale, 7.0 * unit)
    height += rng.uniform(0.01, 0.025) * n * fractal_noise(rng, n, 2, 2, 0.45)
    fold = rng.uniform(-0.12, 0.35)  # slope of the two halves, up from the midrib
    height += fold * np.abs(blade.across) * blade.scale
    curled = smoothstep(10.0 * unit, 0.0, blade.depth) * fractal_noise(rng, n, 7, 1)
    return height - rng.uniform(0.0, 1.5) * unit * curled


# Colour


def living_tissue(rng: dict[str, Generator], canvas: Canvas, tissue: Tissue) -> Lesions:
    """Colour and relief of the blade while it has no lesion."""
    height = blade_relief(rng["veins"], canvas, tissue.blade, tissue.veins)
    colour = tissue_colour(rng["tissue"], canvas, tissue.veins, tissue.tone)
    return Lesions(colour, height, np.zeros_like(height))


def pick_tone(rng: Generator) -> Tone:
    """Green and vein colour of one leaf."""
    hue = rng.normal(0.265, 0.03)
    saturation, value = rng.uniform([0.3, 0.36], [0.62, 0.58])
    paler, brighter = rng.uniform(0.55, 0.8), rng.uniform(1.25, 1.5)
    vein = hsv(hue - rng.uniform(0.02, 0.06), saturation * paler, value * brighter)
    return Tone(hsv(hue, saturation, value), vein, value / 0.47)


def tissue_colour(rng: Generator, canvas: Canvas, veins: Veins, tone: Tone) -> Array:
    """Healthy tissue [N, N, 3]: mottled green, sometimes yellowing or reddish, with its veins."""
    n = canvas.size
    mottle = 0.07 * fractal_noise(rng, n, 3, 3, 0.6) + 0.05 * fractal_noise(rng, n, 24, 3, 0.8)
    colour = tinted(tone.green, 1.0 + mottle)
    warmth = 0.05 * fractal_noise(rng, n, 4, 2)
    colour *= 1.0 + warmth[..., None] * np.array([1.2, 0.2, -0.8])
    if rng.random() < 0.35:
        colour = _yellowing(rng, canvas, colour, veins, tone)
    if rng.random() < 0.12:
        colour = _reddening(rng, canvas, colour, veins, tone)
    colour = blend(colour, tone.vein, np.clip(0.55 * veins.side + 0.13 * veins.net, 0.0, 1.0))
    return blend(colour, 1.04 * tone.vein, 0.85 * veins.midrib)


def _yellowing(rng: Generator, canvas: Canvas, colour: Array, veins: Veins, tone: Tone) -> Array:
    """Yellow patches, between the side veins and more towards the margin."""
    hue, saturation, value = rng.uniform([0.13, 0.45, 0.517], [0.19, 0.65, 0.6345])
    patches = fractal_noise(rng, canvas.size, 2, 3)
    where = patches + rng.uniform(0.0, 1.2) * veins.reach - 0.35 * veins.side
    yellowed = smoothstep(0.2, 1.6, where) * rng.uniform(0.3, 0.9)
    return blend(colour, hsv(hue, saturation, value * tone.brightness), yellowed)


def _reddening(rng: Generator, canvas: Canvas, colour: Array, veins: Veins, tone: Tone) -> Array:
    """Red patches, more towards the margin."""
    hue, saturation = rng.uniform([0.98, 0.3], [1.06, 0.45])
    where = fractal_noise(rng, canvas.size, 2, 3) + veins.reach
    reddened = smoothstep(0.0, 1.6, where) * rng.uniform(0.2, 0.5)
    return blend(colour, hsv(hue, saturation, 0.4 * tone.brightness), reddened)


def lit_blade(rng: Generator, lesions: Lesions, scars: Array, tone: Tone, light: Light) -> Array:
    """Shade the blade; living tissue is waxy and shines, dead tissue is matt."""
    colour = blend(lesions.colour, hsv(0.1, 0.4, 0.42 * tone.brightness), scars)
    normals = surface_normals(lesions.height)
    matt = np.clip(0.38 + 0.62 * diffuse_light(normals, light), 0.15, 1.7)
    gloss = glossy_light(normals, light, rng.uniform(18, 45)) * (1.0 - 0.8 * lesions.cover)
    return tinted(colour, matt) + (rng.uniform(0.03, 0.22) * gloss)[..., None]


def add_stalk(rng: Generator, picture: Array, tissue: Tissue, light: Light) -> Array:
    """Lay the rounded stalk on the picture, reddening towards its end."""
    blade = tissue.blade
    end = smoothstep(-1.0, -1.4, blade.along) * rng.random()
    red = hsv(rng.uniform(0.0, 0.08), 0.4, 0.4)
    colour = blend(np.broadcast_to(0.85 * tissue.tone.vein, picture.shape), red, end)
    rounded = 1.0 + 0.35 * np.clip(blade.stalk_across, -1.0, 1.0) * np.sign(light.y)
    return blend(picture, tinted(colour, rounded), blade.stalk)


# Black rot


def black_rot(rng: Generator, canvas: Canvas, tissue: Tissue, healthy: Lesions) -> Lesions:
    """Infect a healthy blade; start again in the rare case that holes leave too little to see."""
    while True:
        lesions = Lesions(*(field.copy() for field in healthy))
        _infect(rng, canvas, tissue, lesions)
        _, lesion_mask = ground_truth(canvas, tissue, lesions)
        if lesion_mask.mean() >= MIN_LESION_SHARE:
            return lesions


def _infect(rng: Generator, canvas: Canvas, tissue: Tissue, lesions: Lesions) -> None:
    """Paint a light, middling or severe attack, in place."""
    severity = rng.choice(3, p=[0.3, 0.45, 0.25])
    n_spots = rng.integers((1, 4, 10)[severity], (4, 10, 22)[severity])
    hue, usual_radius = rng.uniform(0.05, 0.09), rng.uniform(0.016, 0.030) * canvas.size
    for _ in range(n_spots):
        x, y = tissue.blade.random_place(rng, 2.5 * canvas.unit)
        radius = usual_radius * np.exp(rng.normal(0.0, 0.38))
        radius = np.clip(radius, 0.010 * canvas.size, 0.06 * canvas.size)
        eye = spot(rng, canvas.size, x, y, radius, wobble=0.1, harmonics=(2, 3, 4, 5, 7), reach=2.3)
        frog_eye(rng, canvas, tissue, lesions, eye, hue)
    if rng.random() < 0.4:
        necrosis(rng, canvas, tissue, lesions, hue)
    lesions.cover[...] *= tissue.blade.cover
    if rng.random() < 0.3 + 0.2 * severity:
        chlorosis(canvas, tissue.tone, lesions)


def frog_eye(
    rng: Generator, canvas: Canvas, tissue: Tissue, lesions: Lesions, eye: Spot, hue: float
) -> None:
    """Paint one spot of black rot, tan within a purple-dark rim within a pale halo, in place."""
    brightness = tissue.tone.brightness
    grain = ndimage.gaussian_filter(rng.standard_normal(eye.distance.shape), canvas.unit / 1.5)
    d = eye.distance + 0.105 * grain * np.clip(eye.distance, 0.0, 1.0)
    texture = 1.0 + 0.27 * grain - 0.12 * tissue.veins.side[eye.area]
    inside = _eye_colours(rng, canvas, d, texture, hue, brightness)
    body = smoothstep(1.1, 0.95, d)
    halo = smoothstep(rng.uniform(1.25, 1.75), 1.0, d) * rng.uniform(0.1, 0.55)
    yellow = hsv(rng.uniform(0.12, 0.17), 0.5, 0.62 * brightness)
    paint(lesions.colour, eye, yellow, halo * (1.0 - body))
    paint(lesions.colour, eye, inside, body * rng.uniform(0.88, 1.0))
    # Dead tissue shrinks: the centre sinks in and leaves the rim standing.
    lesions.height[eye.area] += 0.5 * canvas.unit * (bump(d - 0.9, 0.25) - smoothstep(0.9, 0.5, d))
    np.maximum(lesions.cover[eye.area], smoothstep(1.16, 1.0, d), out=lesions.cover[eye.area])


def _eye_colours(
    rng: Generator, canvas: Canvas, d: Array, texture: Array, hue: float, brightness: float
) -> Array:
    """Colours of a spot [h, w, 3]; `d` is 0 in its centre and 1 on its outline."""
    purple, saturation, value = rng.uniform([0.93, 0.3, 0.16], [1.03, 0.55, 0.27])
    dark = hsv(purple, saturation, value * brightness)
    colours = tinted(_eye_centre(rng, d, dark, hue, brightness), texture)
    if rng.random() < 0.3:
        colours = blend(colours, dark, 0.6 * _fruiting_bodies(rng, canvas, d))
    rim = rng.uniform(0.76, 0.86)
    return blend(colours, dark, smoothstep(rim - 0.13, rim, d) * smoothstep(1.12, 0.98, d))


def _eye_centre(rng: Generator, d: Array, dark: Array, hue: float, brightness: float) -> Array:
    """Tan or greyish, turning brown outwards, often with a concentric ring."""
    redder, saturation, value = rng.uniform([-0.01, 0.28, 0.55], [0.03, 0.48, 0.78])
    tan = hsv(hue + redder, saturation, value * brightness)
    if rng.random() < 0.25:
        tan = hsv(0.09, rng.uniform(0.1, 0.22), rng.uniform(0.5, 0.68) * brightness)
    brown = hsv(hue - 0.01, rng.uniform(0.45, 0.62), rng.uniform(0.34, 0.48) * brightness)
    core = rng.uniform(0.35, 0.7)
    browned = smoothstep(0.7 * core, core, d) * rng.uniform(0.5, 1.0)
    colours = blend(np.broadcast_to(tan, (*d.shape, 3)), brown, browned)
    if rng.random() < 0.45:
        colours = blend(colours, 1.5 * dark, 0.55 * bump(d - rng.uniform(0.3, 0.6), 0.09))
    return colours


def _fruiting_bodies(rng: Generator, canvas: Canvas, d: Array) -> Array:
    """Cover of the fungus's tiny black dots in the centre of a spot."""
    dots = ndimage.gaussian_filter((rng.random(d.shape) < 0.04) * 1.0, 0.37 * canvas.unit)
    return (dots > 0.1) & (d < 0.6)


def necrosis(rng: Generator, canvas: Canvas, tissue: Tissue, lesions: Lesions, hue: float) -> None:
    """Kill a stretch of the margin: brown inwards up to a dark front, in place."""
    dead, edge = _necrotic_margin(rng, canvas, tissue.blade)
    brightness = tissue.tone.brightness
    brown = hsv(hue, rng.uniform(0.35, 0.55), rng.uniform(0.35, 0.55) * brightness)
    mottled = tinted(brown, 1.0 + 0.12 * fractal_noise(rng, canvas.size, 24, 3, 0.8))
    lesions.colour[...] = blend(lesions.colour, mottled, dead)
    front_cover = 0.8 * edge * np.maximum(dead, 0.6 * (edge > 0.3))
    lesions.colour[...] = blend(lesions.colour, hsv(0.98, 0.4, 0.2 * brightness), front_cover)
    np.maximum(lesions.cover, np.maximum(dead, edge > 0.5), out=lesions.cover)


def _necrotic_margin(rng: Generator, canvas: Canvas, blade: Blade) -> tuple[Array, Array]:
    """(cover of the dead stretch, cover of the front along which it meets living tissue)."""
    unit, n = canvas.unit, canvas.size
    rows, columns = np.nonzero((blade.depth > 0.0) & (blade.depth < 2.0))
    pick = rng.integers(len(rows))
    from_centre = np.hypot(*(np.mgrid[0:n, 0:n] - [[[rows[pick]]], [[columns[pick]]]]))
    length, depth = rng.uniform(0.08, 0.2) * n, rng.uniform(0.04, 0.1) * n
    ragged = 1.0 + 0.35 * fractal_noise(rng, n, 8, 3, 0.6)
    front = blade.depth - depth * bump(from_centre, length) * ragged  # negative: dead
    near = (from_centre < 2.2 * length) * blade.cover * (blade.depth > 0.0)
    return smoothstep(unit, -unit, front) * near, bump(front + 0.5 * unit, 2.0 * unit) * near


def chlorosis(canvas: Canvas, tone: Tone, lesions: Lesions) -> None:
    """Yellow the living tissue around the lesions, up to 21 picture pixels away, in place."""
    sigma = CHLOROSIS_SIGMA * canvas.unit
    spread = ndimage.gaussian_filter(lesions.cover, sigma, truncate=CHLOROSIS_TRUNCATE)
    yellowed = np.clip(1.6 * spread, 0.0, 0.6) * (1.0 - lesions.cover)
    lesions.colour[...] = blend(lesions.colour, hsv(0.15, 0.5, 0.56 * tone.brightness), yellowed)


# What befalls both classes


def insect_holes(rng: Generator, canvas: Canvas, blade: Blade) -> tuple[Array, Array]:
    """(cover of holes through the blade, cover of the brown scar around them), often none."""
    holes, scars = np.zeros_like(blade.cover), np.zeros_like(blade.cover)
    n_holes = rng.integers(1, 6) if rng.random() < 0.4 else 0
    for _ in range(n_holes):
        x, y = blade.random_place(rng, 3.0 * canvas.unit)
        radius = rng.uniform(0.01, 0.038) * canvas.size
        bite = spot(rng, canvas.size, x, y, radius, wobble=0.35, harmonics=(2, 3, 4, 6), reach=2.0)
        np.maximum(holes[bite.area], bite.cover, out=holes[bite.area])
        if rng.random() < 0.6:
            scar = rng.uniform(0.4, 0.9) * smoothstep(1.0 + 3.0 / radius, 1.0, bite.distance)
            np.maximum(scars[bite.area], scar, out=scars[bite.area])
    return holes, scars


def add_litter(
    rng: Generator, picture: Array, canvas: Canvas, tissue: Tissue, light: Light
) -> Array:
    """Dirt, residue, dew and a passing shadow, each in only some of the pictures."""
    picture = picture.copy()
    if rng.random() < 0.5:
        dirt_specks(rng, picture, light)
    if rng.random() < 0.2:
        pale_residue(rng, picture, tissue.cover)
    if rng.random() < 0.3:
        dew_drops(rng, picture, canvas, tissue, light)
    if rng.random() < 0.28:
        picture = passing_shadow(rng, picture, canvas)
    return picture


def dirt_specks(rng: Generator, picture: Array, light: Light) -> None:
    """Crumbs of soil anywhere, as dark as a lesion's rim, in place."""
    n = picture.shape[0]
    for _ in range(rng.integers(3, 40)):
        radius = rng.uniform(0.002, 0.012) * n * (2.0 if rng.random() < 0.12 else 1.0)
        speck = spot(rng, n, *rng.uniform(0, n, 2), radius, wobble=0.3)
        colour = hsv(rng.uniform(0.03, 0.1), rng.uniform(0.2, 0.55), rng.uniform(0.08, 0.3))
        paint_pebble(picture, speck, colour, light, opacity=rng.uniform(0.5, 0.95))


def pale_residue(rng: Generator, picture: Array, cover: Array) -> None:
    """Dried spots of spray on the blade, in place."""
    n = picture.shape[0]
    for _ in range(rng.integers(3, 18)):
        stain = spot(rng, n, *rng.uniform(0, n, 2), rng.uniform(0.004, 0.02) * n, wobble=0.25)
        rim = 0.6 + 0.4 * smoothstep(0.4, 0.9, stain.distance)  # what dries last is left there
        opacity = rng.uniform(0.2, 0.6) * stain.cover * rim * cover[stain.area]
        paint(picture, stain, hsv(0.12, 0.1, rng.uniform(0.6, 0.85)), opacity)


def dew_drops(rng: Generator, picture: Array, canvas: Canvas, tissue: Tissue, light: Light) -> None:
    """Scatter drops on the blade, in place."""
    for _ in range(rng.integers(3, 22)):
        x, y = tissue.blade.random_place(rng, 3.0 * canvas.unit)
        radius = rng.uniform(0.006, 0.024) * canvas.size
        drop = spot(rng, canvas.size, x, y, radius, wobble=0.05, reach=1.8)
        dew_drop(picture, drop, tissue.cover[drop.area], light)


def dew_drop(picture: Array, drop: Spot, cover: Array, light: Light) -> None:
    """Lay a lens on the leaf: it magnifies, glows away from the light, and glints; in place."""
    behind = np.hypot(drop.x + 0.35 * light.x, drop.y + 0.35 * light.y)
    picture[drop.area] *= (1.0 - 0.3 * smoothstep(1.45, 0.6, behind) * cover)[..., None]
    towards_light = (drop.x * light.x + drop.y * light.y) * np.clip(drop.distance, 0.0, 1.0)
    glow = 1.12 - 0.5 * towards_light - 0.18 * smoothstep(0.75, 1.0, drop.distance)
    glint = bump(np.hypot(drop.x - 0.42 * light.x, drop.y - 0.42 * light.y), 0.23)
    through = tinted(_magnified(picture, drop), glow) + 0.85 * glint[..., None]
    paint(picture, drop, through, drop.cover * cover)


def _magnified(picture: Array, drop: Spot) -> Array:
    """The window of a drop, as seen through it: enlarged in the middle, true at the outline."""
    pull = 0.45 * (np.clip(drop.distance, 0.0, 1.0) ** 2 - 1.0) * drop.radius  # towards the centre
    rows, columns = np.mgrid[drop.area]
    seen = [rows + drop.y * pull, columns + drop.x * pull]
    channels = np.moveaxis(picture, -1, 0)
    return np.stack(
        [ndimage.map_coordinates(c, seen, order=1, mode="nearest") for c in channels], axis=-1
    )


def passing_shadow(rng: Generator, picture: Array, canvas: Canvas) -> Array:
    """The soft-edged shadow of a twig or a post across everything."""
    angle = rng.uniform(0.0, np.pi)
    offset = canvas.x * np.cos(angle) + canvas.y * np.sin(angle) - rng.uniform(-0.7, 0.7)
    offset += 0.06 * fractal_noise(rng, canvas.size, 3, 2)
    half_width, softness = rng.uniform(0.08, 0.4), rng.uniform(0.02, 0.12)
    shadow = smoothstep(half_width + softness, half_width - softness, np.abs(offset))
    return tinted(picture, 1.0 - rng.uniform(0.25, 0.5) * shadow)


# Camera


def photograph(rng: Generator, picture: Array, canvas: Canvas) -> Array:
    """Expose, shrink, blur and add sensor noise: uint8 [H, W, 3]."""
    white_balance = 1.0 + rng.normal(0.0, 0.03, 3)
    picture = picture * (rng.uniform(0.85, 1.18) * white_balance)
    if rng.random() < 0.5:
        vignette = 1.0 - rng.uniform(0.0, 0.15) * (canvas.x**2 + canvas.y**2)
        picture = tinted(picture, vignette)
    np.clip(picture, 0.0, None, out=picture)
    # Highlights roll off, as on film.
    picture = downsample(1.10 * picture / (1.0 + 0.12 * picture), canvas.picture_size)
    if rng.random() < 0.3:
        blur = rng.uniform(0.3, 0.8) * canvas.picture_size / SIZE
        picture = ndimage.gaussian_filter(picture, (blur, blur, 0))
    return to_uint8(picture + rng.normal(0.0, rng.uniform(0.004, 0.02), picture.shape))


# Shipped pictures


class Shipped(NamedTuple):
    """One picture of the shipped set; `name` has no ending."""

    name: str
    seed: int
    label: int


def shipped() -> Iterator[Shipped]:
    """All 500, in the order of their seeds: part by part, class by class."""
    seed = 0
    for part, n_pictures in N_PICTURES.items():
        for label, class_name in enumerate(CLASSES):
            for number in range(1, n_pictures + 1):
                yield Shipped(f"leaves/{part}/{class_name}/leaf_{number:04d}", seed, label)
                seed += 1


def indexed_mask(leaf: Leaf) -> Array:
    """uint8 [H, W]: 0 background, 1 leaf, 2 lesion."""
    return leaf.leaf_mask.astype(np.uint8) + leaf.lesion_mask


def draw_files(item: Shipped, assets: Path) -> dict[str, dict]:
    """Draw a picture and its mask, write both, and return their entries for the manifest."""
    leaf = draw_leaf(item.seed, item.label)
    mask = indexed_mask(leaf)
    files = {
        f"{item.name}.jpg": (leaf.picture, encode_jpeg(leaf.picture)),
        f"{item.name}_mask.png": (mask, encode_png(coloured(mask, MASK_PALETTE))),
    }
    for name, (_, content) in files.items():
        write_atomically(assets / name, content)
    return {name: checksums(*drawn_file, item.seed) for name, drawn_file in files.items()}


def encode_jpeg(picture: Array) -> bytes:
    """JPEG with full colour resolution: a lesion's rim is one or two pixels wide."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=90, subsampling=0, optimize=True)
    return content.getvalue()


def fresh_leaves(n: int) -> Iterator[Image.Image]:
    """Leaves for training, healthy and diseased in turn."""
    for number in range(n):
        yield Image.fromarray(draw_leaf(FIRST_TRAINING_SEED + number, number % 2).picture)


def main() -> None:
    """Command line."""
    arguments = read_arguments("Draw apple leaves, healthy or with black rot.", "leaves")
    if n := arguments.sample:
        write_sheet((arguments.out or Path()) / "leaves_sheet.png", fresh_leaves(n), n)
        return
    assets = arguments.out or ASSETS
    tasks = [partial(draw_files, item, assets) for item in shipped()]
    draw_all(tasks, SCRIPT, assets, arguments.jobs)


if __name__ == "__main__":
    main()
