"""`dense`: learned dense features, correlated by FFT over a range of shifts: the trained counterpart of `cfog`.

Two networks, one a view, turn patches into maps of feature vectors; template, search area, range of shifts and distance
are those of `cfog` (`correlation.py`), at a stride of 2 px. The loss looks at the correlation surfaces of all pairings
of a batch (`dense_network.py`), as Zhang, Lei, Zou et al. ("Explore better network framework for high-resolution
optical and SAR image matching", TGRS 2022: SFcNet) and Hughes, Marcos, Lobry, Tuia, Schmitt ("A deep learning framework
for matching of SAR and optical imagery", ISPRS J. 2020) do with pairs and their shifts. Ours: one softmax over shifts
and other pairs at once, true within a tolerance; crops that are displaced at random, so that where a patch ends reveals
nothing.

Backbone `shallow` is a few convolutions at full detail; a network with a pyramid merges all its stages top-down, so
that its SAR branch is trained as a whole and may start a detector (pretraining arm `osm-dense`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from bench.core.errors import BenchError
from bench.matching.matchers.augment import stream
from bench.matching.matchers.base import FitData, check_images
from bench.matching.matchers.batches import PairBatches
from bench.matching.matchers.correlation import common_size, correlate_in_blocks, default_max_shift, spectrum_bytes
from bench.matching.matchers.network_matcher import NetworkMatcher, NetworkOptions, auc_among

if TYPE_CHECKING:
    from torch import Tensor

    from bench.matching.matchers.dense_network import DenseNetwork

STRIDE = 2
MIN_TEMPLATE = 4  # feature px
_CROP = 5  # purpose of a random stream, beside those of `batches`
_WATCHED = 256  # validation pairs that the curve is drawn of
_LARGEST_CROP = 64


class DenseOptions(NetworkOptions):
    """Options of `dense`.

    Attributes:
        dim: feature channels.
        max_shift_px: largest displacement looked at along each axis, rounded down to even; null: as `cfog`.
        tolerance_px: shifts this near to the true one count as true in training (registration errors of the data).
        temperature: divides the correlations in the loss.
        crop_px: side of the training crops; null: the patch less the shift range on each side, at most 64.
    """

    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = Field(0.002, gt=0)
    weight_decay: float = Field(0.0001, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    augment: Literal["none", "dihedral"] = "dihedral"
    dim: int = Field(16, ge=2)
    max_shift_px: int | None = Field(None, ge=0)
    tolerance_px: int = Field(2, ge=0)
    temperature: float = Field(0.1, gt=0)
    crop_px: int | None = Field(None, ge=32)


class Dense(NetworkMatcher[DenseOptions]):
    """Learned dense matcher; distance = 1 - peak correlation, clipped to [0, 1]; a patch without features is at
    distance 1.
    """

    version = 1
    Options = DenseOptions

    def _build(self, backbone: str) -> DenseNetwork:
        from bench.matching.matchers.dense_network import DenseNetwork

        options = self.options
        return DenseNetwork(backbone, options.dim, 0, options.tolerance_px // STRIDE, options.temperature)

    def max_shift(self, side: int) -> int:
        """Return the shift range in feature px for patches whose shorter side has `side` px."""
        given = self.options.max_shift_px
        return (default_max_shift(side) if given is None else int(given)) // STRIDE

    def _batches(self, data: FitData, network: DenseNetwork) -> CroppedBatches:
        side = min(data.train.sar(slice(0, 1)).shape[1:])
        network.max_shift = self.max_shift(side)
        reach = STRIDE * network.max_shift
        crop = self.options.crop_px or min(side - 2 * reach, _LARGEST_CROP)
        if crop > side:
            raise BenchError(f"crop_px {crop} is larger than the patches of {side} px; set it lower")
        return CroppedBatches(self._pairs(data), side, crop, reach)

    def _validation_auc(self, data: FitData) -> float:
        n = min(len(data.validation), _WATCHED)
        sar, optical = data.validation.sar(slice(0, n)), data.validation.optical(slice(0, n))
        return auc_among(n, lambda pairs: self._score_pairs(sar, optical, pairs))

    # -- scoring -------------------------------------------------------------------------------------------------------
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
        height, width = common_size("dense", sar, optical)
        max_shift = self.max_shift(min(height, width))
        distance, shift = correlate_in_blocks(
            pairs,
            (len(sar), len(optical)),
            spectrum_bytes(self.options.dim, height // STRIDE, width // STRIDE),
            lambda rows: self._areas(sar[rows], max_shift),
            lambda columns: self._templates(optical[columns], max_shift),
            lambda areas, i, templates, j: _peaks(areas, i, templates, j, max_shift),
        )
        return distance, STRIDE * shift

    def _areas(self, images: np.ndarray, max_shift: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Return spectra of the SAR areas, the energies of their windows, and the size of the FFT."""
        import torch

        from bench.matching.matchers.dense_network import spectra_of, window_energies

        spectra, energies, size = [], [], (0, 0)
        for features in self._forward("features", "sar", images):
            size = (features.shape[-2], features.shape[-1])
            template = (size[0] - 2 * max_shift, size[1] - 2 * max_shift)
            if min(template) < MIN_TEMPLATE:
                raise BenchError(
                    f"patches of {images.shape[1]} x {images.shape[2]} px leave {template[0]} x {template[1]} features"
                    f" as a template, and dense needs {MIN_TEMPLATE} a side; set max_shift_px lower or cut larger"
                    " patches"
                )
            centred = features - features.mean((2, 3), keepdim=True)
            spectra.append(spectra_of(centred, size))
            energies.append(window_energies(centred, template))
        return torch.cat(spectra), torch.cat(energies), size

    def _templates(self, images: np.ndarray, max_shift: int) -> Tensor:
        """Return the conjugate spectra of the optical templates."""
        import torch

        from bench.matching.matchers.dense_network import spectra_of, templates_of

        parts = []
        for features in self._forward("features", "optical", images):
            parts.append(spectra_of(templates_of(features, max_shift), (features.shape[-2], features.shape[-1])).conj())
        return torch.cat(parts)


