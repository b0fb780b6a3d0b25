"""How the files of a data set are read: which bands, which values mark missing pixels, and which values a declared SAR
scale allows.

Owns what the user declares of the files (a reading); an index carries it, so that caches, audits and checks read alike.
Decoding is in `images.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from bench.core.errors import BenchError
from bench.data.images import Channels, as_optical, as_sar, check_equal_sizes, equal_channels, read_image
from bench.data.scaling import SarScale

DB_LIMIT = 200.0
"""No backscatter is as far from 0 dB, calibrated (-60 to 60) or not (0 to 100): such a value is a mark of missing
pixels.
"""

MARKS = tuple(float(np.float32(value)) for value in (-9999, -32767, -32768, -99999, np.finfo(np.float32).min))
"""Values that programs write into pixels without data."""


def _as_text(value: Any) -> Any:
    """Turn YAML's .nan and .inf into the texts that JSON can hold."""
    if isinstance(value, bool):
        raise ValueError(f"{value} is no number")
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


_Number = Annotated[float, Field(allow_inf_nan=False)]
NoData = Annotated[_Number | Literal["nan", "inf", "-inf"] | None, BeforeValidator(_as_text)]
"""An option: the value of pixels without data, besides what the files declare; a number, "nan", "inf" or "-inf"."""


@dataclass(frozen=True)
class SarReading:
    """How SAR files are read.

    Attributes:
        band: number of the SAR band, counted from 1; None where files have one channel, or three equal channels.
        nodata: value of pixels without data besides what a file declares; None for none.
        scale: what the values are, None where nobody says.
        channels: how three channels that differ are read.
    """

    band: int | None = None
    nodata: float | None = None
    scale: SarScale | None = None
    channels: Channels = "refuse"

    def read(self, path: Path) -> np.ndarray:
        """Return the SAR image (H, W) in its native dtype. Raises BenchError, as `read_noting`."""
        return self.read_noting(path)[0]

    def read_noting(self, path: Path) -> tuple[np.ndarray, bool]:
        """Return the SAR image (H, W) in its native dtype, and whether the file has three channels that differ.

        Raises:
            BenchError: as `read_image` and `as_sar`, values that the declared scale rules out, or that the file says
                are to be rescaled.
        """
        bands = () if self.band is None else (self.band,)
        stored = read_image(path, bands, self.nodata, unscaled=self.scale not in (None, SarScale.uint8))
        image = as_sar(stored, path, self.channels)
        check_values(image, self.scale, path)
        return image, not equal_channels(stored)

    def key(self) -> list[Any]:
        """Return what decides pixels, as JSON values; empty for files as they are stored."""
        stored = self.band is None and self.nodata is None
        key = [] if stored else [self.band, None if self.nodata is None else repr(self.nodata)]
        return key if self.channels == "refuse" else [*key, self.channels]


@dataclass(frozen=True)
class PairReading:
    """How the two files of a pair are read.

    Attributes:
        sar: how SAR files are.
        optical_bands: numbers of the bands taken as red, green and blue, or of one taken as grey, counted from 1; empty
            where files have one or three.
    """

    sar: SarReading = field(default_factory=SarReading)
    optical_bands: tuple[int, ...] = ()

    def optical(self, path: Path) -> np.ndarray:
        """Return the optical image (H, W, 3) in its native dtype. Raises BenchError, as `read_image`."""
        return as_optical(read_image(path, self.optical_bands), path)

    def pair(self, optical: Path, sar: Path) -> tuple[np.ndarray, np.ndarray]:
        """Decode two files that show the same ground; return optical (H, W, 3) and SAR (H, W) in their native dtypes.

        Raises:
            BenchError: either cannot be read, the SAR channels differ, or the two have different sizes.
        """
        left, right = self.optical(optical), self.sar.read(sar)
        check_equal_sizes(optical, left.shape[:2], sar, right.shape)
        return left, right

    def key(self) -> list[Any]:
        """Return what decides pixels, as JSON values; empty for files as they are stored."""
        key = [self.sar.key(), list(self.optical_bands)]
        return key if any(key) else []


def sar_reading(options: Any, scale: SarScale | None, prefix: str = "") -> SarReading:
    """Return the reading that the options `<prefix>band`, `<prefix>nodata` and `<prefix>channels` declare; sets without
    them read files as stored.
    """
    nodata = getattr(options, f"{prefix}nodata", None)
    return SarReading(
        getattr(options, f"{prefix}band", None),
        None if nodata is None else float(nodata),
        scale,
        getattr(options, f"{prefix}channels", "refuse"),
    )


def pair_reading(options: Any, scale: SarScale | None) -> PairReading:
    """Return the reading that the options `sar_band`, `sar_nodata`, `sar_channels` and `optical_bands` declare; sets
    without them read files as stored.
    """
    return PairReading(sar_reading(options, scale, "sar_"), tuple(getattr(options, "optical_bands", None) or ()))


def check_values(image: np.ndarray, scale: SarScale | None, path: Path) -> None:
    """Hold values against what they are declared to be; 8-bit ones mean what their stretch made of them, and pass.

    Raises:
        BenchError: values more than `DB_LIMIT` from 0 dB, negative amplitudes, or intensities that are a known mark of
            missing pixels (noise subtraction leaves small negative intensities; those pass).
    """
    if (
        scale in (None, SarScale.uint8)
        or image.dtype == np.uint8
        or (image.dtype.kind == "u" and scale is not SarScale.db)
    ):
        return
    low, high = float(image.min()), float(image.max())
    if scale is SarScale.db:
        strange = low if low < -DB_LIMIT else high if high > DB_LIMIT else None
    elif scale is SarScale.amplitude:
        strange = low if low < 0 else None
    else:
        strange = low if low in MARKS else None
    if strange is not None:
        kind = "backscatter in dB" if scale is SarScale.db else str(scale)
        raise BenchError(
            f"{path} holds {strange:g}, which is no {kind}: if it marks pixels without data, declare it (option nodata"
            " or sar_nodata), else correct the option sar_scale"
        )
