"""`histogram`: what radiometry alone gives away. Grey-level and colour statistics of whole patches, no position, no
structure.

A matcher that does not beat this row has learned scene tones, not places. Features are histograms, means and standard
deviations; their ranges, standardisation and everything fitted come from the training part only. Two models:

    linear: logistic regression on s, o and the outer product s x o of the PCA-whitened features of both views, trained
        on the true pairs against re-drawn wrong ones. Its logit is bilinear, [s, 1] M [o, 1]', so it is expressed by
        embeddings: a = [s, 1] M, b = [o, 1], and distance = sigmoid(-a.b) = 1 - P(match) ("sigmoid-dot").
    knn: the mean optical features of the k training pairs nearest in SAR features, against the optical features;
        distance = rms difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from bench.core.errors import BenchError
from bench.matching.matchers.base import FitData, Matcher, MatcherOptions, View

BINS = 16
LOW_SHARE, HIGH_SHARE = 0.001, 0.999
SAR_FEATURES = BINS + 2
OPTICAL_FEATURES = 3 * (BINS + 2) + 2

_BLOCK = 256
_RANGE_IMAGES = 256
_RANGE_PIXELS = 4096
_COMMON = tuple(f"{view}_{what}" for view in ("sar", "optical") for what in ("range", "mean", "scale"))
_STATE = {
    "linear": (*_COMMON, "sar_basis", "optical_basis", "bilinear"),
    "knn": (*_COMMON, "train_sar", "train_optical"),
}


class HistogramOptions(MatcherOptions):
    """Options of `histogram`.

    Attributes:
        model: "linear" or "knn".
        components: PCA dimensions kept of each view (linear).
        negatives: wrong pairs drawn for each true one (linear).
        regularisation: inverse strength C of the L2 penalty (linear).
        neighbours: k (knn); fewer where the training part is smaller.
    """

    model: Literal["linear", "knn"] = "linear"
    components: int = Field(default=8, ge=1, le=SAR_FEATURES)
    negatives: int = Field(default=4, ge=1, le=64)
    regularisation: float = Field(default=1.0, gt=0.0)
    neighbours: int = Field(default=15, ge=1)

    def overridden(self) -> dict[str, str]:
        others = ("neighbours",) if self.model == "linear" else ("components", "negatives", "regularisation")
        return dict.fromkeys(others, f"it is for the other model than {self.model!r}")


class Histogram(Matcher[HistogramOptions]):
    """Grey-level and colour statistics with a linear or a k-NN model; distances from 0 up, at most 1 for `linear`."""

    version: ClassVar[int] = 1
    Options = HistogramOptions
    trains: ClassVar[bool] = True
    seeded: ClassVar[bool] = True
    embeds: ClassVar[bool] = True

    def __init__(self, options: HistogramOptions) -> None:
        super().__init__(options)
        self._state: dict[str, np.ndarray] = {}

    def state(self) -> dict[str, np.ndarray]:
        return dict(self._state)

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        expected = _STATE[self.options.model]
        if set(state) != set(expected):
            raise BenchError(
                f"this is not the state of histogram with model {self.options.model!r}: it holds"
                f" {', '.join(sorted(state)) or 'nothing'}; train again, or set the option model to what it was trained"
                " with"
            )
        self._state = {name: np.array(state[name]) for name in expected}

    def embedding_distance(self) -> str:
        return "sigmoid-dot" if self.options.model == "linear" else "rms"

    # -- hooks ---------------------------------------------------------------------------------------------------------
    def _fit(self, data: FitData) -> dict[str, Any]:
        n = len(data.train)
        self._state = {"sar_range": _fit_range(data.train.sar, n), "optical_range": _fit_range(data.train.optical, n)}
        sar = np.concatenate([self._raw("sar", data.train.sar(i)) for i in _blocks(n)])
        optical = np.concatenate([self._raw("optical", data.train.optical(i)) for i in _blocks(n)])
        for view, features in (("sar", sar), ("optical", optical)):
            scale = features.std(axis=0)
            self._state[f"{view}_mean"], self._state[f"{view}_scale"] = (
                features.mean(axis=0),
                np.where(scale > 1e-12, scale, 1.0),
            )
        sar, optical = self._standard("sar", sar), self._standard("optical", optical)
        pairing = np.asarray(data.pairing, dtype=np.int64)
        if self.options.model == "linear":
            return self._fit_linear(sar, optical, pairing, data.seed)
        self._state["train_sar"], self._state["train_optical"] = sar, optical[pairing]
        return {"samples": n, "neighbours": min(self.options.neighbours, n)}

    def _embed(self, view: View, images: np.ndarray) -> np.ndarray:
        if not self._state:
            raise BenchError("histogram is not fitted; call fit or load_state first")
        parts = [self._embed_block(view, images[i]) for i in _blocks(len(images))]
        return np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)

    def _embed_block(self, view: View, images: np.ndarray) -> np.ndarray:
        z = self._standard(view, self._raw(view, images))
        if self.options.model == "linear":
            z = _with_one(z @ self._state[f"{view}_basis"])
            return (z @ self._state["bilinear"] if view == "sar" else z).astype(np.float32)
        return (self._predict(z) if view == "sar" else z).astype(np.float32)

    # -- features ------------------------------------------------------------------------------------------------------
    def _raw(self, view: View, images: np.ndarray) -> np.ndarray:
        """Return the raw features of patches as float64: (n, 18) for SAR, (n, 56) for optical."""
        low, high = self._state[f"{view}_range"]
        values = np.clip((images.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
        values = values.reshape(len(values), -1, 1 if view == "sar" else 3)
        columns = [_histogram(values[:, :, c]) for c in range(values.shape[2])]
        columns += [values.mean(axis=1, dtype=np.float64), values.std(axis=1, dtype=np.float64)]
        if view == "optical":
            top, bottom = values.max(axis=2), values.min(axis=2)
            saturation = (top - bottom) / np.maximum(top, np.float32(1e-6))
            columns += [
                saturation.mean(axis=1, dtype=np.float64)[:, None],
                saturation.std(axis=1, dtype=np.float64)[:, None],
            ]
        return np.concatenate(columns, axis=1)

    def _standard(self, view: View, features: np.ndarray) -> np.ndarray:
        out: np.ndarray = (features - self._state[f"{view}_mean"]) / self._state[f"{view}_scale"]
        return out

    # -- models --------------------------------------------------------------------------------------------------------
    def _fit_linear(self, sar: np.ndarray, optical: np.ndarray, pairing: np.ndarray, seed: int) -> dict[str, Any]:
        from sklearn.linear_model import LogisticRegression

        if len(sar) < 2:
            raise BenchError(
                "histogram needs at least 2 training pairs to draw wrong ones from; widen the training part"
            )
        self._state["sar_basis"] = _whitening(sar, self.options.components)
        self._state["optical_basis"] = _whitening(optical, self.options.components)
        s, o = sar @ self._state["sar_basis"], optical @ self._state["optical_basis"]
        first, second, label = _training_pairs(pairing, self.options.negatives, seed)
        design = np.einsum("ni,nj->nij", _with_one(s)[first], _with_one(o)[second]).reshape(len(first), -1)[:, :-1]
        weight = np.where(label, float(self.options.negatives), 1.0)
        model = LogisticRegression(C=self.options.regularisation, solver="lbfgs", max_iter=2000, tol=1e-6)
        model.fit(design, label, sample_weight=weight)
        weights = np.append(model.coef_[0], model.intercept_[0])
        self._state["bilinear"] = weights.reshape(s.shape[1] + 1, o.shape[1] + 1).astype(np.float64)
        return {"samples": len(sar), "training_pairs": len(first), "iterations": int(model.n_iter_[0])}

    def _predict(self, z: np.ndarray) -> np.ndarray:
        """Return the mean optical features of the k training pairs nearest to SAR features z (n, 18)."""
        train, partner = self._state["train_sar"], self._state["train_optical"]
        k = min(self.options.neighbours, len(train))
        squares = np.square(z).sum(axis=1)[:, None] + np.square(train).sum(axis=1)[None, :] - 2 * (z @ train.T)
        nearest = np.argsort(squares, axis=1, kind="stable")[:, :k]
        out: np.ndarray = partner[nearest].mean(axis=1)
        return out


def _blocks(n: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]


def _fit_range(read: Callable[[np.ndarray], np.ndarray], n: int) -> np.ndarray:
    """Return the 0.1 % and 99.9 % quantiles of evenly spaced pixels of at most 256 training patches, float64 (2,), high
    > low.
    """
    chosen = np.unique(np.linspace(0, n - 1, min(n, _RANGE_IMAGES)).round().astype(np.int64))
    pixels = []
    for position in chosen:
        flat = read(np.array([position])).reshape(-1)
        pixels.append(flat[:: max(1, -(-flat.size // _RANGE_PIXELS))].astype(np.float64))
    low, high = np.quantile(np.concatenate(pixels), (LOW_SHARE, HIGH_SHARE))
    return np.array([low, high if high > low else low + 1.0])


def _histogram(values: np.ndarray) -> np.ndarray:
    """Return the shares (n, 16) of values (n, p) in [0, 1] in equal bins; 1 falls into the last."""
    n, pixels = values.shape
    bins = np.minimum((values * BINS).astype(np.int64), BINS - 1) + np.arange(n)[:, None] * BINS
    shares: np.ndarray = np.bincount(bins.reshape(-1), minlength=n * BINS).reshape(n, BINS) / pixels
    return shares


def _whitening(z: np.ndarray, components: int) -> np.ndarray:
    """Return the PCA whitening (f, k) of centred features z (n, f), signs fixed; k is at most `components` and the
    rank.
    """
    _, values, vectors = np.linalg.svd(z, full_matrices=False)
    k = min(components, max(1, int((values > 1e-8 * max(values[0], 1e-300)).sum())))
    sign = np.sign(vectors[np.arange(k), np.abs(vectors[:k]).argmax(axis=1)])
    spread = values[:k] / np.sqrt(len(z))
    return (vectors[:k] * np.where(sign == 0, 1.0, sign)[:, None] / np.where(spread > 0, spread, 1.0)[:, None]).T


def _training_pairs(pairing: np.ndarray, negatives: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (SAR positions, optical positions, label): every true pair once, then `negatives` wrong ones for each.

    Round r comes from a generator keyed by (seed, r); a wrong partner is any other than the true one, all equally
    likely.
    """
    n = len(pairing)
    first, second = [np.arange(n)], [pairing]
    for r in range(negatives):
        draw = np.random.Generator(np.random.Philox(key=np.array([seed, r], dtype=np.uint64))).integers(n - 1, size=n)
        first.append(np.arange(n))
        second.append(draw + (draw >= pairing))
    return np.concatenate(first), np.concatenate(second), np.arange(n * (negatives + 1)) < n


def _with_one(z: np.ndarray) -> np.ndarray:
    return np.concatenate([z, np.ones((len(z), 1))], axis=1)
