"""Training batches of registered pairs: order, negatives and augmentation as pure functions of (seed, epoch, index).

No global or worker state takes part, so the number of loading processes changes nothing and an interrupted run resumes exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from bench.data.scaling import apply_scaling
from bench.data.symmetries import all_turned
from bench.matching.matcher import Scalings, View

if TYPE_CHECKING:
    from bench.data.cache import PairView

Negatives = Literal["uniform", "in-batch", "none"]
_ORDER, _NEGATIVE, _AUGMENT = 1, 2, 3  # purposes: each draws from its own stream (5: displaced crops, see `dense`)
_SCENES, _WINDOW, _JITTER = 6, 7, 8
SCENE_GROUP = 8  # samples of one scene that stay together in a batch of `scene_batches`


def stream(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    """Return the generator of one purpose in one epoch. Element i of a draw from it belongs to sample i."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, purpose])))


@dataclass(frozen=True)
class PairBatches:
    """Batches of entries; an entry is a (SAR, optical) pair of training positions with its label.

    Attributes:
        train: the training part.
        pairing: (n,) optical partner of each SAR position (the identity, or the control's derangement).
        negatives: "uniform": as many entries again, each with an optical image drawn uniformly over the part, the true one excluded,
            redrawn every epoch; "in-batch": every entry is a pair and `other` points to its negative inside the batch; "none".
        batch_size: entries a batch. The last, shorter batch is kept unless it has fewer than 2 entries (batch norm needs 2).
        augment: "none", or "dihedral": one of the 8 symmetries of the square, the same for both views.
        crop: share of the side that a sample shows, a window drawn anew in each epoch, the same for both views; 1 shows all.
        jitter: strength of a change of tone, drawn for each view apart: gain and gamma, of the optical view for each colour; 0 for none.
        scene_batches: a batch is made of groups of `SCENE_GROUP` samples of one scene, so that its negatives include hard ones.
    """

    train: PairView
    pairing: np.ndarray
    scaling: Scalings
    seed: int
    batch_size: int
    negatives: Negatives
    augment: Literal["none", "dihedral"]
    crop: float = 1.0
    jitter: float = 0.0
    scene_batches: bool = False
    smallest_share: ClassVar[int] = 2  # where several processes share a batch: batch norm, again

    def __len__(self) -> int:
        full, rest = divmod(self.entries, self.batch_size)
        return full + (rest >= 2)

    @property
    def entries(self) -> int:
        return len(self.train) * (2 if self.negatives == "uniform" else 1)

    def indices(self, epoch: int) -> list[np.ndarray]:
        """Return the entries of each batch of `epoch`, in order."""
        order = self._by_scene(epoch) if self.scene_batches else stream(self.seed, epoch, _ORDER).permutation(self.entries)
        return [order[i * self.batch_size : (i + 1) * self.batch_size] for i in range(len(self))]

    def fetch(self, epoch: int, entries: np.ndarray) -> dict[str, np.ndarray]:
        """Return one batch: sar (b, H, W), optical (b, H, W, 3) float32 in [0, 1], label (b,) float32, other (b,) int64."""
        n = len(self.train)
        sar, is_pair = entries % n, entries < n
        optical = self.pairing[sar]
        if not is_pair.all():
            optical = np.where(is_pair, optical, self._negatives(epoch)[sar])
        turns = self._turns(epoch)[sar]
        images: dict[View, np.ndarray] = {"sar": _unique_read(self.train.sar, sar), "optical": _unique_read(self.train.optical, optical)}
        out: dict[str, np.ndarray] = {}
        for view, native in images.items():
            shown = native if self.crop == 1 else self._windows(native, epoch, sar)
            out[view] = apply_scaling(self.scaling.of(view), all_turned(shown, turns))
        if self.jitter:
            out = self._toned(out, epoch, sar)
        return {
            **out,
            "label": is_pair.astype(np.float32),
            "other": np.roll(np.arange(len(entries)), 1),
        }

    def _by_scene(self, epoch: int) -> np.ndarray:
        """Return the entries of `epoch` in groups of one scene each, groups and their members in a drawn order."""
        rng = stream(self.seed, epoch, _SCENES)
        order = rng.permutation(self.entries)
        scene = np.unique(np.array([name or "" for name in self.train.scenes]), return_inverse=True)[1]
        by = order[np.argsort(scene[order % len(self.train)], kind="stable")]
        starts = np.flatnonzero(np.diff(scene[by % len(self.train)], prepend=-1))
        groups = [part[k : k + SCENE_GROUP] for part in np.split(by, starts[1:]) for k in range(0, len(part), SCENE_GROUP)]
        return np.concatenate([groups[i] for i in rng.permutation(len(groups))])

    def _windows(self, images: np.ndarray, epoch: int, positions: np.ndarray) -> np.ndarray:
        """Return a window of each image, drawn for its position in the training part."""
        side = images.shape[1]
        size = max(1, round(self.crop * side))
        drawn = stream(self.seed, epoch, _WINDOW).random((len(self.train), 2))[positions]
        at = (drawn * (side - size + 1)).astype(np.int64).tolist()
        return np.stack([image[y : y + size, x : x + size] for image, (y, x) in zip(images, at, strict=True)])

    def _toned(self, views: dict[str, np.ndarray], epoch: int, positions: np.ndarray) -> dict[str, np.ndarray]:
        """Return float32 images in [0, 1] under x -> clip(gain x^gamma), gain and gamma log-normal with deviation `jitter`."""
        drawn = np.exp(self.jitter * stream(self.seed, epoch, _JITTER).normal(size=(len(self.train), 6)))[positions].astype(np.float32)
        gain = {"sar": drawn[:, 0, None, None], "optical": drawn[:, None, None, 2:5]}
        gamma = {"sar": drawn[:, 1, None, None], "optical": drawn[:, 5, None, None, None]}
        return {view: np.clip(gain[view] * np.power(image, gamma[view]), 0, 1, dtype=np.float32) for view, image in views.items()}

    def _negatives(self, epoch: int) -> np.ndarray:
        """Return the optical position of each sample's negative: uniform over all others than its partner."""
        n = len(self.train)
        draw = stream(self.seed, epoch, _NEGATIVE).integers(0, n - 1, size=n)
        return draw + (draw >= self.pairing)

    def _turns(self, epoch: int) -> np.ndarray:
        n = len(self.train)
        if self.augment == "none":
            return np.zeros(n, dtype=np.int64)
        return stream(self.seed, epoch, _AUGMENT).integers(0, 8, size=n)


def _unique_read(read: object, positions: np.ndarray) -> np.ndarray:
    """Read each position once and repeat in memory: a negative may be drawn twice in a batch."""
    unique, inverse = np.unique(positions, return_inverse=True)
    return read(unique)[inverse]  # type: ignore[operator]


def derangement(n: int, seed: int) -> np.ndarray:
    """Return a permutation of n without a fixed point (a random cyclic order): the pairing of the shuffled control."""
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0, 4]))).permutation(n)
    out = np.empty(n, dtype=np.int64)
    out[order] = np.roll(order, 1)
    return out
