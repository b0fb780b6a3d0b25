"""SAR and optical values to [0, 1]: named, versioned scalings whose statistics come from the training part only.

Owns which scaling fits which declared SAR scale, and the statistics. Does not own the network's normalisation, which
belongs to the backbone. One range serves all channels of a view, so that colour ratios are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np

from bench.core.errors import BenchError, nearest

ScalingName = Literal["uint8", "percentile", "log-percentile"]

NAMES: tuple[ScalingName, ...] = ("uint8", "percentile", "log-percentile")
VERSION = 1
LOW_SHARE, HIGH_SHARE = 0.001, 0.999
_SAMPLE_LIMIT = 4_000_000


class SarScale(StrEnum):
    """What the stored SAR values are, declared by the data set and never guessed."""

    amplitude = "amplitude"
    intensity = "intensity"
    db = "db"
    uint8 = "uint8"


@dataclass(frozen=True)
class ScalingParams:
    """A fitted scaling: values from `low` to `high` map to 0..1 and are clipped there.

    `low` and `high` are in stored units, or in log10 of them for "log-percentile". `asdict` of it is JSON.
    """

    name: ScalingName
    version: int
    low: float
    high: float


def default_scaling(dtype: np.dtype, sar_scale: SarScale | None = None) -> ScalingName:
    """Return the scaling for data of `dtype`: "uint8" for 8-bit data, "percentile" for the rest. `sar_scale` is None
    for optical data.

    Raises:
        BenchError: dtype and declared SAR scale contradict each other.
    """
    name: ScalingName = "uint8" if np.dtype(dtype) == np.uint8 else "percentile"
    check_scaling(name, dtype, sar_scale)
    return name


def check_scaling(name: str, dtype: np.dtype, sar_scale: SarScale | None = None) -> None:
    """Check that scaling `name` suits data of `dtype` with the declared `sar_scale` (None for optical data).

    Raises:
        BenchError: unknown name; 16-bit or float files declared "uint8"; logarithm of values already in dB; "uint8"
            for other data.
    """
    dtype = np.dtype(dtype)
    if name not in NAMES:
        raise BenchError(f"unknown scaling {name!r}{nearest(name, NAMES)}")
    if sar_scale is SarScale.uint8 and dtype != np.uint8:
        raise BenchError(
            f"the SAR files hold {dtype} values but the data set declares sar_scale: uint8; declare amplitude,"
            " intensity or db"
        )
    if name == "uint8" and dtype != np.uint8:
        raise BenchError(f"scaling 'uint8' needs 8-bit data, and these are {dtype}; use percentile or log-percentile")
    if name == "log-percentile" and sar_scale is SarScale.db:
        raise BenchError(
            "scaling 'log-percentile' would take the logarithm of values that are in dB already; use percentile"
        )


def fit_scaling(name: str, blocks: Iterable[np.ndarray]) -> ScalingParams:
    """Fit a scaling on the training part.

    Args:
        name: "uint8" (x / 255), "percentile" (0.1 % to 99.9 % of all values) or "log-percentile" (the same of log10
            of the positive values).
        blocks: arrays (n, H, W) or (n, H, W, C) of one dtype. The result does not depend on how the data are cut into
            blocks. Memory is bounded: exact histogram for integers, at most 4 million regularly spaced values for
            floats.

    Raises:
        BenchError: unknown name, no data, wrong dtype, negative values under the logarithm, or a training part of one
            single value.
    """
    if name not in NAMES:
        raise BenchError(f"unknown scaling {name!r}{nearest(name, NAMES)}")
    statistic: _Histogram | _Sample | None = None
    for block in blocks:
        if block.size == 0:
            continue
        if name == "uint8":
            check_scaling(name, block.dtype)
            return ScalingParams("uint8", VERSION, 0.0, 255.0)
        if statistic is None:
            statistic = _Histogram(block.dtype) if block.dtype.kind == "u" else _Sample()
        statistic.add(block)
    if statistic is None:
        raise BenchError("no training data to fit the value scaling on; widen the split")
    low, high = statistic.range(positive=name == "log-percentile")
    if not high > low:
        raise BenchError(
            f"the training images are constant ({low:g} at the 0.1 % and the 99.9 % point); check the data with `bench"
            " data verify`"
        )
    if name == "percentile":
        return ScalingParams("percentile", VERSION, low, high)
    return ScalingParams("log-percentile", VERSION, float(np.log10(low)), float(np.log10(high)))


def apply_scaling(params: ScalingParams, block: np.ndarray) -> np.ndarray:
    """Return `block` as float32 of the same shape in [0, 1].

    Raises:
        BenchError: "uint8" on other data.
    """
    check_scaling(params.name, block.dtype)
    if params.name == "uint8" and (params.low, params.high) == (0.0, 255.0):
        # the same 256 values as the table's (tested), five times faster
        shares: np.ndarray = np.divide(block, np.float32(255), dtype=np.float32)
        return shares
    if block.dtype.kind == "u":
        levels = np.arange(np.iinfo(block.dtype).max + 1, dtype=np.float64)
        table: np.ndarray = _scale(params, levels).astype(np.float32)
        scaled: np.ndarray = table.take(block, mode="clip")  # no value lies outside; saves the check
        return scaled
    out: np.ndarray = _scale(params, block.astype(np.float64)).astype(np.float32)
    return out


def _scale(params: ScalingParams, values: np.ndarray) -> np.ndarray:
    if params.name == "log-percentile":
        values = np.log10(np.maximum(values, 10.0**params.low))
    out: np.ndarray = np.clip((values - params.low) / (params.high - params.low), 0.0, 1.0)
    return out


class _Histogram:
    """Exact counts of uint8 or uint16 values."""

    def __init__(self, dtype: np.dtype) -> None:
        self.counts = np.zeros(int(np.iinfo(dtype).max) + 1, dtype=np.int64)

    def add(self, block: np.ndarray) -> None:
        self.counts += np.bincount(block.ravel(), minlength=len(self.counts))

    def range(self, positive: bool) -> tuple[float, float]:
        counts = self.counts.copy()
        if positive:
            counts[0] = 0
        total = int(counts.sum())
        if total == 0:
            return 0.0, 0.0
        cumulative = np.cumsum(counts)
        low = int(np.searchsorted(cumulative, max(1.0, LOW_SHARE * total)))
        high = int(np.searchsorted(cumulative, HIGH_SHARE * total))
        return float(low), float(high)


class _Sample:
    """Every k-th value of a stream of floats; k doubles whenever the sample would grow past the limit."""

    def __init__(self) -> None:
        self.stride = 1
        self.seen = 0
        self.kept: list[np.ndarray] = []
        self.count = 0
        self.smallest = np.inf

    def add(self, block: np.ndarray) -> None:
        flat = block.ravel()
        self.smallest = min(self.smallest, float(flat.min()))
        part = flat[(-self.seen) % self.stride :: self.stride].astype(np.float64)
        self.seen += flat.size
        self.kept.append(part)
        self.count += part.size
        while self.count > _SAMPLE_LIMIT:
            whole = np.concatenate(self.kept)[::2]
            self.kept, self.count, self.stride = [whole], whole.size, self.stride * 2

    def range(self, positive: bool) -> tuple[float, float]:
        values = np.concatenate(self.kept)
        if positive:
            if self.smallest < 0:
                raise BenchError(
                    f"scaling 'log-percentile' met negative values (down to {self.smallest:g}); dB data need percentile"
                )
            values = values[values > 0]
            if values.size == 0:
                return 0.0, 0.0
        low, high = np.quantile(values, [LOW_SHARE, HIGH_SHARE])
        return float(low), float(high)
