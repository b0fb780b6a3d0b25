"""Normalised correlation of two maps of features over the pixels that they share, at every shift of a range (torch;
imported at execution time only).

At shift (dy, dx) the optical map lies dy rows down and dx columns right on the SAR map; compared is the rectangle in
which both have pixels, so at no shift more of a patch is lost than the shift itself. Each channel's mean over that
rectangle is removed from either map, and their energies there divide the correlation. `correlation.py` and
`dense_network.py` instead cut a template back by the whole range of shifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional as F

Reach = tuple[int, int]
"""The largest shifts down and across, in feature px."""

_TINY = 1e-6  # energy per feature pixel below which a rectangle counts as empty


@dataclass(frozen=True)
class Map:
    """What is kept of the features of n patches of one view, for shifts up to s feature px down and t across (K = 2 s +
    1, L = 2 t + 1).

    Attributes:
        spectra: (n, C, F, G) complex, conjugate of an optical map.
        sums: (n, C, K, L) sums over the shared rectangle of each shift, divided by the root of its area.
        energies: (n, K, L) energies there, each channel without its mean; 0 where there is nothing.
        size: of the FFT, (F, H) with G = H // 2 + 1.
    """

    spectra: Tensor
    sums: Tensor
    energies: Tensor
    size: tuple[int, int]


def as_map(features: Tensor, reach: Reach, optical: bool) -> Map:
    """Prepare features (n, C, h, w), for shifts up to `reach` (less than h and w)."""
    height, width = features.shape[-2:]
    centred = features - features.mean((2, 3), keepdim=True)  # keeps the numbers small; changes no result
    size = (next_fast_len(height + reach[0], real=True), next_fast_len(width + reach[1], real=True))
    spectra = torch.fft.rfft2(centred, s=size)
    sums = _shared_sums(centred, reach)
    squares = _shared_sums(centred.square().sum(1, keepdim=True), reach)[:, 0]
    if optical:  # what the SAR map shares at shift d, the optical map shares at -d
        spectra, sums, squares = spectra.conj(), sums.flip((2, 3)), squares.flip((1, 2))
    down, across = (torch.arange(-most, most + 1, device=features.device).abs() for most in reach)
    area = (height - down)[:, None] * (width - across)[None]
    sums = sums / area.sqrt()
    energy = squares - sums.square().sum(1)
    return Map(spectra, sums, torch.where(energy > _TINY * area, energy, 0.0), size)


def surfaces(sar: Map, optical: Map, reach: Reach) -> Tensor:
    """Return the correlation of all n SAR maps with all m optical ones, (n, m, K, L) in -1..1; the middle is shift (0,
    0).
    """
    n, channels, rows, columns = sar.spectra.shape
    m = len(optical.spectra)
    a = sar.spectra.permute(2, 3, 0, 1).reshape(rows * columns, n, channels)
    b = optical.spectra.permute(2, 3, 1, 0).reshape(rows * columns, channels, m)
    product = torch.bmm(a, b).reshape(rows, columns, n, m).permute(2, 3, 0, 1)
    raw = _range(torch.fft.irfft2(product, s=sar.size), reach)
    raw = raw - torch.einsum("ncyx,mcyx->nmyx", sar.sums, optical.sums)
    return _over(raw, sar.energies[:, None] * optical.energies[None])


def paired_surfaces(sar: Map, i: Tensor, optical: Map, j: Tensor, reach: Reach) -> Tensor:
    """Return the correlation of the pairs (SAR map i[k], optical map j[k]), (p, K, L); see `surfaces`."""
    product = sar.spectra.new_empty((len(i), *sar.spectra.shape[2:]))
    for k, (a, b) in enumerate(zip(i.tolist(), j.tolist(), strict=True)):  # a pair fits the processor's cache
        torch.sum(sar.spectra[a] * optical.spectra[b], 0, out=product[k])
    raw = _range(torch.fft.irfft2(product, s=sar.size), reach)
    raw = raw - (sar.sums[i] * optical.sums[j]).sum(1)
    return _over(raw, sar.energies[i] * optical.energies[j])


def _range(circular: Tensor, reach: Reach) -> Tensor:
    """Return the part of (..., F, G) at shifts -s..s and -t..t, which wrap around."""
    rolled: Tensor = circular.roll(reach, (-2, -1))[..., : 2 * reach[0] + 1, : 2 * reach[1] + 1]
    return rolled


def _over(raw: Tensor, energies: Tensor) -> Tensor:
    return torch.where(energies > 0, raw / torch.where(energies > 0, energies, 1.0).sqrt(), 0.0)


def _shared_sums(values: Tensor, reach: Reach) -> Tensor:
    """Return the sums of (n, C, h, w) over the rectangle from row max(0, dy), column max(0, dx) on, of height h - |dy|
    and width w - |dx|, for every shift: (n, C, K, L).
    """
    height, width = values.shape[-2:]
    total = F.pad(values, (1, 0, 1, 0)).cumsum(2).cumsum(3)
    down, across = (torch.arange(-most, most + 1, device=values.device) for most in reach)
    top, left = down.clamp_min(0), across.clamp_min(0)
    below, right = height + down.clamp_max(0), width + across.clamp_max(0)

    def corner(rows: Tensor, columns: Tensor) -> Tensor:
        return total[:, :, rows][:, :, :, columns]

    return corner(below, right) - corner(top, right) - corner(below, left) + corner(top, left)
