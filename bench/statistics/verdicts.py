"""Paper against ours: is a published value reproduced? One pure rule for every task, stated in docs/verdicts.md.

What is published, and how a record differs from it, is data beside each task (`reported.py`); intervals come from
`bench.statistics.inference`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.statistics.inference import Estimate

VerdictKind = Literal["reproduced", "within noise", "not reproduced", "not comparable"]
_WEAKEST_FIRST: tuple[VerdictKind, ...] = ("not comparable", "not reproduced", "within noise", "reproduced")
_Z = 1.959963984540054  # two-sided 95 % of the normal distribution
_TOLERANCE = 1e-12  # a difference of exactly the margin, computed in floating point, is within it
ONE_SEED = "one seed: the interval holds the test sampling and lacks the variance between seeds"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One row of a published table, with what is known of how it was measured.

    Attributes:
        values: metric -> value in [0, 1].
        standard_errors: metric -> standard error of the published value itself, where its test set is another draw than
            ours; a metric that is absent has none that is known, or none that counts (the same test scenes).
        source, table: where the values stand.
        known: fact -> what the paper or its released code states; a difference in one of them makes a row not
            comparable.
        open: what the paper leaves open, one text each.
        margin: how close counts as the same, in units of the values.
    """

    values: Mapping[str, float]
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    source: str
    table: str
    known: Mapping[str, str]
    open: tuple[str, ...]
    margin: float


@dataclass(frozen=True)
class Verdict:
    """What a row says about a published one.

    Attributes:
        kind: one of the four words.
        reasons: why; for "not comparable" one text a known difference, each "<part>: <what>" with part data, split,
            metric, method or run.
        open: what the paper leaves open, where there is a verdict all the same.
        notes: further footnotes.
    """

    kind: VerdictKind
    reasons: tuple[str, ...]
    open: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """Text for a table cell: "reproduced", "not comparable: data, split"."""
        if self.kind != "not comparable":
            return self.kind
        return f"{self.kind}: {', '.join(dict.fromkeys(reason.partition(':')[0] for reason in self.reasons))}"

    @property
    def full(self) -> str:
        """One line for the list below a table."""
        return f"{self.kind}: {'; '.join(self.reasons)}"

    @property
    def footnotes(self) -> tuple[str, ...]:
        """The texts that a mark behind `short` refers to: what the paper leaves open, and further notes."""
        unknown = (f"protocol partly unknown: the paper leaves open {'; '.join(self.open)}",) if self.open else ()
        return (*unknown, *self.notes)


def verdict(
    published: Published, ours: Mapping[str, Estimate | None], differences: Sequence[str], seeds: int, failed: int = 0
) -> Verdict:
    """Return the verdict of one row.

    Args:
        ours: metric -> our mean with its 95 % interval (seeds and clusters, nested); None where the metric is not
            defined.
        differences: every known difference of the row from the paper (`differences` of the task's `reported.py`).
        seeds, failed: how many seeds the row has, and how many of them failed.

    Raises:
        KeyError: `ours` lacks a published metric.
        ValueError: an interval of another level than 0.95, which the rule is made for.
    """
    if differences:
        return Verdict("not comparable", tuple(differences))
    notes = (ONE_SEED,) if seeds == 1 else ()
    if failed:
        return Verdict("not reproduced", (f"{failed} of {seeds} seeds failed",), published.open, notes)
    parts = [_one(name, value, published, ours[name]) for name, value in published.values.items()]
    kind = min((kind for kind, _ in parts), key=_WEAKEST_FIRST.index)
    return Verdict(kind, tuple(reason for _, reason in parts), published.open, notes)


def _one(name: str, paper: float, published: Published, ours: Estimate | None) -> tuple[VerdictKind, str]:
    """Return the verdict on one metric and its reason."""
    if ours is None or ours.value is None:
        return "not reproduced", f"{name} is not defined here, the paper has {paper:.4f}"
    margin, gap = published.margin, ours.value - paper
    text = f"{name} {ours.value:.4f}, the paper {paper:.4f}, difference {gap:+.4f}"
    # neither closeness nor a difference is shown; what misses the margin is not excused by an unknown error
    if ours.interval is None:
        inside = abs(gap) <= margin + _TOLERANCE
        return (
            ("within noise", f"{text}, no interval")
            if inside
            else ("not reproduced", f"{text}, beyond ±{margin:g}, no interval")
        )
    if not math.isclose(ours.interval.level, 0.95):
        raise ValueError(f"{name}: the rule takes 95 % intervals, got level {ours.interval.level}")
    low, high = ours.interval.low - paper, ours.interval.high - paper
    text += f" ({low:+.4f} to {high:+.4f})"
    if -margin - _TOLERANCE <= low and high <= margin + _TOLERANCE:
        return "reproduced", f"{text} lies within ±{margin:g}"
    own = _Z * published.standard_errors.get(name, 0.0)
    if gap - math.hypot(gap - low, own) <= 0 <= gap + math.hypot(high - gap, own):
        beyond = "" if low <= 0 <= high else " once the paper's own sampling error is counted"
        return "within noise", f"{text} can be 0{beyond}, and does not surely lie within ±{margin:g}"
    return "not reproduced", f"{text} is not 0, and does not surely lie within ±{margin:g}"


def binomial_error(share: float, of: float) -> float:
    """Return the standard error of a share of `of` independent decisions: the least that sampling can do, since real
    ones are dependent.
    """
    return math.sqrt(share * (1 - share) / of)
