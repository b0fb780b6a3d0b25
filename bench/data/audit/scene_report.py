"""What an audit of scenes found, as lines for the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bench.data.audit.duplicates import Overlap
from bench.data.audit.pair_table import write_pairs
from bench.data.split_spec import SplitSpec

LinkKind = Literal["file", "name", "adjacent", "pixels", "place"]

_SAID: dict[str, str] = {
    "file": "are equal, byte by byte, to",
    "name": "overlap by their names with",
    "adjacent": "touch by their names",
    "pixels": "share pixels with",
    "place": "show, in another acquisition, the place of",
}
_LISTED, SCENES_LISTED = 3, 20  # pairs and scenes named on the terminal; the files name all


@dataclass(frozen=True)
class Link:
    """Two images that have something in common.

    Attributes:
        kind: "file" (equal bytes), "name" and "adjacent" (overlapping and touching windows, by their names), "pixels"
            (the same pixels), "place" (the same place in two acquisitions).
        first, second: positions in the index.
        shift: y, x of the second image's origin in the first, in pixels. size: height, width of what is shared, in
            pixels.
        overlap: the measurement behind "pixels" and "place".
    """

    kind: str
    first: int
    second: int
    shift: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (0, 0)
    overlap: Overlap | None = None


@dataclass(frozen=True)
class Against:
    """What the test images have in common with another data set.

    Attributes:
        name: of that set. images: number of its SAR images.
        gsd_m: declared metres a pixel of this set and of that, None where not declared.
        equal: (test image, file of the other set) with equal bytes.
        searched: whether pixels were compared; they are not between sets of two ground sample distances.
        shared: (test image, file of the other set, what they share).
    """

    name: str
    images: int
    gsd_m: tuple[float | None, float | None]
    equal: tuple[tuple[str, str], ...]
    searched: bool
    shared: tuple[tuple[str, str, Overlap], ...]

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """A line for each kind of content that the other set shares with the test part."""
        out = []
        kinds: list[tuple[str, list[tuple[str, str]]]] = [("file", list(self.equal))]
        for kind, same in (("pixels", True), ("place", False)):
            kinds.append((kind, [(a, b) for a, b, item in self.shared if item.same_pixels == same]))
        for kind, pairs in kinds:
            if pairs:
                count = len({a for a, _ in pairs})
                out.append(f"{count} test images {_SAID[kind]} images of {self.name}: {_examples(pairs)}")
        return tuple(out)

    def rows(self, scene: Mapping[str, str | None]) -> list[Sequence[object]]:
        """Return the rows of pairs.csv, the other set's name in place of its part; `scene`: of each test image."""
        rows: list[Sequence[object]] = []
        for a, b in self.equal:
            rows.append(["file", a, b, scene[a] or "", "", "test", self.name, "", "", "", ""])
        for a, b, item in self.shared:
            size = (item.dy, item.dx, item.height, item.width)
            kind = "pixels" if item.same_pixels else "place"
            rows.append([kind, a, b, scene[a] or "", "", "test", self.name, *size])
        return rows

    def lines(self) -> list[tuple[str, str]]:
        """Return (what, text) for the terminal."""
        rows = [("against", f"{self.name}, {self.images} SAR images; {len(self.equal)} equal files")]
        mine, theirs = ("not declared" if value is None else f"{value:g} m" for value in self.gsd_m)
        if not self.searched:
            return [
                *rows,
                ("", f"pixels not searched: {mine} a pixel here, {theirs} there, and scaled copies cannot be found"),
            ]
        same = sum(item.same_pixels for *_, item in self.shared)
        rows.append(("", f"{same} pairs share pixels with a test image, {len(self.shared) - same} a place"))
        if None in self.gsd_m:
            rows.append(("", f"pixel sizes: {mine} here, {theirs} there; only content at one scale can be found"))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        shared = [{"test": a, "other": b, **_measured(item)} for a, b, item in self.shared]
        return {
            "dataset": self.name,
            "images": self.images,
            "gsd_m": list(self.gsd_m),
            "equal_files": [list(pair) for pair in self.equal],
            "pixels_searched": self.searched,
            "shared": shared,
        }


