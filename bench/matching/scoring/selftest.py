"""Known predictions of the matching task, and the numbers that must come out of them by closed forms.

N samples are tested, each with its true partner (positive) and one uniform negative, every second one also with a hard
negative, so that the two kinds weigh differently. Validation has M samples and the same shares. Distances are dealt out
by kind; no image is behind them. With n positives and m negatives, p = n / (n + m) is what a constant answer gets. H_k
is the k-th harmonic number, 1 + 1/2 + ... + 1/k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.execution.known_answers import Expected, Known
from bench.execution.records import PREDICTIONS
from bench.execution.task import Scores
from bench.matching.matchers.distances import PAIRWISE
from bench.matching.scoring.pairs import HARD, POSITIVE, UNIFORM
from bench.matching.scoring.predictions import PartPredictions, Predictions, save_predictions
from bench.matching.scoring.score import DIRECTIONS, score_predictions

N, M, G = 400, 100, 50  # samples tested, samples of the validation part, samples in the gallery
HUBS, STEPS, FIXED = 5, 3, 2.0 * (M - 1)
SEED, ERRORS = 0, 4.0  # of what is drawn at random; standard errors that it may be off
NEGATIVES = {"uniform": N, "hard": N // 2}
KS = (1, 5, 10)
Table = dict[str, Expected]
Values = np.ndarray | float


@dataclass(frozen=True)
class Distances:
    """Distances (n,), (n,), (n / 2,) of positives, uniform and hard negatives; a number stands for all of a kind, None
    for no such pair.
    """

    positive: Values
    uniform: Values
    hard: Values | None

    def part(self, n: int) -> PartPredictions:
        """Return them as a part of n samples in groups of ten; the negative of i is i + n / 2 (uniform) or i + 1 (hard,
        i even).
        """
        at, half = np.arange(n), np.arange(0, n, 2)
        kinds = [(POSITIVE, at, at, self.positive), (UNIFORM, at, (at + n // 2) % n, self.uniform)]
        kinds += [] if self.hard is None else [(HARD, half, half + 1, self.hard)]
        kind = np.concatenate([np.full(len(sar), code, dtype=np.uint8) for code, sar, _, _ in kinds])
        group = np.array([f"g{i // 10}" for i in at], dtype=str)
        return PartPredictions(
            id=np.array([f"s{i}" for i in at], dtype=str),
            scene=group,
            group=group,
            place=np.full((n, 4), np.nan),
            pair_sar=np.concatenate([sar for _, sar, _, _ in kinds]),
            pair_optical=np.concatenate([optical for _, _, optical, _ in kinds]),
            label=kind == POSITIVE,
            kind=kind,
            distance=np.concatenate(
                [np.broadcast_to(np.asarray(values, np.float32), sar.shape) for _, sar, _, values in kinds]
            ),
        )


def known_predictions() -> tuple[Known, ...]:
    """Return the known predictions; together they cover every metric of `score_predictions`."""
    cases = (
        _truth,
        _inverted,
        _constant,
        _empty,
        _failures,
        _interleaved,
        _rescaled,
        _shifted,
        _fooled,
        _shuffled,
        _overlapping,
        _bare,
    )
    return tuple(case() for case in cases) + tuple(_by_distance(name) for name in sorted(PAIRWISE))


def _known(
    name: str,
    about: str,
    expected: Table,
    test: Distances,
    validation: Distances | None = None,
    gallery: np.ndarray | None = None,
    embeddings: tuple[np.ndarray, np.ndarray] | None = None,
    distance: str = "rms",
) -> Known:
    """Return a known prediction; validation is like the test, the gallery and the embeddings are right, unless they are
    given.
    """
    sar, optical = embeddings or (np.eye(N), np.eye(N))
    return _scored(
        name,
        about,
        expected,
        Predictions(
            validation=(validation or test).part(M),
            test=test.part(N),
            sar_embedding=sar.astype(np.float32),
            optical_embedding=optical.astype(np.float32),
            embedding_distance=distance,
            gallery_position=np.arange(0, N, N // G),
            gallery_distance=np.asarray(1 - np.eye(G) if gallery is None else gallery, dtype=np.float32),
            fixed_threshold=FIXED,
        ),
    )


def _scored(name: str, about: str, expected: Table, predictions: Predictions) -> Known:
    def write(folder: Path) -> None:
        save_predictions(folder / PREDICTIONS, predictions)

    def score() -> Scores:
        return score_predictions(predictions)

    return Known(name, about, expected, write, score)


# -- tables of expected numbers ----------------------------------------------------------------------------------------
def _both(table: Callable[[int], Table]) -> Table:
    """Return a table for either kind of negatives; `table` is told how many there are."""
    return {f"{kind}.{metric}": expected for kind, m in NEGATIVES.items() for metric, expected in table(m).items()}


def _ranking(auc: float, ap: float, fpr95: float, why: Sequence[str], within: float = 1e-12) -> Table:
    values = zip(("roc_auc", "average_precision", "fpr95"), (auc, ap, fpr95), why, strict=True)
    return {metric: Expected(value, text, within) for metric, value, text in values}


def _decision(tp: int, fp: int, m: int, why: str, prefix: str = "") -> Table:
    """Return accuracy, precision, recall and F1 when tp of N positives and fp of m negatives are called a match."""
    values = {
        "accuracy": (tp + m - fp) / (N + m),
        "precision": tp / (tp + fp) if tp + fp else None,
        "recall": tp / N,
        "f1": 2 * tp / (tp + fp + N),
    }
    return {
        f"{prefix}{metric}": Expected(value, f"{why}: tp {tp} of {N}, fp {fp} of {m}")
        for metric, value in values.items()
    }


def _ranks(prefix: str, recall: Sequence[float], mrr: float, why: str, directions: Sequence[str] = DIRECTIONS) -> Table:
    """Return recall at 1, 5 and 10 and the MRR of `gallery` or `full`."""
    values = {f"recall_at_{k}": value for k, value in zip(KS, recall, strict=True)} | {"mrr": mrr}
    return {
        f"{prefix}.{direction}.{metric}": Expected(value, why)
        for direction in directions
        for metric, value in values.items()
    }


def _harmonic(k: int) -> float:
    return math.fsum(1 / i for i in range(1, k + 1))


def _chance(prefix: str, size: int, why: str, directions: Sequence[str] = DIRECTIONS) -> Table:
    """Return retrieval when every item of a gallery is equally far: recall@k = k / size, MRR = H_size / size."""
    return _ranks(
        prefix, [k / size for k in KS], _harmonic(size) / size, f"{why}: k / {size}, H_{size} / {size}", directions
    )


def _first(prefix: str) -> Table:
    return _ranks(prefix, [1.0, 1.0, 1.0], 1.0, "every partner is nearest")


# -- the predictions ---------------------------------------------------------------------------------------------------
def _truth() -> Known:
    def pairs(m: int) -> Table:
        table = _ranking(1.0, 1.0, 0.0, ("every positive before every negative",) * 3, 0.0)
        table |= _decision(N, 0, m, "threshold in the gap") | _decision(
            N, m, m, f"all distances are below {FIXED:g}", "fixed."
        )
        return {name: replace(expected, within=0.0) for name, expected in table.items()}

    retrieval = {name: replace(expected, within=0.0) for name, expected in (_first("gallery") | _first("full")).items()}
    return _known("truth", "true pairs at 0, all others at 1", _both(pairs) | retrieval, Distances(0, 1, 1))


def _inverted() -> Known:
    def pairs(m: int) -> Table:
        p = N / (N + m)
        why = (
            "every positive behind every negative",
            "recall rises only when all is accepted, at precision p",
            "all negatives come first",
        )
        chosen = (
            _decision(0, 0, m, "nothing accepted is best on validation")
            if m >= N
            else _decision(N, m, m, "all accepted is best")
        )
        return _ranking(0.0, p, 1.0, why) | chosen | _decision(N, m, m, f"all distances are below {FIXED:g}", "fixed.")

    retrieval = _ranks("gallery", (0, 0, 0), 1 / G, "every partner is last") | _ranks(
        "full", (0, 0, 0), 1 / N, "every partner is last"
    )
    embeddings = np.eye(N), -np.eye(N)
    return _known(
        "inverted",
        "true pairs at 1, all others at 0",
        _both(pairs) | retrieval,
        Distances(1, 0, 0),
        None,
        np.eye(G),
        embeddings,
    )


def _constant() -> Known:
    def pairs(m: int) -> Table:
        why = ("all tied: one half", "one cut, everything accepted: p", "one cut, everything accepted")
        chosen = (
            _decision(0, 0, m, "nothing accepted, as good as all")
            if m >= N
            else _decision(N, m, m, "all accepted is best")
        )
        return _ranking(0.5, N / (N + m), 1.0, why) | chosen | _decision(N, m, m, "all accepted", "fixed.")

    retrieval = _chance("gallery", G, "all tied") | _chance("full", N, "all tied")
    same = np.ones((N, 4)), np.zeros((N, 4))
    return _known(
        "constant",
        "one distance for every pair",
        _both(pairs) | retrieval,
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
            _ranking(0.5, N / (N + m), 1.0, why)
            | nothing
            | _decision(0, 0, m, "a failure is never a match", "fixed.")
            | failures
        )

    nan = math.nan
    retrieval = _chance("gallery", G, "all failed, all tied") | _chance("full", N, "all failed, all tied")
    nowhere = np.full((N, 4), nan), np.full((N, 4), nan)
    table = _both(pairs) | retrieval
    return _known(
        "empty", "no distance at all (NaN)", table, Distances(nan, nan, nan), None, np.full((G, G), nan), nowhere
    )


def _failures() -> Known:
    """A quarter of each kind fails, of an otherwise right answer: q = 1/4."""

    def broken(values: float, n: int) -> np.ndarray:
        return np.where(np.arange(n) % 4 == 0, np.nan, values)

    def pairs(m: int) -> Table:
        p = N / (N + m)
        why = ("(1 - q) + q * q / 2", "(1 - q) at precision 1, q at p", "recall 0.95 would need the failures")
        table = _ranking(0.75 + 0.25 * 0.25 / 2, 0.75 + 0.25 * p, 1.0, why)
        table |= _decision(N * 3 // 4, 0, m, "a failed positive is a miss, a failed negative no false match")
        table |= _decision(N * 3 // 4, m * 3 // 4, m, "every finite distance is below", "fixed.")
        return table | {"failures": Expected((N + m) // 4, "a quarter")}

    def distances(n: int) -> Distances:
        return Distances(broken(0, n), broken(1, n), broken(1, n // 2))

    gallery = 1 - np.eye(G)
    gallery[np.arange(0, G, 5), np.arange(0, G, 5)] = np.nan  # a fifth of the true partners
    table = _both(pairs) | _ranks("gallery", (0.8, 0.8, 0.8), 0.8 + 0.2 / G, "a fifth of the partners failed: last")
    sar, failed = np.eye(N), N // 4
    # a quarter of the SAR patches: as queries all tied, as partners behind all others and tied among themselves
    sar[::4] = np.nan
    chance = [0.75 + 0.25 * k / N for k in KS]
    table |= _ranks(
        "full", chance, 0.75 + 0.25 * _harmonic(N) / N, "a quarter of the queries: all tied", DIRECTIONS[:1]
    )
    behind = (_harmonic(N) - _harmonic(N - failed)) / failed
    table |= _ranks(
        "full", [0.75] * 3, 0.75 + 0.25 * behind, "a quarter of the partners: behind all others", DIRECTIONS[1:]
    )
    return _known(
        "failures", "right, but a quarter failed (NaN)", table, distances(N), distances(M), gallery, (sar, np.eye(N))
    )


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
    return _ranking((m + 1) / (2 * N), ap, min(reach, m) / m, why)


def _chosen_on_the_ladder(m: int) -> Table:
    """Equally many: one more positive than negatives is the best there is, first reached after the first; fewer: all M
    of validation.
    """
    return (
        _decision(1, 0, m, "threshold 0.5 of validation")
        if m >= N
        else _decision(M, M - 1, m, f"threshold {2 * M - 2} of validation")
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
    table = _ranks("gallery", (0, HUBS / G, 1), mrr, f"rank {HUBS + 1}, for the hubs' partners {HUBS}", DIRECTIONS[:1])
    return table | _ranks(
        "gallery", [(G - HUBS) / G] * 3, (G - HUBS + HUBS / G) / G, "first; the hubs last", DIRECTIONS[1:]
    )


def _interleaved() -> Known:
    def pairs(m: int) -> Table:
        fixed = _decision(M, M - 1, m, f"{FIXED:g} is the distance of positive {M}, accepted", "fixed.")
        return _taking_turns(m) | _chosen_on_the_ladder(m) | fixed

    table = _both(pairs) | _hub_table() | _first("full")
    return _known("interleaved", "positives and negatives take turns", table, _ladder(N), _ladder(M), _hubs())


def _rescaled() -> Known:
    def scaled(n: int) -> Distances:
        ladder = _ladder(n)
        return Distances(*(3 * np.asarray(values) + 7 for values in (ladder.positive, ladder.uniform, ladder.hard)))

    def pairs(m: int) -> Table:
        below = int((FIXED - 7) / 3)  # the ladder's 0 to 63
        fixed = _decision(
            below // 2 + 1, (below + 1) // 2, m, "a fixed threshold does not move with the distances", "fixed."
        )
        return _taking_turns(m) | _chosen_on_the_ladder(m) | fixed

    line = 3.0 * np.arange(N)[:, None]
    table = _both(pairs) | _hub_table() | _line_table()
    about = "as interleaved, every distance 3d + 7"
    return _known("rescaled", about, table, scaled(N), scaled(M), 3 * _hubs() + 7, (line, line + 3 * STEPS))


def _line_table() -> Table:
    """Patch i stands at i on a line, its partner STEPS further: i - 2 STEPS is tied with it, those between are nearer.

    Query i < 2 STEPS has i nearer ones, all others 2 STEPS - 1 and a tie. (Seen from the optical side, the line is
    turned round.)
    """
    s = STEPS
    mrr = (_harmonic(2 * s) + (N - 2 * s) * (1 / (2 * s) + 1 / (2 * s + 1)) / 2) / N
    return _ranks("full", (1 / N, 5 / N, 1), mrr, f"{2 * s - 1} nearer and one tied, fewer at the end of the line")


def _shifted() -> Known:
    def pairs(m: int) -> Table:
        table = _ranking(1.0, 1.0, 0.0, ("a shift changes no order",) * 3)
        fixed = _decision(N, m, m, f"all distances are below {FIXED:g}", "fixed.")
        return table | _decision(0, 0, m, "the threshold 0.5 of validation now accepts nothing") | fixed

    line = np.arange(N)[:, None]
    table = _both(pairs) | _first("gallery") | _line_table()
    about = f"right, but 0.6 more in the test; embeddings {STEPS} steps off"
    gallery = 1.6 - np.eye(G)
    return _known("shifted", about, table, Distances(0.6, 1.6, 1.6), Distances(0, 1, 1), gallery, (line, line + STEPS))


def _fooled() -> Known:
    m = NEGATIVES["hard"]
    why = (
        "every positive behind every hard negative",
        "recall rises only when all is accepted, at precision p",
        "they come first",
    )
    hard = _ranking(0.0, N / (N + m), 1.0, why) | _decision(N, m, m, "all accepted is best")
    uniform = _ranking(1.0, 1.0, 0.0, ("every positive before every negative",) * 3) | _decision(
        N, 0, NEGATIVES["uniform"], "in the gap"
    )
    table = {f"hard.{name}": value for name, value in hard.items()} | {
        f"uniform.{name}": value for name, value in uniform.items()
    }
    return _known("fooled", "right, but every hard negative looks nearer", table, Distances(0.5, 1, 0))


def _shuffled() -> Known:
    """Distances drawn at random: chance, within ERRORS standard errors of closed form."""
    draw = np.random.default_rng(SEED)

    def pairs(m: int) -> Table:
        n, p, total = N, N / (N + m), N + m
        # exact (Bestgen 2015)
        mean_ap = ((n - 1) / (total - 1) * (total - _harmonic(total)) + _harmonic(total)) / total
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

    table = _both(pairs)
    table["uniform.accuracy"] = Expected(
        0.5, f"at any threshold, binomial, {ERRORS:g} s.e.", ERRORS * math.sqrt(0.25 / (2 * N))
    )
    for prefix, size in (("gallery", G), ("full", N)):
        squares = math.fsum(1 / r**2 for r in range(1, size + 1)) / size
        error = {f"recall_at_{k}": math.sqrt(k / size * (1 - k / size) / size) for k in KS}
        error["mrr"] = math.sqrt((squares - (_harmonic(size) / size) ** 2) / size)
        for name, expected in _chance(prefix, size, "any rank").items():
            within = ERRORS * error[name.rpartition(".")[2]]
            table[name] = replace(expected, why=f"{expected.why}, {ERRORS:g} s.e.", within=within)
    test, validation = (Distances(*(2 * FIXED * draw.random(k) for k in (n, n, n // 2))) for n in (N, M))
    gallery, embeddings = draw.random((G, G)), (draw.standard_normal((N, 64)), draw.standard_normal((N, 64)))
    return _known("shuffled", "distances drawn at random", table, test, validation, gallery, embeddings)


def _overlapping() -> Known:
    """One distance for all; patches 2i and 2i + 1 share ground, so that neither stands in the other's gallery."""
    known = dict(_constant().expected)
    positions = np.array([i for i in range(N) if i % (N // G * 2) < 2])  # G of them, in pairs of neighbours
    part = Distances(7, 7, 7).part(N)
    west = 100.0 * (np.arange(N) // 2) + 10.0 * (np.arange(N) % 2)
    place = np.stack([west, np.zeros(N), west + 20, np.full(N, 20.0)], axis=1)
    predictions = Predictions(
        Distances(7, 7, 7).part(M), replace(part, place=place), np.ones((N, 4), np.float32),
        np.zeros((N, 4), np.float32), "rms", positions, np.ones((G, G), np.float32), FIXED,
    )  # fmt: skip
    left_out = "all tied, one left out"
    table = known | _chance("gallery", G - 1, left_out) | _chance("full", N - 1, left_out)
    return _scored("overlapping", "one distance; neighbours share ground", table, predictions)


def _bare() -> Known:
    """A method without a threshold of its own and without embeddings, on data without hard negatives, without
    validation.
    """
    everything = dict(_truth().expected)
    given = {"uniform.roc_auc", "uniform.average_precision", "uniform.fpr95"} | {
        name for name in everything if name.startswith("gallery")
    }
    table = {name: value if name in given else Expected(None, "not defined") for name, value in everything.items()}
    test, nobody = Distances(0, 1, None).part(N), Distances(0, 1, None).part(0)
    gallery = (1 - np.eye(G)).astype(np.float32)
    predictions = Predictions(nobody, test, None, None, None, np.arange(0, N, N // G), gallery, None)
    return _scored("bare", "right; nothing but uniform pairs, no validation", table, predictions)


def _by_distance(name: str) -> Known:
    """Partners have one direction of their own: nearest by any distance between embeddings."""
    own = 4 * np.eye(N)
    return _known(
        f"truth-{name}",
        f"right, embeddings compared by {name}",
        _first("full"),
        Distances(0, 1, 1),
        embeddings=(own, own),
        distance=name,
    )
