"""Reading and writing single image files: PNG, JPEG, BMP and TIFF to arrays, exactly as stored, and clear errors for
everything else.

Owns decoding, channel rules and file headers. Does not own SAR value scaling (`scaling.py`) or which files belong
together (`folders.py`). The format is known by the content, never by the suffix. EXIF orientation is ignored, as
satellite products are stored upright.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from bench.core.errors import BenchError, first_line
from bench.data.manifest import regular
from bench.data.tiff import MAGIC, check_unscaled, decoding, read_tiff, tiff_size

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})

Channels = Literal["refuse", "luminance", "first"]
"""How a SAR image of three channels that differ is read: not at all, or as one channel made of them."""

_LUMINANCE = np.array([0.299, 0.587, 0.114])
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_NAME_BANDS = "or an option that names the bands (band; sar_band, optical_bands)"
# Colour type of a PNG header -> channels; Pillow would silently reduce the 16-bit forms of these to 8 bit.
_PNG_COLOUR_CHANNELS = {2: 3, 4: 2, 6: 4}


def read_image(
    path: Path, bands: Sequence[int] = (), nodata: float | None = None, unscaled: bool = False
) -> np.ndarray:
    """Decode one image file.

    Args:
        bands: numbers of the bands to return, counted from 1, one or three; none takes all that the file has, and drops
            an opaque alpha.
        nodata: value of pixels without data (NaN and infinity too), besides what the file itself marks.
        unscaled: refuse a GeoTIFF whose tags state that its values are to be multiplied or shifted before they mean
            anything.

    Returns:
        (H, W) or (H, W, 3) array, uint8, uint16 or float32, values as stored, row 0 at the top. An alpha channel is
        dropped if it is fully opaque; signed 16-bit data without negative values become uint16; wider floats become
        float32. Pixels without data (`nodata`; in a GeoTIFF its tag GDAL_NODATA and its internal mask) become dark: 0,
        or the smallest value with data where some are negative (dB).

    Raises:
        BenchError: missing, empty, truncated or damaged file, content that is no PNG, JPEG, BMP or TIFF, zero size,
            complex or non-finite values, more than 3 channels, transparency, an unsupported pixel type, a band that is
            not there, no pixel with data.
    """
    path = Path(path)
    head = file_head(path)
    values = [] if nodata is None else [nodata]
    masked = None
    if head[:4] in MAGIC:
        decoded = read_tiff(path, lambda name: _read_with_pillow(name, b""), stack=bool(bands))
        array, masked = decoded.array, decoded.masked
        if unscaled:
            check_unscaled(decoded, bands, path)
        values += [] if decoded.nodata is None else [decoded.nodata]
    else:
        array = _read_with_pillow(path, head)
    if array.size == 0:
        raise BenchError(f"{path} has zero size (shape {array.shape}); replace or remove it")
    array = _selected(array, bands, path) if bands else _without_alpha(array, path)
    return _checked(_without_missing(array, values, masked, path), path)


def as_sar(image: np.ndarray, path: Path, channels: Channels = "refuse") -> np.ndarray:
    """Return `image` as one SAR channel (H, W): (H, W) as it is, of (H, W, 3) with equal channels one of them.

    Args:
        channels: how three that differ are read: "luminance" (ITU-R BT.601: 0.299 red, 0.587 green, 0.114 blue, rounded
            in integer types), or the "first".

    Raises:
        BenchError: three channels that differ and are to be refused; `path` is named.
    """
    if image.ndim == 2:
        return image
    if channels == "refuse" and not equal_channels(image):
        raise BenchError(
            f"{path} has three unequal channels, so it is no single-channel SAR image: are the SAR and optical folders"
            " swapped? A colour composite is read by the option channels (pairs: sar_channels): luminance or first"
        )
    if channels == "luminance" and not equal_channels(image):
        grey: np.ndarray = image.astype(np.float64) @ _LUMINANCE
        return np.asarray(np.rint(grey) if image.dtype.kind == "u" else grey, dtype=image.dtype)
    return np.ascontiguousarray(image[:, :, 0])


def equal_channels(image: np.ndarray) -> bool:
    """Return whether (H, W, 3) has three equal channels; (H, W) has."""
    if image.ndim == 2:
        return True
    first = image[:, :, 0]
    return np.array_equal(first, image[:, :, 1]) and np.array_equal(first, image[:, :, 2])


def as_optical(image: np.ndarray, path: Path) -> np.ndarray:
    """Return `image` as (H, W, 3); one channel is replicated. `path` names the file in errors.

    Raises:
        BenchError: `image` has neither one nor three channels.
    """
    if image.ndim == 2:
        return np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3:
        raise BenchError(f"{path} has shape {image.shape}; an optical image needs 1 or 3 channels")
    return image


def check_equal_sizes(optical: Path, optical_size: tuple[int, ...], sar: Path, sar_size: tuple[int, ...]) -> None:
    """Raise BenchError, naming both files, unless the two (height, width) are equal."""
    if tuple(optical_size) != tuple(sar_size):
        raise BenchError(
            f"{optical} is {optical_size[0]} x {optical_size[1]} px (height x width) but its partner {sar} is "
            f"{sar_size[0]} x {sar_size[1]} px; register the pair to one grid or remove it"
        )


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) in pixels from the file's header alone.

    Raises:
        BenchError: the file is missing, empty, or its content is no PNG, JPEG, BMP or TIFF.
    """
    path = Path(path)
    head = file_head(path)
    if head[:8] == _PNG_MAGIC and head[12:16] == b"IHDR" and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
    elif head[:4] in MAGIC:
        height, width = tiff_size(path)
    else:
        with decoding(path), _pillow(path) as image:
            width, height = image.size
    if height == 0 or width == 0:
        raise BenchError(f"{path} has zero size ({height} x {width} px); replace or remove it")
    return int(height), int(width)


