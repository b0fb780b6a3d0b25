"""Looking at a detection set on disk as it is: every image opened and hashed, every box held against its image, all of
it against the declared facts.

Unlike the index, which stops at the first problem, this collects all of them. It writes nothing but the manifest file
it is asked for.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.core.errors import BenchError
from bench.data.manifest import Manifest, build_manifest
from bench.data.scaling import SarScale
from bench.data.ships.dataset import Checked, ShipDataset
from bench.data.ships.index import ShipScene
from bench.data.verify import equal_files, write_manifest


@dataclass(frozen=True)
class ShipReport:
    """What was found. Paths are relative to the root.

    Attributes:
        name: data set. scenes, ships, ignored: images, boxes that count, boxes that are ignored.
        expected_scenes, expected_ships: as declared for these options, None where nothing is; ignored boxes are ships
            too.
        checked: how many images were decoded (fewer than `scenes` under a limit).
        total_bytes: size of all files of the manifest.
        sizes: "height x width" -> number of images. dtypes: pixel types -> number of decoded images.
        counts: problems of the numbers, pixel types and the SAR scale.
        annotations: a line for each file without partner, damaged annotation, wrong box, or size that disagrees.
        repeated: a line for each box that stands twice in its image.
        unreadable: a line for each image that cannot be used: truncated, no image, complex, NaN, unequal channels.
        constant: images with one single value.
        duplicates: groups of images with equal content.
        notes: what is unusual, but no fault.
        manifest: hashes of all files.
    """

    name: str
    scenes: int
    ships: int
    ignored: int
    expected_scenes: int | None
    expected_ships: int | None
    checked: int
    total_bytes: int
    sizes: dict[str, int]
    dtypes: dict[str, int]
    counts: tuple[str, ...]
    annotations: tuple[str, ...]
    repeated: tuple[str, ...]
    unreadable: tuple[str, ...]
    constant: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    manifest: Manifest

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """Every problem as one line, the gravest kinds first; none is left out."""
        kinds = {
            "unreadable": self.unreadable,
            "repeated box": self.repeated,
            "constant image": self.constant,
            "equal content": [" = ".join(group) for group in self.duplicates],
        }
        return [
            *self.counts,
            *self.annotations,
            *(f"{what}: {line}" for what, lines in kinds.items() for line in lines),
        ]

    def write_manifest(self, path: Path) -> None:
        """Write `sha256  path` lines, sorted by path; `sha256sum -c` run in the root checks them.

        Raises:
            BenchError: the file cannot be written.
        """
        write_manifest(self.manifest, path)


@dataclass
class _Pixels:
    checked: int = 0
    dtypes: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)


def verify_ships(
    dataset: ShipDataset, limit: int | None = None, progress: Callable[[int, int], None] | None = None
) -> ShipReport:
    """Check a detection set on disk; all files are hashed anew, all boxes checked, the first `limit` images (None: all)
    decoded.

    Args:
        progress: called with (images done, images in all).

    Raises:
        BenchError: the folders, lists or tables themselves are missing, or a file cannot be read from disk at all.
    """
    scan = dataset.scan()
    checked = [dataset.check(claim, strict=True) for claim in scan.claims]
    found = [item.scene for item in checked if item.scene is not None]
    pixels = _look(dataset, found if limit is None else found[:limit], progress)
    manifest = build_manifest(dataset.root, dataset.files(), None)
    expected = dataset.expected()
    claims = scan.claims
    ignored = sum(int(claim.ignore.sum()) for claim in claims)
    ships = sum(len(claim.boxes) for claim in claims) - ignored
    return ShipReport(
        name=dataset.facts.name,
        scenes=len(claims),
        ships=ships,
        ignored=ignored,
        expected_scenes=expected[0],
        expected_ships=expected[1],
        checked=pixels.checked,
        total_bytes=sum(entry[0] for entry in manifest.files.values()),
        sizes=dict(sorted(Counter(f"{scene.height} x {scene.width}" for scene in found).items())),
        dtypes=dict(sorted(pixels.dtypes.items())),
        counts=tuple(_counts(dataset, len(claims), ships + ignored, set(pixels.dtypes))),
        annotations=(*scan.problems, *_annotation_lines(dataset, checked)),
        repeated=tuple(line for scene in found for line in _repeated(scene)),
        unreadable=tuple(pixels.unreadable),
        constant=tuple(pixels.constant),
        duplicates=equal_files(manifest, {claim.image for claim in claims}),
        notes=scan.notes,
        manifest=manifest,
    )


def _annotation_lines(dataset: ShipDataset, checked: list[Checked]) -> list[str]:
    lines = [line for item in checked for line in item.problems]
    if not lines and not dataset.scan().problems:
        try:
            dataset.index()  # what only the whole can tell, such as an id that stands twice
        except BenchError as error:
            lines.append(str(error))
    return lines


def _look(dataset: ShipDataset, scenes: list[ShipScene], progress: Callable[[int, int], None] | None) -> _Pixels:
    """Decode images; headers have been read before."""
    out = _Pixels()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for dtype, error, constant in pool.map(lambda scene: _decode(dataset, scene), scenes):
            out.checked += 1
            if error:
                out.unreadable.append(error)
            else:
                out.dtypes[dtype] += 1
            if constant:
                out.constant.append(constant)
            if progress is not None:
                progress(out.checked, len(scenes))
    return out


def _decode(dataset: ShipDataset, scene: ShipScene) -> tuple[str, str, str]:
    """Return (pixel type, error, constant) of one image, each "" where there is none; the pixels are let go at once."""
    path = dataset.root / scene.image
    try:
        image = dataset.reading.read(path)
    except BenchError as error:
        return "", str(error), ""
    if image.shape != (scene.height, scene.width):
        return (
            "",
            (
                f"{path} decodes to {image.shape} where its header says {(scene.height, scene.width)}; fetch the file"
                " again"
            ),
            "",
        )
    constant = image.size > 1 and image.min() == image.max()
    return str(image.dtype), "", f"{scene.image} is {image.flat[0]} everywhere" if constant else ""


def _repeated(scene: ShipScene) -> list[str]:
    if len(scene.boxes) < 2:
        return []
    rows, counts = np.unique(scene.boxes, axis=0, return_counts=True)
    return [
        f"{scene.image} has {count} boxes x1, y1, x2, y2 = {', '.join(f'{value:g}' for value in row)}"
        for row, count in zip(rows, counts, strict=True)
        if count > 1
    ]


def _counts(dataset: ShipDataset, scenes: int, boxes: int, dtypes: set[str]) -> list[str]:
    lines = []
    facts = dataset.facts
    for what, found, declared in zip(("images", "ships"), (scenes, boxes), dataset.expected(), strict=True):
        if declared is not None and found != declared:
            lines.append(f"{found} {what} found, {declared} declared (`bench data info {facts.name}` says more)")
    if facts.dtypes and dtypes - set(facts.dtypes):
        lines.append(f"pixel types are {', '.join(sorted(dtypes))}; the published files are {', '.join(facts.dtypes)}")
    elif len(dtypes) > 1:
        lines.append(f"images have several pixel types: {', '.join(sorted(dtypes))}")
    if dataset.sar_scale is SarScale.uint8 and dtypes - {"uint8"}:
        lines.append(
            "SAR scale is declared uint8, but the files are not 8-bit; declare sar_scale: amplitude, intensity or db"
        )
    return lines
