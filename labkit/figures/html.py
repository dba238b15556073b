"""Pictures and maps, as HTML: one image each, drawn by colour tables and Pillow.

The same in all functions: each picture and map says itself what it shows; `alt`, if given, is a
line that is put before it ("A leaf with black rot."); `caption` stands below the figure; `width` is
at most so many inches. Pictures are `[H, W, 3]` or grey `[H, W]`, relevance is `[H, W]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from labkit.figures import look
from labkit.figures.look import DARK, LEVELS, LIGHT, OVERLAY_STRENGTH, array, limit_of, written
from labkit.figures.panels import LEAST, SIDE, Figure, Panel
from labkit.figures.words import described, place_of, sentence

Map = Tensor | np.ndarray
ZOOM = 4  # how much an inset is enlarged
THUMBNAIL = 110  # CSS pixels at least, where many stand in a row
CLEAR = 255  # the palette's entry for what is not known, and for the gap above a colour bar


def gallery(
    pictures: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    alt: str = "",
    caption: str = "",
    columns: int = 6,
    masks: Sequence[Map | None] | None = None,
    width: float = 9.0,
) -> Figure:
    """Pictures in rows, with a title each.

    Args:
        pictures: `[H, W, 3]` or `[H, W]`.
        titles: one for each picture.
        columns: pictures in a row at most, where there is room.
        masks: bool `[H, W]` or None for each picture; their outline is drawn.

    Raises:
        ValueError: there is no picture, another number of titles, or a mask of another size.
    """
    n = len(pictures)
    if not n or n != len(titles):
        raise ValueError(f"titles must be one a picture, got {len(titles)} for {n} pictures")
    least = THUMBNAIL if min(columns, n) > 4 else LEAST
    panels = [
        picture_panel(
            picture, title, mask, f"Picture {k} of {n}, {title}", colour=(255,) * 3, least=least
        )
        for k, (picture, title, mask) in enumerate(
            zip(pictures, titles, masks or [None] * n, strict=True), 1
        )
    ]
    rows = [panels[k : k + columns] for k in range(0, n, columns)]
    return Figure(rows, alt, caption, width)


def heatmaps(
    picture: np.ndarray, maps: Mapping[str, Map], *, mask: Map | None = None, **settings: Any
) -> Figure:
    """A picture and relevance maps of it, in one row; settings as in `heatmap_rows`."""
    return heatmap_rows([picture], [maps], masks=[mask], **settings)


def heatmap_rows(
    pictures: Sequence[np.ndarray],
    maps: Sequence[Mapping[str, Map]],
    *,
    alt: str = "",
    caption: str = "",
    masks: Sequence[Map | None] | None = None,
    titles: Sequence[str] | None = None,
    root_colours: bool = False,
    same_scale: bool = False,
    difference: bool = False,
    inset: tuple[int, int] | bool = False,
    width: float | None = None,
) -> Figure:
    """A row for each picture: the picture, then its relevance maps, each with its own colour bar.

    Signed maps are drawn in diverging colours around zero, the others from zero upwards; a map's
    colours end at its quantile `LIMIT_QUANTILE`. An outline is full on the picture and on unsigned
    maps, thin and half-transparent on signed ones.

    Args:
        pictures: one for each row.
        maps: for each picture, relevance by name; NaN where nothing is known.
        masks: for each picture bool `[H, W]` or None, outlined on the picture and on its maps.
        titles: one for each picture.
        root_colours: colours grow with the square root of relevance, so that faint parts can be
            seen; the bar is marked at a quarter of its end.
        same_scale: one scale for all maps, and the largest value of each in words.
        difference: of exactly two maps, also what the second has more than the first.
        inset: a place (row, column) of the picture, or True for the largest part of the mask; it is
            drawn again below, enlarged fourfold.

    Raises:
        ValueError: no maps, numbers that do not fit, or shapes that do not.
    """
    _check_rows(pictures, maps, masks, titles, difference)
    masks = masks or [None] * len(pictures)
    titles = titles or ["picture"] * len(pictures)
    rows = []
    known = [array(one).astype(float) for named in maps for one in named.values()]
    shared = _shared_scale(known) if same_scale else None
    for picture, named, mask, title in zip(pictures, maps, masks, titles, strict=True):
        named = {name: array(one).astype(float) for name, one in named.items()}
        more = _difference(named) if difference else {}
        maps_of_it = f"{len(named)} map{'s' * (len(named) > 1)} of it"
        said = f"{title[:1].upper()}{title[1:]}, and beside it {maps_of_it}"
        window = _window(picture, mask, inset)
        rows.append([picture_panel(picture, title, mask, said, window=window)])
        for name, values in {**named, **more}.items():
            scale = shared if name in named else None
            rows[-1].append(map_panel(values, name, mask, root=root_colours, scale=scale))
        if window is not None:
            scales = {name: shared or _shared_scale([v]) for name, v in named.items()}
            rows.append(_enlarged(picture, named, mask, window, scales, root_colours))
    return Figure(rows, alt, caption, width)


def _check_rows(pictures, maps, masks, titles, difference) -> None:  # type: ignore[no-untyped-def]
    if not len(maps) or not all(len(named) for named in maps):
        raise ValueError("maps must name at least one map for each picture, got none")
    for name, given in (("maps", maps), ("masks", masks), ("titles", titles)):
        if given is not None and len(given) != len(pictures):
            raise ValueError(f"{name} must be one a picture, got {len(given)} for {len(pictures)}")
    for named in maps:
        for name, one in named.items():
            if array(one).ndim != 2 or not array(one).size:
                raise ValueError(
                    f"map {name!r} must have shape [H, W], got {list(array(one).shape)}; "
                    "pass one map, without its batch or colour dimension"
                )
        shapes = {array(one).shape for one in named.values()}
        if difference and (len(named) != 2 or len(shapes) > 1):
            raise ValueError(
                f"difference needs exactly two maps of one size, got {len(named)} of {shapes}"
            )


def _shared_scale(maps: Sequence[np.ndarray]) -> tuple[float, bool]:
    """Where the colours of these maps end together, and whether one is signed."""
    return max(map(limit_of, maps)), any(_is_signed(values) for values in maps)


def _is_signed(values: np.ndarray) -> bool:
    return bool(np.nanmin(values) < 0) if np.isfinite(values).any() else False


def _difference(named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    (first, a), (second, b) = named.items()
    return {f"difference: {second} less {first}": b - a}


def map_panel(
    relevance: Map,
    name: str,
    mask: Map | None = None,
    *,
    root: bool = False,
    scale: tuple[float, bool] | None = None,
    colours: str = "",
    side: int = SIDE,
    least: int = LEAST,
    bar: bool = True,
) -> Panel:
    """One map in colours, with its bar; scale is (where colours end, whether it is signed)."""
    values = array(relevance).astype(float)
    limit, signed = scale or _shared_scale([values])
    note = "" if scale is None or not bar else f"largest: {_largest(values)}"
    colours = colours or (look.SIGNED if signed else look.UNSIGNED)
    shown = np.clip(np.nan_to_num(values) / limit, -1, 1)
    shown = np.sign(shown) * np.abs(shown) ** 0.5 if root else shown
    steps = np.round(((shown + 1) / 2 if signed else np.clip(shown, 0, 1)) * (LEVELS - 1))
    pixels = np.where(np.isfinite(values), steps, CLEAR).astype(np.uint8)
    pixels = _enlarge(pixels, side)
    if mask is not None:
        _outline_map(pixels, array(mask).astype(bool), signed)
    ticks = _ticks(limit, signed, root)
    if bar:
        pixels = np.concatenate([pixels, _strip(pixels.shape[1], len(ticks))])
    name = name if np.nan_to_num(values).any() else f"{name}: all zero"
    labels = [written(tick) for tick in ticks] if bar else ()
    same_size = mask is not None and array(mask).shape == values.shape
    said = f"{name}: {described(values, mask if same_size else None)}."
    return Panel(_with_palette(pixels, colours, signed), said, name, labels, note, least, side)


def _largest(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return written(known[np.abs(known).argmax()]) if known.size else "unknown"


def _ticks(limit: float, signed: bool, root: bool) -> list[float]:
    """Values that stand at equal distances below the bar."""
    if signed:
        return [-limit, -limit / 4, 0, limit / 4, limit] if root else [-limit, 0, limit]
    return [0, limit / 4 if root else limit / 2, limit]


def _strip(width: int, n_ticks: int) -> np.ndarray:
    """A gap and the colour bar below a map, with a mark over each label."""
    strip = np.full((26, width), CLEAR, np.uint8)
    strip[8:20] = np.linspace(0, LEVELS - 1, width).round()
    for place in np.linspace(0, width - 2, n_ticks).round().astype(int):
        strip[18:24, place : place + 2] = 2 * LEVELS
    return strip


def _enlarge(values: np.ndarray, side: int) -> np.ndarray:
    """By a whole number, so that the shorter side has about so many pixels."""
    times = max(1, side // min(values.shape[:2]))
    return values.repeat(times, 0).repeat(times, 1)


def _with_palette(pixels: np.ndarray, colours: str, signed: bool) -> Image.Image:
    """Colours, the same below a half-transparent outline, black, cyan, and nothing."""
    table = look.table(colours)[np.linspace(0, 255, LEVELS).round().astype(int)]
    palette = np.full((256, 3), 255, np.uint8)
    palette[:LEVELS], palette[LEVELS : 2 * LEVELS] = table, table // 2
    palette[2 * LEVELS : 2 * LEVELS + 2] = DARK, LIGHT
    picture = Image.fromarray(pixels)
    picture.putpalette(palette.tobytes())
    if (pixels == CLEAR).any():
        picture.info["transparency"] = CLEAR
    return picture


def _outline_map(pixels: np.ndarray, mask: np.ndarray, signed: bool) -> None:
    """Thin and half-transparent on a signed map, whose grains it would hide; else in full."""
    dark, light = _border(mask, pixels.shape, 1)
    if signed:
        pixels[light & (pixels < LEVELS)] += LEVELS
    else:
        pixels[dark], pixels[light] = 2 * LEVELS, 2 * LEVELS + 1


def _border(
    mask: np.ndarray, shape: Sequence[int], thickness: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels just outside and just inside of a mask, brought to a shape."""
    height, width = shape
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    inside = mask[rows][:, columns]
    return _grown(inside, thickness) & ~inside, inside & _grown(~inside, thickness)


