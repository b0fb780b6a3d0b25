"""What an audit of patches found, as lines for the terminal, as JSON and as the two tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.store import write_text
from bench.data.audit.codes import Mode, least_overlap_px
from bench.data.audit.layout import Layout
from bench.data.audit.leakage import Grouped, Leak, layout_table
from bench.data.audit.overlaps import Overlaps
from bench.data.audit.pair_table import write_pairs
from bench.data.index import PairIndex
from bench.data.split_spec import SplitSpec
from bench.data.splits import Split, write_split

LAYOUT, SPLIT = "layout.csv", "split.csv"
_LISTED, _EXAMPLES = 10, 3


@dataclass(frozen=True)
class Implied:
    """Pairs whose computed places intersect though no equal block was found: `agree` (their pixels are equal, or too
    uniform to decide), and `differ`.
    """

    agree: int
    differ: int


@dataclass(frozen=True)
class OpticalCheck:
    """The optical images at the offsets that the SAR images gave.

    Attributes:
        pairs: overlaps looked at (a spread of them). equal: of these, bit-identical.
        correlation: median Pearson correlation of the shared rectangles; unrelated: of the same rectangles of patches
            that share nothing.
    """

    pairs: int
    equal: int
    correlation: float | None
    unrelated: float | None


@dataclass(frozen=True, eq=False)
class PatchReport:
    """Result of `audit_pairs`.

    Attributes:
        name: of the data set. index: its pairs. overlaps, layout: what was found. implied, optical: checks of it.
        modes: how overlaps were looked for. gsd_m: metres of a pixel in the tables.
        spec, split, leak: the audited split. grouped, grouped_leak: the one that leaks nothing, None with `why_not`
            where none can be made.
        plain: index with places but no blocks, for the table where there is no grouped split.
        damaged: file that cannot be read, and was compared with none -> why.
    """

    name: str
    index: PairIndex
    overlaps: Overlaps
    layout: Layout
    implied: Implied
    optical: OpticalCheck | None
    modes: tuple[Mode, ...]
    gsd_m: float
    spec: SplitSpec
    split: Split
    leak: Leak
    grouped: Grouped | None
    grouped_leak: Leak | None
    why_not: str
    plain: PairIndex
    damaged: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no test patch of the audited split shares a pixel with a training or validation patch."""
        return self.leak.ok

    def steps(self, axis: str) -> dict[int, int]:
        """Return step in pixels -> number of overlaps between patches of one row (axis "x") or column ("y"), the most
        frequent first.
        """
        along, across = (self.overlaps.dx, self.overlaps.dy) if axis == "x" else (self.overlaps.dy, self.overlaps.dx)
        steps = np.abs(along[(across == 0) & (along != 0)])
        return dict(Counter(steps.tolist()).most_common())

    def lines(self) -> list[str]:
        """Return the report for the terminal."""
        height, width = self.overlaps.shape
        rows = [*self._overlap_rows(), *self._group_rows(), *self._split_rows()]
        verdict = (
            "no test patch shares ground with what is trained on"
            if self.ok
            else "PROBLEM test patches share ground with what is trained on"
        )
        return [
            f"{self.name}: {len(self.index)} patches of {height} x {width} px",
            *(f"{what.ljust(14)} {text}" for what, text in rows),
            verdict,
        ]

    def _overlap_rows(self) -> list[tuple[str, str]]:
        height, width = self.overlaps.shape
        exact = int(self.overlaps.exact.sum())
        rows = [("overlaps", f"{exact} pairs by equal pixels")] if "exact" in self.modes or exact else []
        if "order" in self.modes:
            rows.append(("", f"{len(self.overlaps) - exact} more by the order of their pixels"))
        for axis, side in (("x", width), ("y", height)):
            shown = [f"{side - step} px: {count}" for step, count in list(self.steps(axis).items())[:4]]
            rows.append((f"along {axis}", f"overlap {', '.join(shown)}" if shown else "none"))
        both = int(((self.overlaps.dy != 0) & (self.overlaps.dx != 0)).sum())
        rows.append(("diagonal", f"{both}; the same place: {self._same_place()}"))
        touched = int(self.overlaps.touched(len(self.index)).sum())
        rows.append(("touched", f"{_of(touched, len(self.index))} patches share ground with another"))
        if self.optical is not None and self.optical.correlation is not None:
            unrelated = (
                "" if self.optical.unrelated is None else f" (patches that share nothing: {self.optical.unrelated:.2f})"
            )
            agreement = (
                f"median correlation {self.optical.correlation:.2f}{unrelated}, {self.optical.equal} bit-identical"
            )
            rows.append(("optical", f"at {self.optical.pairs} of these offsets: {agreement}"))
        return rows

    def _same_place(self) -> int:
        return int(((self.overlaps.dy == 0) & (self.overlaps.dx == 0)).sum())

    def _group_rows(self) -> list[tuple[str, str]]:
        sizes = self.layout.sizes
        several = sizes[sizes > 1]
        largest = f" (the largest: {', '.join(map(str, several[:_LISTED].tolist()))} patches)" if len(several) else ""
        rows = [("groups", f"{len(several)} connected{largest}, {int((sizes == 1).sum())} single patches")]
        if self.implied.agree or self.implied.differ:
            found = (
                f"{self.implied.agree} more pairs overlap by their computed places, and agree; {self.implied.differ} do"
                " not agree"
            )
            rows.append(("by position", found))
        wrong = np.flatnonzero(self.layout.contradictory)
        for e in wrong[:3].tolist():
            a, b = (self.index.ids[int(i)] for i in (self.overlaps.a[e], self.overlaps.b[e]))
            offset = f"({self.overlaps.dy[e]}, {self.overlaps.dx[e]})"
            rows.append(("contradiction", f"{a} and {b} share ground at {offset} px, against larger overlaps"))
        return rows + [("contradiction", f"{len(wrong) - 3} more")] * (len(wrong) > 3)

    def _split_rows(self) -> list[tuple[str, str]]:
        found = self.leak
        rows = [("this split", f"{_of(found.train, found.test)} test patches touch a training patch")]
        if found.seen is not None:
            rows.append(
                ("", f"of the median one of these, {100 * found.seen:.0f} % of the pixels are in training patches")
            )
        rows.append(("", f"{_of(found.either, found.test)} touch a training or validation patch"))
        rows += [("", f"such as {self._examples()}")] if found.either else []
        if self.grouped is None or self.grouped_leak is None:
            return [*rows, ("grouped split", f"none: {self.why_not}")]
        part = self.grouped.split
        sizes = (
            f"{len(part.train)} train, {len(part.validation)} validation, {len(part.test)} test, {len(part.dropped)}"
            " dropped as guard"
        )
        touching = (
            f"{_of(self.grouped_leak.either, self.grouped_leak.test)} test patches touch a training or validation patch"
        )
        return [*rows, ("grouped split", touching), ("", sizes)]

    def _parts(self) -> np.ndarray:
        """Return the part of every patch in the audited split."""
        part = np.full(len(self.index), "dropped", dtype="<U10")
        for name in ("train", "validation", "test"):
            part[getattr(self.split, name)] = name
        return part

    def _examples(self) -> str:
        """Return the test patches of the first overlaps that cross the audited split, with their partners, by name."""
        part, shown = self._parts(), []
        for a, b in zip(self.overlaps.a.tolist(), self.overlaps.b.tolist(), strict=True):
            test, other = (a, b) if part[a] == "test" else (b, a)
            if part[test] == "test" and part[other] in ("train", "validation"):
                shown.append(f"{self.index.ids[test]} and {self.index.ids[other]}")
            if len(shown) == _EXAMPLES:
                break
        return "; ".join(shown)

    def _pairs(self) -> Iterator[Sequence[object]]:
        """Yield a row of pairs.csv for each overlap; the scenes are the groups that the overlaps make."""
        part, height, width = self._parts(), *self.overlaps.shape
        found = self.overlaps
        names, scenes = self.index.ids, [sample.scene or "" for sample in self.plain.samples]
        columns = (found.a, found.b, found.dy, found.dx, found.exact)
        for a, b, dy, dx, exact in zip(*(column.tolist() for column in columns), strict=True):
            ends = (*(names[i] for i in (a, b)), *(scenes[i] for i in (a, b)), *(str(part[i]) for i in (a, b)))
            yield "pixels" if exact else "order", *ends, dy, dx, height - abs(dy), width - abs(dx)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values; unknown is None."""
        sizes = self.layout.sizes
        strip, corner = least_overlap_px(self.overlaps.bits, self.overlaps.shape, self.modes[0])
        return {
            "kind": "patches",
            "dataset": self.name,
            "patches": len(self.index),
            "damaged": dict(self.damaged),
            "patch_px": list(self.overlaps.shape),
            "gsd_m": self.gsd_m,
            "match": {"modes": list(self.modes), "least_strip_px": strip, "least_corner_px": corner},
            "overlaps": {
                "pairs": len(self.overlaps),
                "exact": int(self.overlaps.exact.sum()),
                "steps_x_px": {str(step): count for step, count in self.steps("x").items()},
                "steps_y_px": {str(step): count for step, count in self.steps("y").items()},
                "same_place": self._same_place(),
                "patches_touched": int(self.overlaps.touched(len(self.index)).sum()),
                "contradictory": int(self.layout.contradictory.sum()),
                "by_position": asdict(self.implied),
            },
            "optical": None if self.optical is None else asdict(self.optical),
            "groups": {
                "connected": int((sizes > 1).sum()),
                "single": int((sizes == 1).sum()),
                "by_size": _histogram(sizes),
            },
            "split": {
                "spec": self.spec.model_dump(mode="json"),
                "sha256": self.split.sha256,
                **self._leak_json(self.leak),
            },
            "grouped_split": self._grouped_json(),
            "ok": self.ok,
        }

    def _grouped_json(self) -> dict[str, Any] | None:
        if self.grouped is None or self.grouped_leak is None:
            return None
        parts = {name: len(getattr(self.grouped.split, name)) for name in ("train", "validation", "test", "dropped")}
        blocks = {"blocks": len(set(self.grouped.split.groups)), "largest_block_share": round(self.grouped.largest, 6)}
        return {"sha256": self.grouped.split.sha256, **parts, **blocks, **self._leak_json(self.grouped_leak)}

    @staticmethod
    def _leak_json(found: Leak) -> dict[str, Any]:
        share = {f"{name}_share": round(getattr(found, name) / found.test, 6) for name in ("train", "either")}
        return {
            "test_patches": found.test,
            "touching_train": found.train,
            "touching_train_share": share["train_share"],
            "touching_train_or_validation": found.either,
            "touching_train_or_validation_share": share["either_share"],
            "median_pixels_seen": None if found.seen is None else round(found.seen, 6),
        }

    def write_tables(self, out: Path) -> list[str]:
        """Write layout.csv, pairs.csv, and split.csv where there is a grouped split, into the folder `out`; return
        their names.

        Raises:
            BenchError: they cannot be written.
        """
        write_text(out / LAYOUT, layout_table(self.plain if self.grouped is None else self.grouped.index))
        pairs = write_pairs(out, self._pairs())
        if self.grouped is None:
            return [LAYOUT, pairs]
        write_split(self.grouped.split, self.grouped.index, out / SPLIT)
        return [LAYOUT, SPLIT, pairs]


def _histogram(sizes: np.ndarray) -> dict[str, int]:
    """Return size -> number of groups, largest first."""
    return {str(size): count for size, count in sorted(Counter(sizes.tolist()).items(), reverse=True)}


def _of(count: int, total: int) -> str:
    return f"{count} of {total} ({100 * count / total:.1f} %)"
