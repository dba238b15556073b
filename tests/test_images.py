import io
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import case
from PIL import Image
from torchvision import transforms

from labkit.images import (
    FORMATS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    PICTURE_ENDINGS,
    center_crop,
    open_image,
    resize_shorter_side,
    to_picture,
    to_tensor,
)

ROOT = Path(__file__).parent.parent
NOT_NORMALISED = ((0, 0, 0), (1, 1, 1))


def file_of(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def grey(values) -> np.ndarray:
    """[H, W] to the picture that it should become."""
    return np.repeat(np.array(values, dtype=np.uint8)[:, :, None], 3, axis=2)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def same(picture: np.ndarray, expected: np.ndarray) -> bool:
    assert picture.dtype == np.uint8 and picture.flags["C_CONTIGUOUS"]
    return picture.shape == expected.shape and (picture == expected).all()


# Where pictures come from


def test_every_source_gives_the_same_picture(tmp_path):
    picture = noise(3, 5)
    image = Image.fromarray(picture)
    path = tmp_path / "a picture, é.png"
    path.write_bytes(file_of(image))
    data = path.read_bytes()
    for source in (str(path), path, data, bytearray(data), memoryview(data), image, picture):
        assert same(open_image(source), picture)
    with path.open("rb") as file:
        assert same(open_image(file), picture)


def test_the_kind_of_a_file_is_told_by_its_bytes_not_by_its_name(tmp_path):
    path = tmp_path / "no_picture_by_its_name.txt"
    path.write_bytes(file_of(Image.fromarray(noise(2, 2))))
    assert same(open_image(path), noise(2, 2))


def test_a_fresh_python_knows_every_format_too(tmp_path):
    path = tmp_path / "picture.webp"
    path.write_bytes(file_of(Image.fromarray(noise(2, 5)), "WEBP"))
    code = f"from labkit.images import open_image; print(open_image({str(path)!r}).shape)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout == "(2, 5, 3)\n", ran.stderr


def test_the_endings_of_a_format_are_those_that_pillow_knows():
    known = Image.registered_extensions()  # an older Pillow knows fewer
    for name, endings in FORMATS.items():
        for ending in endings:
            with case(ending):
                assert known.get(ending, name) == name and ending in PICTURE_ENDINGS


def test_an_open_file_is_read_from_where_it_stands():
    file = io.BytesIO(b"header" + file_of(Image.fromarray(noise(2, 2))))
    file.seek(len(b"header"))
    assert same(open_image(file), noise(2, 2))


def test_the_picture_is_a_copy():
    array = noise(2, 2)
    open_image(array)[:] = 0
    assert same(array, noise(2, 2))


def test_a_pil_image_is_left_as_it_was():
    image = Image.fromarray(noise(2, 3))
    image.getexif()[0x0112] = 6
    open_image(image)
    assert image.size == (3, 2) and image.mode == "RGB" and image.getexif()[0x0112] == 6


# Arrays, value by value


def test_arrays_are_scaled_by_their_kind():
    cases = [
        (np.array([[0, 255]], dtype=np.uint8), [[0, 255]]),
        (np.array([[0, 7]], dtype=np.int64), [[0, 7]]),
        (np.array([[False, True]]), [[0, 255]]),
        # 16 bits: 65535 / 257 = 255, 257 / 257 = 1; 128 / 257 rounds to 0 and 129 / 257 to 1
        (np.array([[0, 128, 129, 257, 65535]], dtype=np.uint16), [[0, 0, 1, 1, 255]]),
        (np.array([[65535]], dtype=">u2"), [[255]]),
        # 12 bits in 16: 4095 is white, 9 / 4095 * 255 = 0.56; and 8 bits in 16; 4096 is above both
        (np.array([[0, 8, 9, 4095]], dtype=np.uint16), [[0, 0, 1, 255]]),
        (np.array([[0, 7, 255]], dtype=np.uint16), [[0, 7, 255]]),
        (np.array([[0, 256, 4096]], dtype=np.uint16), [[0, 1, 16]]),
        # 0.2 * 255 = 51; 0.001 * 255 = 0.255; 0.003 * 255 = 0.765
        (np.array([[0.0, 0.001, 0.003, 0.2, 1.0]]), [[0, 0, 1, 51, 255]]),
        (np.array([[0.2]], dtype=np.float16), [[51]]),
    ]
    for array, expected in cases:
        with case(repr(array)):
            assert same(open_image(array), grey(expected))
            assert same(open_image(array[:, :, None]), grey(expected))


def test_transparent_pixels_are_laid_on_white():
    # c a + 255 (1 - a), with a = 1, 128/255, 0, 0.2: 128/255 of 1 is 0.502, rounded up to 1, and
    # 127/255 of 255 is 127; 0.2 of 100 is 20, and 0.8 of 255 is 204
    pixels = [[0, 0, 0, 255], [1, 0, 0, 128], [0, 0, 0, 0], [100, 0, 255, 51]]
    expected = [[0, 0, 0], [128, 127, 127], [255, 255, 255], [224, 204, 255]]
    array = np.array([pixels], dtype=np.uint8)
    assert same(open_image(array), np.array([expected], dtype=np.uint8))
    assert same(open_image(Image.fromarray(array)), np.array([expected], dtype=np.uint8))
    assert same(open_image(array / 255), np.array([expected], dtype=np.uint8))


def test_a_strided_or_frozen_array_is_fine():
    array = noise(4, 6)[::-2, ::3]
    array.flags.writeable = False
    picture = open_image(array)
    assert same(picture, noise(4, 6)[::-2, ::3]) and picture.flags.writeable


# Files of every kind


def test_exif_orientation_is_honoured():
    # Stored as 1 2 3 / 4 5 6; the orientation says how to turn that upright.
    cases = [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (2, [[3, 2, 1], [6, 5, 4]]),  # mirrored left to right
        (3, [[6, 5, 4], [3, 2, 1]]),  # upside down
        (4, [[4, 5, 6], [1, 2, 3]]),  # mirrored top to bottom
        (5, [[1, 4], [2, 5], [3, 6]]),  # rows and columns swapped
        (6, [[4, 1], [5, 2], [6, 3]]),  # to be turned a quarter clockwise
        (7, [[6, 3], [5, 2], [4, 1]]),  # swapped along the other diagonal
        (8, [[3, 6], [2, 5], [1, 4]]),  # to be turned a quarter counter-clockwise
        (0, [[1, 2, 3], [4, 5, 6]]),  # no orientation that exists
        (9, [[1, 2, 3], [4, 5, 6]]),
    ]
    for orientation, expected in cases:
        with case(f"orientation {orientation}"):
            image = Image.fromarray(np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8))
            exif = Image.Exif()
            exif[0x0112] = orientation
            assert same(open_image(file_of(image, exif=exif)), grey(expected))


