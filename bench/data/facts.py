"""The declared facts of a data set: what a reviewer can hold against its paper, line by line. No behaviour lives
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from bench.data.scaling import SarScale


@dataclass(frozen=True, kw_only=True)
class SetFacts:
    """What is known of any data set before looking at a copy of it. White space in texts is folded, so that they may be
    broken anywhere.

    Attributes:
        name: registry name.
        title: one line for lists.
        gsd_m: ground sample distance in metres per pixel, None where it varies or is unknown.
        polarisation: of the SAR images ("VH", "single", "unknown").
        sar_scale: what the stored SAR values are; None where the user must declare it.
        licence, citation, homepage: terms, how to cite, where to get it.
        folder: expected folder name under a data root ($BENCH_DATA).
        place_what: lines that draw what to place where, below the root folder.
        notes: what one must know to use the set or to compare with published numbers: disputed counts, conventions.
        audited: column of an official split -> what an audit of the pixels found that its test part shares with what
            trains. Rows on that split are marked for it (`bench.boards.leakage`).
    """

    name: str
    title: str
    gsd_m: float | None = None
    polarisation: str
    sar_scale: SarScale | None
    licence: str
    citation: str
    homepage: str
    folder: str
    place_what: str
    notes: str = ""
    audited: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self) if one.name != "place_what"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, " ".join(value.split()))


@dataclass(frozen=True, kw_only=True)
class DatasetFacts(SetFacts):
    """The facts of a set of SAR-optical pairs.

    Attributes:
        sar_sensor, optical_sensor: instruments or sources.
        expected_pairs: number of file pairs (scene pairs, for sets that are cut) of the complete set, None where the
            user decides.
        patch_px: edge length of its square patches in pixels, None where it varies.
        sizes: edge length -> number of pairs, of a set that is published in several sizes (option `size_px`).
    """

    sar_sensor: str
    optical_sensor: str
    expected_pairs: int | None = None
    patch_px: int | None = None
    sizes: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ShipFacts(SetFacts):
    """The facts of a set of SAR scenes with ship boxes.

    Attributes:
        sensors: instruments and modes.
        image_px: size of its images, in words.
        resolution: in words, where `gsd_m` cannot say it.
        expected_scenes, expected_ships: number of images and of boxes of the complete set, None where the user decides.
        dtypes: pixel types of its files, empty where any will do.
    """

    sensors: str
    image_px: str
    resolution: str
    expected_scenes: int | None = None
    expected_ships: int | None = None
    dtypes: tuple[str, ...] = ()


def facts_of_users_own(name: str, title: str, folder: str, place_what: str, notes: str = "") -> ShipFacts:
    """Return the facts of a family of layouts: the data are the user's, who declares what they are in the options."""
    return ShipFacts(
        name=name,
        title=title,
        sensors="as the user declares",
        image_px="any",
        resolution="as the user declares (option gsd_m)",
        polarisation="unknown",
        sar_scale=None,  # the option sar_scale declares it
        licence="the data's own",
        citation="the data's own",
        homepage="your own data",
        folder=folder,
        place_what=place_what,
        notes=notes,
    )
