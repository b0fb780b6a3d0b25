"""Known predictions of the matching task that need no order: the truth, its inverse, a constant, nothing, failures."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from bench.execution.known_answers import Expected, Known
from bench.matching.scoring.expected import (
    FIXED,
    KS,
    Distances,
    G,
    M,
    N,
    Table,
    chance_ranks,
    decisions,
    for_both_kinds,
    harmonic,
    known,
    perfect_ranks,
    ranking,
    ranks,
)
from bench.matching.scoring.score import DIRECTIONS


def truth() -> Known:
    """Return true pairs at 0, all others at 1."""

    def pairs(m: int) -> Table:
        table = ranking(1.0, 1.0, 0.0, ("every positive before every negative",) * 3, 0.0)
        table |= decisions(N, 0, m, "threshold in the gap") | decisions(
            N, m, m, f"all distances are below {FIXED:g}", "fixed."
        )
        return {name: replace(expected, within=0.0) for name, expected in table.items()}

    retrieval = {
        name: replace(expected, within=0.0)
        for name, expected in (perfect_ranks("gallery") | perfect_ranks("full")).items()
    }
    return known("truth", "true pairs at 0, all others at 1", for_both_kinds(pairs) | retrieval, Distances(0, 1, 1))


def _inverted() -> Known:
    def pairs(m: int) -> Table:
        p = N / (N + m)
        why = (
            "every positive behind every negative",
            "recall rises only when all is accepted, at precision p",
            "all negatives come first",
        )
        chosen = (
            decisions(0, 0, m, "nothing accepted is best on validation")
            if m >= N
            else decisions(N, m, m, "all accepted is best")
        )
        return ranking(0.0, p, 1.0, why) | chosen | decisions(N, m, m, f"all distances are below {FIXED:g}", "fixed.")

    retrieval = ranks("gallery", (0, 0, 0), 1 / G, "every partner is last") | ranks(
        "full", (0, 0, 0), 1 / N, "every partner is last"
    )
    embeddings = np.eye(N), -np.eye(N)
    return known(
        "inverted",
        "true pairs at 1, all others at 0",
        for_both_kinds(pairs) | retrieval,
        Distances(1, 0, 0),
        None,
        np.eye(G),
        embeddings,
    )


def constant() -> Known:
    """Return one distance for all pairs."""

    def pairs(m: int) -> Table:
        why = ("all tied: one half", "one cut, everything accepted: p", "one cut, everything accepted")
        chosen = (
            decisions(0, 0, m, "nothing accepted, as good as all")
            if m >= N
            else decisions(N, m, m, "all accepted is best")
        )
        return ranking(0.5, N / (N + m), 1.0, why) | chosen | decisions(N, m, m, "all accepted", "fixed.")

    retrieval = chance_ranks("gallery", G, "all tied") | chance_ranks("full", N, "all tied")
    same = np.ones((N, 4)), np.zeros((N, 4))
    return known(
        "constant",
        "one distance for every pair",
        for_both_kinds(pairs) | retrieval,
        Distances(7, 7, 7),
        None,
        np.ones((G, G)),
        same,
    )


def _empty() -> Known:
    def pairs(m: int) -> Table:
        why = ("all failed, all tied", "all tied behind everything: p", "the failures would have to be accepted")
        nothing = {
            name: Expected(None, "no threshold can be chosen") for name in ("accuracy", "precision", "recall", "f1")
        }
        failures = {"failures": Expected(N + m, "every pair of the kind")}
        return (
            ranking(0.5, N / (N + m), 1.0, why)
            | nothing
            | decisions(0, 0, m, "a failure is never a match", "fixed.")
            | failures
        )

    nan = math.nan
    retrieval = chance_ranks("gallery", G, "all failed, all tied") | chance_ranks("full", N, "all failed, all tied")
    nowhere = np.full((N, 4), nan), np.full((N, 4), nan)
    table = for_both_kinds(pairs) | retrieval
    return known(
        "empty", "no distance at all (NaN)", table, Distances(nan, nan, nan), None, np.full((G, G), nan), nowhere
    )


def _failures() -> Known:
    """A quarter of each kind fails, of an otherwise right answer: q = 1/4."""

    def broken(values: float, n: int) -> np.ndarray:
        return np.where(np.arange(n) % 4 == 0, np.nan, values)

    def pairs(m: int) -> Table:
        p = N / (N + m)
        why = ("(1 - q) + q * q / 2", "(1 - q) at precision 1, q at p", "recall 0.95 would need the failures")
        table = ranking(0.75 + 0.25 * 0.25 / 2, 0.75 + 0.25 * p, 1.0, why)
        table |= decisions(N * 3 // 4, 0, m, "a failed positive is a miss, a failed negative no false match")
        table |= decisions(N * 3 // 4, m * 3 // 4, m, "every finite distance is below", "fixed.")
        return table | {"failures": Expected((N + m) // 4, "a quarter")}

    def distances(n: int) -> Distances:
        return Distances(broken(0, n), broken(1, n), broken(1, n // 2))

    gallery = 1 - np.eye(G)
    gallery[np.arange(0, G, 5), np.arange(0, G, 5)] = np.nan  # a fifth of the true partners
    table = for_both_kinds(pairs) | ranks(
        "gallery", (0.8, 0.8, 0.8), 0.8 + 0.2 / G, "a fifth of the partners failed: last"
    )
    sar, failed = np.eye(N), N // 4
    # a quarter of the SAR patches: as queries all tied, as partners behind all others and tied among themselves
    sar[::4] = np.nan
    chance = [0.75 + 0.25 * k / N for k in KS]
    table |= ranks("full", chance, 0.75 + 0.25 * harmonic(N) / N, "a quarter of the queries: all tied", DIRECTIONS[:1])
    behind = (harmonic(N) - harmonic(N - failed)) / failed
    table |= ranks(
        "full", [0.75] * 3, 0.75 + 0.25 * behind, "a quarter of the partners: behind all others", DIRECTIONS[1:]
    )
    return known(
        "failures", "right, but a quarter failed (NaN)", table, distances(N), distances(M), gallery, (sar, np.eye(N))
    )


def plain_predictions() -> tuple[Known, ...]:
    """Return the known predictions of this module."""
    return tuple(case() for case in (truth, _inverted, constant, _empty, _failures))
