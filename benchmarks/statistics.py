"""How fast and how trustworthy bench/statistics/inference.py is, on simulated detectors and matchers whose truth is
known. Run by hand.

    python benchmarks/statistics.py [speed] [alarms] [coverage] [resolve] [--quick]

speed     the AP case: 4 rows x 5 seeds x 10 scenes x 125 ships; and a board of 7 rows x 3 seeds x 37 clusters.
alarms    how often equally good rows are told apart at a nominal 5 %.
coverage  how often 95 % intervals of several kinds hold the truth, and how wide they are.
resolve   what AIR-SARShip-1.0's scenes can resolve at AP 0.87.

The simulation. Every ship and every clutter object of a scene has a latent score: a skill (ships) or a penalty
(clutter), plus normal terms of the scene, common to all rows (weather, sea state) or a row's own; of the object, common
(small ships are hard for everyone) or a row's own; of row, seed and object; and of row and seed alone, for all ships
(the luck of a training). Objects above a floor are reported with that score. A scene has Poisson(5) clutter objects,
times exp(N(0, 0.5)). Pairs of a matcher have the same latent score, and are decided rightly where it is above 0. Rows
with the same skill are equally good by construction. "True" values come from hundreds of copies of the scenes with
effects of their own. Tables are printed in Markdown; those in docs/statistics.md come from here.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

# the checkout; this file's own folder would hide the standard library's `statistics`
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from bench.statistics.inference import MetricRow, analyse, compare, draws
from bench.statistics.intervals import (
    cluster_error,
    cluster_parts,
    combine,
    difference_interval,
    seed_error,
    share_interval,
)
from bench.statistics.rankings import Ranking
from bench.statistics.resampling import Clusters, MeanOf, Ratio, Resampled

TEN = np.array([15, 3, 2, 50, 18, 14, 6, 6, 8, 3])  # ships in AIR-SARShip-1.0's ten test scenes
# in all 31
ALL = np.array(
    [5, 7, 10, 8, 15, 3, 5, 2, 7, 50, 80, 18, 21, 15, 77, 13, 3, 2, 1, 7, 9, 14, 4, 6, 20, 15, 19, 8, 6, 8, 3]
)
# pairs in 33 unequal leakage groups
CLUSTERS = np.round(40 * np.exp(0.8 * np.random.default_rng(3).normal(size=33))).astype(int)
FLOOR, CLUTTER, PENALTY = -1.0, 5.0, -1.2


@dataclass(frozen=True)
class Model:
    """Standard deviations of the terms of a latent score."""

    scene: float = 0.0
    own_scene: float = 0.0
    object: float = 0.0
    own_object: float = 0.0
    noise: float = 0.4
    training: float = 0.0


MODELS = {
    "independent": Model(own_object=1.1),
    "correlated": Model(scene=0.5, own_scene=0.2, object=0.8, own_object=0.3),
    "scenes": Model(scene=0.5, own_scene=0.5, object=0.6, own_object=0.4),
}
Maker = Callable[[np.random.Generator, np.ndarray, Sequence[float], int, Model], list[list[Resampled]]]


def latent(
    rng: np.random.Generator, cluster: np.ndarray, clusters: int, rows: int, seeds: int, model: Model
) -> np.ndarray:
    """Return latent scores without skill, (rows, seeds, n)."""
    n = len(cluster)
    common = model.scene * rng.normal(size=clusters)[cluster] + model.object * rng.normal(size=n)
    own = model.own_scene * rng.normal(size=(rows, 1, clusters))[..., cluster] + model.own_object * rng.normal(
        size=(rows, 1, n)
    )
    return (
        common
        + own
        + model.noise * rng.normal(size=(rows, seeds, n))
        + model.training * rng.normal(size=(rows, seeds, 1))
    )


def detectors(
    rng: np.random.Generator, ships: np.ndarray, skills: Sequence[float], seeds: int, model: Model
) -> list[list[Resampled]]:
    """Return area AP of one row a skill, one result a seed."""
    count = len(ships)
    clutter = rng.poisson(CLUTTER * np.exp(0.5 * rng.normal(size=count)))
    cluster = np.repeat(np.arange(count), ships)
    one = latent(rng, cluster, count, len(skills), seeds, model) + np.asarray(skills)[:, None, None]
    where = np.repeat(np.arange(count), clutter)
    two = latent(rng, where, count, len(skills), seeds, replace(model, training=0.0)) + PENALTY
    clusters = Clusters.of([f"scene {i}" for i in range(count)], ships)
    owner, tp = np.concatenate([cluster, where]), np.arange(len(cluster) + len(where)) < len(cluster)

    def result(score: np.ndarray) -> Resampled:
        keep = score > FLOOR
        return Ranking.average_precision(clusters, owner[keep], score[keep], tp[keep], None, clusters.size)

    return [[result(np.concatenate([one[row, s], two[row, s]])) for s in range(seeds)] for row in range(len(skills))]


def matchers(
    rng: np.random.Generator, pairs: np.ndarray, skills: Sequence[float], seeds: int, model: Model
) -> list[list[Resampled]]:
    """Return accuracy of one row a skill, one result a seed."""
    count, cluster = len(pairs), np.repeat(np.arange(len(pairs)), pairs)
    right = latent(rng, cluster, count, len(skills), seeds, model) + np.asarray(skills)[:, None, None] > 0
    clusters = Clusters.of([f"group {i}" for i in range(count)], pairs)
    return [
        [Ratio(clusters, np.bincount(cluster, right[row, s], count), pairs) for s in range(seeds)]
        for row in range(len(skills))
    ]


def truth(make: Maker, sizes: np.ndarray, skill: float, model: Model) -> float:
    """Return the value that a row of this skill has on a test set of very many such scenes, over very many
    trainings.
    """
    copies, seeds = (40, 60) if model.training else (200, 1)
    rows = make(np.random.default_rng(1), np.tile(sizes, copies), [skill], seeds, model)
    return float(np.mean([result.value for result in rows[0]]))


@cache
def _skill(make: Maker, sizes: tuple[int, ...], model: Model, wanted: float) -> float:
    low, high = -1.0, 4.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if truth(make, np.array(sizes), middle, model) < wanted else (low, middle)
    return (low + high) / 2


def skill(make: Maker, sizes: np.ndarray, model: Model, wanted: float) -> float:
    """Return the skill whose true value is `wanted`."""
    return _skill(make, tuple(sizes.tolist()), model, wanted)


def measured(rows: Sequence[Sequence[Resampled]]) -> list[MetricRow]:
    """Return rows of a table; rows of one result count as methods without training."""
    return [
        MetricRow(f"row {i}", (None,) if len(row) == 1 else tuple(range(len(row))), tuple(row))
        for i, row in enumerate(rows)
    ]


# -- speed -------------------------------------------------------------------------------------------------------------
def speed(sims: int) -> None:
    """Print seconds of whole analyses."""
    rng, model = np.random.default_rng(0), replace(MODELS["correlated"], training=0.2)
    import scipy.special  # noqa: F401  its import is not the analysis

    for text, make, sizes, skills, seeds in (
        ("AP, 4 rows x 5 seeds x 10 scenes x 125 ships", detectors, TEN, [1.0] * 4, 5),
        ("accuracy, 7 rows x 3 seeds x 37 clusters", matchers, np.full(37, 60), [1.0] * 7, 3),
    ):
        rows = measured(make(rng, sizes, skills, seeds, model))
        start = time.perf_counter()
        analyse(rows, 0)
        print(f"{text}: {time.perf_counter() - start:.2f} s")


# -- false alarms ------------------------------------------------------------------------------------------------------
def alarms(sims: int) -> None:
    """Print how often equal rows are told apart."""
    print(
        "\n| detections | seeds | tables | sd over seeds | percentile bootstrap | swap test, p <= 0.05 | 4 rows: any"
        " mark | any tier |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, model in MODELS.items():
        for seeds, training in ((1, 0.0), (3, 0.1), (5, 0.0), (5, 0.1), (5, 0.3)):
            _alarm_row(name, replace(model, training=training), seeds, sims if seeds == 1 else max(1, sims // 4))


def _alarm_row(name: str, model: Model, seeds: int, sims: int) -> None:
    level = skill(detectors, TEN, replace(model, training=0.0), 0.87)
    seen, spread = [], []
    for i in range(sims):
        results = detectors(np.random.default_rng((1, i)), TEN, [level] * 4, seeds, model)
        rows = measured(results)
        found = analyse(rows, 0)
        difference, weights = found.differences[1], draws(rows[0].clusters)
        assert difference is not None and difference.p is not None
        drawn = np.mean(
            [a.values(weights) - b.values(weights) for a, b in zip(results[0], results[1], strict=True)], axis=0
        )
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        seen.append((low > 0 or high < 0, difference.p <= 0.05, any(found.marked), any(found.tiers)))
        spread.append(found.estimates[0].seed_sd or 0.0)
    shares = " | ".join(f"{100 * share:.1f} %" for share in np.mean(seen, axis=0))
    print(f"| {name} | {seeds} | {sims} | {100 * np.mean(spread):.1f} | {shares} |", flush=True)


# -- coverage ----------------------------------------------------------------------------------------------------------
def coverage(sims: int) -> None:
    """Print coverage and median width of every candidate, for differences and for values."""
    cases = [
        ("AP, 10 scenes", detectors, TEN, "independent", 1, 0.0),
        ("AP, 10 scenes", detectors, TEN, "scenes", 1, 0.0),
        ("AP, 10 scenes", detectors, TEN, "scenes", 5, 0.3),
        ("AP, 31 scenes", detectors, ALL, "scenes", 1, 0.0),
        ("accuracy, 10 clusters", matchers, TEN, "independent", 1, 0.0),
        ("accuracy, 10 clusters", matchers, TEN, "scenes", 1, 0.0),
        ("accuracy, 33 clusters", matchers, CLUSTERS, "independent", 1, 0.0),
        ("accuracy, 33 clusters", matchers, CLUSTERS, "scenes", 1, 0.0),
        ("accuracy, 33 clusters", matchers, CLUSTERS, "scenes", 3, 0.3),
        ("accuracy 0.99 twice, 10 clusters", matchers, TEN, "independent", 1, 0.0),
    ]
    for kind in ("difference", "value"):
        columns: dict[str, dict[str, str]] = {}
        for text, make, sizes, name, seeds, training in cases:
            model = replace(MODELS[name], training=training)
            levels = (0.99, 0.99) if "0.99" in text else (0.90, 0.87)
            found = _cover(make, sizes, model, levels, seeds, sims, kind == "value")
            columns[f"{text}, {name}, {seeds} seed{'s' * (seeds > 1)}"] = found
        methods = list(next(iter(columns.values())))
        print(f"\nThe {kind}: coverage % (median width, points)\n\n| test set | " + " | ".join(methods) + " |")
        print("|---" * (1 + len(methods)) + "|")
        for text, column in columns.items():
            print(f"| {text} | " + " | ".join(column.get(method, "-") for method in methods) + " |", flush=True)


def _cover(
    make: Maker, sizes: np.ndarray, model: Model, levels: Sequence[float], seeds: int, sims: int, single: bool
) -> dict[str, str]:
    skills = [skill(make, sizes, model, level) for level in levels]
    true = [truth(make, sizes, each, model) for each in skills]
    target = true[1] if single else true[0] - true[1]
    inside: dict[str, list[bool]] = {}
    width: dict[str, list[float]] = {}
    for i in range(sims):
        results = make(np.random.default_rng((2, i)), sizes, skills, seeds, model)
        for name, (low, high) in candidates(results[1:] if single else results, sizes, i).items():
            inside.setdefault(name, []).append(bool(low <= target <= high))
            width.setdefault(name, []).append(high - low)
    return {name: f"{100 * np.mean(inside[name]):.1f} ({100 * np.median(width[name]):.1f})" for name in inside}


def candidates(
    results: Sequence[Sequence[Resampled]], sizes: np.ndarray, number: int
) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals by every method, of the only row's value or of the first minus the second row's."""
    from scipy.special import ndtr, ndtri, stdtrit

    clusters, count = results[0][0].clusters, len(sizes)
    rng = np.random.default_rng((3, number))

    def values(weights: np.ndarray) -> np.ndarray:  # (seeds, W)
        each = [np.array([result.values(weights) for result in row]) for row in results]
        return each[0] if len(each) == 1 else each[0] - each[1]

    by_seed = values(np.ones((1, count)))[:, 0]
    seeds, value = len(by_seed), float(by_seed.mean())
    weights = draws(clusters, 1000)
    drawn = values(weights)
    usable = np.isfinite(drawn).all(axis=0)
    drawn, weights = drawn[:, usable], weights[usable]
    mean = drawn.mean(axis=0)
    nested = mean
    if seeds > 1:  # seeds drawn as well; the factor mends what a bootstrap of few seeds underestimates
        chosen = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(weights)) / seeds
        nested = mean + np.sqrt(seeds / (seeds - 1)) * ((drawn * chosen.T).sum(axis=0) - mean)
    without = values(1 - np.eye(count)).mean(axis=0)
    out = {"percentile": np.quantile(nested, [0.025, 0.975])}
    bias = ndtri(np.clip((nested < value).mean() + (nested == value).mean() / 2, 1e-4, 1 - 1e-4))
    pull = without.mean() - without
    bend = (pull**3).sum() / (6 * (pull**2).sum() ** 1.5) if pull.any() else 0.0
    out["BCa"] = np.quantile(nested, [ndtr(bias + (bias + z) / (1 - bend * (bias + z))) for z in (-1.96, 1.96)])
    z = stdtrit(max(clusters.effective - 1, 1), 0.975) * np.sqrt(count / (count - 1))
    out["expanded percentile"] = np.quantile(nested, [ndtr(-z), ndtr(z)])
    scatter = cluster_error(cluster_parts(without, clusters), clusters)
    assert scatter is not None
    if seeds == 1:
        out["bootstrap-t"] = studentized(value, scatter.error, mean, weights[:199], values)
        out["inverted swap"] = inverted_swap(value, without, sizes / sizes.sum(), rng)
    both = combine(scatter, seed_error(by_seed))
    plain = combine(replace(scatter, freedom=count - 1), seed_error(by_seed))
    chosen_one = share_interval(value, both) if len(results) == 1 else None
    for name, interval in (
        ("jackknife t, C - 1", difference_interval(value, plain)),
        ("jackknife t, effective", difference_interval(value, both)),
        *([("the same on log odds", chosen_one)] if len(results) == 1 else []),
    ):
        out[name] = np.array([interval.low, interval.high]) if interval else np.array([value, value])
    return {name: (float(low), float(high)) for name, (low, high) in out.items()}


