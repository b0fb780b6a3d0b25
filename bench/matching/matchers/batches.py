"""Training batches of registered pairs: order, negatives and augmentation as pure functions of (seed, epoch, index).

No global or worker state takes part, so the number of loading processes changes nothing and an interrupted run resumes
exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from bench.data.scaling import apply_scaling
from bench.data.symmetries import all_turned
from bench.matching.matchers.augment import Augmentation, stream
from bench.matching.matchers.base import Scalings, View
from bench.matching.matchers.batch_order import by_chance, by_scene

if TYPE_CHECKING:
    from bench.data.cache import PairView

Negatives = Literal["uniform", "in-batch", "none"]
# purposes: each draws from its own stream (4: derangement, 5: `dense`, 7 on: `augment`)
_ORDER, _NEGATIVE, _AUGMENT, _SCENES = (1, 2, 3, 6)


@dataclass(frozen=True)
class PairBatches:
    """Batches of entries; an entry is a (SAR, optical) pair of training positions with its label.

    Attributes:
        train: the training part.
        pairing: (n,) optical partner of each SAR position (the identity, or the control's derangement).
        negatives: "uniform": as many entries again, each with an optical image drawn uniformly over the part, the true
            one excluded, redrawn every epoch; "in-batch": every entry is a pair and `other` points to its negative
            inside the batch; "none".
        batch_size: entries a batch. The last, shorter batch is kept unless it has fewer than 2 entries (batch norm
            needs 2).
        augment: "none", or "dihedral": one of the 8 symmetries of the square, the same for both views.
        changes: what else a sample goes through, see `Augmentation`.
        scene_group: a batch is made of groups of so many samples of one scene, so that its negatives include hard ones;
            None for a batch drawn over all scenes.
    """

    train: PairView
    pairing: np.ndarray
    scaling: Scalings
    seed: int
    batch_size: int
    negatives: Negatives
    augment: Literal["none", "dihedral"]
    changes: Augmentation = Augmentation()
    scene_group: int | None = None
    smallest_share: ClassVar[int] = 2  # where several processes share a batch: batch norm, again

    def __len__(self) -> int:
        full, rest = divmod(self.entries, self.batch_size)
        return full + (rest >= 2)

    @property
    def entries(self) -> int:
        return len(self.train) * (2 if self.negatives == "uniform" else 1)

    def indices(self, epoch: int) -> list[np.ndarray]:
        """Return the entries of each batch of `epoch`, in order."""
        if self.scene_group is None:
            order = by_chance(self.entries, stream(self.seed, epoch, _ORDER))
        else:
            order = by_scene(self.train.scenes, self.entries, self.scene_group, stream(self.seed, epoch, _SCENES))
        return [order[i * self.batch_size : (i + 1) * self.batch_size] for i in range(len(self))]

    def fetch(self, epoch: int, entries: np.ndarray) -> dict[str, np.ndarray]:
        """Return one batch: sar (b, H, W), optical (b, H, W, 3) float32 in [0, 1], label (b,) float32, other (b,)
        int64.
        """
        n = len(self.train)
        sar, is_pair = entries % n, entries < n
        optical = self.pairing[sar]
        if not is_pair.all():
            optical = np.where(is_pair, optical, self._negatives(epoch)[sar])
        turns = self._turns(epoch)[sar]
        images: dict[View, np.ndarray] = {
            "sar": _unique_read(self.train.sar, sar),
            "optical": _unique_read(self.train.optical, optical),
        }
        drawn_for = (self.seed, epoch, sar, n)
        views: dict[View, np.ndarray] = {}
        for view, native in images.items():
            views[view] = apply_scaling(
                self.scaling.of(view), all_turned(self.changes.windows(native, *drawn_for), turns)
            )
        views = self.changes.changed(views, *drawn_for)
        return {
            "sar": views["sar"],
            "optical": views["optical"],
            "label": is_pair.astype(np.float32),
            "other": np.roll(np.arange(len(entries)), 1),
        }

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


def _unique_read(read: Callable[[np.ndarray], np.ndarray], positions: np.ndarray) -> np.ndarray:
    """Read each position once and repeat in memory: a negative may be drawn twice in a batch."""
    unique, inverse = np.unique(positions, return_inverse=True)
    repeated: np.ndarray = read(unique)[inverse]
    return repeated


def derangement(n: int, seed: int) -> np.ndarray:
    """Return a permutation of n without a fixed point (a random cyclic order): the pairing of the shuffled control."""
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0, 4]))).permutation(n)
    out = np.empty(n, dtype=np.int64)
    out[order] = np.roll(order, 1)
    return out
