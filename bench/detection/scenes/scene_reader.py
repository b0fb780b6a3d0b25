"""Reading a scene of any size part by part: GeoTIFF through rasterio, NumPy arrays through a memory map, PNG, JPEG and
BMP decoded whole.

Owns which pixels hold no data, and the pixel types of a scene that is never in memory as a whole. What its values are,
and which of them the detector wants in place of missing ones, is stated by the caller. Whole images of data sets are
read by `bench.data.images`.
"""

from __future__ import annotations

import glob
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError, first_line
from bench.data.images import as_sar, file_head, is_value, read_image
from bench.data.manifest import regular
from bench.data.mapped import forget_pages
from bench.data.reading import check_values
from bench.data.scaling import SarScale
from bench.data.tiff import MAGIC
from bench.data.windows import Window
from bench.detection.scenes.geo import Georeference

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".npy")
"""What is taken from a folder of scenes; a file that is named itself may be called anything."""

_NPY = b"\x93NUMPY"
_CACHE_BYTES = 256 * 2**20  # decoded blocks that GDAL keeps: two rows of blocks of the widest scenes
_GEO = "reading TIFF scenes part by part needs rasterio: pip install 'saropt-bench[geo]'"


class SceneReader:
    """An opened scene (H, W), read in windows. Made by `open_scene`.

    Attributes:
        path: of the file.
        height, width: in pixels.
        dtype: of what `read` returns: uint8, uint16 or float32.
        geo: where its pixels lie, None where the file does not say.
        nodata: value of pixels without data, None where none is declared.
        rescaled: a scale or offset that the file states for its values, in words; "" where they mean what they are.
        scale: what the values are, once that is settled: every part that is read is held against it.
    """

    rescaled = ""
    scale: SarScale | None = None

    def __init__(
        self, path: Path, shape: tuple[int, int], stored: np.dtype, geo: Georeference | None, nodata: float | None
    ) -> None:
        self.path, self.geo, self.nodata = path, geo, nodata
        self.height, self.width = shape
        self.dtype = _promised(stored, path)
        if min(shape) < 1:
            raise BenchError(f"{path} has zero size ({shape[0]} x {shape[1]} px); replace or remove it")

    def read(self, window: Window, fill: float) -> tuple[np.ndarray, np.ndarray]:
        """Return what lies in `window`: pixels (height, width) in `dtype`, and which of them hold data, bool.

        Pixels without data (the no-data value, a mask, NaN, infinity, beyond the scene) have the value `fill`.

        Raises:
            BenchError: the part cannot be decoded, or holds values that `dtype` cannot, or that are none of `scale`.
        """
        y0, x0, height, width = window
        top, left, bottom, right = max(y0, 0), max(x0, 0), min(y0 + height, self.height), min(x0 + width, self.width)
        pixels, known = np.full((height, width), fill, dtype=self.dtype), np.zeros((height, width), dtype=bool)
        if bottom <= top or right <= left:
            return pixels, known
        stored, hidden = self._stored(top, bottom, left, right)
        missing = hidden
        if self.nodata is not None:
            missing = _or(missing, is_value(stored, self.nodata))
        if stored.dtype.kind == "f":
            missing = _or(missing, ~np.isfinite(stored))
        inside = np.s_[top - y0 : bottom - y0, left - x0 : right - x0]
        values = self._native(stored, missing)
        if missing is None:
            pixels[inside], known[inside] = values, True
        else:
            pixels[inside], known[inside] = np.where(missing, np.asarray(fill, dtype=self.dtype), values), ~missing
        used = values if missing is None else values[~missing]
        if used.size:
            check_values(used, self.scale, self.path)
        return pixels, known

    def probe(self) -> None:
        """Read the corners and the middle: a file that was cut off is found out before anything is computed. Raises
        BenchError.
        """
        for y in (0, self.height // 2, self.height - 1):
            for x in (0, self.width - 1):
                self.read((y, x, 1, 1), 0)

    def _stored(self, top: int, bottom: int, left: int, right: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a part inside the scene as stored, and where a mask hides it (None for nowhere)."""
        raise NotImplementedError

    def _native(self, stored: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
        if stored.dtype.kind == "i" or stored.dtype.itemsize > 2 and stored.dtype.kind == "u":
            used = stored if missing is None else stored[~missing]
            if used.size and (used.min() < 0 or used.max() > 65535):
                raise BenchError(
                    f"{self.path} holds {stored.dtype} values from {used.min()} to {used.max()}; "
                    "they are read as uint16: store negative or larger ones as float32"
                )
        with np.errstate(over="ignore", invalid="ignore"):
            return stored.astype(self.dtype, copy=False)


class _RasterReader(SceneReader):
    def __init__(self, path: Path, source: Any, band: int, nodata: float | None) -> None:
        from rasterio.enums import MaskFlags

        declared = source.nodatavals[band - 1] if nodata is None else nodata
        super().__init__(
            path, (source.height, source.width), np.dtype(source.dtypes[band - 1]), _georeference(source), declared
        )
        self._source, self._band = source, band
        scale, offset = source.scales[band - 1], source.offsets[band - 1]
        self.rescaled = f"the scale {scale:g}" if scale != 1 else f"the offset {offset:g}" if offset else ""
        flags = source.mask_flag_enums[band - 1]
        self._masked = MaskFlags.per_dataset in flags or MaskFlags.alpha in flags

    def _stored(self, top: int, bottom: int, left: int, right: int) -> tuple[np.ndarray, np.ndarray | None]:
        from rasterio.errors import RasterioError
        from rasterio.windows import Window as Part

        part = Part(left, top, right - left, bottom - top)
        try:
            values = self._source.read(self._band, window=part)
            return values, self._source.read_masks(self._band, window=part) == 0 if self._masked else None
        except (RasterioError, OSError) as error:
            where = f"rows {top} to {bottom}, columns {left} to {right}"
            cause = first_line(error.__cause__ or error)
            raise BenchError(
                f"{self.path} cannot be decoded at {where} ({cause}): truncated or damaged; fetch the file again"
            ) from error


class ArrayReader(SceneReader):
    """A scene in an array (H, W): in memory, or mapped from a file (`mapped`), whose pages are given back when read."""

    def __init__(self, path: Path, array: np.ndarray, nodata: float | None, mapped: bool = False) -> None:
        super().__init__(path, (array.shape[0], array.shape[1]), array.dtype, None, nodata)
        self._array, self._mapped = array, mapped

    def _stored(self, top: int, bottom: int, left: int, right: int) -> tuple[np.ndarray, np.ndarray | None]:
        part = np.array(self._array[top:bottom, left:right])
        if self._mapped:
            forget_pages(self._array)
        return part.astype(part.dtype.newbyteorder("="), copy=False), None


@contextmanager
def open_scene(path: Path, band: int | None = None, nodata: float | None = None) -> Iterator[SceneReader]:
    """Open a scene; its format is recognised by its content, never by its suffix.

    Args:
        band: number of the band to look at, counted from 1; needed where a file has several that differ.
        nodata: value of pixels without data, instead of the one that the file declares.

    Raises:
        BenchError: missing, empty or damaged file, no image, several bands and none chosen, no such band, complex
            values, no rasterio.
    """
    head = file_head(path)
    if head[:4] in MAGIC:
        with _raster(path, band, nodata) as reader:
            yield reader
    elif head.startswith(_NPY):
        yield ArrayReader(path, _mapped(path, band), nodata, mapped=True)
    else:
        image = read_image(path, () if band is None else (band,))
        yield ArrayReader(path, as_sar(image, path), nodata)


@contextmanager
def _raster(path: Path, band: int | None, nodata: float | None) -> Iterator[SceneReader]:
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
    except ImportError as error:
        raise BenchError(f"{path}: {_GEO}") from error
    for beside in path.resolve().parent.glob(f"{glob.escape(path.resolve().stem)}*"):
        if not beside.is_dir():  # GDAL reads files of this name too (.aux.xml, .msk, .tfw), and would wait for a pipe
            regular(beside)
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES), warnings.catch_warnings(), _said_by_gdal() as said:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            source = rasterio.open(path)
        except (RasterioError, OSError) as error:
            raise BenchError(
                f"{path} cannot be opened as TIFF ({first_line(error)}): truncated or damaged; fetch it again"
            ) from error
        with source:
            # GDAL goes on without the tag, and so without its coordinates
            lost = [message for message in said if "IO error" in message]
            if lost:
                raise BenchError(f"{path} cannot be read as TIFF ({lost[0]}): truncated or damaged; fetch it again")
            yield _RasterReader(path, source, _band_of(path, source.count, band), nodata)


@contextmanager
def _said_by_gdal() -> Iterator[list[str]]:
    """Collect what GDAL says while a file is open, instead of printing it."""
    said: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        said.append(record.getMessage().partition(" in ")[2] or record.getMessage())
        return False

    logger = logging.getLogger("rasterio._env")
    logger.addFilter(keep)
    try:
        yield said
    finally:
        logger.removeFilter(keep)


def _band_of(path: Path, count: int, band: int | None) -> int:
    if count < 1:
        raise BenchError(f"{path} holds no band; replace or remove it")
    if band is None and count > 1:
        raise BenchError(f"{path} has {count} bands; say which one, counted from 1, holds the SAR image", "band")
    chosen = 1 if band is None else band
    if not 1 <= chosen <= count:
        raise BenchError(f"{path} has {count} bands, counted from 1, and no band {band}", "band")
    return chosen


def _georeference(source: Any) -> Georeference | None:
    """Return where the pixels lie; None without a coordinate reference system or without an affine transform (control
    points alone).
    """
    if not source.crs or source.transform.is_identity:
        return None
    authority = source.crs.to_authority()
    name = ":".join(authority) if authority else source.crs.to_wkt()
    factor = float(source.crs.linear_units_factor[1]) if source.crs.is_projected else None
    return Georeference(name, tuple(source.transform)[:6], factor)


def _mapped(path: Path, band: int | None) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BenchError(
            f"{path} cannot be read as a NumPy array ({first_line(error)}); save it anew with numpy.save"
        ) from error
    if array.ndim != 2 or band not in (None, 1):
        raise BenchError(f"{path} holds an array of shape {array.shape}; expected (H, W), one band")
    return np.asarray(array) if array.size == 0 else array


def _promised(stored: np.dtype, path: Path) -> np.dtype:
    """Return the pixel type that a stored one becomes."""
    if stored.kind == "f":
        return np.dtype(np.float32)
    if stored.kind in "iu" and not (stored.kind == "i" and stored.itemsize == 1) and stored.itemsize <= 4:
        return np.dtype(np.uint8 if stored == np.uint8 else np.uint16)
    if stored.kind == "c":
        raise BenchError(f"{path} holds complex values; store the amplitude of single-look complex data first")
    raise BenchError(f"{path} has pixel type {stored}, which is not supported; store uint8, uint16 or float32")


def _or(one: np.ndarray | None, two: np.ndarray) -> np.ndarray:
    return two if one is None else one | two
