"""The audit of a set of SAR scenes: what its test part shares with what trains, by scenes, names, files and pixels; and
with another set that a pretraining saw.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.core.progress import OnStage
from bench.data.audit.duplicates import Overlap, find_overlaps
from bench.data.audit.scene_report import Against, Link, SceneReport
from bench.data.dataset import Dataset
from bench.data.manifest import file_hashes
from bench.data.reading import SarReading
from bench.data.ships.dataset import ShipDataset
from bench.data.ships.index import SceneIndex
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split

GSD_TOLERANCE = 0.05
"""Two sets are searched for common pixels unless their declared ground sample distances differ by more than this
share.
"""

_BLACK_PX = 64
_WINDOW = re.compile(r"(.+)_(\d+)_(\d+)_(\d+)_(\d+)")


def audit_scenes(
    dataset: ShipDataset, spec: SplitSpec, against: Dataset | None = None, progress: OnStage | None = None
) -> SceneReport:
    """Look for content that the test part of a split shares with its other parts, and with another data set.

    Args:
        dataset: scenes with ships.
        spec: the split to audit.
        against: another data set, of scenes or of pairs, all of whose SAR images count as seen by a pretraining. None
            for none.
        progress: called with (what is done, steps done, steps in all).

    Raises:
        BenchError: a set that cannot be indexed, or a split that cannot be made. Images that cannot be decoded are
            named in the report.
    """
    index = dataset.index()
    split = make_split(index, spec)
    part = np.full(len(index), "dropped", dtype="<U10")
    for name in ("train", "validation", "test"):
        part[getattr(split, name)] = name
    files = [(dataset.root / item.image, index.reading) for item in index.items]
    hashes = file_hashes(dataset.manifest(), [item.image for item in index.items])
    damaged: dict[str, str] = {}
    found = _readable(files, damaged, None, _for_stage(progress, "compare images"))
    links = [*_equal(hashes), *named_windows(index), *(_link(overlap) for overlap in found)]
    return SceneReport(
        name=dataset.facts.name,
        ids=index.ids,
        scenes=index.scenes,
        part=tuple(part.tolist()),
        spec=spec,
        split_sha256=split.sha256,
        links=tuple(links),
        windows=sum(window is not None for window in _windows(index)),
        against=None if against is None else _compare(dataset, index, split.test, hashes, against, progress, damaged),
        damaged=damaged,
    )


def _for_stage(progress: OnStage | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total)


def _readable(
    files: Sequence[tuple[Path, SarReading]],
    damaged: dict[str, str],
    between: np.ndarray | None,
    progress: Callable[[int, int], None] | None,
) -> list[Overlap]:
    """Return the overlaps of the SAR files that can be decoded; add the others to `damaged`."""
    lost: set[int] = set()

    def read(position: int) -> np.ndarray:
        path, reading = files[position]
        try:
            return reading.read(path)
        except BenchError as error:
            damaged[str(path)] = str(error)
            lost.add(position)
            return np.zeros((_BLACK_PX, _BLACK_PX), np.float32)  # without texture, so nothing is found in it

    found = find_overlaps(read, len(files), between, progress)
    return [overlap for overlap in found if not lost & {overlap.first, overlap.second}]


def _link(overlap: Overlap) -> Link:
    kind = "pixels" if overlap.same_pixels else "place"
    return Link(kind, overlap.first, overlap.second, (overlap.dy, overlap.dx), (overlap.height, overlap.width), overlap)


def _equal(hashes: Sequence[str]) -> list[Link]:
    """Return the pairs of images whose files are equal, byte by byte."""
    by_hash: dict[str, list[int]] = defaultdict(list)
    for position, digest in enumerate(hashes):
        by_hash[digest].append(position)
    return [Link("file", a, b) for same in by_hash.values() for i, a in enumerate(same) for b in same[i + 1 :]]


# -- what names state --------------------------------------------------------------------------------------------------
def named_windows(index: SceneIndex) -> list[Link]:
    """Return the pairs of images that overlap ("name") or touch ("adjacent") by the crop windows in their names.

    A name `<scene>_<y0>_<y1>_<x0>_<x1>`, as HRSID's, states a window where its sides are those of the image; others
    state nothing.
    """
    by_scene: dict[str, list[tuple[int, tuple[int, int, int, int]]]] = defaultdict(list)
    for position, window in enumerate(_windows(index)):
        if window is not None:
            by_scene[window[0]].append((position, window[1]))
    out = []
    for members in by_scene.values():
        for i, (first, a) in enumerate(members):
            for second, b in members[i + 1 :]:
                height, width = min(a[1], b[1]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[2], b[2])
                if height >= 0 and width >= 0:
                    kind = "name" if height > 0 and width > 0 else "adjacent"
                    out.append(Link(kind, first, second, (b[0] - a[0], b[2] - a[2]), (height, width)))
    return out


def _windows(index: SceneIndex) -> list[tuple[str, tuple[int, int, int, int]] | None]:
    """Return (scene, (y0, y1, x0, x1)) of each image, None where its name states no window of its size."""
    out: list[tuple[str, tuple[int, int, int, int]] | None] = []
    for item in index.items:
        match = _WINDOW.fullmatch(item.id)
        out.append(None)
        if match is not None:
            y0, y1, x0, x1 = (int(text) for text in match.groups()[1:])
            if (y1 - y0, x1 - x0) == (item.height, item.width):
                out[-1] = match.group(1), (y0, y1, x0, x1)
    return out


# -- another data set --------------------------------------------------------------------------------------------------
def _compare(
    dataset: ShipDataset,
    index: SceneIndex,
    test: np.ndarray,
    hashes: Sequence[str],
    against: Dataset,
    progress: OnStage | None,
    damaged: dict[str, str],
) -> Against:
    """Hold the test images against every SAR image of another set."""
    others, reading = _sar_images(against)
    known = dict(zip(file_hashes(against.manifest(), others), others, strict=True))
    equal = tuple((index.ids[i], known[hashes[i]]) for i in test.tolist() if hashes[i] in known)
    mine, theirs = _gsd(dataset), _gsd(against)
    facts: dict[str, Any] = {"name": against.facts.name, "images": len(others), "gsd_m": (mine, theirs), "equal": equal}
    if mine is not None and theirs is not None and abs(mine - theirs) > GSD_TOLERANCE * max(mine, theirs):
        return Against(**facts, searched=False, shared=())
    files = [(dataset.root / index.items[i].image, index.reading) for i in test.tolist()]
    files += [(against.root / name, reading) for name in others]
    side = np.arange(len(files)) < len(test)
    found = _readable(files, damaged, side, _for_stage(progress, f"compare with {against.facts.name}"))
    shared = tuple((index.ids[int(test[item.first])], others[item.second - len(test)], item) for item in found)
    return Against(**facts, searched=True, shared=shared)


def _sar_images(dataset: Dataset) -> tuple[list[str], SarReading]:
    """Return the SAR files of a set, relative to its root, and how they are read: of pairs, whole files, since windows
    are cut from one.
    """
    index: Any = dataset.index()
    if dataset.kind == "ships":
        return list(dict.fromkeys(item.image for item in index.items)), index.reading
    return list(dict.fromkeys(sample.sar for sample in index.samples)), index.reading.sar


def _gsd(dataset: Dataset) -> float | None:
    """Return the declared ground sample distance in metres, None where none is declared."""
    return None if dataset.gsd_m is None else float(dataset.gsd_m)
