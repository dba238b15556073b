"""Draw monuments of three styles, know their parts to the pixel, and simulate who looks where.

    python -m data_scripts.make_heritage                # all that ships, labkit/assets/heritage/
    python -m data_scripts.make_heritage --sample 24    # only two sheets, heritage_sheet.png and
                                                        # gaze_sheet.png

They stand in for MexCulture142 (Montoya Obeso et al. 2018), whose folders, file names and formats
they keep: 142 Mexican monuments, pre-Hispanic, colonial or modern, in two pictures each, with the
gaze of 23 subjects. Nothing of it is copied: no monument here exists, and no person looked. The
gaze is simulated, and `data_scripts.heritage.gaze` says how.

The style changes the monument and nothing else: a seed gives the same place, light, sky, ground,
plants, passers-by and camera for all three styles, and the styles share their colours. One seed is
one monument; its two views differ in all of these.

Three more pictures show two monuments of different styles side by side: streets, without gaze.

Seeds: 0..23 are the shipped monuments (pre-Hispanic 0..7, colonial 8..15, modern 16..23), 24..26
the streets; those from 1_000_000 on are kept for training networks, which therefore never see a
shipped monument.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw
from scipy import ndimage

from data_scripts.drawing import GAMMA, Array, downsample, hsv, smoothstep, to_uint8
from data_scripts.heritage.colonial import draw_colonial
from data_scripts.heritage.daylight import Daylight, Sky, draw_daylight
from data_scripts.heritage.facades import STYLES, Room, shifted
from data_scripts.heritage.gaze import simulate_scanpaths
from data_scripts.heritage.modern import draw_modern
from data_scripts.heritage.prehispanic import draw_prehispanic
from data_scripts.heritage.raycast import (
    Coat,
    Fragments,
    Surface,
    Trace,
    View,
    camera,
    fragments,
    sun_view,
    sunlit,
    trace,
)
from data_scripts.heritage.surroundings import draw_crowd, draw_ground, draw_growth
from data_scripts.manifest import ASSETS, sha256
from data_scripts.shipping import (
    checksums,
    coloured,
    draw_all,
    encode_png,
    read_arguments,
    write_sheet,
)
from labkit.files import write_atomically
from labkit.metrics.gaze import density_map

SCRIPT = "data_scripts/make_heritage.py"
DRAW_MONUMENT = (draw_prehispanic, draw_colonial, draw_modern)  # in the order of STYLES
N_MONUMENTS, N_VIEWS = 8, 2  # shipped: monuments a style, pictures a monument
STREETS = {24: (1, 2), 25: (2, 0), 26: (0, 1)}  # shipped: seed, styles from left to right
PART_PALETTE = [40, 40, 48, 230, 160, 60, 70, 140, 220, 220, 70, 70, 110, 190, 90, 170, 110, 200]
SIZE, MIN_SIZE = 224, 64  # pixels of a picture's side
OVERSAMPLING = 1.75  # canvas pixels per picture pixel
SHADOW_SIZE, SHADOW_RADIUS = 384, 40.0  # pixels and metres of what the sun sees
SHADOW_BIAS = 0.3  # metres
HORIZON = 150.0  # metres beyond which all is far away
FIRST_TRAINING_SEED = 1_000_000

# One random generator per part, so that a change to one part leaves all others as they were.
PARTS = ("camera", "daylight", "ground", "growth", "crowd", "film")


class Building(NamedTuple):
    """A picture of a monument and its ground truth."""

    picture: np.ndarray  # uint8 [H, W, 3]
    parts: np.ndarray  # uint8 [H, W]: 0 no part, then an index into PART_NAMES[style], plus 1
    style: int  # index into STYLES


class Street(NamedTuple):
    """A picture of two monuments side by side and its ground truth."""

    picture: np.ndarray  # uint8 [H, W, 3]
    parts: np.ndarray  # uint8 [H, W], as in Building, each monument by its own style
    masks: np.ndarray  # bool [2, H, W], what is seen of the left and of the right monument
    styles: tuple[int, int]


class Shot(NamedTuple):
    """A picture, and what its canvas shows."""

    picture: np.ndarray  # uint8 [H, W, 3]
    monument: Array  # [N, N], 0 none, then 1, 2, ... in the order given
    part: Array  # [N, N], of that monument


def draw_building(seed: int, style: int, size: int = SIZE, view: int = 0) -> Building:
    """Draw one monument; the same arguments give the same pixels on every machine.

    Args:
        seed: 0 or more; the same monument for the same seed and style.
        style: 0 pre-Hispanic, 1 colonial, 2 modern; changes the monument and nothing else.
        size: side of the picture in pixels.
        view: 0 or 1, two pictures of the monument from other places on other days.

    Raises:
        ValueError: a style, seed or view that does not exist, or too small a picture.
    """
    _check(seed, (style,), size, view)
    room = _draw_room(seed)
    monument = DRAW_MONUMENT[style](_monument_generator(seed, style), room)
    shot = photograph(seed, view, [monument], size)
    return Building(shot.picture, _part_mask(shot.part, size), style)


def draw_street(seed: int, styles: tuple[int, int], size: int = SIZE, view: int = 0) -> Street:
    """Draw two monuments side by side, on the ground and under the sky of one seed.

    Args:
        seed: 0 or more.
        styles: of the left and of the right monument; they may be the same.
        size: side of the picture in pixels.
        view: 0 or 1, as in `draw_building`.

    Raises:
        ValueError: a style, seed or view that does not exist, or too small a picture.
    """
    _check(seed, styles, size, view)
    width, height = _draw_room(seed)
    room, aside = Room(0.56 * width, 0.8 * height), 0.3 * width
    monuments = []
    for place, style in enumerate(styles):
        surfaces = DRAW_MONUMENT[style](_monument_generator(seed, style, place), room)
        monuments.append([shifted(surface, aside * (2 * place - 1)) for surface in surfaces])
    shot = photograph(seed, view, monuments, size)
    masks = [_mask(shot.monument == number, size) for number in (1, 2)]
    return Street(shot.picture, _part_mask(shot.part, size), np.stack(masks), tuple(styles))


def _check(seed: int, styles: tuple[int, ...], size: int, view: int) -> None:
    for style in styles:
        if style not in range(len(STYLES)):
            raise ValueError(
                f"style must be 0 (pre-Hispanic), 1 (colonial) or 2 (modern), got {style!r}"
            )
    if seed < 0:
        raise ValueError(
            f"seed must be 0 or more, got {seed}; the shipped pictures have 0 to 26, "
            f"those for training networks {FIRST_TRAINING_SEED} and more"
        )
    if view not in range(N_VIEWS):
        raise ValueError(f"view must be 0 or 1, got {view!r}: a monument has two pictures")
    if size < MIN_SIZE:
        raise ValueError(
            f"size must be at least {MIN_SIZE} pixels, got {size}: the parts would not show; "
            "draw larger and shrink the picture"
        )


def _monument_generator(seed: int, style: int, place: int = 0) -> Generator:
    return np.random.default_rng([seed, N_VIEWS + 1 + style, place])


def _draw_room(seed: int) -> Room:
    """The same for all styles, so that size does not tell them."""
    rng = np.random.default_rng([seed, N_VIEWS])
    return Room(*rng.uniform((26.0, 17.0), (34.0, 24.0)))


def _mask(cover: Array, size: int) -> Array:
    """Where more than half of a picture pixel is covered on the canvas, bool [H, W]."""
    return downsample(cover.astype(float), size) > 0.5


def _part_mask(part: Array, size: int) -> Array:
    """uint8 [H, W], the part that fills more than half of a pixel."""
    mask = np.zeros((size, size), np.uint8)
    for index in range(1, part.max() + 1):
        mask[_mask(part == index, size)] = index
    return mask


# Taking the picture


def photograph(seed: int, view: int, monuments: list[list[Surface]], size: int) -> Shot:
    """Put monuments into the surroundings of a seed and a view, and take a picture."""
    rng = {part: np.random.default_rng([seed, view, k]) for k, part in enumerate(PARTS)}
    eye, daylight = draw_camera(rng["camera"], size, view), draw_daylight(rng["daylight"])
    growth = draw_growth(rng["growth"], eye, daylight.towards_sun)
    crowd, ground = draw_crowd(rng["crowd"], eye), draw_ground(rng["ground"])
    built = [surface for monument in monuments for surface in monument]
    things = [*built, ground, *growth.cards(eye), *crowd.cards(eye)]
    seen = trace(eye, things)
    centre = np.array([0.0, 0.0, 6.0])
    sun = sun_view(daylight.towards_sun, centre, SHADOW_RADIUS, SHADOW_SIZE)
    shade = trace(sun, [*built, *growth.cards(sun), *crowd.cards(sun)])
    crease = creases(seen.depth)
    light = distance(eye, daylight.sky, seen).reshape(-1, 3)
    for material, shown in fragments(eye, seen, things):
        coat, sunny = material(shown, daylight), sunlit(sun, shade, shown, SHADOW_BIAS)
        light[shown.pixel] = radiance(shown, coat, daylight, sunny, crease.flat[shown.pixel], eye)
    picture = develop(rng["film"], light.reshape(*seen.depth.shape, 3), size)
    return Shot(picture, *_owners(seen, monuments))


def _owners(seen: Trace, monuments: list[list[Surface]]) -> tuple[Array, Array]:
    """Number of the monument and of its part that each canvas pixel shows, 0 for none."""
    others = len(seen.frames.height) - sum(map(len, monuments)) + 1  # 1 for the sky, index -1
    number = [k for k, surfaces in enumerate(monuments, start=1) for _ in surfaces]
    part = [surface.part for surfaces in monuments for surface in surfaces]
    return tuple(np.array(values + [0] * others)[seen.surface] for values in (number, part))


def draw_camera(rng: Generator, size: int, view: int) -> View:
    """In front of the monument, to the right for view 0, to the left for view 1."""
    azimuth = rng.uniform(0.08, 0.8) * (1.0, -1.0)[view]
    distance, width = rng.uniform((58.0, 36.0), (100.0, 48.0))
    eye = 1.7 if rng.random() < 0.6 else rng.uniform(3.0, 14.0)
    pitch = np.clip(rng.normal(0.03, 0.03), -0.02, 0.1)
    away = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    half = width / 2.0 / distance
    # The foot of the monument, `eye` below the horizon, comes to lie this high in the picture.
    foot = rng.uniform(0.16, 0.28) * 2.0 * half
    bottom, aside = -np.tan(pitch) - eye / distance - foot, rng.normal(0.0, 0.05) * half
    return camera(
        origin=eye * up - distance * away,
        forward=np.cos(pitch) * away + np.sin(pitch) * up,
        roll=rng.normal(0.0, 0.012),
        x=(aside - half, aside + half),
        y=(bottom, bottom + 2.0 * half),
        n=2 * round(size * OVERSAMPLING / 2.0),
    )


def distance(eye: View, sky: Sky, seen: Trace) -> Array:
    """[N, N, 3], the sky and what stands on the horizon, at half the canvas's resolution."""
    n = len(eye.x) // 2
    blank = np.any(seen.surface.reshape(n, 2, n, 2) < 0, axis=(1, 3))
    rows, columns = np.nonzero(blank)
    light = np.zeros((n, n, 3))
    light[blank] = sky.light(eye.directions(4 * n * rows + 2 * columns))
    return light.repeat(2, axis=0).repeat(2, axis=1)


