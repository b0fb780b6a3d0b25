"""The rule of paper against ours: the examples of its document, and what must hold for any numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.statistics.inference import Estimate
from bench.statistics.intervals import Interval
from bench.statistics.verdicts import ONE_SEED, Published, Verdict, binomial_error, verdict

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "verdicts.md"
WEAKEST_FIRST = ["not comparable", "not reproduced", "within noise", "reproduced"]


def published(**changes: Any) -> Published:
    values = {
        "values": {"accuracy": 0.829},
        "standard_errors": {"accuracy": 0.00344},
        "source": "a paper",
        "table": "a table",
        "known": {"data": "theirs"},
        "open": ("the seed",),
        "margin": 0.01,
    }
    return Published(**{**values, **changes})


def estimate(value: float | None, low: float | None = None, high: float | None = None, level: float = 0.95) -> Estimate:
    interval = None if low is None or high is None else Interval(low, high, level)
    return Estimate(value, None, None, interval, None, 10, 8.0)


def judged(value: float | None, low: float | None = None, high: float | None = None, **changes: Any) -> Verdict:
    return verdict(published(**changes), {"accuracy": estimate(value, low, high)}, [], seeds=5)


def test_the_examples_of_the_document() -> None:
    rows = re.findall(
        r"^\| mean (\.\d+), (?:interval (\.\d+) to (\.\d+)|no interval|1 of 5 seeds failed) \| ([a-z ]+) \|",
        DOCUMENT.read_text(),
        re.M,
    )
    assert len(rows) == 6 and {row[3] for row in rows} == {"reproduced", "within noise", "not reproduced"}
    for mean, low, high, wanted in rows[:-1]:
        found = judged(float(mean), float(low) if low else None, float(high) if high else None)
        assert found.kind == found.short == wanted, (mean, low, high)
    assert verdict(published(), {"accuracy": estimate(0.829, 0.828, 0.83)}, [], seeds=5, failed=1).kind == rows[-1][3]


def test_the_reasons_hold_the_numbers() -> None:
    assert judged(0.831, 0.826, 0.836) == Verdict(
        "reproduced",
        ("accuracy 0.8310, the paper 0.8290, difference +0.0020 (-0.0030 to +0.0070) lies within ±0.01",),
        ("the seed",),
    )
    assert "can be 0, and does not surely" in judged(0.831, 0.815, 0.847).full
    assert "can be 0 once the paper's own sampling error is counted" in judged(0.836, 0.831, 0.841).full
    assert judged(0.85, 0.843, 0.857).full.startswith(
        "not reproduced: accuracy 0.8500, the paper 0.8290, difference +0.0210"
    )
    assert judged(0.831, 0.826, 0.836).footnotes == ("protocol partly unknown: the paper leaves open the seed",)


def test_the_papers_own_error_counts_against_a_difference_and_never_for_closeness() -> None:
    assert judged(0.836, 0.831, 0.841).kind == "within noise"
    assert judged(0.836, 0.831, 0.841, standard_errors={}).kind == "not reproduced"
    assert judged(0.831, 0.826, 0.836, standard_errors={"accuracy": 0.5}).kind == "reproduced"
    assert judged(0.9, 0.89, 0.91, standard_errors={"accuracy": 0.5}).kind == "within noise"


def test_no_interval_reproduces_nothing_and_excuses_nothing() -> None:
    assert judged(0.829).kind == "within noise" and "no interval" in judged(0.829).full
    assert judged(0.839).kind == "within noise" and judged(0.8391).kind == "not reproduced"
    assert judged(0.8189).kind == "not reproduced"
    assert judged(None).kind == "not reproduced"
    undefined = verdict(published(), {"accuracy": None}, [], seeds=5)
    assert undefined.full == "not reproduced: accuracy is not defined here, the paper has 0.8290"


def test_failed_seeds_and_single_seeds() -> None:
    perfect = {"accuracy": estimate(0.829, 0.828, 0.83)}
    assert verdict(published(), perfect, [], seeds=5, failed=2).full == "not reproduced: 2 of 5 seeds failed"
    one = verdict(published(), perfect, [], seeds=1)
    assert one.kind == "reproduced" and one.notes == (ONE_SEED,) and one.footnotes[-1] == ONE_SEED
    assert verdict(published(open=()), perfect, [], seeds=5).footnotes == ()


def test_known_differences_forestall_everything_and_are_told_by_part() -> None:
    known = ["data: 640 pairs", "split: grouped, not random", "data: twice"]
    found = verdict(published(), {}, known, seeds=1, failed=1)
    assert found == Verdict("not comparable", tuple(known)) and found.open == found.footnotes == ()
    assert found.short == "not comparable: data, split" and "640 pairs; split: grouped" in found.full


def test_a_metric_that_nobody_measured_and_another_level_are_errors_of_the_caller() -> None:
    with pytest.raises(KeyError):
        verdict(published(), {}, [], seeds=2)
    with pytest.raises(ValueError, match="95 % intervals"):
        verdict(published(), {"accuracy": estimate(0.8, 0.7, 0.9, level=0.9)}, [], seeds=2)


GAPS = st.floats(-0.1, 0.1)
WIDTHS = st.floats(0, 0.1)


@given(gap=GAPS, below=WIDTHS, above=WIDTHS, error=st.floats(0, 0.05), margin=st.floats(0.001, 0.05))
def test_the_rule_is_what_the_document_says(
    gap: float, below: float, above: float, error: float, margin: float
) -> None:
    paper = 0.5
    row = published(values={"accuracy": paper}, standard_errors={"accuracy": error}, margin=margin)
    mine = paper + gap
    kind = verdict(row, {"accuracy": estimate(mine, mine - below, mine + above)}, [], seeds=3).kind
    if kind == "reproduced":
        assert abs(gap) <= margin + 1e-9 and max(below, above) <= 2 * margin + 1e-9
    else:
        assert gap - below < -margin + 1e-9 or gap + above > margin - 1e-9
        assert kind == ("not reproduced" if _apart(gap, below, above, error) else "within noise") or _edge(
            gap, below, above, error
        )
    mirrored = verdict(
        row, {"accuracy": estimate(paper - gap, paper - gap - above, paper - gap + below)}, [], seeds=3
    ).kind
    near_an_edge = min(abs(abs(x) - margin) for x in (gap - below, gap + above)) < 1e-9 or _edge(
        gap, below, above, error
    )
    assert mirrored == kind or near_an_edge, "a gain and a loss are judged alike"


def _apart(gap: float, below: float, above: float, error: float) -> bool:
    """Return whether 0 lies outside the interval widened by the published value's own error; written out by sides."""
    own = 1.959963984540054 * error
    return gap**2 > below**2 + own**2 if gap > 0 else gap**2 > above**2 + own**2


def _edge(gap: float, below: float, above: float, error: float) -> bool:
    own = 1.959963984540054 * error
    return abs(gap**2 - (below if gap > 0 else above) ** 2 - own**2) < 1e-9


@given(kinds=st.lists(st.sampled_from(WEAKEST_FIRST[1:]), min_size=1, max_size=4))
def test_several_metrics_have_the_weakest_verdict(kinds: list[str]) -> None:
    numbers = {"reproduced": (0.5, 0.499, 0.501), "within noise": (0.5, 0.4, 0.6), "not reproduced": (0.7, 0.69, 0.71)}
    names = [f"m{i}" for i in range(len(kinds))]
    row = published(values=dict.fromkeys(names, 0.5), standard_errors={})
    found = verdict(row, {name: estimate(*numbers[kind]) for name, kind in zip(names, kinds, strict=True)}, [], seeds=2)
    assert found.kind == min(kinds, key=WEAKEST_FIRST.index) and len(found.reasons) == len(kinds)


def test_the_binomial_error() -> None:
    assert binomial_error(0.829, 12_000) == pytest.approx(0.00344, abs=5e-6)
    assert binomial_error(0.5, 100) == 0.05 and binomial_error(1.0, 10) == 0.0