def _grown(where: np.ndarray, by: int) -> np.ndarray:
    grown = where.copy()
    grown[by:] |= where[:-by]
    grown[:-by] |= where[by:]
    grown[:, by:] |= where[:, :-by]
    grown[:, :-by] |= where[:, by:]
    return grown


def _as_bytes(picture: np.ndarray) -> np.ndarray:
    """A picture as uint8; grey numbers that are no bytes are stretched from black to white."""
    picture = np.asarray(picture)
    if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] not in (3, 4)):
        raise ValueError(
            f"a picture must have shape [H, W, 3] or [H, W], got {list(picture.shape)}; "
            "make one of a prepared image with model.picture(image)"
        )
    if picture.dtype == np.uint8:
        return picture[..., :3] if picture.ndim == 3 else picture
    values = np.nan_to_num(picture.astype(float))
    if picture.ndim == 2:
        values = (values - values.min()) / (np.ptp(values) or 1.0)
    elif np.issubdtype(picture.dtype, np.integer):
        values = values / 255
    return np.round(np.clip(values, 0, 1)[..., :3] * 255).astype(np.uint8)


def picture_panel(
    picture: np.ndarray,
    title: str,
    mask: Map | None = None,
    said: str = "",
    *,
    colour: tuple[int, ...] = LIGHT,
    window: tuple[int, int, int, int] | None = None,
    least: int = LEAST,
    side: int = SIDE,
) -> Panel:
    """One picture, its mask outlined and a window (top, left, height, width) framed."""
    small = _as_bytes(picture)
    pixels = _enlarge(small, side)
    outlined = ""
    if mask is not None:
        mask = array(mask).astype(bool)
        if mask.shape != small.shape[:2]:
            raise ValueError(
                f"mask must have the picture's size {list(small.shape[:2])}, got "
                f"{list(mask.shape)}; bring it there with model.prepare_mask(mask)"
            )
        if mask.any():
            pixels = np.stack([pixels] * 3, -1) if pixels.ndim == 2 else pixels.copy()
            dark, light = _border(mask, pixels.shape[:2], 2)
            pixels[dark], pixels[light] = DARK, colour
            outlined = f"Outlined: {place_of(mask)}, {mask.mean():.1%} of the picture"
    shown = Image.fromarray(pixels)
    if window is not None:
        times = pixels.shape[0] // small.shape[0]
        top, left, height, width = (times * value for value in window)
        box = (left, top, left + width - 1, top + height - 1)
        ImageDraw.Draw(shown).rectangle(box, outline="white", width=2)
    alt = sentence(said or title, outlined.replace("%", " %"))
    return Panel(shown, alt, title, least=least, most=max(side, min(640, shown.width)))