def creases(depth: Array) -> Array:
    """[N, N], how much of the sky's light reaches each pixel: less where its surroundings are near.

    After Luft, Colditz and Deussen, "Image Enhancement by Unsharp Masking the Depth Buffer",
    SIGGRAPH 2006, https://doi.org/10.1145/1141911.1142016. Differs from the paper: only darkens.
    """
    n = len(depth) // 2
    coarse, open_sky = np.minimum(depth[::2, ::2], HORIZON), np.ones((n, n))
    # Where something stands far before something else is no crease.
    step = coarse - ndimage.minimum_filter(coarse, 2 * int(0.06 * n) + 1)
    same = smoothstep(9.0, 4.0, step)
    for spread in (0.008, 0.025):  # of the picture
        around = ndimage.gaussian_filter(coarse, spread * n, truncate=2.5)
        open_sky *= 1.0 - 0.35 * same * np.clip((coarse - around) / (30.0 * spread), 0.0, 1.0)
    return open_sky.repeat(2, axis=0).repeat(2, axis=1)


def radiance(
    shown: Fragments, coat: Coat, daylight: Daylight, sunny: Array, crease: Array, eye: View
) -> Array:
    """Light [n, 3] that fragments send to the eye: of the sun, the sky, the ground, and the air."""
    normal = shown.normal if coat.normal is None else coat.normal
    sun = np.clip(normal @ daylight.towards_sun, 0.0, None) * sunny * coat.sunlit
    up = (0.5 + 0.5 * normal[:, 2])[:, None]
    ambient = (daylight.below + up * (daylight.above - daylight.below)) * crease[:, None]
    light = coat.albedo * (sun[:, None] * daylight.sun + ambient) + coat.glow
    away = shown.grain / eye.step  # metres
    air = 1.0 - np.exp(-daylight.haze * away / 100.0)
    return light + air[:, None] * (0.8 * daylight.sky.horizon - light)


