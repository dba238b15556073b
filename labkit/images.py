"""Open any picture safely; turn it into a tensor and back.

A *picture* is what people look at: a numpy array, uint8 [H, W, 3], RGB, 0 to 255. An *image* is
what a network looks at: a tensor, float32 [3, H, W] or, grey, [1, H, W], normalised with the
network's mean and std.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from PIL import Image
from PIL.Image import Transpose

MAX_PIXELS = 50_000_000
T = TypeVar("T")

# What networks trained on ImageNet expect: mean and standard deviation of red, green, blue in 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

# Not every format that Pillow knows: some run other programs (EPS runs Ghostscript). The bytes
# tell a file's format; the endings tell which files of a folder are pictures.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "MPO": (".mpo",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "ICO": (".ico",),
}
PICTURE_ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)

# How to turn a picture upright, by the orientation that a camera writes into EXIF; 1 is upright.
EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def open_image(
    source: str | os.PathLike | bytes | BinaryIO | np.ndarray | Image.Image,
    *,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Open a picture from wherever it is, as it is meant to be seen.

    Turned upright by its EXIF orientation; grey and palette become RGB; whatever is transparent
    is laid on white; 16 bits become 8; of an animation, the first frame. Colour profiles are not
    applied. Cameras and microscopes store 12 bits in 16: where no value is above 4095, that is
    white (and 255 where none is above 255), or such a picture would be nearly black.

    Args:
        source: a path; the bytes of a picture file; a file open for reading in binary mode, read
            from where it stands; a PIL image; or an array [H, W], [H, W, 1], [H, W, 3] or
            [H, W, 4] (the last with alpha): integers 0..255, uint16 0..65535, bool, or floats 0..1.
        max_pixels: larger pictures are refused before they are decoded; arrays are not counted.

    Returns:
        uint8 [H, W, 3], RGB, a copy.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no picture, cut off, empty, too large, or values out of range.
        TypeError: source is of another kind.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's; what matters in them is an error here
        if isinstance(source, np.ndarray):
            return _from_array(source)
        if isinstance(source, Image.Image):
            return _from_array(_from_pil(source, "source", max_pixels, _values_of))
        if isinstance(source, str | os.PathLike):
            return _from_array(_from_path(source, "source", max_pixels, _values_of))
        file = io.BytesIO(_bytes_of(source))
        return _from_array(_from_file(file, "source", max_pixels, _values_of))


def open_stored(
    path: str | os.PathLike, convert: Callable[[Image.Image], T], *, max_pixels: int = MAX_PIXELS
) -> T:
    """Open a file that holds numbers and not colours, such as a density map or a mask.

    Args:
        path: the file.
        convert: what to take from the PIL image, which is upright and in the file's own depth.
        max_pixels: larger ones are refused before they are decoded.

    Raises:
        FileNotFoundError, ValueError: as `open_image`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _from_path(path, "path", max_pixels, convert)


def resize_shorter_side(
    picture: np.ndarray, size: int, *, interpolation: str = "bilinear"
) -> np.ndarray:
    """Scale a picture so that its shorter side has `size` pixels; the shape of things is kept.

    With antialiasing, as torchvision's ``Resize(size)`` does it on a PIL image.

    Args:
        picture: uint8 [H, W, 3].
        size: pixels of the shorter side.
        interpolation: "bilinear" or "bicubic".

    Returns:
        uint8 [h, w, 3] with min(h, w) = size.

    Raises:
        ValueError: picture is no picture, or so long and thin that the result would be huge.
    """
    _check_picture(picture)
    _check_size(size)
    H, W = picture.shape[:2]
    h, w = _shorter_side(H, W, size)
    if h * w > MAX_PIXELS:
        raise ValueError(
            f"picture of {W} x {H} pixels would become {w} x {h}, more than {MAX_PIXELS:,} pixels; "
            "crop it to a less extreme shape first"
        )
    return _resized(picture, h, w, interpolation)


def shrunk(picture: np.ndarray, size: int | None) -> np.ndarray:
    """A picture whose shorter side has at most `size` pixels; itself where it is small enough."""
    if size is None or min(picture.shape[:2]) <= size:
        return picture
    return resize_shorter_side(picture, size)


def stretch(picture: np.ndarray, size: int, *, interpolation: str = "bilinear") -> np.ndarray:
    """Squeeze a whole picture into a square, as torchvision's ``Resize((size, size))`` does it.

    Args:
        picture: uint8 [H, W, 3].
        size: pixels of the square's side.
        interpolation: "bilinear" or "bicubic".

    Returns:
        uint8 [size, size, 3], a copy.

    Raises:
        ValueError: picture is no picture.
    """
    _check_picture(picture)
    _check_size(size)
    return _resized(picture, size, size, interpolation)


