"""Reading and writing single image files: PNG, JPEG and TIFF to arrays, exactly as stored, and clear errors for
everything else.

Owns decoding, channel rules and file headers. Does not own SAR value scaling (`scaling.py`) or which files belong
together (`folders.py`). The format is told by the content, never by the suffix. EXIF orientation is ignored, as
satellite products are stored upright.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from bench.errors import BenchError, first_line

if TYPE_CHECKING:
    from tifffile import TiffFile

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_GDAL_NODATA = 42113
_FORMATS = ("PNG", "JPEG", "TIFF")
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, struct.error, zlib.error)
# Colour type of a PNG header -> channels; Pillow would silently reduce the 16-bit forms of these to 8 bit.
_PNG_COLOUR_CHANNELS = {2: 3, 4: 2, 6: 4}


def read_image(path: Path) -> np.ndarray:
    """Decode one image file.

    Returns:
        (H, W) or (H, W, 3) array, uint8, uint16 or float32, values as stored, row 0 at the top. An alpha channel is
        dropped if it is fully opaque; signed 16-bit data without negative values become uint16; wider floats become
        float32. Pixels with the no-data value that a GeoTIFF declares become dark: 0, or the smallest value with data
        where some are negative (dB).

    Raises:
        BenchError: missing, empty, truncated or damaged file, content that is no PNG, JPEG or TIFF, zero size,
            complex or non-finite values, more than 3 channels, transparency, an unsupported pixel type.
    """
    path = Path(path)
    head = _head(path)
    array = _read_tiff(path) if head[:4] in _TIFF_MAGIC else _read_with_pillow(path, head)
    return _checked(array, path)


def as_sar(image: np.ndarray, path: Path) -> np.ndarray:
    """Return `image` as one SAR channel (H, W): (H, W) as it is, (H, W, 3) only if its channels are equal.

    Raises:
        BenchError: three channels that differ; `path` is named.
    """
    if image.ndim == 2:
        return image
    first = image[:, :, 0]
    if not (np.array_equal(first, image[:, :, 1]) and np.array_equal(first, image[:, :, 2])):
        raise BenchError(
            f"{path} has three unequal channels, so it is no single-channel SAR image; are the SAR and optical folders swapped?"
        )
    return np.ascontiguousarray(first)


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


def read_pair(optical: Path, sar: Path) -> tuple[np.ndarray, np.ndarray]:
    """Decode two files that show the same ground; return optical (H, W, 3) and SAR (H, W) in their native dtypes.

    Raises:
        BenchError: either cannot be read, the SAR channels differ, or the two have different sizes.
    """
    left, right = as_optical(read_image(optical), optical), as_sar(read_image(sar), sar)
    check_equal_sizes(optical, left.shape[:2], sar, right.shape)
    return left, right


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
        BenchError: the file is missing, empty, or its content is no PNG, JPEG or TIFF.
    """
    path = Path(path)
    head = _head(path)
    if head[:8] == _PNG_MAGIC and head[12:16] == b"IHDR" and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
    elif head[:4] in _TIFF_MAGIC:
        height, width = _tiff_size(path)
    else:
        try:
            with Image.open(path, formats=_FORMATS) as image:
                width, height = image.size
        except UnidentifiedImageError as error:
            raise _not_an_image(path) from error
        except _DECODE_ERRORS as error:
            raise _damaged(path, error) from error
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


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            head = stream.read(32)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    if not head:
        raise BenchError(f"{path} is an empty file; fetch it again or remove it")
    return head


def _not_an_image(path: Path) -> BenchError:
    return BenchError(f"{path} is not an image (its content is no PNG, JPEG or TIFF); replace or remove it")


def _damaged(path: Path, error: BaseException) -> BenchError:
    return BenchError(f"{path} cannot be decoded ({first_line(error)}): truncated or damaged; fetch the file again")


def _read_with_pillow(path: Path, head: bytes) -> np.ndarray:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
            if head[:8] == _PNG_MAGIC and head[24] == 16 and head[25] in _PNG_COLOUR_CHANNELS:
                return _read_deep_png(path, _PNG_COLOUR_CHANNELS[head[25]])
            return _pillow_array(image, path)
    except UnidentifiedImageError as error:
        raise _not_an_image(path) from error
    except Image.DecompressionBombError as error:
        raise BenchError(f"{path} is too large for PNG or JPEG decoding ({first_line(error)}); store it as TIFF") from error
    except _DECODE_ERRORS as error:
        raise _damaged(path, error) from error


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


