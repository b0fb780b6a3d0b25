"""TIFF and GeoTIFF files to arrays, with the marks of pixels that hold no data; coordinates are not read.

Owns what only TIFF has: the order of axes, bands, compression, the no-data value of GDAL's tag, internal masks and
tiles that were never written. What becomes of missing pixels, and which types are allowed, is in `images.py`.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.errors import BenchError, first_line

if TYPE_CHECKING:
    from tifffile import TiffFile

MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")

_GDAL_METADATA, _GDAL_NODATA = 42112, 42113
_ITEM = re.compile(r"<Item\b([^>]*)>([^<]*)</Item>")
_ATTRIBUTE = re.compile(r"(\w+)\s*=\s*[\"']([^\"']*)[\"']")
_REDUCED, _MASK = 1, 4  # bits of the tag NewSubfileType
# tag Compression -> bytes of pixels that one stored byte can stand for, at most: none, LZW (reset at 4,096 codes),
# DEFLATE (two names), PackBits; others have no bound
_EXPANSION = {1: 1, 5: 2000, 8: 1100, 32946: 1100, 32773: 64}


@dataclass(frozen=True, eq=False)
class Decoded:
    """A TIFF's pixels as stored.

    Attributes:
        array: (H, W) or (H, W, bands).
        nodata: the value that the tag GDAL_NODATA declares for pixels without data; None where there is no tag.
        masked: (H, W) bool, the pixels that an internal mask hides; None where there is no mask.
        rescaled: number of a band, counted from 1 (0: every band) -> text of a scale or offset that its values are to
            be read with, as the tag GDAL_METADATA states it; without those that change nothing.
    """

    array: np.ndarray
    nodata: float | None
    masked: np.ndarray | None
    rescaled: dict[int, str]


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Run a decoder on the file `path`. Decoders raise whatever comes of wrong bytes: a TypeError, a division by zero.

    Raises:
        BenchError: for every exception but a BenchError, which passes: the file is no whole image.
    """
    try:
        yield
    except BenchError:
        raise
    except Exception as error:  # the one boundary to decoders: their defects are faults of the file
        raise BenchError(
            f"{path} cannot be decoded ({first_line(error)}): truncated or damaged; fetch the file again"
        ) from error


def read_tiff(path: Path, fallback: Callable[[Path], np.ndarray], stack: bool = False) -> Decoded:
    """Decode the first image of a TIFF; overviews are passed over.

    Args:
        fallback: another decoder, for compressions that tifffile lacks.
        stack: whether the pages of a stack are taken as its bands.

    Raises:
        BenchError: damaged, no image, a stack of pages where none is wanted, a compression that nothing here decodes, a
            tag GDAL_NODATA that is no number, or unwritten tiles whose value is unknown.
    """
    with _opened(path) as tiff:
        axes = _axes(tiff, path, stack)
        nodata = _declared_nodata(tiff, path)
        _check_unwritten(tiff, nodata, path)
        _check_extent(tiff.pages[0], path)
        masked = _mask(tiff, path)
        rescaled = _rescaled(tiff)
        try:
            array = tiff.series[0].asarray()
        except (ValueError, KeyError, ImportError, NotImplementedError) as error:
            if not isinstance(error, ImportError) and "imagecodecs" not in str(error):
                raise
            array = _compressed(tiff, path, fallback, error)
            axes = "YX" if array.ndim == 2 else "YXS"
    if not axes.startswith("Y"):
        array = np.moveaxis(array, 0, 2)
    return Decoded(array, nodata, masked, rescaled)


def check_unscaled(decoded: Decoded, bands: Sequence[int], path: Path) -> None:
    """Raise BenchError if the values of `bands` (none: of any band) are to be rescaled before they mean what is
    declared of them.
    """
    for band, text in decoded.rescaled.items():
        if not bands or band in (0, *bands):
            raise rescaled(path, text)


def rescaled(path: Path, text: str) -> BenchError:
    """Return the error of a file whose values are to be rescaled first."""
    return BenchError(
        f"{path} states {text} for its values, so those stored are not what the SAR scale declares; "
        "store the values themselves (gdal_translate -unscale -ot Float32)"
    )


def tiff_size(path: Path) -> tuple[int, int]:
    """Return (height, width) in pixels from the header. Raises BenchError, as `read_tiff`."""
    with _opened(path) as tiff:
        axes = _axes(tiff, path, stack=True)
        shape = tiff.series[0].shape
        return int(shape[axes.index("Y")]), int(shape[axes.index("X")])


@contextmanager
def _opened(path: Path) -> Iterator[TiffFile]:
    """Open a file; what goes wrong meanwhile, except a BenchError, becomes the error of a damaged file."""
    import tifffile

    logging.getLogger("tifffile").addFilter(_is_of_use)
    with decoding(path), tifffile.TiffFile(path) as tiff:
        yield tiff


def _is_of_use(record: logging.LogRecord) -> bool:
    """Return whether a log line of tifffile is of use: the no-data value is read and checked here."""
    return "GDAL_NODATA" not in record.getMessage()