def _resized(picture: np.ndarray, h: int, w: int, interpolation: str) -> np.ndarray:
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation must be {' or '.join(INTERPOLATIONS)}, got {interpolation!r}"
        )
    return np.array(Image.fromarray(picture).resize((w, h), INTERPOLATIONS[interpolation]))


def grey(picture: np.ndarray) -> np.ndarray:
    """A picture without its colours, uint8 [H, W, 3], as torchvision's ``Grayscale`` sees it."""
    _check_picture(picture)
    return np.repeat(np.array(Image.fromarray(picture).convert("L"))[..., None], 3, axis=-1)


def center_crop(picture: np.ndarray, size: int) -> np.ndarray:
    """Cut the square in the middle out of a picture.

    Args:
        picture: uint8 [H, W, 3].
        size: pixels of the square's side.

    Returns:
        uint8 [size, size, 3], a copy.

    Raises:
        ValueError: picture is no picture, or smaller than the square.
    """
    _check_picture(picture)
    _check_size(size)
    H, W = picture.shape[:2]
    if min(H, W) < size:
        raise ValueError(
            f"size must be at most the picture's shorter side, got {size} for {W} x {H} pixels; "
            f"enlarge the picture first: resize_shorter_side(picture, {size})"
        )
    top, left = _corner(H, W, size)
    return picture[top : top + size, left : left + size].copy()


def geometry(size: Sequence[int], resize: int, crop: int) -> tuple[int, int, int, int]:
    """Where `resize_shorter_side` and then `center_crop` bring a picture's pixels.

    Args:
        size: (H, W) of the picture.
        resize: pixels of the shorter side.
        crop: pixels of the square's side.

    Returns:
        Height and width after the resizing, then rows cut off above and columns on the left.
    """
    H, W = size
    h, w = _shorter_side(H, W, resize)
    return h, w, *_corner(h, w, crop)


def _shorter_side(H: int, W: int, size: int) -> tuple[int, int]:
    return (size, int(size * W / H)) if H <= W else (int(size * H / W), size)


def _corner(H: int, W: int, size: int) -> tuple[int, int]:
    """Half a pixel goes to the even side, as in torchvision."""
    return round((H - size) / 2), round((W - size) / 2)


