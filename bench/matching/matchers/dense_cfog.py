"""`dense-cfog` and `dense-pyramid`: `cfog` that learns: features that begin as channels of oriented gradients and are
trained where `cfog` is weak; compared by correlation over a range of shifts, as `cfog` and `dense` do.

What is ours, and what each part brings, is measured in docs/findings.md: features are CFOG plus a small network, or the
stages of a backbone (`dense_cfog_network.py`), a patch is continued by its outermost pixels and compared as a whole
(`overlap.py`), training takes crops of several sizes anywhere in the training scenes, so that one network serves all
sizes, and the loss asks for a peak that means the same for every pair. The loss over shifts and other pairs
follows `dense`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, Field, model_validator
from typing_extensions import TypeVar

from bench.core.errors import BenchError
from bench.matching.matchers.base import FitData, check_images
from bench.matching.matchers.correlation import common_size, correlate_in_blocks, spectrum_bytes
from bench.matching.matchers.crop_batches import CropBatches, CropSource, PatchSource, Tones
from bench.matching.matchers.network_matcher import NetworkMatcher, NetworkOptions, auc_among
from bench.training.learned import training_facts

if TYPE_CHECKING:
    from bench.matching.matchers.dense_cfog_network import Branch, DenseCfogNetwork, PyramidBranch
    from bench.matching.matchers.overlap import Map

STRIDE = 2
MIN_FEATURES = 8  # a side; of these a shift leaves at least half
_DILATIONS = (1, 2, 4)
_WATCHED = 64  # validation pairs that the curve is drawn of
_SIZES = (64, 96, 128)

ShiftRange = Annotated[float, Field(ge=0, le=4)]
NaturalPx = Annotated[int, Field(ge=0)]


class ResidualOptions(NetworkOptions):
    """Options of `dense-cfog` and `dense-pyramid`. The budget `entries` counts crops; `batch_size` those of a batch of
    the smallest size.

    Attributes:
        sampling: "scenes" draws crops anywhere in the whole scenes of the training part, beside what the split holds
            back; "patches" inside the training patches.
        crop_px: sides of the training crops, even; null: of 64, 96 and 128 px those that fit.
        epoch_crops: about so many crops make an epoch, after which a checkpoint is kept.
        shift_range: r in floor(r * sqrt(side)), the largest displacement looked at in px, rounded down to even; of one
            number along both axes, of two along rows and columns: relief displaces SAR images along the range alone.
        max_shift_px: these largest displacements down and across instead, for every size.
        start: "cfog" adds the network to CFOG, near zero at first; "random" has the network alone.
        threshold_loss: weight of the cross-entropy at the learned threshold; 0 for none.
        tolerance_px: shifts this near to that of the crops count as true in training; null: all of a true pair do, for
            data that relief displaces nobody knows how far.
        dim: feature channels.
        tone: strength of a change of tone, drawn for each crop and view: x -> gain x^gamma, both log-normal with this
            deviation, the optical view with a gain for each colour.
        speckle: deviation of the noise of mean 1 that SAR pixels are multiplied with.
    """

    sampling: Literal["patches", "scenes"] = "patches"
    crop_px: tuple[int, ...] | None = None
    epoch_crops: int = Field(4096, ge=2)
    shift_range: tuple[ShiftRange, ShiftRange] | ShiftRange = 0.75
    max_shift_px: tuple[NaturalPx, NaturalPx] | None = None
    start: Literal["cfog", "random"] = "cfog"
    threshold_loss: float = Field(1.0, ge=0)
    tolerance_px: NaturalPx | None = None
    dim: int = Field(16, ge=9)
    tone: float = Field(0.2, ge=0, le=1)
    speckle: float = Field(0.0, ge=0, le=1)
    batch_size: int = Field(48, ge=2)
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = Field(0.003, gt=0)
    weight_decay: float = Field(0.0001, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    clip_norm: float | None = Field(1.0, gt=0)
    augment: Literal["none", "dihedral"] = "dihedral"
    channels_last: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.crop_px is not None:
            if not self.crop_px or len(set(self.crop_px)) < len(self.crop_px):
                raise ValueError("crop_px is a list of different sides, at least one")
            odd = [side for side in self.crop_px if side % STRIDE or side < STRIDE * MIN_FEATURES]
            if odd:
                raise ValueError(f"crop_px {odd[0]}: sides are even, and at least {STRIDE * MIN_FEATURES}")
        if self.sampling == "scenes" and self.select == "best":
            raise ValueError(
                "select: best looks at validation patches of one size, and a training on scenes serves all sizes; use"
                " select: last"
            )
        return self


class DenseCfogOptions(ResidualOptions):
    """Options of `dense-cfog`, beside those of `ResidualOptions`.

    Attributes:
        border: "replicate" continues a patch by its outermost pixels; "crop" leaves out features that depend on pixels
            beyond the border.
        input: whether the network sees pixels or their logarithms.
        width: channels inside the network.
    """

    border: Literal["replicate", "crop"] = "replicate"
    input: Literal["log", "linear"] = "log"
    width: int = Field(32, ge=4)


OptionsT = TypeVar("OptionsT", bound=ResidualOptions, covariant=True, default=ResidualOptions)


class ResidualMatcher(NetworkMatcher[OptionsT]):
    """Learned residual of `cfog`; distance = 1 - peak correlation, clipped to [0, 1]; a patch without features is at
    distance 1. A subclass says what a branch is (`_branch`) and how much its border costs (`_margin`).
    """

    name: ClassVar[str]
    Options: ClassVar[type[BaseModel]] = ResidualOptions

    def _branch(self, backbone: str, bands: int) -> Branch | PyramidBranch:
        raise NotImplementedError

    def _border_note(self) -> str:
        return ""

    def _margin(self) -> int:
        """Return how many features on each side are cut off."""
        return 0

    def _build(self, backbone: str) -> DenseCfogNetwork:
        from bench.matching.matchers.dense_cfog_network import DenseCfogNetwork

        o = self.options
        return DenseCfogNetwork(
            branch=partial(self._branch, backbone),
            dim=o.dim,
            margin=self._margin(),
            ranges={},
            tolerance=None if o.tolerance_px is None else o.tolerance_px // STRIDE,
            threshold_loss=o.threshold_loss,
        )

    def reach(self, side: int) -> tuple[int, int]:
        """Return the shift range down and across in feature px for patches whose shorter side has `side` px."""
        given, ranges = self.options.max_shift_px, self.options.shift_range
        if given is not None:
            return given[0] // STRIDE, given[1] // STRIDE
        down, across = ranges if isinstance(ranges, tuple) else (ranges, ranges)
        return math.floor(down * math.sqrt(side)) // STRIDE, math.floor(across * math.sqrt(side)) // STRIDE

    def fixed_threshold(self) -> float | None:
        """Return the distance at the learned threshold, once there is one."""
        if self._network is None or not self.options.threshold_loss:
            return None
        return float(min(1.0, max(0.0, 1.0 - float(self._network.threshold.detach()))))

    # -- training ------------------------------------------------------------------------------------------------------
    def _fit(self, data: FitData) -> dict[str, Any]:
        network = self._initial(data)
        batches = self._crops(data)
        # crops are turned, so both axes get the wider range; displaced by the narrower, they leave room for relief
        network.ranges = {side: max(self.reach(side)) for side in batches.reaches}
        epochs = self.options.epochs_of(batches.entries)
        result = self._train(
            network,
            batches,
            replace(
                self.options.train_spec(epochs, data.seed, data.precision), batch_size=max(batches.counts().values())
            ),
            data.context,
            validate=lambda model, epoch: {"auc": self._validation_auc(data)},
            monitor="auc" if self.options.select == "best" else None,
        )
        sampled = {} if data.scenes is None else {"scenes": len(data.scenes), "areas_sha256": data.scenes.sha256}
        return {
            **training_facts(result, epochs),
            "chosen_epoch": epochs if result.best_epoch is None else result.best_epoch,
            "training_entries": batches.entries * epochs,
            "sampling": {"from": self.options.sampling, "crop_px": sorted(batches.reaches), **sampled},
        }

    def _crops(self, data: FitData) -> CropBatches:
        options = self.options
        side = min(data.train.sar(slice(0, 1)).shape[1:])
        source: CropSource
        if options.sampling == "scenes":
            if data.scenes is None:
                raise BenchError("sampling: scenes needs a data set of scenes; use sampling: patches")
            source, sides = data.scenes, options.crop_px or _SIZES
        else:
            source, sides = PatchSource(data.train, side), options.crop_px or self._fitting(side)
        reaches = {crop: STRIDE * min(self.reach(crop)) for crop in sides}
        for crop in sides:
            self._check_size(crop, crop)
        return CropBatches(
            source,
            data.scaling,
            data.seed,
            options.batch_size,
            reaches,
            options.epoch_crops,
            STRIDE,
            options.augment == "dihedral",
            Tones(options.tone, options.speckle),
            data.shuffled,
        )

    def _fitting(self, side: int) -> tuple[int, ...]:
        """Return the sides of crops that fit into patches of `side` px, displacement included."""

        def fits(crop: int) -> bool:
            return crop + STRIDE * min(self.reach(crop)) <= side

        usual = tuple(crop for crop in _SIZES if fits(crop))
        return (
            usual
            or tuple([crop for crop in range(STRIDE * MIN_FEATURES, side + 1, STRIDE) if fits(crop)][-1:])
            or (side - side % STRIDE,)
        )

    def _validation_auc(self, data: FitData) -> float:
        n = min(len(data.validation), _WATCHED)
        sar, optical = data.validation.sar(slice(0, n)), data.validation.optical(slice(0, n))
        return auc_among(n, lambda pairs: self._score_pairs(sar, optical, pairs))

    # -- scoring -------------------------------------------------------------------------------------------------------
    def _check_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the shift range in feature px of patches of that size.

        Raises:
            BenchError: they are too small.
        """
        side = min(height, width)
        reach = self.reach(side)
        shift = max(reach)
        lost = self._margin()
        features = side // STRIDE - 2 * lost
        if features < max(MIN_FEATURES, 2 * shift):
            need = STRIDE * (max(MIN_FEATURES, 2 * shift) + 2 * lost)
            raise BenchError(
                f"{self.name} needs {need} px a side for shifts up to {STRIDE * shift} px{self._border_note()}, and"
                f" these patches or crops have {height} x {width}; set the shift range lower"
            )
        return reach

    def _score_pairs(self, sar: np.ndarray, optical: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        return self.distances_and_shifts(sar, optical, pairs)[0]

    def distances_and_shifts(
        self, sar: np.ndarray, optical: np.ndarray, pairs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the distances (p,) float32 of `pairs` (p, 2) and where each best fits, (p, 2) int64 px, as `cfog`
        does.

        Raises:
            BenchError: the two views differ in patch size, or the patches are too small.
        """
        check_images("sar", sar)
        check_images("optical", optical)
        height, width = common_size(self.name, sar, optical)
        reach = self._check_size(height, width)
        distance, shift = correlate_in_blocks(
            pairs,
            (len(sar), len(optical)),
            spectrum_bytes(self.options.dim, height // STRIDE + reach[0], width // STRIDE + reach[1]),
            lambda rows: self._maps("sar", sar[rows], reach),
            lambda columns: self._maps("optical", optical[columns], reach),
            lambda areas, i, templates, j: _peaks(areas, i, templates, j, reach),
        )
        return distance, STRIDE * shift

    def _maps(self, view: Literal["sar", "optical"], images: np.ndarray, reach: tuple[int, int]) -> Map:
        import torch

        from bench.matching.matchers.overlap import Map, as_map

        parts = [as_map(found, reach, view == "optical") for found in self._forward("features", view, images)]
        return Map(
            torch.cat([part.spectra for part in parts]),
            torch.cat([part.sums for part in parts]),
            torch.cat([part.energies for part in parts]),
            parts[0].size,
        )


class DenseCfog(ResidualMatcher[DenseCfogOptions]):
    """The residual is a small network at stride 2: minutes of a CPU core."""

    name = "dense-cfog"
    version = 1
    Options = DenseCfogOptions
    uses_backbone = False

    def _branch(self, backbone: str, bands: int) -> Branch:
        from bench.matching.matchers.dense_cfog_network import Branch

        o = self.options
        return Branch(bands, o.dim, o.width, _DILATIONS, o.input == "log", o.start == "cfog")

    def _margin(self) -> int:
        from bench.matching.matchers.dense_cfog_network import margin_of

        return margin_of(_DILATIONS) if self.options.border == "crop" else 0

    def _border_note(self) -> str:
        return f" with border: {self.options.border}"


class DensePyramid(ResidualMatcher[ResidualOptions]):
    """The residual is all stages of a backbone, merged top-down: its SAR branch may start a detector (`osm-dense`)."""

    name = "dense-pyramid"
    version = 1
    Options = ResidualOptions

    def _branch(self, backbone: str, bands: int) -> PyramidBranch:
        from bench.matching.matchers.dense_cfog_network import PyramidBranch

        return PyramidBranch(backbone, bands, self.options.dim, self.options.start == "cfog")


def _peaks(
    sar: Map, i: np.ndarray, optical: Map, j: np.ndarray, reach: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and best shifts (feature px) of the pairs (SAR map i[k], optical map j[k])."""
    import torch

    from bench.matching.matchers.overlap import paired_surfaces

    found = paired_surfaces(sar, torch.from_numpy(i), optical, torch.from_numpy(j), reach).flatten(1)
    top, best = found.max(1)
    shift = np.stack(np.divmod(best.cpu().numpy(), 2 * reach[1] + 1), axis=1) - np.array(reach)
    return (1 - top.clamp(0, 1)).cpu().numpy(), shift