def test_broken_exif_leaves_the_picture_as_it_is_stored():
    data = file_of(Image.fromarray(grey([[9, 9]])), exif=b"Exif\0\0no such thing")
    assert same(open_image(data), grey([[9, 9]]))


def test_a_photograph_that_was_held_upright_is_upright():
    stored = np.zeros((32, 64, 3), dtype=np.uint8)
    stored[:, 32:] = 200  # the right half, which a clockwise quarter turn brings to the bottom
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = open_image(file_of(Image.fromarray(stored), "JPEG", exif=exif, quality=95))
    assert picture.shape == (64, 32, 3)
    assert picture[:24].max() < 20 and picture[40:].min() > 180


def test_grey_black_and_white_and_sixteen_bit_files():
    assert same(open_image(file_of(Image.fromarray(grey([[3, 7]])[..., 0]))), grey([[3, 7]]))
    black_white = Image.fromarray(np.array([[False, True]]))
    assert black_white.mode == "1" and same(open_image(file_of(black_white)), grey([[0, 255]]))
    deep = Image.fromarray(np.array([[0, 257, 65535]], dtype=np.uint16))
    for kind in ("PNG", "TIFF"):
        assert same(open_image(file_of(deep, kind)), grey([[0, 1, 255]]))
    deep_in_32_bits = Image.fromarray(np.array([[0, 257, 65535]], dtype=np.int32))
    assert deep_in_32_bits.mode == "I" and same(open_image(deep_in_32_bits), grey([[0, 1, 255]]))
    twelve_bits = Image.fromarray(np.array([[0, 2048, 4095]], dtype=np.uint16))
    assert same(open_image(file_of(twelve_bits, "TIFF")), grey([[0, 128, 255]]))
    floats = Image.fromarray(np.array([[0.0, 0.2, 1.0]], dtype=np.float32))
    assert same(open_image(file_of(floats, "TIFF")), grey([[0, 51, 255]]))


