"""The contract of a matcher: what a method of the matching task must offer, and the checks that no method can skip.

A matcher is a controller: it is built from its validated options, may be fitted on the training part, and turns images
into distances. Public methods validate and hand over to hooks with a leading underscore; a plug-in author writes the
hooks. Distances are always "smaller = more alike" and finite; images arrive in the native dtype of the data set, in (n,
H, W) for SAR and (n, H, W, 3) for optical.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel

from bench.core.errors import BenchError
from bench.core.method import Method, MethodOptions, OptionsT

if TYPE_CHECKING:
    from bench.core.context import ExecutionContext
    from bench.data.cache import PairView
    from bench.data.scaling import ScalingParams
    from bench.data.training_scenes import TrainingScenes

View = Literal["sar", "optical"]
COMPARED_SHARE = "compared_share"
"""Fact of a record: the share of a patch's area that a matcher compares, where it is not the whole patch."""


class MatcherOptions(MethodOptions):
    """Base of every matcher's options: frozen, unknown keys refused."""


@dataclass(frozen=True)
class FitData:
    """What a matcher may look at before it is tested: never the test part.

    `pairing` gives, for each training sample, the position of its optical partner in `train` (the identity, or the
    derangement of the shuffled control). Initial backbone weights, where requested, are a checked local file. `scenes`
    are the whole scenes of the training part, for a matcher whose options say `sampling: scenes`; what such a training
    learns must not depend on how patches are cut, since its key does not.
    """

    train: PairView
    validation: PairView
    pairing: np.ndarray
    seed: int
    scaling: Scalings
    context: ExecutionContext
    initial_weights: Path | None = None
    initial_branch: str = ""
    precision: str = "fp32"
    scenes: TrainingScenes | None = None

    @property
    def shuffled(self) -> bool:
        """Whether the pairs are those of the shuffled control."""
        return not np.array_equal(self.pairing, np.arange(len(self.pairing)))


@dataclass(frozen=True)
class Scalings:
    """The value scalings of both views, fitted on the training part."""

    sar: ScalingParams
    optical: ScalingParams

    def of(self, view: View) -> ScalingParams:
        return self.sar if view == "sar" else self.optical


@dataclass(frozen=True)
class Setup:
    """What fitting and predicting share: the backbone's name, the scalings, and where to compute."""

    backbone: str | None = None
    scaling: Scalings | None = None
    context: ExecutionContext | None = None


class Matcher(Method[OptionsT]):
    """Base class of every matcher; see `Method` for `version`, `Options`, `trains` and `seeded`.

    Class attributes:
        trains: a matcher that does not train has no use for a control or initial weights.
        embeds: whether each image has an embedding (then every pair of the test set can be scored cheaply), or only
            pairs are scored.
        uses_backbone: whether the method takes `backbone:` and `init:`.
    """

    Options: ClassVar[type[BaseModel]] = MatcherOptions
    embeds: ClassVar[bool] = False
    uses_backbone: ClassVar[bool] = False

    def __init__(self, options: OptionsT) -> None:
        super().__init__(options)
        self.setup = Setup()

    def prepare(self, setup: Setup) -> None:
        """Take over what fitting and predicting share; called once, before either."""
        self.setup = setup

    def embedding_distance(self) -> str:
        """Return the name of the distance between embeddings (see `bench.matching.matchers.distances`); for
        `embeds = True`.
        """
        raise NotImplementedError

    def fixed_threshold(self) -> float | None:
        """Return the distance threshold that the method's own protocol states, or None where it states none."""
        return None

    # -- public, checked -----------------------------------------------------------------------------------------------
    def fit(self, data: FitData) -> dict[str, Any]:
        """Fit on the training part; return facts for the record (epochs, samples per second, ...).

        Raises:
            BenchError: the training part is empty.
        """
        if len(data.train) == 0:
            raise BenchError("the training part is empty; widen the split")
        return self._fit(data)

    def embed(self, view: View, images: np.ndarray) -> np.ndarray:
        """Return the embeddings of `images` as (n, d) float32.

        Raises:
            BenchError: wrong shape, or the embedding is not finite.
        """
        check_images(view, images)
        out = np.asarray(self._embed(view, images), dtype=np.float32)
        if out.ndim != 2 or len(out) != len(images):
            raise BenchError(
                f"{type(self).__name__}._embed returned shape {out.shape} for {len(images)} images; expected (n, d)"
            )
        if not np.isfinite(out).all():
            raise BenchError(
                f"{type(self).__name__} produced embeddings that are not finite; lower the learning rate or the"
                " precision"
            )
        return out

    def score_pairs(self, sar: np.ndarray, optical: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """Return the distances of `pairs` (p, 2), rows of (index into sar, index into optical), as (p,) float32.

        Every image occurs once in `sar` / `optical`, so that a descriptor is computed once however many pairs it is in.
        A distance that is not finite stays so: the metrics count it as a failure.
        """
        check_images("sar", sar)
        check_images("optical", optical)
        out = np.asarray(self._score_pairs(sar, optical, np.asarray(pairs, dtype=np.int64)), dtype=np.float32)
        if out.shape != (len(pairs),):
            raise BenchError(
                f"{type(self).__name__}._score_pairs returned shape {out.shape} for {len(pairs)} pairs; expected"
                f" ({len(pairs)},)"
            )
        return out

    # -- hooks ---------------------------------------------------------------------------------------------------------
    def _fit(self, data: FitData) -> dict[str, Any]:
        return {}

    def _embed(self, view: View, images: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _score_pairs(self, sar: np.ndarray, optical: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def check_images(view: View, images: np.ndarray) -> None:
    """Raise BenchError unless `images` is (n, H, W) for SAR or (n, H, W, 3) for optical."""
    good = images.ndim == 3 if view == "sar" else images.ndim == 4 and images.shape[3] == 3
    if not good:
        raise BenchError(
            f"{view} images have shape {images.shape}; expected {'(n, H, W)' if view == 'sar' else '(n, H, W, 3)'}"
        )