def write_image(stem: Path, array: np.ndarray, compress_level: int = 6) -> Path:
    """Write an image losslessly and return its path: `stem`.png for 8-bit and one-channel 16-bit data, `stem`.tif for
    the rest.

    Args:
        stem: path without a suffix.
        array: (H, W) or (H, W, 3), uint8, uint16 or float32.
        compress_level: zlib level of PNG, 0..9.
    """
    if array.dtype == np.uint8 or (array.dtype == np.uint16 and array.ndim == 2):
        path = stem.with_name(stem.name + ".png")
        Image.fromarray(np.ascontiguousarray(array)).save(path, format="PNG", compress_level=compress_level)
        return path
    import tifffile

    path = stem.with_name(stem.name + ".tif")
    tifffile.imwrite(path, array, photometric="rgb" if array.ndim == 3 else "minisblack", metadata=None, software=False)
    return path


def file_head(path: Path) -> bytes:
    """Return the first 32 bytes of a file. Raises BenchError: missing, unreadable or empty."""
    regular(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(32)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    if not head:
        raise BenchError(f"{path} is an empty file; fetch it again or remove it")
    return head


def _not_an_image(path: Path) -> BenchError:
    return BenchError(f"{path} is not an image (its content is no PNG, JPEG, BMP or TIFF); replace or remove it")


def _pillow(path: Path) -> Image.Image:
    """Open a file with Pillow. Raises BenchError where its content is no image, or is too large."""
    try:
        return Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise _not_an_image(path) from error
    except Image.DecompressionBombError as error:
        raise BenchError(
            f"{path} is too large for PNG or JPEG decoding ({first_line(error)}); store it as TIFF"
        ) from error


def _read_with_pillow(path: Path, head: bytes) -> np.ndarray:
    with decoding(path), _pillow(path) as image:
        image.load()
        if head[:8] == _PNG_MAGIC and head[24] == 16 and head[25] in _PNG_COLOUR_CHANNELS:
            return _read_deep_png(path, _PNG_COLOUR_CHANNELS[head[25]])
        return _pillow_array(image, path)


def _pillow_array(image: Image.Image, path: Path) -> np.ndarray:
    mode = image.mode
    if mode == "P" or (mode in ("L", "RGB") and "transparency" in image.info):
        return np.asarray(image.convert("RGBA"))
    if mode in ("L", "RGB", "LA", "RGBA", "I", "F") or mode.startswith("I;16"):
        return np.asarray(image)
    raise BenchError(f"{path} has pixel mode {mode}, which is not supported; convert it to grey or RGB")


def _read_deep_png(path: Path, channels: int) -> np.ndarray:
    """Decode a 16-bit colour PNG with OpenCV. Pillow has found the file whole before, since OpenCV pads truncated
    files silently.
    """
    import cv2

    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise BenchError(f"{path} cannot be decoded as 16-bit PNG; store it as TIFF")
    if array.ndim == 2:
        return np.asarray(array)
    order = [2, 1, 0, 3] if array.shape[2] == 4 else [2, 1, 0]
    array = np.ascontiguousarray(array[:, :, order])
    return array[:, :, [0, 3]] if channels == 2 and array.shape[2] == 4 else array


def _selected(array: np.ndarray, bands: Sequence[int], path: Path) -> np.ndarray:
    """Return the bands with these numbers, counted from 1: (H, W) for one, else (H, W, k)."""
    layers = array[:, :, None] if array.ndim == 2 else array
    for band in bands:
        if not 1 <= band <= layers.shape[2]:
            raise BenchError(
                f"{path} has {layers.shape[2]} bands, counted from 1, and no band {band}; correct the option that names"
                " bands"
            )
    chosen = layers[:, :, [band - 1 for band in bands]]
    return chosen[:, :, 0] if len(bands) == 1 else chosen


def _without_missing(array: np.ndarray, values: Iterable[float], masked: np.ndarray | None, path: Path) -> np.ndarray:
    """Return `array` with pixels without data made dark: 0 where no value with data is negative (as in linear values,
    where 0 is no echo), else the smallest value with data (as in dB, where 0 is bright). Both are the darkest of the
    image, so no scale is guessed.

    Args:
        values: that mark a pixel as missing. masked: (H, W), further missing pixels.
    """
    values = list(values)
    if not values and masked is None:
        return array
    missing = np.zeros(array.shape, dtype=bool)
    if masked is not None:
        missing |= masked if array.ndim == 2 else masked[:, :, None]
    for value in values:
        missing |= is_value(array, value)
    if not missing.any():
        return array
    if missing.all():
        raise BenchError(f"{path} holds no data: every pixel is marked as missing; remove it")
    with np.errstate(invalid="ignore"):
        least = array[~missing].min()
    out: np.ndarray = np.where(missing, np.asarray(least if least < 0 else 0, dtype=array.dtype), array)
    return out


def is_value(array: np.ndarray, value: float) -> np.ndarray:
    """Return where `array` holds `value`, as its own type writes it; nothing is a value that the type cannot hold."""
    if array.dtype.kind != "f":
        fits = np.isfinite(value) and value == int(value) and array.dtype.kind in "iu"
        fits = fits and np.iinfo(array.dtype).min <= value <= np.iinfo(array.dtype).max
        return array == int(value) if fits else np.zeros(array.shape, dtype=bool)
    if np.isnan(value):
        unknown: np.ndarray = np.isnan(array)
        return unknown
    with np.errstate(over="ignore"):
        stored = np.float64(value).astype(array.dtype)
    if np.isinf(stored) and np.isfinite(value):
        return np.zeros(array.shape, dtype=bool)
    out: np.ndarray = array == stored
    return out


def _checked(array: np.ndarray, path: Path) -> np.ndarray:
    """Bring channels and dtype into the promised forms, or raise BenchError."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 3 and array.shape[2] != 3:
        raise BenchError(f"{path} has {array.shape[2]} channels; expected 1 or 3, {_NAME_BANDS}")
    return np.ascontiguousarray(_to_supported(array, path))


def _without_alpha(array: np.ndarray, path: Path) -> np.ndarray:
    if array.ndim == 2 or array.shape[2] not in (2, 4):
        return array
    opaque: Any = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1.0
    if not (array[:, :, -1] == opaque).all():
        raise BenchError(
            f"{path} has {array.shape[2]} channels and the last is no fully opaque alpha; expected 1 or 3 channels,"
            f" {_NAME_BANDS}"
        )
    return array[:, :, :-1]


def _to_supported(array: np.ndarray, path: Path) -> np.ndarray:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "c":
        raise BenchError(f"{path} holds complex values; store the amplitude of single-look complex data first")
    if kind == "f":
        with np.errstate(over="ignore"):
            array = array.astype(np.float32, copy=False)
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        if bad:
            raise BenchError(
                f"{path} has {bad} values that are NaN or infinite; fill them, or declare them missing (option nodata"
                " or sar_nodata)"
            )
        return array
    if kind == "u" and size <= 2:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if kind == "i" and size in (2, 4) and array.min() >= 0 and array.max() <= 65535:
        return array.astype(np.uint16)
    raise BenchError(f"{path} has pixel type {array.dtype}, which is not supported; store uint8, uint16 or float32")