def test_sixteen_bit_colour():
    # a PNG by hand, 1 x 1, 16 bits, RGB: Pillow cannot write one
    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + name + body + check

    header = bytes([0, 0, 0, 1, 0, 0, 0, 1, 16, 2, 0, 0, 0])
    pixel = bytes([0, 255, 255, 128, 128, 0, 0])  # filter 0, then 0xffff, 0x8080, 0x0000
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    data += chunk(b"IDAT", zlib.compress(pixel)) + chunk(b"IEND", b"")
    assert same(open_image(data), np.array([[[255, 128, 0]]], dtype=np.uint8))


def test_palette_with_and_without_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putdata([0, 1])
    assert same(
        open_image(file_of(image)), np.array([[[10, 20, 30], [200, 100, 0]]], dtype=np.uint8)
    )
    for kind in ("PNG", "GIF"):
        assert same(
            open_image(file_of(image, kind, transparency=1)),
            np.array([[[10, 20, 30], [255, 255, 255]]], dtype=np.uint8),
        )


def test_a_colour_that_stands_for_transparent_becomes_white():
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))
    data = file_of(image, transparency=(1, 2, 3))
    assert same(open_image(data), np.array([[[255, 255, 255], [4, 5, 6]]], dtype=np.uint8))


def test_grey_with_alpha():
    image = Image.new("LA", (1, 1), (0, 128))
    assert same(open_image(file_of(image)), grey([[127]]))


def test_print_colours():
    # without ink: white; all cyan: no red; all black ink: black
    image = Image.new("CMYK", (3, 1))
    image.putdata([(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255)])
    expected = np.array([[[255, 255, 255], [0, 255, 255], [0, 0, 0]]], dtype=np.uint8)
    assert same(open_image(image), expected)
    assert same(open_image(file_of(image, "TIFF")), expected)
    white = file_of(Image.new("CMYK", (8, 8)), "JPEG", quality=100)
    assert open_image(white).min() >= 254


def test_the_first_frame_of_an_animation():
    frames = [Image.fromarray(grey([[value]])) for value in (0, 255)]
    for kind in ("GIF", "WEBP", "TIFF"):
        settings = {"lossless": True} if kind == "WEBP" else {}
        data = file_of(frames[0], kind, save_all=True, append_images=frames[1:], **settings)
        assert same(open_image(data), grey([[0]]))


# What is refused


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no.png' does not exist; paths start from .*whole"):
        open_image(tmp_path / "no.png")


def test_an_empty_path():
    with pytest.raises(ValueError, match="got an empty path; name a file, or upload one"):
        open_image("")


def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    (tmp_path / "home.png").write_bytes(file_of(Image.fromarray(noise(4, 4))))
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    np.testing.assert_array_equal(open_image("~/home.png"), noise(4, 4))


def test_a_folder(tmp_path):
    with pytest.raises(ValueError, match="got a folder; name one of the files in it"):
        open_image(tmp_path)


def test_a_web_address():
    with pytest.raises(ValueError, match="got a web address; download it first"):
        open_image("https://example.org/cat.jpg")


@pytest.mark.needs("a device that is a file", there=sys.platform != "win32")
def test_a_device_is_not_read_for_ever():
    with pytest.raises(ValueError, match="got a device or a pipe"):
        open_image("/dev/zero")


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    for source in (path, b"", io.BytesIO()):
        with pytest.raises(ValueError, match="got no bytes at all; download or copy it again"):
            open_image(source)


