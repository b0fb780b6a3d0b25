"""Value scalings: statistics, independence of blocks, and refusals."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.data import scaling
from bench.data.scaling import SarScale, apply_scaling, check_scaling, default_scaling, fit_scaling


def data(dtype: Any, n: int = 6) -> np.ndarray:
    values = np.random.default_rng(0).gamma(2.0, 800.0, (n, 16, 16))
    return values.clip(0, 65535 if np.dtype(dtype).itemsize > 1 else 255).astype(dtype)


def test_uint8_is_a_division_by_255() -> None:
    block = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    params = fit_scaling("uint8", [block])
    assert np.array_equal(apply_scaling(params, block), (block / 255).astype(np.float32))
    assert asdict(params) == {"name": "uint8", "version": scaling.VERSION, "low": 0.0, "high": 255.0}
    with pytest.raises(BenchError, match="needs 8-bit"):
        fit_scaling("uint8", [block.astype(np.uint16)])
    with pytest.raises(BenchError, match="needs 8-bit"):
        apply_scaling(params, block.astype(np.float32))


def test_every_grey_level_is_the_correctly_rounded_quotient() -> None:
    levels = np.arange(256, dtype=np.uint8)
    exact = np.array([float(k) / 255 for k in range(256)]).astype(np.float32)
    out = apply_scaling(fit_scaling("uint8", [levels]), levels)
    assert out.dtype == np.float32 and np.array_equal(out, exact)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("name", ["percentile", "log-percentile"])
def test_percentiles_span_zero_to_one(dtype: Any, name: str) -> None:
    block = data(dtype)
    params = fit_scaling(name, [block])
    out = apply_scaling(params, block)
    assert out.dtype == np.float32 and out.shape == block.shape
    assert out.min() == 0.0 and out.max() == 1.0
    method: Any = "linear" if dtype == np.float32 else "inverted_cdf"
    values = block[block > 0] if name == "log-percentile" else block
    expected = np.quantile(values.astype(np.float64), [0.001, 0.999], method=method)
    assert np.allclose((params.low, params.high), np.log10(expected) if name == "log-percentile" else expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@given(cuts=st.lists(st.integers(1, 5), max_size=3))
def test_blocks_do_not_matter(dtype: Any, cuts: list[int]) -> None:
    block = data(dtype)
    assert fit_scaling("percentile", np.split(block, sorted(cuts))) == fit_scaling("percentile", [block])


def test_float_sample_is_bounded_and_independent_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "_SAMPLE_LIMIT", 1000)
    block = data(np.float32, 64)
    whole = fit_scaling("percentile", [block])
    assert whole == fit_scaling("percentile", np.array_split(block, 7))
    sample = scaling._Sample()
    sample.add(block)
    assert sample.count <= 1000
    low, high = np.quantile(block, [0.05, 0.9])
    assert whole.low < low and whole.high > high


def test_zero_maps_to_zero_under_the_logarithm() -> None:
    block = data(np.uint16)
    block[0, 0] = 0
    out = apply_scaling(fit_scaling("log-percentile", [block]), block)
    assert np.isfinite(out).all() and (out[0, 0] == 0).all()


@pytest.mark.parametrize("name", ["percentile", "log-percentile"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("value", [0, 7])
def test_constant_training_part(name: str, dtype: Any, value: int) -> None:
    with pytest.raises(BenchError, match="constant"):
        fit_scaling(name, [np.full((2, 4, 4), value, dtype)])


def test_refusals() -> None:
    with pytest.raises(BenchError, match="nearest: percentile"):
        fit_scaling("percentil", [data(np.uint8)])
    with pytest.raises(BenchError, match="no training data"):
        fit_scaling("percentile", [])
    with pytest.raises(BenchError, match="negative"):
        fit_scaling("log-percentile", [data(np.float32) - 5000])
    with pytest.raises(BenchError, match="in dB already"):
        check_scaling("log-percentile", np.dtype(np.float32), SarScale.db)
    with pytest.raises(BenchError, match="declares sar_scale: uint8"):
        default_scaling(np.dtype(np.uint16), SarScale.uint8)
    with pytest.raises(BenchError, match="unknown scaling"):
        check_scaling("none", np.dtype(np.uint8))


def test_defaults() -> None:
    assert default_scaling(np.dtype(np.uint8), SarScale.uint8) == "uint8"
    assert default_scaling(np.dtype(np.uint8)) == "uint8"
    assert default_scaling(np.dtype(np.uint16), SarScale.amplitude) == "percentile"
    assert default_scaling(np.dtype(np.float32), SarScale.db) == "percentile"
