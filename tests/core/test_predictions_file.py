"""The predictions file: whatever happens to its bytes or arrays, it is read whole or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.matching.scoring import score as scoring
from bench.matching.scoring.predictions import load_predictions
from bench.matching.scoring.score import score_predictions

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def whole(tiny_run: Bench) -> bytes:
    return (tiny_run.cell("random--seed0") / "predictions.npz").read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "predictions.npz"
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content) - 1))
        content[start : start + data.draw(st.integers(1, 12))] = data.draw(st.binary(max_size=12))
        content = content or bytearray(b"x")
    path.write_bytes(bytes(content))
    try:
        score_predictions(load_predictions(path))
    except BenchError as error:
        assert "\n" not in str(error) and "predictions.npz" in str(error)


CHANGES: dict[str, tuple[Callable[[Arrays], Any], str]] = {
    "an array gone": (lambda arrays: arrays.pop("test.distance"), "array 'test.distance' is missing"),
    "a pair outside": (
        lambda arrays: arrays["test.pair_sar"].__setitem__(0, 99),
        "a test pair points outside its 12 samples",
    ),
    "a pair too few": (
        lambda arrays: arrays.update({"test.label": arrays["test.label"][1:]}),
        "another number of pairs",
    ),
    "a sample too few": (
        lambda arrays: arrays.update({"test.scene": arrays["test.scene"][1:]}),
        "another number of scenes",
    ),
    "gallery outside": (
        lambda arrays: arrays["gallery.position"].__setitem__(0, -1),
        "gallery position lies outside the 12",
    ),
    "gallery matrix": (
        lambda arrays: arrays.update({"gallery.distance": arrays["gallery.distance"][1:]}),
        "distances of shape (7, 8)",
    ),
    "embeddings": (
        lambda arrays: arrays.update({"test.sar_embedding": arrays["test.sar_embedding"][1:]}),
        "embeddings of shape (11, 16)",
    ),
    "two thresholds": (lambda arrays: arrays.update({"fixed_threshold": np.zeros(2)}), "fixed_threshold"),
    "distances as text": (
        lambda arrays: arrays.update({"test.distance": arrays["test.distance"].astype(str)}),
        "test.distance",
    ),
    "another distance": (lambda arrays: arrays.update({"embedding_distance": np.array("cosin")}), "cosin"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_arrays_that_do_not_fit(tiny_run: Bench, tmp_path: Path, change: str) -> None:
    with np.load(tiny_run.cell("random--seed0") / "predictions.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    alter, wanted = CHANGES[change]
    alter(arrays)
    np.savez_compressed(tmp_path / "predictions.npz", allow_pickle=False, **arrays)
    with pytest.raises(BenchError) as error:
        load_predictions(tmp_path / "predictions.npz")
    assert wanted in str(error.value) and "predictions.npz" in str(error.value)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "predictions.npz", allow_pickle=True, **{"test.id": np.array([print], dtype=object)})
    with pytest.raises(BenchError, match="damaged predictions file"):
        load_predictions(tmp_path / "predictions.npz")


def test_entries_leave_the_distances_of_a_large_gallery_out(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6,000 x 6,000 distances are 144 MB an entry; the ranks say all that is computed from them."""
    (tmp_path / "predictions.npz").write_bytes(whole)
    predictions = load_predictions(tmp_path / "predictions.npz")
    small = score_predictions(predictions)
    monkeypatch.setattr(scoring, "KEPT_GALLERY", len(predictions.gallery_position) - 1)
    large = score_predictions(predictions)
    assert large.metrics == small.metrics and set(small.samples) - set(large.samples) == {"gallery_distance"}
    assert large.samples["gallery_sar_to_optical"].shape == (2, len(predictions.gallery_position))