def test_a_text_file(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("These are notes, and no picture.")
    with pytest.raises(ValueError, match="starts with b'These are notes,'; it is of another kind"):
        open_image(path)


def test_files_that_make_other_programs_run_are_no_pictures():
    with pytest.raises(ValueError, match="must be a picture that can be read"):
        open_image(file_of(Image.fromarray(noise(4, 4)), "EPS"))


def test_a_file_cut_off_anywhere_is_refused_in_words():
    words = "^source (must be a picture|cannot be decoded)"
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "PPM"):
        data = file_of(Image.fromarray(noise(16, 16)), kind)
        for length in [*range(1, 60), len(data) // 2, len(data) * 3 // 4]:
            with case(f"{kind}, {length} bytes"), pytest.raises(ValueError, match=words):
                open_image(data[:length])


def test_a_damaged_file_gives_a_picture_or_an_error_in_words():
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"):
        data = file_of(Image.fromarray(noise(16, 16)), kind)
        random = np.random.default_rng(0)
        for k in range(100):
            damaged = bytearray(data)
            for place in random.integers(0, min(len(data), 300), 4):
                damaged[place] = random.integers(0, 256)
            with case(f"{kind}, damage {k}"):
                try:
                    assert open_image(bytes(damaged), max_pixels=1_000_000).shape[2] == 3
                except ValueError as error:
                    assert str(error).startswith("source ")


def test_a_large_picture_is_refused_before_it_is_decoded(monkeypatch):
    data = file_of(Image.new("1", (300, 200)))
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match=r"300 x 200 = 60,000 pixels, more than 59,999; shrink it"):
        open_image(data, max_pixels=59_999)
    monkeypatch.undo()
    assert open_image(data, max_pixels=60_000).shape == (200, 300, 3)


def test_the_limit_stands_at_fifty_million_pixels():
    with pytest.raises(ValueError, match=r"10000 x 5001 = 50,010,000 pixels.*max_pixels="):
        open_image(file_of(Image.new("1", (10_000, 5_001))))


def test_a_bomb_is_refused_even_where_larger_pictures_are_allowed():
    data = bytearray(file_of(Image.new("1", (1, 1)), "BMP"))
    data[18:26] = (60_000).to_bytes(4, "little") * 2  # width and height: 3.6e9 pixels
    words = "at most {} pixels, got more than 178,956,970, .*decompression bomb; shrink it"
    for allowed, most in ((10**10, "178,956,970"), (50_000_000, "50,000,000")):
        with pytest.raises(ValueError, match=words.format(most)):
            open_image(bytes(data), max_pixels=allowed)


def test_pillows_warnings_do_not_leak():
    data = file_of(Image.new("1", (10_000, 9_000)))  # beyond Pillow's own limit for a warning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="more than 50,000,000"):
            open_image(data)