def develop(rng: Generator, light: Array, size: int) -> Array:
    """Expose, shrink, blur a little, and add sensor noise: uint8 [H, W, 3]."""
    white_balance = 1.0 + rng.normal(0.0, 0.025, 3)
    picture = downsample(light * (rng.uniform(0.95, 1.22) * white_balance), size)
    blur = rng.uniform(0.2, 0.45) * size / SIZE
    picture = ndimage.gaussian_filter(picture, (blur, blur, 0), truncate=3.0)
    y, x = np.mgrid[0:size, 0:size] * (2.0 / (size - 1)) - 1.0
    picture *= (1.0 - rng.uniform(0.0, 0.12) * (x * x + y * y))[..., None]  # vignette
    np.clip(picture, 0.0, None, out=picture)
    # Highlights roll off, as on film.
    picture *= 1.12 * (1.0 + picture / 2.2) / (1.0 + picture)
    picture **= 1.0 / GAMMA
    picture = 0.48 + (picture - 0.48) * rng.uniform(1.1, 1.35)
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * rng.uniform(0.9, 1.3)
    return to_uint8(picture + rng.normal(0.0, rng.uniform(0.002, 0.007), picture.shape))


# Shipped files


class Shipped(NamedTuple):
    """One picture of the shipped set."""

    seed: int
    style: int
    view: int

    def file(self, folder: str, kind: str = "", ending: str = "png", who: str = "") -> str:
        """A file's name by MexCulture142's pattern, SSS_XXX_YYY_kind_N_#."""
        monument = f"{STYLES[self.style]}_Monument{self.seed + 1:02d}_Generated"
        return f"heritage/{folder}/{monument}_{kind}N_{self.view + 1}{who}.{ending}"