def _peaks(
    areas: tuple[Tensor, Tensor, tuple[int, int]], i: np.ndarray, templates: Tensor, j: np.ndarray, max_shift: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and best shifts (feature px) of the pairs (area i[k], template j[k])."""
    import torch

    from bench.matching.matchers.dense_network import over_norms

    spectra, energies, size = areas
    at, to = torch.from_numpy(i), torch.from_numpy(j)
    span = 2 * max_shift + 1
    raw = torch.fft.irfft2((spectra[at] * templates[to]).sum(1), s=size)[:, :span, :span]
    similarity = over_norms(raw, energies[at]).flatten(1)
    top, best = similarity.max(1)
    shift = np.stack(np.divmod(best.cpu().numpy(), span), axis=1) - max_shift
    return (1 - top.clamp(0, 1)).cpu().numpy(), shift


@dataclass(frozen=True)
class CroppedBatches:
    """Batches of crops, displaced against each other at random: sar (b, c, c), optical (b, c, c, 3), shift (b, 2) int64
    in feature px.

    Attributes:
        whole: batches of whole patches. side: of these, px. crop: side of a crop, px. reach: largest displacement, px.
    """

    whole: PairBatches
    side: int
    crop: int
    reach: int
    smallest_share: ClassVar[int] = PairBatches.smallest_share

    def __len__(self) -> int:
        return len(self.whole)

    def indices(self, epoch: int) -> list[np.ndarray]:
        """Return the entries of each batch of `epoch`, in order."""
        return self.whole.indices(epoch)

    def fetch(self, epoch: int, entries: np.ndarray) -> dict[str, np.ndarray]:
        """Return one batch."""
        batch = self.whole.fetch(epoch, entries)
        sar_at, optical_at = (positions[entries % len(self.whole.train)] for positions in self.origins(epoch))
        return {
            "sar": _cut(batch["sar"], sar_at, self.crop),
            "optical": _cut(batch["optical"], optical_at, self.crop),
            "shift": (optical_at - sar_at) // STRIDE,
        }

    def origins(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the upper left corners (n, 2) of the SAR and of the optical crop of every training position."""
        rng = stream(self.whole.seed, epoch, _CROP)
        n, room = len(self.whole.train), self.side - self.crop
        most = min(self.reach, room) // STRIDE
        move = STRIDE * rng.integers(-most, most + 1, size=(n, 2))
        low, high = np.maximum(0, -move), np.minimum(room, room - move)
        sar = low + (rng.random((n, 2)) * (high - low + 1)).astype(np.int64)
        return sar, sar + move


def _cut(images: np.ndarray, at: np.ndarray, side: int) -> np.ndarray:
    return np.stack([image[y : y + side, x : x + side] for image, (y, x) in zip(images, at.tolist(), strict=True)])