def test_no_file_is_left_open(tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(file_of(Image.fromarray(noise(8, 8))))
    bad.write_bytes(good.read_bytes()[:100])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        open_image(good)
        with pytest.raises(ValueError, match="bad.png' cannot be decoded"):
            open_image(bad)
    bad.unlink()
    good.unlink()


def test_arrays_out_of_range_or_shape():
    cases = [
        (np.array([[-1]]), "int64 must hold values from 0 to 255, got -1 to -1; bring them"),
        (np.array([[0, 256]]), "must hold values from 0 to 255, got 0 to 256"),
        (np.array([[0.0, 255.0]]), "from 0 to 1, got 0.0 to 255.0; divide them by 255"),
        (np.array([[0.0, np.nan]]), "must hold finite numbers, got NaN or infinity; find them"),
        (np.array([[0.0, np.inf]]), "must hold finite numbers, got NaN or infinity"),
        (np.zeros((0, 5, 3)), r"has no pixels \(its shape is \[0, 5, 3\]\); check the crop"),
        (np.zeros((5, 0)), "has no pixels"),
        (np.zeros((2, 5, 5, 3)), r"got \[2, 5, 5, 3\]; pass one picture of the batch: source\[0\]"),
        (np.zeros((3, 5, 5)), r"channels last: source.transpose\(1, 2, 0\)"),
        (np.zeros((5, 5, 2)), "pass one picture, its colours in the last dimension"),
        (np.zeros(5), r"must have shape \[H, W\], .* got \[5\]"),
    ]
    for array, words in cases:
        with case(words), pytest.raises(ValueError, match=words):
            open_image(array)


def test_pil_images_out_of_range_or_empty():
    with pytest.raises(ValueError, match="from 0 to 255, got 0 to 70000"):
        open_image(Image.fromarray(np.array([[0, 70_000]], dtype=np.int32)))
    with pytest.raises(ValueError, match="from 0 to 1, got 0.0 to 200.0"):
        open_image(Image.fromarray(np.array([[0, 200]], dtype=np.float32)))
    with pytest.raises(ValueError, match="has no pixels"):
        open_image(Image.new("RGB", (0, 5)))


def test_other_kinds_of_sources():
    cases = [
        (None, "must be a path, bytes, an open file, a numpy array or a PIL image, got NoneType"),
        ([[0, 1]], r"got list; numbers in lists become an array with np.array\(source\)"),
        (io.StringIO("text"), r"open it in binary mode: open\(path, 'rb'\)"),
        (torch.zeros(3, 2, 2), r"got a tensor; turn it back with to_picture\(image, mean, std\)"),
        (np.array([[1j]]), "must hold integers, floats or booleans, got complex128"),
        (np.array([["a"]]), "must hold integers, floats or booleans, got <U1"),
    ]
    for source, words in cases:
        with case(words), pytest.raises(TypeError, match=words):
            open_image(source)


# From a picture to a network and back


def test_preparing_equals_torchvision_to_the_last_bit():
    torchvisions = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    sizes = [(256, 256), (300, 451), (451, 300), (97, 640), (256, 300), (1, 1), (60, 61)]
    for height, width in sizes:
        picture = noise(height, width)
        cropped = center_crop(resize_shorter_side(picture, 256), 224)
        ours = to_tensor(cropped, IMAGENET_MEAN, IMAGENET_STD)
        with case(f"{height} x {width}"):
            assert torch.equal(ours, torchvisions(Image.fromarray(picture)))


def test_the_shorter_side_gets_the_size():
    # 300 * 2 / 3 = 200; torchvision rounds down: 100 * 250 / 201 = 124.4
    assert resize_shorter_side(noise(300, 450), 200).shape == (200, 300, 3)
    assert resize_shorter_side(noise(450, 300), 200).shape == (300, 200, 3)
    assert resize_shorter_side(noise(201, 250), 100).shape == (100, 124, 3)


def test_halving_averages_by_the_triangle():
    # Halving a row spreads the triangle over four pixels: weights 1/8, 3/8, 3/8, 1/8 inside, and at
    # the border 3/7, 3/7, 1/7. Output 1: 3/8 * 80 = 30 and 1/8 * 80 = 10 at its neighbours.
    row = np.zeros((2, 8), dtype=np.uint8)
    row[:, 3] = 80
    assert same(resize_shorter_side(grey(row), 1), grey([[0, 30, 10, 0]]))


def test_a_picture_of_the_right_size_is_copied():
    picture = noise(4, 7)
    resized, cropped = resize_shorter_side(picture, 4), center_crop(noise(4, 4), 4)
    assert same(resized, picture) and not np.shares_memory(resized, picture)
    assert same(cropped, noise(4, 4))


def test_the_crop_is_the_middle():
    picture = grey([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]])
    # one row of three: the second; two columns of four: the middle ones
    assert same(center_crop(picture, 1), grey([[7]]))  # 1.5 columns to the left: 2
    assert same(center_crop(picture.transpose(1, 0, 2), 1), grey([[7]]))  # 1.5 rows above: 2
    assert same(center_crop(picture, 2), grey([[2, 3], [6, 7]]))  # 0.5 rows above: 0
    assert same(center_crop(picture, 3), grey([[1, 2, 3], [5, 6, 7], [9, 10, 11]]))