def to_tensor(picture: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Turn a picture into a network's input: (picture / 255 - mean) / std.

    Args:
        picture: uint8 [H, W, 3].
        mean: of each channel, in 0..1; IMAGENET_MEAN, or (0, 0, 0) to leave it alone.
        std: of each channel, above 0; IMAGENET_STD, or (1, 1, 1) to leave it alone.

    Returns:
        float32 [3, H, W]; with one mean and one std [1, H, W], of the grey picture.

    Raises:
        ValueError: picture is no picture; mean or std is not three numbers or one, or std not
            above 0.
    """
    _check_picture(picture)
    mu, sigma = channels(mean, "mean"), channels(std, "std")
    colours = picture if len(mu) == 3 else grey(picture)[..., :1]
    image = torch.tensor(colours).permute(2, 0, 1).contiguous()
    return (image.to(torch.float32).div(255) - mu) / sigma


def to_picture(image: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Turn a network's input back into a picture: the inverse of `to_tensor`.

    Args:
        image: [3, H, W] or, with one mean and one std, [1, H, W], on any device.
        mean: the mean that `to_tensor` was given.
        std: the std that `to_tensor` was given.

    Returns:
        uint8 [H, W, 3]; what lies outside of 0..255 is clipped.

    Raises:
        TypeError: image is no tensor.
        ValueError: image has another shape or holds NaN; mean or std is not three numbers or one.
    """
    mu, sigma = channels(mean, "mean"), channels(std, "std")
    _check_image(image, len(mu))
    x = (image.detach().to("cpu", torch.float32) * sigma + mu).expand(3, -1, -1)
    return x.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _from_path(
    source: str | os.PathLike, argument: str, max_pixels: int, values_of: Callable[[Image.Image], T]
) -> T:
    with checked_path(source, argument).open("rb") as file:
        return _from_file(file, f"{argument} {os.fspath(source)!r}", max_pixels, values_of)


def checked_path(source: str | os.PathLike, argument: str) -> Path:
    """The path of a file that exists; errors call it by the argument's name."""
    path, name = Path(os.path.expanduser(source)), f"{argument} {os.fspath(source)!r}"
    if not os.fspath(source):
        raise ValueError(
            f"{argument} must be a picture, got an empty path; name a file, or upload one"
        )
    if "://" in str(os.fspath(source)):
        raise ValueError(f"{name} must be a file here, got a web address; download it first")
    if not path.exists():
        raise FileNotFoundError(
            f"{name} does not exist; paths start from {Path.cwd()}: check the spelling, or give "
            "the whole path"
        )
    if path.is_dir():
        raise ValueError(f"{name} must be a picture, got a folder; name one of the files in it")
    if not path.is_file():
        raise ValueError(f"{name} must be a picture file, got a device or a pipe; read it first")
    return path


def _bytes_of(source: bytes | BinaryIO) -> bytes:
    """What an open file still holds, or the bytes themselves."""
    data = source.read() if hasattr(source, "read") else source
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if isinstance(source, torch.Tensor):
        raise TypeError(
            "source must be a picture, got a tensor; turn it back with to_picture(image, mean, std)"
        )
    if isinstance(data, str):
        raise TypeError("source is a file open for text; open it in binary mode: open(path, 'rb')")
    raise TypeError(
        "source must be a path, bytes, an open file, a numpy array or a PIL image, got "
        f"{type(source).__name__}; numbers in lists become an array with np.array(source)"
    )


def _from_file(
    file: BinaryIO, name: str, max_pixels: int, values_of: Callable[[Image.Image], T]
) -> T:
    """Decode a file that stands at its beginning."""
    head = file.read(16)
    if not head:
        raise ValueError(
            f"{name} must be a picture, got no bytes at all; download or copy it again (or, if it "
            "is an open file that was read before, rewind it: file.seek(0))"
        )
    file.seek(0)
    Image.init()  # or Pillow knows five formats only
    try:
        opened = Image.open(file, formats=[one for one in FORMATS if one in Image.OPEN])
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or np.inf)  # None would be no limit
        raise ValueError(
            f"{name} must have at most {min(max_pixels, limit):,} pixels, got more than {limit:,}, "
            "which Pillow takes for a decompression bomb; shrink it in a picture viewer"
        ) from None
    except Exception:  # decoders raise anything for a broken file
        raise ValueError(
            f"{name} must be a picture that can be read ({', '.join(FORMATS)}), got a file that "
            f"starts with {head!r}; it is of another kind (a phone's HEIC?) or cut off: open it "
            "in a picture viewer and save it as PNG or JPEG"
        ) from None
    with opened:
        return _from_pil(opened, name, max_pixels, values_of)


def _from_pil(
    opened: Image.Image, name: str, max_pixels: int, values_of: Callable[[Image.Image], T]
) -> T:
    """Decode a PIL image, unless its header says that it is too large."""
    width, height = opened.size
    if width * height > max_pixels:
        raise ValueError(
            f"{name} has {width} x {height} = {width * height:,} pixels, more than "
            f"{max_pixels:,}; shrink it, or allow it with max_pixels="
        )
    try:
        opened.load()  # here, so that a broken file is not taken for broken EXIF
        orientation = _orientation(opened)
        upright = opened.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else opened
        return values_of(upright)
    except Exception as error:  # decoders raise anything for a broken file
        raise ValueError(
            f"{name} cannot be decoded ({error}); it is cut off, damaged or of a rare kind: copy "
            "it again, or open it in a picture viewer and save it as PNG or JPEG"
        ) from None


def _orientation(opened: Image.Image) -> int:
    """The EXIF orientation, 1 if there is none or if the EXIF part is broken."""
    try:
        return opened.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # Pillow's parser raises anything for a broken EXIF part
        return 1


def _values_of(opened: Image.Image) -> np.ndarray:
    """The array in a decoded PIL image, in one of the kinds that `open_image` takes."""
    if opened.mode == "I":  # where Pillow puts some 16-bit files
        values = np.asarray(opened)
        fits = values.min(initial=0) >= 0 and values.max(initial=0) <= 65535
        return values.astype(np.uint16) if fits else values
    if opened.mode.startswith("I;16") or opened.mode == "F":
        return np.asarray(opened)
    return np.asarray(opened.convert("RGBA" if opened.has_transparency_data else "RGB"))


