"""Which pairs a matcher is judged on: positives, and negatives that are sampled once, stored and hashed.

Owns the sampling of pair lists and galleries, and the stated clustering that stands in for scenes where none are known.
Every choice for sample i comes from a generator keyed by (seed, i), so it depends on nothing that happened before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from bench.core.errors import BenchError
from bench.matching.scoring.retrieval import Place, place_array, same_place

Hard = Literal["scene", "cluster"]

POSITIVE, UNIFORM, HARD = 0, 1, 2
KINDS = ("positive", "uniform", "hard")

_TRIES = 64
_STREAMS = {UNIFORM: 0, HARD: 1}


@dataclass(frozen=True)
class PairList:
    """Pairs of positions within one part of a data set.

    Attributes:
        sar, optical: int64 (p,), positions of the two patches.
        label: bool (p,), True = the same sample.
        kind: uint8 (p,), index into `KINDS`.
        missing: negatives that could not be sampled, by kind ("uniform", "hard"): no other sample in the scene, or all
            of them the same place.
    """

    sar: np.ndarray
    optical: np.ndarray
    label: np.ndarray
    kind: np.ndarray
    missing: dict[str, int]

    def __len__(self) -> int:
        return len(self.sar)

    @property
    def counts(self) -> dict[str, int]:
        """Number of pairs by kind."""
        return {name: int((self.kind == code).sum()) for code, name in enumerate(KINDS)}

    def of(self, *kinds: int) -> np.ndarray:
        """Return the positions (int64) of the pairs of these kinds, in order."""
        return np.flatnonzero(np.isin(self.kind, kinds))

    def array(self) -> np.ndarray:
        """Return int64 (p, 2) rows (SAR position, optical position), as `Matcher.score_pairs` takes them."""
        return np.stack([self.sar, self.optical], axis=1)

    def sha256(self, ids: Sequence[str]) -> str:
        """Return the SHA-256 over the lines "SAR id, optical id, kind" (tab-separated, in order): the list's identity
        across machines.
        """
        digest = hashlib.sha256()
        for s, o, kind in zip(self.sar.tolist(), self.optical.tolist(), self.kind.tolist(), strict=True):
            digest.update(f"{ids[s]}\t{ids[o]}\t{KINDS[kind]}\n".encode())
        return digest.hexdigest()


def sample_pairs(
    n: int,
    seed: int,
    hard: Hard | None = None,
    groups: Sequence[object] | np.ndarray | None = None,
    places: Sequence[Place | None] | np.ndarray | None = None,
) -> PairList:
    """Return n positives, then one uniform negative per SAR sample, then (with `hard`) one hard negative per SAR
    sample.

    Uniform: the optical partner of any other sample, all equally likely. Hard: that of another sample of the same
    group. A sample is never its own negative, nor is one whose place shares ground with it. A sample with no candidate
    left gets none, counted in `missing`. Adding hard negatives changes no uniform one; the two kinds are sampled
    independently and may coincide.

    Args:
        n: samples of the part.
        seed: of the sampling (not of the training), at least 0.
        hard: what `groups` are, "scene" or "cluster"; None samples no hard negatives.
        groups: (n,) scene name or cluster number of each sample; None as an entry: unknown, so no hard negative.
        places: rectangles x_min, y_min, x_max, y_max in metres, or None.

    Raises:
        BenchError: fewer than two samples, a negative seed, `hard` without groups or unknown, arrays of other lengths.
    """
    if n < 2:
        raise BenchError(
            f"{n} sample(s) cannot make non-matching pairs; at least 2 are needed in this part of the split"
        )
    if seed < 0:
        raise BenchError(f"the seed of the pairs must be at least 0, not {seed}")
    if hard not in (None, "scene", "cluster"):
        raise BenchError(f"unknown kind of hard negatives {hard!r}; known: scene, cluster")
    if hard is not None and groups is None:
        raise BenchError(
            f"hard negatives of the same {hard} need the {hard} of every sample; drop them or choose another kind"
        )
    known = place_array(places)
    for what, have in (("groups", groups), ("places", known)):
        if have is not None and len(have) != n:
            raise BenchError(f"{len(have)} {what} for {n} samples; give one for each")
    everyone = np.arange(n, dtype=np.int64)
    uniform = [_sample(i, everyone, known, seed, UNIFORM) for i in range(n)]
    chosen = [(UNIFORM, uniform)]
    if hard is not None and groups is not None:
        members = _members(groups)
        chosen.append((HARD, [_sample(i, members[i], known, seed, HARD) for i in range(n)]))
    return _assemble(everyone, chosen)


def sample_gallery(n: int, size: int | None, seed: int) -> np.ndarray:
    """Return `size` of n positions, sampled without replacement and sorted (int64); all of them where size >= n or
    None.

    Raises:
        BenchError: a size below 1 or a negative seed.
    """
    size = n if size is None else size
    if size < 1 or seed < 0:
        raise BenchError(f"a gallery needs a size of at least 1 and a seed of at least 0, not {size} and {seed}")
    if size >= n:
        return np.arange(n, dtype=np.int64)
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, 2**63], dtype=np.uint64)))
    return np.sort(generator.permutation(n)[:size]).astype(np.int64)


def _members(groups: Sequence[object] | np.ndarray) -> list[np.ndarray]:
    """Return for each sample the positions of its group (itself included); empty where its group is unknown."""
    listed = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    by_group: dict[object, list[int]] = {}
    for position, group in enumerate(listed):
        by_group.setdefault(group, []).append(position)
    arrays = {group: np.array(positions, dtype=np.int64) for group, positions in by_group.items()}
    none = np.zeros(0, dtype=np.int64)
    return [none if group is None else arrays[group] for group in listed]


def _sample(i: int, members: np.ndarray, places: np.ndarray | None, seed: int, kind: int) -> int:
    """Return a position sampled uniformly from `members` without sample i and those that share its place; -1 if there
    is none.

    Rejection first; after `_TRIES` misses the allowed members are listed (same distribution, bounded time).
    """
    if len(members) < 2:
        return -1
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, 2 * i + _STREAMS[kind]], dtype=np.uint64)))
    picks: list[int] = members[generator.integers(len(members), size=_TRIES)].tolist()
    for pick in picks:
        if pick != i and (places is None or not same_place(places[i], places[pick])):
            return pick
    allowed = members[members != i]
    if places is not None:
        allowed = allowed[~same_place(places[i], places[allowed])]
    return int(allowed[generator.integers(len(allowed))]) if len(allowed) else -1


def _assemble(everyone: np.ndarray, chosen: list[tuple[int, list[int]]]) -> PairList:
    sar, optical = [everyone], [everyone]
    kind = [np.full(len(everyone), POSITIVE, dtype=np.uint8)]
    missing: dict[str, int] = {}
    for code, partners in chosen:
        partner = np.array(partners, dtype=np.int64)
        have = partner >= 0
        missing[KINDS[code]] = int((~have).sum())
        sar.append(everyone[have])
        optical.append(partner[have])
        kind.append(np.full(int(have.sum()), code, dtype=np.uint8))
    kinds = np.concatenate(kind)
    return PairList(np.concatenate(sar), np.concatenate(optical), kinds == POSITIVE, kinds, missing)


# -- clusters in the place of scenes -----------------------------------------------------------------------------------
class SarView(Protocol):
    """What the feature extraction reads: a number of SAR patches by position (`PairView` is one)."""

    def __len__(self) -> int: ...

    def sar(self, i: np.ndarray) -> np.ndarray: ...


def cluster_features(images: np.ndarray) -> np.ndarray:
    """Return low-level features of SAR patches (n, H, W) in any dtype as float64 (n, 11).

    Mean, standard deviation, five percentiles (5, 25, 50, 75, 95), and the mean absolute differences along y and x of
    the patch and of its 2 x 2 block means: tone, contrast and grain, no structure.
    """
    values = np.asarray(images, dtype=np.float32)
    if values.ndim != 3 or min(values.shape[1:], default=0) < 4:
        raise BenchError(f"SAR patches have shape {values.shape}; clustering needs (n, H, W) of at least 4 x 4 px")
    flat = values.reshape(len(values), -1)
    columns = [
        flat.mean(axis=1, dtype=np.float64),
        flat.std(axis=1, dtype=np.float64),
        *np.percentile(flat, (5, 25, 50, 75, 95), axis=1),
    ]
    height, width = (side // 2 * 2 for side in values.shape[1:])
    halves = values[:, :height, :width].reshape(len(values), height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    for scale in (values, halves):
        for axis in (1, 2):
            columns.append(np.abs(np.diff(scale, axis=axis)).mean(axis=(1, 2), dtype=np.float64))
    return np.stack(columns, axis=1).astype(np.float64)


def view_features(view: SarView, block: int = 256) -> np.ndarray:
    """Return `cluster_features` of all patches of a view, read `block` at a time."""
    parts = [cluster_features(view.sar(np.arange(s, min(s + block, len(view))))) for s in range(0, len(view), block)]
    return np.concatenate(parts) if parts else np.zeros((0, 11))


@dataclass(frozen=True)
class Clusters:
    """A fitted clustering: standardisation (f,), (f,) and centres (k, f), all float64."""

    mean: np.ndarray
    scale: np.ndarray
    centres: np.ndarray

    def assign(self, features: np.ndarray) -> np.ndarray:
        """Return the nearest centre of each row of features (n, f), int64 (n,)."""
        z = (features - self.mean) / self.scale
        squares = np.stack([((z - centre) ** 2).sum(axis=1) for centre in self.centres], axis=1)
        nearest: np.ndarray = np.argmin(squares, axis=1).astype(np.int64)
        return nearest


def fit_clusters(features: np.ndarray, k: int, seed: int) -> Clusters:
    """Fit k-means (scikit-learn, Lloyd, 10 starts, `random_state=seed`) on standardised features (n, f) of the training
    part.

    Constant features are centred only. Centres are sorted by their first feature (mean grey level), so that their
    numbers mean something.

    Raises:
        BenchError: fewer than k samples, or k below 1.
    """
    if k < 1 or len(features) < k:
        raise BenchError(f"{len(features)} training samples cannot make {k} clusters; choose from 1 to {len(features)}")
    from sklearn.cluster import KMeans

    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    fitted = KMeans(n_clusters=k, n_init=10, random_state=seed, algorithm="lloyd").fit((features - mean) / scale)
    centres = np.asarray(fitted.cluster_centers_, dtype=np.float64)
    return Clusters(mean, scale, centres[np.lexsort(centres.T[::-1])])