def test_a_tensor_worked_by_hand():
    picture = np.array([[[0, 51, 255], [255, 102, 0]]], dtype=np.uint8)
    plain = to_tensor(picture, *NOT_NORMALISED)
    assert plain.dtype == torch.float32
    torch.testing.assert_close(plain, torch.tensor([[[0.0, 1.0]], [[0.2, 0.4]], [[1.0, 0.0]]]))
    # (0 - .5) / .25 = -2, (1 - .5) / .25 = 2; (.2 - .2) / .1 = 0, (.4 - .2) / .1 = 2; 1 / 2, 0 / 2
    normalised = to_tensor(picture, mean=(0.5, 0.2, 0), std=(0.25, 0.1, 2))
    torch.testing.assert_close(
        normalised, torch.tensor([[[-2.0, 2.0]], [[0.0, 2.0]], [[0.5, 0.0]]])
    )


def test_to_picture_undoes_to_tensor_for_every_value():
    picture = np.arange(256, dtype=np.uint8).reshape(16, 16)[:, :, None].repeat(3, axis=2)
    for mean, std in (NOT_NORMALISED, (IMAGENET_MEAN, IMAGENET_STD)):
        assert same(to_picture(to_tensor(picture, mean, std), mean, std), picture)


def test_to_picture_clips_rounds_and_detaches():
    image = torch.tensor([-0.5, 0.2, 0.299, 1.7], requires_grad=True).expand(3, 1, 4)
    # 0.299 * 255 = 76.2
    assert same(to_picture(image, *NOT_NORMALISED), grey([[0, 51, 76, 255]]))


def test_the_tensor_does_not_share_the_pictures_memory():
    picture = noise(2, 2)
    to_tensor(picture, *NOT_NORMALISED).zero_()
    assert same(picture, noise(2, 2))


def test_what_the_steps_refuse():
    cases = [
        (
            lambda: center_crop("cat.jpg", 2),
            TypeError,
            r"got str; open it with open_image\(source\)",
        ),
        (
            lambda: center_crop(noise(2, 2) / 255, 2),
            ValueError,
            r"got float64 \[2, 2, 3\]; convert",
        ),
        (lambda: to_tensor(grey([[1]])[..., 0], (0,), (1,)), ValueError, r"got uint8 \[1, 1\]"),
        (lambda: resize_shorter_side(noise(0, 2), 2), ValueError, r"got uint8 \[0, 2, 3\]"),
        (lambda: center_crop(noise(3, 9), 4), ValueError, r"got 4 for 9 x 3 pixels; enlarge"),
        (lambda: center_crop(noise(3, 9), 0), ValueError, "at least 1 pixel, got 0; 224 is usual"),
        (lambda: resize_shorter_side(noise(3, 3), 2.5), TypeError, "whole number .* got float"),
        (lambda: center_crop(noise(3, 3), True), TypeError, "whole number .* got bool"),
        (lambda: resize_shorter_side(noise(3, 3), (2, 2)), TypeError, "got tuple; pass one number"),
        (
            lambda: resize_shorter_side(noise(1, 2000), 256),
            ValueError,
            r"2000 x 1 pixels would become 512000 x 256, more than 50,000,000 pixels; crop it",
        ),
        (lambda: to_tensor(noise(2, 2), 0.5, (1, 1, 1)), ValueError, "mean must be three numbers"),
        (lambda: to_tensor(noise(2, 2), (0, 0, 0), (1, 0, 1)), ValueError, "std must .* above 0"),
        (
            lambda: to_picture(noise(2, 2), *NOT_NORMALISED),
            TypeError,
            "must be a tensor, got ndarr",
        ),
        (
            lambda: to_picture(torch.zeros(1, 3, 2, 2), *NOT_NORMALISED),
            ValueError,
            r"got \[1, 3, 2, 2\]; pass one image, without its batch dimension \(images\[0\]\)",
        ),
        (
            lambda: to_picture(torch.full((3, 1, 1), torch.nan), *NOT_NORMALISED),
            ValueError,
            "must hold numbers, got NaN",
        ),
    ]
    for call, error, words in cases:
        with case(words), pytest.raises(error, match=words):
            call()
