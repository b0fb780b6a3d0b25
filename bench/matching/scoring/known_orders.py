"""Known predictions of the matching task whose pairs stand in a known order: ladders, hubs, shifts, shuffled ranks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from bench.execution.known_answers import Expected, Known
from bench.matching.matchers.distances import PAIRWISE
from bench.matching.scoring.expected import (
    FIXED,
    KS,
    NEGATIVES,
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
    scored,
)
from bench.matching.scoring.known_plain import constant, truth
from bench.matching.scoring.predictions import Predictions
from bench.matching.scoring.score import DIRECTIONS

HUBS, STEPS = 5, 3
SEED, ERRORS = 0, 4.0  # of what is drawn at random; standard errors that it may be off


def _ladder(n: int) -> Distances:
    """Positives at 0, 2, 4, ..., negatives at 1, 3, 5, ...: they take turns until the negatives run out."""
    return Distances(2 * np.arange(n), 2 * np.arange(n) + 1, 2 * np.arange(n // 2) + 1)


def _taking_turns(m: int) -> Table:
    ap = math.fsum((i + 1) / (i + 1 + min(i, m)) for i in range(N)) / N
    reach = math.ceil(0.95 * N) - 1
    why = (
        "positive i is before m - i negatives: (m + 1) / 2n",
        "mean over i of (i + 1) / (i + 1 + min(i, m))",
        "min(ceil(0.95 n) - 1, m) / m",
    )
    return ranking((m + 1) / (2 * N), ap, min(reach, m) / m, why)


def _chosen_on_the_ladder(m: int) -> Table:
    """Equally many: one more positive than negatives is the best there is, first reached after the first; fewer: all M
    of validation.
    """
    return (
        decisions(1, 0, m, "threshold 0.5 of validation")
        if m >= N
        else decisions(M, M - 1, m, f"threshold {2 * M - 2} of validation")
    )


def _hubs() -> np.ndarray:
    """Every partner at 2, every other at 3, but HUBS optical patches that are at 1 from everything but their
    partner.
    """
    gallery = np.full((G, G), 3.0)
    gallery[:, :HUBS] = 1.0
    np.fill_diagonal(gallery, 2.0)
    return gallery


def _hub_table() -> Table:
    """SAR query: rank HUBS + 1, one less for a hub's own partner. Optical query: first, but a hub is last."""
    mrr = ((G - HUBS) / (HUBS + 1) + HUBS / HUBS) / G
    table = ranks("gallery", (0, HUBS / G, 1), mrr, f"rank {HUBS + 1}, for the hubs' partners {HUBS}", DIRECTIONS[:1])
    return table | ranks(
        "gallery", [(G - HUBS) / G] * 3, (G - HUBS + HUBS / G) / G, "first; the hubs last", DIRECTIONS[1:]
    )


def _interleaved() -> Known:
    def pairs(m: int) -> Table:
        fixed = decisions(M, M - 1, m, f"{FIXED:g} is the distance of positive {M}, accepted", "fixed.")
        return _taking_turns(m) | _chosen_on_the_ladder(m) | fixed

    table = for_both_kinds(pairs) | _hub_table() | perfect_ranks("full")
    return known("interleaved", "positives and negatives take turns", table, _ladder(N), _ladder(M), _hubs())


def _rescaled() -> Known:
    def scaled(n: int) -> Distances:
        ladder = _ladder(n)
        return Distances(*(3 * np.asarray(values) + 7 for values in (ladder.positive, ladder.uniform, ladder.hard)))

    def pairs(m: int) -> Table:
        below = int((FIXED - 7) / 3)  # the ladder's 0 to 63
        fixed = decisions(
            below // 2 + 1, (below + 1) // 2, m, "a fixed threshold does not move with the distances", "fixed."
        )
        return _taking_turns(m) | _chosen_on_the_ladder(m) | fixed

    line = 3.0 * np.arange(N)[:, None]
    table = for_both_kinds(pairs) | _hub_table() | _line_table()
    about = "as interleaved, every distance 3d + 7"
    return known("rescaled", about, table, scaled(N), scaled(M), 3 * _hubs() + 7, (line, line + 3 * STEPS))


def _line_table() -> Table:
    """Patch i stands at i on a line, its partner STEPS further: i - 2 STEPS is tied with it, those between are nearer.

    Query i < 2 STEPS has i nearer ones, all others 2 STEPS - 1 and a tie. (Seen from the optical side, the line is
    turned round.)
    """
    s = STEPS
    mrr = (harmonic(2 * s) + (N - 2 * s) * (1 / (2 * s) + 1 / (2 * s + 1)) / 2) / N
    return ranks("full", (1 / N, 5 / N, 1), mrr, f"{2 * s - 1} nearer and one tied, fewer at the end of the line")


def _shifted() -> Known:
    def pairs(m: int) -> Table:
        table = ranking(1.0, 1.0, 0.0, ("a shift changes no order",) * 3)
        fixed = decisions(N, m, m, f"all distances are below {FIXED:g}", "fixed.")
        return table | decisions(0, 0, m, "the threshold 0.5 of validation now accepts nothing") | fixed

    line = np.arange(N)[:, None]
    table = for_both_kinds(pairs) | perfect_ranks("gallery") | _line_table()
    about = f"right, but 0.6 more in the test; embeddings {STEPS} steps off"
    gallery = 1.6 - np.eye(G)
    return known("shifted", about, table, Distances(0.6, 1.6, 1.6), Distances(0, 1, 1), gallery, (line, line + STEPS))