def _window(
    picture: np.ndarray, mask: Map | None, inset: tuple[int, int] | bool
) -> tuple[int, int, int, int] | None:
    """Top, left, height and width of what is enlarged."""
    if inset is False:
        return None
    height, width = np.asarray(picture).shape[:2]
    if inset is True:
        if mask is None or not array(mask).any():
            raise ValueError("inset=True needs a mask that is not empty; name a (row, column)")
        row, column = _middle_of_largest_part(array(mask).astype(bool))
    else:
        row, column = inset
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(f"inset must lie in the picture of {height} x {width}, got {inset}")
    h, w = max(1, height // ZOOM), max(1, width // ZOOM)
    top, left = (
        min(max(0, at - d // 2), whole - d)
        for at, d, whole in ((row, h, height), (column, w, width))
    )
    return top, left, h, w


def _middle_of_largest_part(mask: np.ndarray) -> tuple[int, int]:
    from scipy.ndimage import label

    parts, _ = label(mask)
    largest = np.bincount(parts[mask]).argmax()
    rows, columns = np.nonzero(parts == largest)
    return int(rows.mean()), int(columns.mean())


def _enlarged(  # type: ignore[no-untyped-def]
    picture, named, mask, window, scales, root
) -> list[Panel]:
    """The window of the picture and of each map that is as large as it, fourfold."""

    def cut(whole: np.ndarray) -> np.ndarray:
        top, left, height, width = window
        return whole[top : top + height, left : left + width]

    size = np.asarray(picture).shape[:2]
    mask = None if mask is None else cut(array(mask))
    title = f"enlarged {ZOOM} times"
    panels = [picture_panel(cut(np.asarray(picture)), title, mask, f"What is framed, {title}")]
    for name, values in named.items():
        if values.shape == size:
            part = map_panel(cut(values), f"{name}, {title}", mask, root=root, scale=scales[name])
            panels.append(part)
    return panels


def overlaid(picture: np.ndarray, relevance: Map, strength: float = OVERLAY_STRENGTH) -> np.ndarray:
    """The map in colours over the grey picture, more opaque where relevance is larger.

    Args:
        picture: uint8 `[H, W, 3]`.
        relevance: `[H, W]`; what is negative is not shown.
        strength: opacity of the largest values, 0 to 1.

    Returns:
        float `[H, W, 3]`, 0 to 1.
    """
    values = np.clip(array(relevance).astype(float), 0, None)
    shown = np.clip(values / limit_of(values), 0, 1)
    grey = np.repeat(picture.mean(axis=-1, keepdims=True) / 255, 3, axis=-1)
    opacity = strength * shown[..., None] ** 0.5
    colours = look.table(look.UNSIGNED)[(shown * 255.999).astype(np.uint8)] / 255
    return (1 - opacity) * grey + opacity * colours


def greener(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How much greener, and less red, each pixel has become: `[H, W]`, -2 to 2, red negative.

    Drawn as a signed map it can be seen by those who do not tell red from green.

    Args:
        before: uint8 `[H, W, 3]`.
        after: the same.
    """
    change = (np.asarray(after, float) - np.asarray(before, float)) / 255
    return change[..., 1] - change[..., 0]


def gaze(
    pictures: Sequence[np.ndarray],
    fixations: Sequence[Tensor | None],
    densities: Sequence[Tensor],
    *,
    titles: Sequence[str],
    alt: str = "",
    caption: str = "",
    scanpaths: Sequence[Tensor | None] | None = None,
) -> Figure:
    """Where people looked: fixations on each picture above, the density map over it below.

    Args:
        pictures: one for each column.
        fixations: for each picture `[N, 2]`, x and y in its pixels; None where they are unknown.
        densities: for each picture `[H, W]`.
        titles: one for each picture.
        scanpaths: for each picture one subject's `[n, 2 or 3]` in order, drawn as a line.
    """
    scanpaths = scanpaths or [None] * len(pictures)
    above = [
        _looked_at(picture, title, points, path)
        for picture, title, points, path in zip(pictures, titles, fixations, scanpaths, strict=True)
    ]
    below = [
        picture_panel(
            overlaid(picture, density, strength=0.8),
            "",
            None,
            f"{title}, its density: {described(density)}",
        )
        for picture, title, density in zip(pictures, titles, densities, strict=True)
    ]
    return Figure([above, below], alt, caption)


def _looked_at(
    picture: np.ndarray, title: str, points: Tensor | None, path: Tensor | None
) -> Panel:
    n = "unknown fixations" if points is None else f"{len(points)} fixations as dots"
    drawn = " and one path as a line" if path is not None else ""
    panel = picture_panel(picture, title, None, f"{title}: the picture with {n}{drawn}")
    draw = ImageDraw.Draw(panel.picture)
    times = panel.picture.width / np.asarray(picture).shape[1]
    for x, y in () if points is None else (array(points)[:, :2] + 0.5) * times:
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), "#F0E442", "black")
    if path is not None:
        places = [tuple(place) for place in (array(path)[:, :2] + 0.5) * times]
        draw.line(places, "white", 2)
        for x, y in places:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), "white")
    return panel


def feature_maps(maps: Tensor, names: Sequence[str], *, alt: str = "", caption: str = "") -> Figure:
    """Feature maps `[K, h, w]` side by side, on one scale, whose bar comes last."""
    scale = (float(maps.max()) or 1.0, False)
    about: dict[str, Any] = {"colours": look.ACTIVATIONS, "side": SIDE // 2, "least": 110}
    panels = [
        map_panel(values, name, scale=scale, bar=False, **about)
        for values, name in zip(maps, names, strict=True)
    ]
    strip = _with_palette(_strip(SIDE // 2, 3)[8:], look.ACTIVATIONS, False)
    labels = [written(tick) for tick in _ticks(*scale, False)]
    said = f"The colour bar of all maps, from {labels[0]} to {labels[-1]}."
    panels.append(Panel(strip, said, "activation", labels, least=110, most=SIDE // 2))
    return Figure([panels[k : k + 8] for k in range(0, len(panels), 8)], alt, caption)


def whole(
    picture: np.ndarray,
    relevance: Tensor,
    crop: Sequence[float],
    *,
    alt: str = "",
    title: str = "",
    caption: str = "",
    strength: float = OVERLAY_STRENGTH,
) -> Figure:
    """A map over the whole picture, and an outline around the part that the network saw.

    `whole(*model.on_whole(relevance, picture), alt=...)` draws what `Classifier.on_whole` returns.

    Args:
        picture: `[H, W, 3]`.
        relevance: `[H, W]`; NaN, where the network did not see the picture, and negative values are
            not shown.
        crop: left, top, width and height of what it saw.
        alt: a line about the picture.
        title: above the picture.
        caption: text below.
        strength: opacity of the largest values, 0 to 1.
    """
    said = f"The map over the whole picture: {described(relevance)}; framed: what the network saw"
    panel = picture_panel(overlaid(picture, relevance.nan_to_num(0.0), strength), title, said=said)
    times = panel.picture.width / picture.shape[1]
    left, top, w, h = (value * times for value in crop)
    draw = ImageDraw.Draw(panel.picture)
    for colour, line in (("black", 4), ("white", 2)):
        draw.rectangle((left, top, left + w - 1, top + h - 1), outline=colour, width=line)
    return Figure([[panel]], alt, caption)
