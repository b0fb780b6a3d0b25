"""What the matchers with a dense structural descriptor share: normalised correlation of two descriptors over a range of
shifts, by FFT.

Template: the descriptor of the optical patch cut back by the shift range. Search area: that of the whole SAR patch. No
wrap-around: the FFT is long enough for every shift that is looked at. Each channel's mean over the template is removed
first (descriptors are non-negative, so that without it everything resembles everything).

Filters need pixels beyond the rim. `border: replicate` (default) continues a patch by its outermost pixels; the
template is cut out of the descriptor of the whole optical patch, whose pixels beside it are known. (Were it cut first
and then continued, its rim and that of the search area would show one artefact, and meet at the largest shifts.)
`border: crop` keeps what filters reach inside the block, of the template cut first: their support is lost on each side.
Either way the distance is a function of the two blocks of pixels alone.

A subclass says how many pixels its filters cost on each side, and computes its descriptor, whose channels are
orientations. The learned matcher `dense` shares the range of shifts and the order of work (`correlate_in_blocks`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field
from typing_extensions import TypeVar

from bench.core.errors import BenchError
from bench.matching.matchers.base import COMPARED_SHARE, FitData, Matcher, MatcherOptions

LUMINANCE = (0.299, 0.587, 0.114)
"""Optical grey level from R, G, B (ITU-R BT.601)."""

SHIFT_RANGE = 0.375  # px of displacement per root of the patch's side
MIN_TEMPLATE_PX = 8
_BLOCK_BYTES = 192 * 2**20
_PAIR_BLOCK = 32


class CorrelationOptions(MatcherOptions):
    """Options of every matcher that correlates a descriptor whose channels are orientations.

    Attributes:
        border: "replicate" continues a patch beyond its rim by its outermost pixels, so that its descriptor is as large
            as the patch; "crop" keeps the part of the descriptor whose filters lie inside the patch.
        max_shift_px: largest displacement looked at along each axis; None: by `shift_range`.
        shift_range: r in floor(r * sqrt(shorter side of the patch)), the largest displacement where `max_shift_px` is
            None.
        orientations: number of channels over half a turn.
        sigma: standard deviation in px of the Gaussian that smooths every channel (0: none).
    """

    border: Literal["replicate", "crop"] = "replicate"
    max_shift_px: int | None = Field(default=None, ge=0)
    shift_range: float = Field(default=SHIFT_RANGE, ge=0.0, le=4.0)
    orientations: int = Field(default=9, ge=3, le=36)
    sigma: float = Field(default=1.5, ge=0.0, le=16.0)


CorrelationT = TypeVar("CorrelationT", bound=CorrelationOptions, covariant=True, default=CorrelationOptions)


def default_max_shift(side: int, shift_range: float = 0.75) -> int:
    """Return the shift range in px for patches whose shorter side has `side` px: 12 at 256, 8 at 128, 6 at 64 by 0.75,
    half of it by 0.375.
    """
    return math.floor(shift_range * math.sqrt(side))


@dataclass(frozen=True)
class Geometry:
    """Sizes in px that follow from a patch (height, width) and the options."""

    max_shift: int
    search: tuple[int, int]
    template: tuple[int, int]
    fft: tuple[int, int]

    def share(self, height: int, width: int) -> float:
        """Return the share of a patch of (height, width) that is compared: the template's area over the patch's."""
        return self.template[0] * self.template[1] / (height * width)


class CorrelationMatcher(Matcher[CorrelationT]):
    """Distance = 1 - max over shifts of the normalised correlation, clipped to [0, 1]; a patch without features is at
    distance 1.

    Class attributes:
        title: name in messages. shrink: which options give more room in a small patch.
    """

    Options: ClassVar[type[BaseModel]] = CorrelationOptions
    trains: ClassVar[bool] = False
    seeded: ClassVar[bool] = False
    embeds: ClassVar[bool] = False
    title: ClassVar[str] = ""
    shrink: ClassVar[str] = "max_shift_px"

    @property
    def workers(self) -> int:
        """Threads of the FFT, the context's; changes nothing in the result."""
        return 1 if self.setup.context is None else max(1, self.setup.context.threads)

    @property
    def margin(self) -> int:
        """Support of the filters on each side in px: what `descriptor` is shorter than the image."""
        raise NotImplementedError

    @property
    def lost(self) -> int:
        """What a patch loses to the filters on each side in px."""
        return 0 if self.options.border == "replicate" else self.margin

    @property
    def channels(self) -> int:
        """Channels of the descriptor, one an orientation."""
        return self.options.orientations

    def descriptor(self, grey: np.ndarray) -> np.ndarray:
        """Return the descriptor of a grey image (H, W) as float32 (channels, H - 2 margin, W - 2 margin); zero where
        there is nothing.

        Its norm over the channels is at most 1 at every pixel.
        """
        raise NotImplementedError

    def described(self, grey: np.ndarray) -> np.ndarray:
        """Return the descriptor of a grey image (H, W) as float32 (channels, H - 2 lost, W - 2 lost)."""
        return self.descriptor(np.pad(grey, self.margin, mode="edge") if self.options.border == "replicate" else grey)

    def template_of(self, grey: np.ndarray, max_shift: int) -> np.ndarray:
        """Return the descriptor of a grey optical patch, cut back by the shift range; a new array."""
        cut = slice(max_shift, -max_shift or None)
        if self.options.border == "replicate":
            return self.described(grey)[:, cut, cut].copy()
        return self.described(grey[cut, cut])

    def geometry(self, height: int, width: int) -> Geometry:
        """Return the sizes for patches of (height, width) px.

        Raises:
            BenchError: the patch leaves no template of at least 8 x 8 px inside the filter support and the shift range.
        """
        from scipy.fft import next_fast_len

        shift = self.options.max_shift_px
        shift = default_max_shift(min(height, width), self.options.shift_range) if shift is None else shift
        search = (height - 2 * self.lost, width - 2 * self.lost)
        template = (search[0] - 2 * shift, search[1] - 2 * shift)
        if min(template) < MIN_TEMPLATE_PX:
            need = MIN_TEMPLATE_PX + 2 * (shift + self.lost)
            raise BenchError(
                f"{self.title} needs patches of at least {need} px a side for shifts up to {shift} px, and these are"
                f" {height} x {width}; set {self.shrink} lower"
            )
        return Geometry(
            shift, search, template, (next_fast_len(search[0], real=False), next_fast_len(search[1], real=True))
        )

    def distances_and_shifts(
        self, sar: np.ndarray, optical: np.ndarray, pairs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the distances (p,) float32 of `pairs` (p, 2) and where each best fits, (p, 2) int64.

        A shift (dy, dx) in px says that what the optical patch shows at (y, x) stands at (y + dy, x + dx) in the SAR
        patch (y down, x right).

        Raises:
            BenchError: the two views differ in patch size, or the patches are too small.
        """
        geometry = self.geometry(*common_size(self.title, sar, optical))
        return correlate_in_blocks(
            pairs,
            (len(sar), len(optical)),
            spectrum_bytes(self.channels, *geometry.fft),
            lambda rows: self._searches(sar, rows, geometry),
            lambda columns: self._templates(optical, columns, geometry),
            lambda searches, i, templates, j: self._correlate(searches, i, templates, j, geometry),
        )

    def _fit(self, data: FitData) -> dict[str, Any]:
        """Return what a record says of the row: the share of a patch that is compared."""
        height, width = data.train.sar(slice(0, 1)).shape[1:]
        return {COMPARED_SHARE: self.geometry(height, width).share(height, width)}

    def _score_pairs(self, sar: np.ndarray, optical: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        return self.distances_and_shifts(sar, optical, pairs)[0]

    # -- descriptors of one view ---------------------------------------------------------------------------------------
    def _searches(self, sar: np.ndarray, rows: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
        """Return the spectra of SAR search areas (n, C, F, G) complex64 and the norms of all windows (n, K, K) float32,
        0 if blank.
        """
        spans = 2 * geometry.max_shift + 1
        spectra = np.empty((len(rows), self.channels, geometry.fft[0], geometry.fft[1] // 2 + 1), dtype=np.complex64)
        norms = np.empty((len(rows), spans, spans), dtype=np.float32)
        for k, row in enumerate(rows):
            area = self.described(sar[row])
            # a zero-mean template does not see it; keeps the numbers small
            area -= area.mean(axis=(1, 2), keepdims=True)
            norms[k] = _window_norms(area, geometry.template)
            spectra[k] = self._spectrum(area, geometry)
        return spectra, norms

    def _templates(self, optical: np.ndarray, columns: np.ndarray, geometry: Geometry) -> np.ndarray:
        """Return the conjugate spectra of unit-norm optical templates (n, C, F, G) complex64; zero for a featureless
        one.
        """
        spectra = np.empty((len(columns), self.channels, geometry.fft[0], geometry.fft[1] // 2 + 1), dtype=np.complex64)
        weights = np.array(LUMINANCE, dtype=np.float32)
        for k, column in enumerate(columns):
            template = self.template_of(optical[column].astype(np.float32) @ weights, geometry.max_shift)
            template -= template.mean(axis=(1, 2), keepdims=True)
            norm = math.sqrt(float(np.square(template, dtype=np.float64).sum()))
            featureless = norm**2 <= 1e-6 * template[0].size
            spectra[k] = 0 if featureless else np.conj(self._spectrum(template / np.float32(norm or 1.0), geometry))
        return spectra

    def _spectrum(self, channels: np.ndarray, geometry: Geometry) -> np.ndarray:
        from scipy.fft import rfft2

        out: np.ndarray = rfft2(channels, geometry.fft, workers=self.workers)
        return out

    # -- pairs ---------------------------------------------------------------------------------------------------------
    def _correlate(
        self,
        searches: tuple[np.ndarray, np.ndarray],
        i: np.ndarray,
        templates: np.ndarray,
        j: np.ndarray,
        geometry: Geometry,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return distances and best shifts of the pairs (search i[k], template j[k])."""
        from scipy.fft import ifft, irfft

        spectra, norms = searches
        product = np.empty((len(i), *templates.shape[2:]), dtype=np.complex64)
        for k, (a, b) in enumerate(zip(i, j, strict=True)):
            np.sum(spectra[a] * templates[b], axis=0, out=product[k])
        spans = 2 * geometry.max_shift + 1
        lines = ifft(product, axis=1, workers=self.workers)[:, :spans]
        raw = irfft(lines, geometry.fft[1], axis=2, workers=self.workers)[:, :, :spans]
        norm = norms[i]
        similarity = np.where(norm > 0, raw / np.where(norm > 0, norm, np.float32(1)), np.float32(0)).reshape(
            len(i), -1
        )
        best = similarity.argmax(axis=1)
        top = np.clip(similarity[np.arange(len(i)), best], 0.0, 1.0)
        return 1.0 - top, np.stack(np.divmod(best, spans), axis=1) - geometry.max_shift


def common_size(title: str, sar: np.ndarray, optical: np.ndarray) -> tuple[int, int]:
    """Return (height, width) of the patches of both views.

    Raises:
        BenchError: they differ.
    """
    if sar.shape[1:3] != optical.shape[1:3]:
        raise BenchError(
            f"{title} compares patches of one size; SAR is {sar.shape[1:3]} and optical {optical.shape[1:3]} px"
        )
    return int(sar.shape[1]), int(sar.shape[2])


def spectrum_bytes(channels: int, height: int, width: int) -> int:
    """Return the size of the complex64 half spectrum of (channels, height, width) real numbers."""
    return channels * height * (width // 2 + 1) * 8


def correlate_in_blocks(
    pairs: np.ndarray,
    counts: tuple[int, int],
    bytes_each: int,
    searches_of: Callable[[np.ndarray], Any],
    templates_of: Callable[[np.ndarray], Any],
    correlate: Callable[[Any, np.ndarray, Any, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances (p,) float32 and best shifts (p, 2) int64 of `pairs` (p, 2), with a bounded number of spectra
    held at once.

    Args:
        counts: SAR images and optical images that there are.
        bytes_each: what one image takes while it is held.
        searches_of, templates_of: what is held of the SAR images, and of the optical images, of the given numbers.
        correlate: distances and shifts of the pairs (search i[k], template j[k]).
    """
    distance = np.ones(len(pairs), dtype=np.float32)
    shift = np.zeros((len(pairs), 2), dtype=np.int64)
    for rows, tiles in plan_blocks(pairs, *counts, max(1, _BLOCK_BYTES // bytes_each)):
        searches = searches_of(rows)
        for columns, chosen in tiles:
            templates = templates_of(columns)
            for start in range(0, len(chosen), _PAIR_BLOCK):
                part = chosen[start : start + _PAIR_BLOCK]
                i, j = np.searchsorted(rows, pairs[part, 0]), np.searchsorted(columns, pairs[part, 1])
                distance[part], shift[part] = correlate(searches, i, templates, j)
    return distance, shift


def plan_blocks(
    pairs: np.ndarray, n_sar: int, n_optical: int, capacity: int
) -> Iterator[tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]]:
    """Yield (SAR images, [(optical images, positions in `pairs`), ...]) with at most `capacity` images of each view
    held at once.

    Every SAR descriptor is computed once; an optical one once per SAR block that has a pair with it (once, where all
    SAR images fit).
    """
    for first in range(0, n_sar, capacity):
        inside = np.flatnonzero((pairs[:, 0] >= first) & (pairs[:, 0] < first + capacity))
        if not len(inside):
            continue
        tiles = []
        needed = np.unique(pairs[inside, 1])
        for start in range(0, len(needed), capacity):
            columns = needed[start : start + capacity]
            tiles.append((columns, inside[np.isin(pairs[inside, 1], columns)]))
        yield np.unique(pairs[inside, 0]), tiles


def radius_of(sigma: float) -> int:
    """Return where a Gaussian of `sigma` px is cut, in px."""
    return math.ceil(3 * sigma)


def smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """Return `values` (..., H, W) smoothed by a Gaussian cut at 3 sigma, valid part only; every pixel is summed in the
    same order.
    """
    radius = radius_of(sigma)
    if radius == 0:
        return values
    taps = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    taps = (taps / (taps[0] + 2 * taps[1:].sum())).astype(np.float32)
    for axis in (-1, -2):
        moved = values if axis == -1 else np.swapaxes(values, -1, -2)
        size = moved.shape[-1] - 2 * radius
        out = moved[..., radius : radius + size] * taps[0]
        for k in range(1, radius + 1):
            out += (moved[..., radius - k : radius - k + size] + moved[..., radius + k : radius + k + size]) * taps[k]
        values = out if axis == -1 else np.swapaxes(out, -1, -2)
    return np.ascontiguousarray(values)


def spread(channels: np.ndarray) -> np.ndarray:
    """Return `channels` (orientations, H, W) smoothed by [1 2 1] along the circular orientation axis (Ye et al.
    2019).
    """
    out: np.ndarray = np.roll(channels, 1, axis=0) + 2 * channels + np.roll(channels, -1, axis=0)
    return out


def _window_norms(area: np.ndarray, template: tuple[int, int]) -> np.ndarray:
    """Return the norm of `area` (C, H, W) in every window of the template's size as float32 (K, K).

    Each channel's mean over the window is removed first, as it is from the template. Norms below a thousandth of a unit
    vector per pixel count as 0 (a window without features).
    """
    height, width = template

    def box(values: np.ndarray) -> np.ndarray:
        total = np.zeros((*values.shape[:-2], values.shape[-2] + 1, values.shape[-1] + 1))
        np.cumsum(np.cumsum(values, axis=-2, dtype=np.float64), axis=-1, out=total[..., 1:, 1:])
        rows = total[..., height:, :] - total[..., :-height, :]
        inside: np.ndarray = rows[..., width:] - rows[..., :-width]
        return inside

    energy = box(np.square(area, dtype=np.float64).sum(axis=0)) - np.square(box(area)).sum(axis=0) / (height * width)
    out: np.ndarray = np.sqrt(np.where(energy > 1e-6 * height * width, energy, 0.0)).astype(np.float32)
    return out