def _fooled() -> Known:
    m = NEGATIVES["hard"]
    why = (
        "every positive behind every hard negative",
        "recall rises only when all is accepted, at precision p",
        "they come first",
    )
    hard = ranking(0.0, N / (N + m), 1.0, why) | decisions(N, m, m, "all accepted is best")
    uniform = ranking(1.0, 1.0, 0.0, ("every positive before every negative",) * 3) | decisions(
        N, 0, NEGATIVES["uniform"], "in the gap"
    )
    table = {f"hard.{name}": value for name, value in hard.items()} | {
        f"uniform.{name}": value for name, value in uniform.items()
    }
    return known("fooled", "right, but every hard negative looks nearer", table, Distances(0.5, 1, 0))


def _shuffled() -> Known:
    """Distances drawn at random: chance, within ERRORS standard errors of closed form."""
    draw = np.random.default_rng(SEED)

    def pairs(m: int) -> Table:
        n, p, total = N, N / (N + m), N + m
        # exact (Bestgen 2015)
        mean_ap = ((n - 1) / (total - 1) * (total - harmonic(total)) + harmonic(total)) / total
        reach = math.ceil(0.95 * n)
        spread = {
            "roc_auc": (0.5, math.sqrt((total + 1) / (12 * n * m)), "1/2, Mann-Whitney"),
            "average_precision": (mean_ap, math.sqrt(p * (1 - p) / total), "mean over random orders"),
            "fpr95": (reach / (n + 1), math.sqrt(0.95 * 0.05 * (1 / n + 1 / m)), "order statistic"),
            "fixed.accuracy": (0.5, math.sqrt(0.25 / total), "half is accepted, binomial"),
            "fixed.precision": (p, math.sqrt(p * (1 - p) / (total / 2)), "p, binomial"),
            "fixed.recall": (0.5, math.sqrt(0.25 / n), "half is accepted, binomial"),
        }
        return {
            metric: Expected(mean, f"{why}, {ERRORS:g} s.e.", ERRORS * error)
            for metric, (mean, error, why) in spread.items()
        }

    table = for_both_kinds(pairs)
    table["uniform.accuracy"] = Expected(
        0.5, f"at any threshold, binomial, {ERRORS:g} s.e.", ERRORS * math.sqrt(0.25 / (2 * N))
    )
    for prefix, size in (("gallery", G), ("full", N)):
        squares = math.fsum(1 / r**2 for r in range(1, size + 1)) / size
        error = {f"recall_at_{k}": math.sqrt(k / size * (1 - k / size) / size) for k in KS}
        error["mrr"] = math.sqrt((squares - (harmonic(size) / size) ** 2) / size)
        for name, expected in chance_ranks(prefix, size, "any rank").items():
            within = ERRORS * error[name.rpartition(".")[2]]
            table[name] = replace(expected, why=f"{expected.why}, {ERRORS:g} s.e.", within=within)
    test, validation = (Distances(*(2 * FIXED * draw.random(k) for k in (n, n, n // 2))) for n in (N, M))
    gallery, embeddings = draw.random((G, G)), (draw.standard_normal((N, 64)), draw.standard_normal((N, 64)))
    return known("shuffled", "distances drawn at random", table, test, validation, gallery, embeddings)


def _overlapping() -> Known:
    """One distance for all; patches 2i and 2i + 1 share ground, so that neither stands in the other's gallery."""
    known = dict(constant().expected)
    positions = np.array([i for i in range(N) if i % (N // G * 2) < 2])  # G of them, in pairs of neighbours
    part = Distances(7, 7, 7).part(N)
    west = 100.0 * (np.arange(N) // 2) + 10.0 * (np.arange(N) % 2)
    place = np.stack([west, np.zeros(N), west + 20, np.full(N, 20.0)], axis=1)
    predictions = Predictions(
        Distances(7, 7, 7).part(M), replace(part, place=place), np.ones((N, 4), np.float32),
        np.zeros((N, 4), np.float32), "rms", positions, np.ones((G, G), np.float32), FIXED,
    )  # fmt: skip
    left_out = "all tied, one left out"
    table = known | chance_ranks("gallery", G - 1, left_out) | chance_ranks("full", N - 1, left_out)
    return scored("overlapping", "one distance; neighbours share ground", table, predictions)


def _bare() -> Known:
    """A method without a threshold of its own and without embeddings, on data without hard negatives, without
    validation.
    """
    everything = dict(truth().expected)
    given = {"uniform.roc_auc", "uniform.average_precision", "uniform.fpr95"} | {
        name for name in everything if name.startswith("gallery")
    }
    table = {name: value if name in given else Expected(None, "not defined") for name, value in everything.items()}
    test, nobody = Distances(0, 1, None).part(N), Distances(0, 1, None).part(0)
    gallery = (1 - np.eye(G)).astype(np.float32)
    predictions = Predictions(nobody, test, None, None, None, np.arange(0, N, N // G), gallery, None)
    return scored("bare", "right; nothing but uniform pairs, no validation", table, predictions)


def _by_distance(name: str) -> Known:
    """Partners have one direction of their own: nearest by any distance between embeddings."""
    own = 4 * np.eye(N)
    return known(
        f"truth-{name}",
        f"right, embeddings compared by {name}",
        perfect_ranks("full"),
        Distances(0, 1, 1),
        embeddings=(own, own),
        distance=name,
    )


def ordered_predictions() -> tuple[Known, ...]:
    """Return the known predictions of this module."""
    cases = (_interleaved, _rescaled, _shifted, _fooled, _shuffled, _overlapping, _bare)
    return tuple(case() for case in cases) + tuple(_by_distance(name) for name in sorted(PAIRWISE))
