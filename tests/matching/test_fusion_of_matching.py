"""Fused distances: calibration and weights by validation alone, ranks that must not move, failures that stay failures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.matching.fusion import SumOptions, calibrate, fuse
from bench.matching.scoring.pairs import HARD, POSITIVE, UNIFORM
from bench.matching.scoring.predictions import PartPredictions, Predictions
from bench.matching.scoring.score import score_predictions

PAIRS, GALLERY = 60, 12
RANKED = ("roc_auc", "average_precision", "fpr95", "recall_at_1", "recall_at_5", "recall_at_10", "mrr")


def predictions(seed: int, gap: float, scale: float = 1.0, same: bool = False) -> Predictions:
    """Predictions of a member that parts true pairs from others by `gap` standard deviations, in units of `scale`."""
    rng = np.random.default_rng(seed)
    kind = np.repeat(np.array([POSITIVE, UNIFORM, HARD], dtype=np.uint8), PAIRS)
    at = np.arange(PAIRS)
    sar, optical = np.tile(at, 3), np.concatenate([at, np.roll(at, 1), np.roll(at, 2)])

    def distance(label: np.ndarray) -> np.ndarray:
        return (scale * (20 + rng.normal(size=label.shape) - gap * label)).astype(np.float32)

    def part() -> PartPredictions:
        ids = np.array([f"s{i}" for i in range(PAIRS)])
        place = np.full((PAIRS, 4), np.nan)
        label = kind == POSITIVE
        return PartPredictions(ids, ids, ids, place, sar, optical, label, kind, distance(label))

    validation, test = part(), part()
    matrix = distance(np.eye(GALLERY, dtype=bool))
    vectors = rng.normal(size=(PAIRS, 3)).astype(np.float32)
    return Predictions(validation, test, vectors, vectors, "cosine", np.arange(GALLERY), matrix, 0.5)


def metrics(made: Predictions) -> dict[str, float | None]:
    return dict(score_predictions(made).metrics)


@settings(max_examples=25)
@given(
    st.integers(0, 999), st.floats(0, 4), st.sampled_from([1e-3, 1.0, 250.0]), st.sampled_from(["equal", "validation"])
)
def test_a_row_fused_with_itself_keeps_every_rank(seed: int, gap: float, scale: float, weights: str) -> None:
    member = predictions(seed, gap, scale)
    made, facts = fuse({"a": member, "b": member}, SumOptions.model_validate({"weights": weights}))
    assert facts["weights"]["a"] == pytest.approx(facts["weights"]["b"], abs=1e-6)
    if sum(facts["weights"].values()) == 0:
        return  # validation says that the member tells nothing
    before, after = metrics(member), metrics(made)
    assert all(after[name] == before[name] for name in before if name.endswith(RANKED) and not name.startswith("full."))
    assert after["uniform.accuracy"] == before["uniform.accuracy"], "a threshold moves with the distances"
    assert np.array_equal(made.test.distance, member.test.distance), "it stays on the member's scale"
    assert made.fixed_threshold is None and made.sar_embedding is None and after["full.sar_to_optical.mrr"] is None


@pytest.mark.parametrize("weights", ["equal", "validation"])
def test_a_random_member_costs_next_to_nothing_and_another_scale_nothing(weights: str) -> None:
    options = SumOptions.model_validate({"weights": weights})
    good, noise = predictions(1, 3.0), predictions(2, 0.0)
    made, facts = fuse({"good": good, "noise": noise}, options)
    assert facts["weights"]["good"] > 0.85 and facts["validation_pairs"] == 3 * PAIRS
    own, fused = metrics(good)["uniform.roc_auc"], metrics(made)["uniform.roc_auc"]
    assert own is not None and fused is not None and fused > own - 0.01
    large = replace(
        noise,
        validation=replace(noise.validation, distance=noise.validation.distance * np.float32(1024)),
        test=replace(noise.test, distance=noise.test.distance * np.float32(1024)),
        gallery_distance=noise.gallery_distance * np.float32(1024),
    )
    other, _ = fuse({"good": good, "noise": large}, options)
    for kept, scaled in zip(metrics(made).items(), metrics(other).items(), strict=True):
        assert kept == pytest.approx(scaled) if kept[1] is None else kept[1] == pytest.approx(scaled[1], abs=1e-3)


def test_two_members_that_err_independently_are_better_than_each() -> None:
    one, two = predictions(3, 1.5), predictions(4, 1.5)
    alone = [metrics(each)["uniform.roc_auc"] for each in (one, two)]
    for weights in ("equal", "validation"):
        made, _ = fuse({"one": one, "two": two}, SumOptions.model_validate({"weights": weights}))
        assert (fused := metrics(made)["uniform.roc_auc"]) is not None
        assert all(auc is not None and fused > auc + 0.03 for auc in alone)


def test_the_slope_of_two_normal_classes_is_the_known_one() -> None:
    """Equal variances s^2, means m apart: the log-odds fall by m / s^2 for each unit of distance."""
    rng = np.random.default_rng(0)
    label = np.arange(40000) < 8000  # a fifth are true: the classes weigh the same all the same
    distance = rng.normal(size=len(label), scale=2.0) - 3.0 * label
    assert calibrate(distance[:, None], label, joint=True) == pytest.approx([3.0 / 4.0], rel=0.03)
    both = np.stack([distance, rng.normal(size=len(label), scale=0.5) - 0.5 * label], axis=1)
    assert calibrate(both, label, joint=True) == pytest.approx([0.75, 2.0], rel=0.05)
    assert calibrate(both, label, joint=False) == pytest.approx([0.75, 2.0], rel=0.05)
    twice = calibrate(np.stack([distance, distance], axis=1), label, joint=True)
    assert twice.sum() == pytest.approx(0.75, rel=0.03), "what repeats another counts once"


def test_a_single_slope_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    member = predictions(3, 1.5).validation
    distance, label = member.distance.astype(np.float64), member.label
    standard = (distance - distance.mean()) / distance.std()
    theirs = LogisticRegression(class_weight="balanced", tol=1e-8).fit(standard[:, None], label).coef_[0, 0]
    assert calibrate(distance[:, None], label, joint=True)[0] == pytest.approx(-theirs / distance.std(), rel=1e-5)


def test_weights_are_never_negative_and_the_test_part_has_no_say() -> None:
    good, wrong = predictions(5, 2.0), predictions(6, -2.0)  # the second ranks the wrong way round
    for weights in ("equal", "validation"):
        made, facts = fuse({"good": good, "wrong": wrong}, SumOptions.model_validate({"weights": weights}))
        assert facts["weights"] == {"good": pytest.approx(1.0), "wrong": 0.0}
        assert np.array_equal(made.test.distance, good.test.distance)
    moved = replace(good, test=replace(good.test, distance=-good.test.distance, label=good.test.label))
    assert fuse({"a": moved, "b": wrong}, SumOptions())[1] == {
        **facts,
        "weights": {"a": 1.0, "b": 0.0},
        "log_odds_per_distance": {"a": facts["log_odds_per_distance"]["good"], "b": 0.0},
    }
    none, _ = fuse({"wrong": wrong, "too": predictions(7, -2.0)}, SumOptions())
    assert not none.test.distance.any() and metrics(none)["uniform.roc_auc"] == 0.5, "nothing known: chance"


def test_a_failure_of_a_member_is_one_of_the_row() -> None:
    good, other = predictions(8, 2.0), predictions(9, 2.0)
    distance, gallery = other.test.distance.copy(), other.gallery_distance.copy()
    distance[0], distance[PAIRS], gallery[0, 0] = np.nan, np.inf, np.nan
    checked = other.validation.distance.copy()
    checked[3] = np.nan
    failing = replace(
        other,
        test=replace(other.test, distance=distance),
        gallery_distance=gallery,
        validation=replace(other.validation, distance=checked),
    )
    made, facts = fuse({"good": good, "failing": failing}, SumOptions())
    assert np.flatnonzero(~np.isfinite(made.test.distance)).tolist() == [0, PAIRS]
    assert np.argwhere(~np.isfinite(made.gallery_distance)).tolist() == [[0, 0]]
    assert facts["validation_pairs"] == 3 * PAIRS - 1 and score_predictions(made).facts["uniform.failures"] == 2


def test_other_pairs_and_a_validation_part_that_settles_nothing_are_refused() -> None:
    one, two = predictions(1, 1.0), predictions(2, 1.0)
    turned = replace(two, test=replace(two.test, pair_optical=np.roll(two.test.pair_optical, 1)))
    with pytest.raises(BenchError, match="one and two did not score the same pairs"):
        fuse({"one": one, "two": turned}, SumOptions())
    with pytest.raises(BenchError, match="did not score the same pairs"):
        fuse({"one": one, "two": replace(two, gallery_position=two.gallery_position[::-1])}, SumOptions())
    with pytest.raises(BenchError, match="no other pair on which distances could be calibrated"):
        calibrate(np.ones((4, 2)), np.ones(4, dtype=bool), joint=True)
    with pytest.raises(BenchError, match="no true pair"):
        calibrate(np.array([[np.nan], [1.0], [2.0]]), np.array([True, False, False]), joint=True)
    assert calibrate(np.ones((4, 1)), np.arange(4) < 2, joint=True).tolist() == [0.0], "a constant tells nothing"
