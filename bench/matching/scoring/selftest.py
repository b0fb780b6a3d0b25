"""Known predictions of the matching task, and the numbers that must come out of them by closed forms.

N samples are tested, each with its true partner (positive) and one uniform negative, every second one also with a hard
negative, so that the two kinds weigh differently. Validation has M samples and the same shares. Distances are dealt out
by kind; no image is behind them. With n positives and m negatives, p = n / (n + m) is what a constant answer gets. H_k
is the k-th harmonic number, 1 + 1/2 + ... + 1/k.
"""

from __future__ import annotations

from bench.execution.known_answers import Known
from bench.matching.scoring.known_orders import ordered_predictions
from bench.matching.scoring.known_plain import plain_predictions


def known_predictions() -> tuple[Known, ...]:
    """Return the known predictions; together they cover every metric of `score_predictions`."""
    return (*plain_predictions(), *ordered_predictions())