def studentized(
    value: float, error: float, mean: np.ndarray, weights: np.ndarray, values: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, float]:
    """Return the bootstrap-t interval, each draw's standard error by its own jackknife."""
    draw, cluster = np.nonzero(weights > 0)
    less = weights[draw].copy()
    less[np.arange(len(draw)), cluster] -= 1
    left, times, count = values(less).mean(axis=0), weights[draw, cluster], weights.shape[1]
    ts = []
    for i in range(len(weights)):
        of = (draw == i) & np.isfinite(left)
        middle = np.average(left[of], weights=times[of]) if of.any() else np.nan
        own = np.sqrt((count - 1) / count * (times[of] * (left[of] - middle) ** 2).sum())
        if own > 0:
            ts.append((mean[i] - value) / own)
    low, high = np.quantile(ts, [0.025, 0.975]) if len(ts) > 20 else (0.0, 0.0)
    return value - high * error, value - low * error


def inverted_swap(
    value: float, without: np.ndarray, share: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the differences that a swap test of the jackknife's linear parts does not reject."""
    count, part = len(without), (value - without) * (1 - share)
    sign = (
        1.0 - 2 * ((np.arange(2**10)[:, None] >> np.arange(count)) & 1)
        if count <= 10
        else rng.choice([-1.0, 1.0], size=(1999, count))
    )
    sign[0] = 1
    reach = np.linspace(0, 12 * np.sqrt((part**2).sum()) + 1e-9, 400)
    ends = []
    for x in (reach, -reach):
        p = (np.abs((sign @ part)[:, None] + np.outer(sign @ share, x)) >= np.abs(part.sum() + x) - 1e-12).mean(axis=0)
        ends.append(float(x[np.flatnonzero(p > 0.05)[-1]]) if (p > 0.05).any() else 0.0)
    return value - ends[0], value - ends[1]


# -- what the scenes can resolve ---------------------------------------------------------------------------------------
def resolve(sims: int) -> None:
    """Print what ten scenes, and 31 in three folds, resolve at AP 0.87, and how often a true gain of 1.3 points is
    found.
    """
    print(
        "\n| test | sets | correlation | sd over seeds | sd of the difference | resolvable | found there | 1.3 AP"
        " found |"
    )
    print("|---|---|---|---|---|---|---|---|")
    ten = ("10 scenes", TEN, 1, (1.0, 0.5, 0.25), (0.0, 0.05, 0.15), sims)
    # random swaps take longer than 2^10
    all_ = ("31 scenes, 3 folds", ALL, 3, (0.5, 0.25), (0.0, 0.05, 0.15), max(1, sims // 3))
    for text, sizes, folds, shares, trainings, sims in (ten, all_):
        for own in shares:
            for training in trainings:
                model = Model(scene=0.5, own_scene=0.2 * own, object=0.9, own_object=0.4 * own, noise=0.3 * own)
                _resolve_row(text, sizes, folds, replace(model, training=training), sims)


def _resolve_row(text: str, sizes: np.ndarray, folds: int, model: Model, sims: int) -> None:
    """Print one row; five seeds, one comparison."""
    common, own = model.scene**2 + model.object**2, model.own_scene**2 + model.own_object**2 + model.noise**2
    values, spread, resolvable, small = _gains(sizes, folds, model, 0.013, sims).T
    median = float(np.median(resolvable))
    found = f"{100 * np.mean(_gains(sizes, folds, model, median, sims)[:, 3]):.0f} %" if median < 0.11 else "-"
    numbers = (
        f"{100 * np.mean(spread):.1f} | {100 * np.std(values):.1f} | {100 * median:.1f} | {found} |"
        f" {100 * np.mean(small):.0f} %"
    )
    print(f"| {text} | {sims} | {common / (common + own):.2f} | {numbers} |", flush=True)


def _gains(sizes: np.ndarray, folds: int, model: Model, gain: float, sims: int) -> np.ndarray:
    """Return, (sims, 4), difference, sd over seeds, resolvable difference and p <= 0.05 where the first row truly is
    better by `gain`.
    """
    make, at = _in_folds(folds), replace(model, training=0.0)
    skills = [skill(detectors, sizes, at, 0.87 + gain), skill(detectors, sizes, at, 0.87)]
    out = []
    for i in range(sims):
        rows = measured(make(np.random.default_rng((4, i)), sizes, skills, 5, model))
        difference = compare(rows[0], rows[1])
        assert difference.value is not None and difference.p is not None
        spread = float(np.std([result.value or 0.0 for result in rows[0].results], ddof=1))
        out.append((difference.value, spread, difference.resolvable or 0.0, difference.p <= 0.05))
    return np.array(out, dtype=np.float64)


def _in_folds(folds: int) -> Maker:
    def make(
        rng: np.random.Generator, sizes: np.ndarray, skills: Sequence[float], seeds: int, model: Model
    ) -> list[list[Resampled]]:
        parts = [detectors(rng, sizes[fold::folds], skills, seeds, model) for fold in range(folds)]
        return [[MeanOf([part[row][s] for part in parts]) for s in range(seeds)] for row in range(len(skills))]

    return detectors if folds == 1 else make


def main() -> None:
    """Run the parts that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="speed, alarms, coverage, resolve; all where none is named")
    parser.add_argument("--quick", action="store_true", help="a tenth of the simulated tables")
    chosen = parser.parse_args()
    known = {"speed": (speed, 1), "alarms": (alarms, 600), "coverage": (coverage, 300), "resolve": (resolve, 100)}
    for name in chosen.parts or known:
        if name not in known:
            parser.error(f"no part {name!r}; known: {', '.join(known)}")
        function, sims = known[name]
        start = time.process_time()
        sims = max(1, sims // 10) if chosen.quick else sims
        print(f"\n## {name}" + (f", {sims} simulated tables each" if sims > 1 else ""))
        function(sims)
        print(f"\n({time.process_time() - start:.0f} s of processor time)")


if __name__ == "__main__":
    main()
