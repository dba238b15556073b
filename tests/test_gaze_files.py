"""Density maps, part masks and gaze as people save them: read, or refused in words."""

import io

import numpy as np
import pytest
from cases import case
from matplotlib import colormaps
from numpy.testing import assert_allclose
from PIL import Image

from labkit.data import read_density_map, read_gaze, read_part_mask

y, x = np.mgrid[:30, :40]
DENSITY = np.exp(-((x - 25) ** 2 + (y - 10) ** 2) / 80.0)
GREY = (DENSITY * 255).astype(np.uint8)


def rgb(values):
    return np.repeat(values[..., None], 3, axis=-1)


def with_alpha(colours, alpha):
    return np.dstack([colours, np.broadcast_to(alpha, colours.shape[:2]).astype(np.uint8)])


def saved(folder, content, ending="png"):
    """A file with an array, a PIL image or bytes in it."""
    path = folder / f"map.{ending}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif ending == "npy":
        np.save(path, content)
    else:
        image = content if isinstance(content, Image.Image) else Image.fromarray(content)
        image.save(path)
    return path


def palette(values, colours, **settings):
    image = Image.fromarray(values)
    image.putpalette(colours)
    file = io.BytesIO()
    image.save(file, "PNG", **settings)
    return file.getvalue()


def test_a_density_map_is_the_same_in_every_depth_and_grey_format(tmp_path):
    greys = [value for value in range(256) for _ in range(3)]
    cases = [
        ("8 bits", GREY, "png", 0.005),
        ("upper case", GREY, "PNG", 0.005),
        ("16 bits", (DENSITY * 65535).astype(np.uint16), "png", 1e-4),
        ("12 bits in 16", (DENSITY * 4095).astype(np.uint16), "tif", 1e-3),
        ("16 bits, largest 300", (DENSITY * 300).astype(np.uint16), "png", 0.004),
        ("floats that sum to 1", (DENSITY / DENSITY.sum()).astype(np.float32), "tiff", 1e-6),
        ("array", DENSITY / 7, "npy", 1e-6),
        ("equal channels", rgb(GREY), "png", 0.005),
        ("equal channels, opaque", with_alpha(rgb(GREY), 255), "png", 0.005),
        ("grey and opaque", Image.fromarray(with_alpha(GREY, 255), "LA"), "png", 0.005),
        ("grey by a palette that runs downwards", palette(255 - GREY, greys[::-1]), "png", 0.005),
        ("JPEG", rgb(GREY), "jpg", 0.03),
        ("nearly equal channels", rgb(GREY) // 2 + np.array([9, 0, 3], np.uint8), "png", 0.05),
    ]
    for name, content, ending, close in cases:
        with case(name):
            got = read_density_map(saved(tmp_path, content, ending))
            assert (got.dtype.is_floating_point, got.max()) == (True, 1.0)
            assert_allclose(got, DENSITY / DENSITY.max(), atol=close)


def test_the_steps_of_a_deep_map_are_kept(tmp_path):
    # 0, 1, ..., 300 of 65535: rounded to 8 bits, all but two steps would be lost
    got = read_density_map(saved(tmp_path, np.arange(301, dtype=np.uint16)[None]))
    assert_allclose(got[0], np.arange(301) / 300, rtol=1e-6)


def test_what_is_no_grey_map_is_refused_with_the_way_out(tmp_path):
    red = np.zeros((30, 40, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    maps = [
        (colormaps[name](DENSITY)[..., :3] * 255).astype(np.uint8)
        for name in ("jet", "viridis", "hot", "bone")
    ]
    hole = np.where(GREY > 3, 255, 0)
    nan = np.where(DENSITY > 0.5, np.nan, DENSITY).astype(np.float32)
    empty = io.BytesIO()
    np.save(empty, np.zeros((0, 4)))
    cases = [
        *((colours, "png", r"colours \(RGB\).*jet or viridis.*: plt\.imsave") for colours in maps),
        (with_alpha(red, GREY), "png", r"got transparent pixels \(RGBA\), which may hide.*as grey"),
        (Image.fromarray(with_alpha(GREY, hole), "LA"), "png", r"got transparent pixels \(LA\)"),
        (palette(GREY, list(range(256)) * 3, transparency=0), "png", "got transparent pixels"),
        (nan, "tif", r"finite numbers from 0 upwards, not all equal, got nan to nan; save"),
        (-DENSITY, "npy", "got -1 to "),
        (np.zeros((3, 4), np.uint8), "png", "not all equal, got 0 to 0; .*leave it out"),
        (np.full((3, 4), 7, np.uint16), "png", "not all equal, got 7 to 7"),
        (b"", "png", "got no bytes at all"),
        (b"", "npy", r"an array of numbers, got a file that cannot be read .*np\.save\(path"),
        (b"PK\x03\x04 a zip file", "npy", "got a file that cannot be read"),
        (empty.getvalue(), "npy", r"\[H, W\] of numbers, got \[0, 4\] of float64"),
        (np.ones((2, 3, 3)), "npy", r"got \[2, 3, 3\] of float64; write one map"),
        (np.array([["a"]]), "npy", r"got \[1, 1\] of <U1"),
        (np.array([[None]]), "npy", "got a file that cannot be read"),
    ]  # fmt: skip
    for content, ending, said in cases:
        with (
            case(said),
            pytest.raises(ValueError, match=rf"(?s)^path '.*map\.{ending}' must.*{said}"),
        ):
            read_density_map(saved(tmp_path, content, ending))
    with pytest.raises(FileNotFoundError, match=r"^path 'nowhere\.npy' does not exist"):
        read_density_map("nowhere.npy")


def test_a_map_on_its_side_is_refused_where_the_picture_is_known(tmp_path):
    path = saved(tmp_path, np.ascontiguousarray(GREY.T))
    assert read_density_map(path).shape == (40, 30)
    with pytest.raises(
        ValueError, match=r"map\.png' .* 30 x 40 pixels \(H x W\), got 40 x 30: rows"
    ):
        read_density_map(path, (30, 40))
    with pytest.raises(ValueError, match="61 x 81 pixels"):
        read_density_map(path, (61, 81))  # a smaller map, on its side too
    for size in ((80, 60), (40, 40), (30, 80), (50, 40)):  # resized where it is used
        assert read_density_map(path, size).shape == (40, 30)
    square = saved(tmp_path, GREY[:30, :30])
    for size in ((30, 30), (30, 40)):
        assert read_density_map(square, size).shape == (30, 30)


def test_part_masks_keep_their_indices_in_every_kind_of_file(tmp_path):
    parts = ((x // 10) % 4).astype(np.uint8)
    cases = [
        ("grey", parts, parts, np.uint8),
        ("palette", palette(parts, [9, 9, 9, 200, 0, 0, 200, 0, 0, 7, 7, 7]), parts, np.uint8),
        ("palette, 0 is clear", palette(parts, [9] * 12, transparency=0), parts, np.uint8),
        ("black and white", parts > 1, parts > 1, np.uint8),
        ("16 bits", parts.astype(np.uint16), parts, np.uint8),
        ("16 bits, above 255", parts.astype(np.uint16) * 200, parts * np.uint16(200), np.uint16),
    ]
    for name, content, expected, kind in cases:
        with case(name):
            got = read_part_mask(saved(tmp_path, content))
            assert got.dtype == kind and np.array_equal(got, expected)


def test_what_holds_no_indices_is_refused_with_the_way_to_save_them(tmp_path):
    parts = ((x // 10) % 4).astype(np.uint8)
    cases = [
        (rgb(parts), "png", r"colours \(RGB\)"),
        (with_alpha(rgb(parts), 255), "png", r"colours \(RGBA\)"),
        (Image.fromarray(with_alpha(parts, 255), "LA"), "png", r"transparency \(LA\)"),
        (parts.astype(np.float32), "tif", r"fractions \(F\)"),
        (parts.astype(np.int32) - 1, "tif", "negative numbers, down to -1"),
        (parts, "jpg", "a JPEG file, which blurs indices"),
        (b"nothing", "png", "a file that starts with b'nothing'"),
    ]
    for content, ending, came in cases:
        with case(came):
            path = saved(tmp_path, content, ending)
            with pytest.raises(ValueError, match=rf"map\.{ending}' must .*got {came}; ") as error:
                read_part_mask(path)
            assert "save" in str(error.value)


def test_gaze_that_is_no_number_is_refused(tmp_path):
    path = tmp_path / "gaze.txt"
    for line in ("nan 3", "2 inf"):
        path.write_text(f"1 2\n{line}\n")
        with pytest.raises(ValueError, match=rf"must have 2 numbers.*'{line}' in line 2"):
            read_gaze(path, 2)
