"""The declared facts of a data set: what a reviewer can hold against its paper, line by line. No behaviour lives
here.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.data.scaling import SarScale


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before looking at a copy of it.

    Attributes:
        name: registry name.
        title: one line for lists.
        sar_sensor, optical_sensor: instruments or sources.
        gsd_m: ground sample distance in metres per pixel, None where it varies or is unknown.
        polarisation: of the SAR view ("VH", "single", "unknown").
        sar_scale: what the stored SAR values are.
        licence, citation, homepage: terms, how to cite, where to get it.
        folder: expected folder name under a data root ($BENCH_DATA).
        place_what: lines that draw what to place where, below the root folder.
        expected_pairs: number of file pairs (scene pairs, for sets that are cut) of the complete set, None where the
            user decides.
        patch_px: edge length of its square patches in pixels, None where it varies.
    """

    name: str
    title: str
    sar_sensor: str
    optical_sensor: str
    gsd_m: float | None
    polarisation: str
    sar_scale: SarScale
    licence: str
    citation: str
    homepage: str
    folder: str
    place_what: str
    expected_pairs: int | None
    patch_px: int | None