def shipped() -> Iterator[Shipped]:
    """All pictures, style by style, monument by monument."""
    for seed in range(N_MONUMENTS * len(STYLES)):
        for view in range(N_VIEWS):
            yield Shipped(seed, seed // N_MONUMENTS, view)


def draw_files(item: Shipped, assets: Path) -> dict[str, dict]:
    """Draw a picture and simulate its gaze, write all files, return their manifest entries."""
    building = draw_building(item.seed, item.style, view=item.view)
    scanpaths = simulate_scanpaths(building.parts, item.style, N_VIEWS * item.seed + item.view)
    density = density_picture(scanpaths, building.parts.shape)
    images = {
        item.file("Images"): (building.picture, Image.fromarray(building.picture)),
        item.file("Part Masks", "Parts_"): (building.parts, coloured(building.parts, PART_PALETTE)),
        item.file("Density Maps", "GFDM_"): (density, Image.fromarray(density)),
    }
    contents = {name: encode_png(image) for name, (_, image) in images.items()}
    contents[item.file("Fixations", "GazeFix_", "txt")] = fixation_lines(scanpaths)
    for number, scanpath in enumerate(scanpaths, start=1):
        name = item.file("Scanpaths", "ScanPath_", "txt", f"_P_{number:02d}")
        contents[name] = scanpath_lines(scanpath)
    for name, content in contents.items():
        write_atomically(assets / name, content)
    entries = {name: {"sha256": sha256(content)} for name, content in contents.items()}
    for name, (drawn, _) in images.items():
        entries[name] |= {"drawn_sha256": sha256(drawn), "seed": item.seed}
    return entries


def draw_street_files(seed: int, assets: Path) -> dict[str, dict]:
    """Draw a street, write its picture and which monument is where, return their entries."""
    street = draw_street(seed, STREETS[seed])
    which = np.where(street.masks[0], 1, np.where(street.masks[1], 2, 0)).astype(np.uint8)
    left, right = (STYLES[style] for style in street.styles)
    entries = {}
    for kind, drawn in (("", street.picture), ("_Masks", which)):
        name = f"streets/{left}_{right}_Generated{kind}.png"
        content = encode_png(coloured(drawn, PART_PALETTE) if kind else Image.fromarray(drawn))
        write_atomically(assets / name, content)
        entries[name] = checksums(drawn, content, seed)
    return entries


def density_picture(scanpaths: list[Array], size: tuple[int, int]) -> Array:
    """uint8 [H, W], Wooding's density map of all subjects' fixations, 255 at its maximum."""
    places = np.concatenate(scanpaths)[:, :2]
    return to_uint8(density_map(places, size).double().numpy())


def fixation_lines(scanpaths: list[Array]) -> bytes:
    """A line "x y" for every fixation of every subject."""
    return "".join(f"{x:.1f} {y:.1f}\n" for path in scanpaths for x, y, _ in path).encode()


def scanpath_lines(scanpath: Array) -> bytes:
    """A line "x y seconds" for every fixation of one subject."""
    return "".join(f"{x:.1f} {y:.1f} {seconds:.3f}\n" for x, y, seconds in scanpath).encode()


# Contact sheets


def fresh(number: int) -> Building:
    """A monument for training: both views of one, then the next, the styles in turn."""
    seed, view = divmod(number, N_VIEWS)
    return draw_building(FIRST_TRAINING_SEED + seed, seed % len(STYLES), view=view)


def gaze_rows(n: int) -> Iterator[Image.Image]:
    """Some fresh monuments; under each its parts, fixations with a scan path, and density."""
    columns = [gaze_pictures(fresh(N_VIEWS * column), column) for column in range(n)]
    for row in zip(*columns, strict=True):
        yield from row


def gaze_pictures(building: Building, seed: int) -> Iterator[Image.Image]:
    """The picture, its parts, the fixations of all subjects with one scan path, the density."""
    yield Image.fromarray(building.picture)
    parts = coloured(building.parts, PART_PALETTE).convert("RGB")
    yield Image.blend(Image.fromarray(building.picture), parts, 0.6)
    scanpaths = simulate_scanpaths(building.parts, building.style, seed)
    yield fixation_picture(building, scanpaths)
    density = density_picture(scanpaths, building.parts.shape)[..., None] / 255.0
    lit = building.picture * (0.3 + 0.7 * density) + density * [110.0, 35.0, 0.0]
    yield Image.fromarray(to_uint8(lit / 255.0))


def fixation_picture(building: Building, scanpaths: list[Array]) -> Image.Image:
    """A dot for each fixation, by its duration, of a colour for each subject; the first's path."""
    picture = Image.fromarray(building.picture // 2 + 100)
    draw = ImageDraw.Draw(picture)
    for subject, scanpath in enumerate(scanpaths):
        colour = tuple(to_uint8(hsv(subject / len(scanpaths), 0.75, 0.9)))
        for x, y, seconds in scanpath:
            radius = 6.0 * np.sqrt(seconds)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    draw.line([(x, y) for x, y, _ in scanpaths[0]], fill="white", width=2)
    return picture


def main() -> None:
    """Command line."""
    arguments = read_arguments("Draw monuments and simulate who looks where.", "heritage")
    if n := arguments.sample:
        folder, shown = arguments.out or Path(), min(6, n)
        pictures = (Image.fromarray(fresh(number).picture) for number in range(n))
        write_sheet(folder / "heritage_sheet.png", pictures, n)
        write_sheet(folder / "gaze_sheet.png", gaze_rows(shown), 4 * shown, columns=shown)
        return
    assets = arguments.out or ASSETS
    tasks = [partial(draw_files, item, assets) for item in shipped()]
    tasks += [partial(draw_street_files, seed, assets) for seed in STREETS]
    draw_all(tasks, SCRIPT, assets, arguments.jobs)


if __name__ == "__main__":
    main()