def _from_array(array: np.ndarray) -> np.ndarray:
    """Bring an array to uint8 [H, W, 3]."""
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"source must have shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], got "
            f"{list(array.shape)}; {_way_to_shape(array)}"
        )
    if pixels.size == 0:
        raise ValueError(f"source has no pixels (its shape is {list(array.shape)}); check the crop")
    pixels = _eight_bits(pixels)
    if pixels.shape[2] == 4:
        pixels = _on_white(pixels)
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _way_to_shape(array: np.ndarray) -> str:
    """What someone with an array of this shape probably wants to type."""
    if array.ndim == 4:
        return "pass one picture of the batch: source[0]"
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return "put the channels last: source.transpose(1, 2, 0)"
    return "pass one picture, its colours in the last dimension"


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Bring the values to 0..255, by their kind."""
    kind, n_bytes = pixels.dtype.kind, pixels.dtype.itemsize
    if kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if kind == "u" and n_bytes == 2:
        largest = next(2**n - 1 for n in (8, 12, 16) if pixels.max() < 2**n)
        return ((pixels.astype(np.uint32) * 255 + largest // 2) // largest).astype(np.uint8)
    if kind in "ui":
        _check_range(pixels, 255, "bring them into that range, or pass 16 bits as uint16")
        return pixels.astype(np.uint8)
    if kind == "f":
        _check_range(pixels, 1, "divide them by 255 if that is their largest, or scale them")
        return np.rint(pixels.astype(np.float32) * 255).astype(np.uint8)
    raise TypeError(
        f"source must hold integers, floats or booleans, got {pixels.dtype}; convert it with "
        "source.astype(float)"
    )


def _check_range(pixels: np.ndarray, largest: int, way_out: str) -> None:
    low, high = pixels.min(), pixels.max()  # NaN if there is any
    if not np.isfinite(low) or not np.isfinite(high):
        raise ValueError(
            "source must hold finite numbers, got NaN or infinity; find them with "
            "np.isfinite(source), or replace them with np.nan_to_num(source)"
        )
    if low < 0 or high > largest:
        raise ValueError(
            f"source of type {pixels.dtype} must hold values from 0 to {largest}, got "
            f"{low} to {high}; {way_out}"
        )


def _on_white(pixels: np.ndarray) -> np.ndarray:
    """Lay colours with alpha on white: c a + 255 (1 - a), a in 0..1; fits into 16 bits."""
    c, a = pixels[:, :, :3].astype(np.uint16), pixels[:, :, 3:].astype(np.uint16)
    return ((c * a + 255 * (255 - a) + 127) // 255).astype(np.uint8)


def _check_picture(picture: np.ndarray) -> None:
    if not isinstance(picture, np.ndarray):
        raise TypeError(
            f"picture must be an array, got {type(picture).__name__}; open it with "
            "open_image(source)"
        )
    shape_fits = picture.ndim == 3 and picture.shape[2] == 3 and picture.size > 0
    if picture.dtype != np.uint8 or not shape_fits:
        raise ValueError(
            f"picture must be uint8 [H, W, 3], got {picture.dtype} {list(picture.shape)}; "
            "convert it with open_image(picture)"
        )


def _check_size(size: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int | np.integer):
        raise TypeError(
            f"size must be a whole number of pixels, got {type(size).__name__}; pass one "
            "number, such as 224"
        )
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}; 224 is usual")


def _check_image(image: torch.Tensor, n_channels: int) -> None:
    if not isinstance(image, torch.Tensor):
        raise TypeError(
            f"image must be a tensor, got {type(image).__name__}; a picture needs no way back"
        )
    if image.ndim != 3 or image.shape[0] != n_channels:
        raise ValueError(
            f"image must have shape [{n_channels}, H, W], got {list(image.shape)}; "
            "pass one image, without its batch dimension (images[0])"
        )
    if image.isnan().any():
        raise ValueError("image must hold numbers, got NaN; find them with image.isnan()")


def channels(values: Sequence[float], name: str) -> torch.Tensor:
    """Mean or std as float32 [3, 1, 1], or [1, 1, 1] for grey.

    Args:
        values: one number per channel.
        name: "mean" or "std".

    Raises:
        ValueError: there are neither three numbers nor one, or a std is not above 0.
    """
    numbers = torch.as_tensor(values, dtype=torch.float32)
    if numbers.shape not in ((3,), (1,)) or (name == "std" and not bool((numbers > 0).all())):
        above = ", each above 0" if name == "std" else ""
        raise ValueError(
            f"{name} must be three numbers, for red, green and blue, or one, for grey{above}, got "
            f"{values}; ImageNet's are IMAGENET_{name.upper()}"
        )
    return numbers[:, None, None]