def _axes(tiff: TiffFile, path: Path, stack: bool) -> str:
    """Return the axes of the one image in a file: "YX", "YXS", "SYX", or with `stack` any letter before "YX"."""
    if not tiff.series:
        raise BenchError(f"{path} holds no image")
    axes = str(tiff.series[0].axes)
    if axes not in ("YX", "YXS", "SYX") and not (stack and len(axes) == 3 and axes.endswith("YX")):
        raise BenchError(
            f"{path} holds {tiff.series[0].shape} values in axes {axes}; expected one image of 1 or 3 channels"
        )
    return axes


def _declared_nodata(tiff: TiffFile, path: Path) -> float | None:
    tag = tiff.pages.first.tags.get(_GDAL_NODATA)
    if tag is None:
        return None
    text = str(tag.value).replace("\x00", "").strip()
    try:
        return float(text)
    except ValueError as error:
        raise BenchError(
            f"{path} declares the no-data value {text[:40]!r}, which is no number; correct the tag GDAL_NODATA"
        ) from error


def _rescaled(tiff: TiffFile) -> dict[int, str]:
    """Return `Decoded.rescaled`. GDAL's own meaning: value = stored * scale + offset."""
    tag = tiff.pages.first.tags.get(_GDAL_METADATA)
    found: dict[int, str] = {}
    for attributes, text in _ITEM.findall("" if tag is None else str(tag.value)):
        known = dict(_ATTRIBUTE.findall(attributes))
        role = known.get("role")
        neutral = {"scale": 1.0, "offset": 0.0}.get(role or "")
        if neutral is None:
            continue
        try:
            changes = float(text) != neutral
        except ValueError:
            changes = True
        if changes:
            sample = known.get("sample", "")
            found.setdefault(int(sample) + 1 if sample.isdecimal() else 0, f"the {role} {text.strip()[:40]}")
    return found


def _check_unwritten(tiff: TiffFile, nodata: float | None, path: Path) -> None:
    """Raise BenchError for tiles that were never written, where they would be filled with a value that means something:
    in float files without a declared value with 0, which is bright in dB, else with another value than the declared
    one.
    """
    page: Any = tiff.pages[0]
    if 0 not in page.databytecounts or (nodata is None and page.dtype.kind != "f"):
        return
    if nodata is None:
        raise BenchError(
            f"{path} has tiles that were never written and declares no value for them; set the tag GDAL_NODATA"
        )
    if not np.array_equal(float(page.nodata), nodata, equal_nan=True):
        raise BenchError(
            f"{path} has tiles that were never written and the no-data value {nodata:g}, which cannot be filled in;"
            " rewrite it"
        )


def _check_extent(page: Any, path: Path) -> None:
    """Raise BenchError where the sides that a header states want more strips or tiles, or more bytes, than are stored:
    a decoder would fill in the rest, for minutes and gigabytes.
    """
    wanted, listed = math.prod(page.chunked), len(page.dataoffsets)
    written = [count for count in page.databytecounts if count]
    bits = math.prod(page.chunks) * page.bitspersample
    edge = 0 if page.is_tiled else bits  # the last strip of a band may be shorter
    needed = ((len(written) * bits) - edge * int(page.samplesperpixel)) // 8
    stored = min(sum(written), page.parent.filehandle.size)
    if wanted > listed or needed > stored * _EXPANSION.get(int(page.compression), math.inf):
        height, width = page.imagelength, page.imagewidth
        raise BenchError(
            f"{path} states {height} x {width} px (height x width), which its {listed} strips or tiles of {stored}"
            " bytes cannot hold: truncated or damaged; fetch the file again"
        )


def _mask(tiff: TiffFile, path: Path) -> np.ndarray | None:
    """Return where an internal mask hides pixels, (H, W) bool; None without a mask."""
    first: Any = tiff.pages[0]
    for page in list(tiff.pages)[1:]:
        kind = int(getattr(page, "subfiletype", 0))
        if kind & _MASK and not kind & _REDUCED and page.shape[:2] == (first.imagelength, first.imagewidth):
            _check_extent(page, path)
            try:
                hidden: np.ndarray = page.asarray() == 0
            except (ValueError, KeyError, ImportError) as error:
                raise BenchError(
                    f"{path} has an internal mask that cannot be decoded ({first_line(error)}); rewrite it"
                ) from error
            return hidden
    return None


def _compressed(tiff: TiffFile, path: Path, fallback: Callable[[Path], np.ndarray], error: Exception) -> np.ndarray:
    """Decode a compression or packing that tifffile lacks, if the fallback keeps shape and type."""
    page: Any = tiff.pages[0]
    bits, name = page.bitspersample, getattr(page.compression, "name", "?")
    what = f"compressed with {name}" if bits in (8, 16, 32, 64) else f"packed into {bits} bits a value"
    advice = (
        f"{path} is {what}, which nothing here decodes ({first_line(error)}); store whole bytes with DEFLATE, or pip"
        " install imagecodecs"
    )
    try:
        array = fallback(path)
    except BenchError:
        raise BenchError(advice) from error
    wanted = tiff.series[0]
    if array.dtype != wanted.dtype or sorted(array.shape) != sorted(wanted.shape):
        raise BenchError(advice) from error
    return array