def _read_tiff(path: Path) -> np.ndarray:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            axes = _tiff_axes(tiff, path)
            nodata = _declared_nodata(tiff, path)
            try:
                array = tiff.series[0].asarray()
            except (ValueError, KeyError) as error:
                if "imagecodecs" not in str(error):
                    raise
                array = _read_compressed_tiff(path, str(tiff.series[0].dtype), error)
                axes = "YX" if array.ndim == 2 else "YXS"
    except tifffile.TiffFileError as error:
        raise _damaged(path, error) from error
    except _DECODE_ERRORS as error:
        raise _damaged(path, error) from error
    array = np.moveaxis(array, 0, 2) if axes.startswith("S") else array
    return array if nodata is None else _without_nodata(array, nodata, path)


def _declared_nodata(tiff: TiffFile, path: Path) -> float | None:
    """Return the value that GDAL's tag declares for pixels without data, None where there is no tag."""
    tag = tiff.pages[0].tags.get(_GDAL_NODATA)  # type: ignore[union-attr]
    if tag is None:
        return None
    try:
        return float(str(tag.value).strip().strip("\x00"))
    except ValueError as error:
        raise BenchError(
            f"{path} declares the no-data value {str(tag.value)[:40]!r}, which is no number; mend the tag GDAL_NODATA"
        ) from error


def _without_nodata(array: np.ndarray, nodata: float, path: Path) -> np.ndarray:
    """Return `array` with pixels without data made dark: 0 where all values are 0 or more (linear values, in which 0 means no data), else
    the smallest value that has data (values in dB, in which 0 is bright).
    """
    missing = np.isnan(array) if np.isnan(nodata) and array.dtype.kind == "f" else array == nodata
    if not missing.any():
        return array
    if missing.all():
        raise BenchError(f"{path} holds no data: every pixel has the declared no-data value {nodata:g}; remove it")
    with np.errstate(invalid="ignore"):
        least = array[~missing].min()
    out: np.ndarray = np.where(missing, np.asarray(least if least < 0 else 0, dtype=array.dtype), array)
    return out


def _read_compressed_tiff(path: Path, dtype: str, error: Exception) -> np.ndarray:
    """Decode a compression that tifffile lacks through Pillow, if Pillow keeps the pixel type."""
    array = _read_with_pillow(path, b"")
    if np.dtype(dtype) != array.dtype:
        raise BenchError(f"{path}: {first_line(error)}; store the file uncompressed, or pip install imagecodecs") from error
    return array


def _tiff_axes(tiff: TiffFile, path: Path) -> str:
    """Return the axes of the one image in a TIFF: "YX", "YXS" or "SYX"."""
    if not tiff.series:
        raise BenchError(f"{path} holds no image")
    axes = str(tiff.series[0].axes)
    if axes not in ("YX", "YXS", "SYX"):
        raise BenchError(f"{path} holds {tiff.series[0].shape} values in axes {axes}; expected one image of 1 or 3 channels")
    return axes


def _tiff_size(path: Path) -> tuple[int, int]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            axes = _tiff_axes(tiff, path)
            shape = tiff.series[0].shape
    except tifffile.TiffFileError as error:
        raise _damaged(path, error) from error
    except _DECODE_ERRORS as error:
        raise _damaged(path, error) from error
    return int(shape[axes.index("Y")]), int(shape[axes.index("X")])


def _checked(array: np.ndarray, path: Path) -> np.ndarray:
    """Bring channels and dtype into the promised forms, or raise BenchError."""
    if array.size == 0:
        raise BenchError(f"{path} has zero size (shape {array.shape}); replace or remove it")
    array = _without_alpha(array, path)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 3 and array.shape[2] != 3:
        raise BenchError(f"{path} has {array.shape[2]} channels; expected 1 or 3")
    return np.ascontiguousarray(_to_supported(array, path))


def _without_alpha(array: np.ndarray, path: Path) -> np.ndarray:
    if array.ndim == 2 or array.shape[2] not in (2, 4):
        return array
    opaque: Any = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1.0
    if not (array[:, :, -1] == opaque).all():
        raise BenchError(f"{path} has {array.shape[2]} channels and the last is no fully opaque alpha; expected 1 or 3 channels")
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
            raise BenchError(f"{path} has {bad} values that are NaN or infinite; fill or mask them before use")
        return array
    if kind == "u" and size <= 2:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if kind == "i" and size in (2, 4) and array.min() >= 0 and array.max() <= 65535:
        return array.astype(np.uint16)
    raise BenchError(f"{path} has pixel type {array.dtype}, which is not supported; store uint8, uint16 or float32")