@dataclass(frozen=True)
class SceneReport:
    """Result of `audit_scenes`.

    Attributes:
        name: of the data set. ids, scenes, part: of every image; scene None where unknown, part "train" ... "dropped".
        spec, split_sha256: the audited split.
        links: everything that two images have in common, whatever their parts.
        windows: how many images state their crop window in their names.
        against: the comparison with another set, None where none was given.
        damaged: file that cannot be read, whose pixels were compared with none -> why.
    """

    name: str
    ids: tuple[str, ...]
    scenes: tuple[str | None, ...]
    part: tuple[str, ...]
    spec: SplitSpec
    split_sha256: str
    links: tuple[Link, ...]
    windows: int
    against: Against | None = None
    damaged: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the test part shares nothing with the other parts, nor with the other data set."""
        return not self.problems

    @cached_property
    def shared_scenes(self) -> tuple[str, ...]:
        """The scenes that the test part shares with training or validation, in order."""
        test = {scene for scene, part in zip(self.scenes, self.part, strict=True) if part == "test"}
        rest = {scene for scene, part in zip(self.scenes, self.part, strict=True) if part in ("train", "validation")}
        return tuple(sorted(scene for scene in test & rest if scene is not None))

    def of(self, kind: LinkKind) -> list[Link]:
        """Return the links of one kind."""
        return [link for link in self.links if link.kind == kind]

    def crossing(self, kind: LinkKind) -> list[tuple[int, int]]:
        """Return (test image, training or validation image) of the links of one kind that join the two."""
        out = []
        for link in self.of(kind):
            for a, b in ((link.first, link.second), (link.second, link.first)):
                if self.part[a] == "test" and self.part[b] in ("train", "validation"):
                    out.append((a, b))
        return out

    def touched(self, *kinds: LinkKind) -> int:
        """Return how many test images have a link of these kinds to a training or validation image."""
        return len({a for kind in kinds for a, _ in self.crossing(kind)})

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """A line for each kind of content that the test part shares with training or validation, or with the other data
        set.
        """
        out = []
        tests = self.part.count("test")
        if self.shared_scenes:
            count = sum(
                part == "test" and scene in self.shared_scenes
                for scene, part in zip(self.scenes, self.part, strict=True)
            )
            more = len(self.shared_scenes) - SCENES_LISTED
            named = ", ".join(self.shared_scenes[:SCENES_LISTED]) + (f" and {more} more" if more > 0 else "")
            out.append(
                f"{count} of {tests} test images come from {len(self.shared_scenes)} scenes that also train or validate"
                f" ({named}); split by scene: {{kind: grouped, by: scene}}"
            )
        for kind in ("file", "name", "adjacent", "pixels", "place"):
            pairs = [(self._named(a), self._named(b)) for a, b in self.crossing(kind)]
            if pairs:
                said = f"{self.touched(kind)} of {tests} test images {_SAID[kind]}"
                out.append(f"{said} training or validation images: {_examples(pairs)}")
        return (*out, *(self.against.problems if self.against is not None else ()))

    def lines(self) -> list[str]:
        """Return the report for the terminal."""
        rows = [*self._rows(), *(self.against.lines() if self.against is not None else ())]
        sizes = ", ".join(f"{self.part.count(name)} {name}" for name in ("train", "validation", "test", "dropped"))
        end = [f"PROBLEM {line}" for line in self.problems] or [
            "the test part shares nothing with what is trained on, as far as was looked"
        ]
        return [
            f"{self.name}: {len(self.ids)} images ({sizes})",
            *(f"{what.ljust(14)} {text}" for what, text in rows),
            *end,
        ]

    def _rows(self) -> list[tuple[str, str]]:
        known = [scene for scene in self.scenes if scene is not None]
        known_by = (
            f"{len(set(known))} scenes, known of {len(known)} images; {len(self.shared_scenes)} in test and elsewhere"
        )
        rows = [
            ("scenes", known_by if known else "not known: the set names none, so only files and pixels were compared")
        ]
        rows.append(("equal files", f"{len(self.of('file'))} pairs"))
        if self.windows:
            overlapping, touching = len(self.of("name")), len(self.of("adjacent"))
            rows.append(
                ("by name", f"{self.windows} names state a window: {overlapping} pairs overlap, {touching} touch")
            )
        shared: tuple[tuple[LinkKind, str], ...] = (("pixels", "same pixels"), ("place", "same place"))
        for kind, what in shared:
            links = self.of(kind)
            across = sum(self._scenes_differ(link) for link in links)
            tail = f", {across} of two scenes" if across else ""
            rows.append((what, f"{len(links)} pairs{tail}; {self.touched(kind)} test images touched"))
        if self.windows:
            seen = {(link.first, link.second) for link in self.links if link.kind in ("pixels", "place")}
            found = sum((link.first, link.second) in seen for link in self.of("name"))
            rows.append(("check", f"pixels find {found} of the {len(self.of('name'))} pairs that overlap by name"))
        return rows

    def _named(self, position: int) -> str:
        """Return "a (scene s)", "a" where the scene is unknown, or is the image's own name."""
        scene = self.scenes[position]
        return self.ids[position] + ("" if scene in (None, self.ids[position]) else f" (scene {scene})")

    def write_tables(self, out: Path) -> list[str]:
        """Write pairs.csv, a line for each pair of images that have something in common, into the folder `out`; return
        its name.

        Raises:
            BenchError: it cannot be written.
        """
        rows: list[Sequence[object]] = []
        for link in self.links:
            ends = (link.first, link.second)
            ids, scenes, parts = ([each[i] for i in ends] for each in (self.ids, self.scenes, self.part))
            rows.append([link.kind, *ids, *(scene or "" for scene in scenes), *parts, *link.shift, *link.size])
        rows += [] if self.against is None else self.against.rows(dict(zip(self.ids, self.scenes, strict=True)))
        return [write_pairs(out, rows)]

    def _scenes_differ(self, link: Link) -> bool:
        a, b = self.scenes[link.first], self.scenes[link.second]
        return a is not None and b is not None and a != b

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values; unknown is None."""
        parts = {name: self.part.count(name) for name in ("train", "validation", "test", "dropped")}
        return {
            "kind": "scenes",
            "dataset": self.name,
            "images": len(self.ids),
            "damaged": dict(self.damaged),
            "split": {"spec": self.spec.model_dump(mode="json"), "sha256": self.split_sha256, **parts},
            "scenes": {
                "known": sum(scene is not None for scene in self.scenes),
                "in_test_and_elsewhere": list(self.shared_scenes),
            },
            "test_images_touched": {
                kind: self.touched(kind) for kind in ("file", "name", "adjacent", "pixels", "place")
            },
            "links": [self._link_json(link) for link in self.links],
            "against": None if self.against is None else self.against.to_json(),
            "problems": list(self.problems),
            "ok": self.ok,
        }

    def _link_json(self, link: Link) -> dict[str, Any]:
        ends = (link.first, link.second)
        out: dict[str, Any] = {
            "kind": link.kind,
            "images": [self.ids[i] for i in ends],
            "scenes": [self.scenes[i] for i in ends],
            "parts": [self.part[i] for i in ends],
        }
        if link.overlap is not None:
            return {**out, **_measured(link.overlap)}
        return out if link.kind == "file" else {**out, "shift_px": list(link.shift), "size_px": list(link.size)}


def _measured(item: Overlap) -> dict[str, Any]:
    return {
        "same_pixels": item.same_pixels,
        "shift_px": [item.dy, item.dx],
        "size_px": [item.height, item.width],
        "pixel_correlation": round(item.pixels, 4),
        "place_correlation": None if item.place is None else round(item.place, 4),
    }


def _examples(pairs: Sequence[tuple[str, str]]) -> str:
    shown = "; ".join(f"{a} and {b}" for a, b in pairs[:_LISTED])
    return shown + (f"; and {len(pairs) - _LISTED} more pairs" if len(pairs) > _LISTED else "")
