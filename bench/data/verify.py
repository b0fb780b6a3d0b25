"""Looking at a data set on disk as it is: every file opened, hashed, and compared with its partner and with the
declared facts.

Unlike the index, which stops at the first problem, this collects all of them. It writes nothing but the manifest file
it is asked for.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.core.errors import BenchError
from bench.core.store import write_text
from bench.data.dataset import FilePair, PairDataset
from bench.data.manifest import Manifest, build_manifest
from bench.data.scaling import SarScale

_LISTED = 20


@dataclass(frozen=True)
class VerifyReport:
    """What was found. Paths are relative to the root.

    Attributes:
        name: data set. pairs: complete file pairs. expected_pairs: as declared, None where nothing is.
        checked: how many pairs were opened (fewer than `pairs` under a limit).
        total_bytes: size of all files of the manifest.
        sizes: "height x width" -> number of pairs. sar_dtypes, optical_dtypes: pixel types -> number of images.
        unpaired: a line for each file without partner.
        unreadable: a line for each file that cannot be used: truncated, no image, NaN, unequal SAR channels.
        mismatched: a line for each pair whose images differ in size.
        constant: images with one single value.
        duplicates: groups of files with equal content.
        other: further problems: the count, mixed dtypes, the declared SAR scale, an index that cannot be made.
        manifest: hashes of all files.
    """

    name: str
    pairs: int
    expected_pairs: int | None
    checked: int
    total_bytes: int
    sizes: dict[str, int]
    sar_dtypes: dict[str, int]
    optical_dtypes: dict[str, int]
    unpaired: tuple[str, ...]
    unreadable: tuple[str, ...]
    mismatched: tuple[str, ...]
    constant: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    other: tuple[str, ...]
    manifest: Manifest

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """Every problem as one line, the gravest kinds first; long lists end in a count."""
        lines = list(self.other)
        for what, found in (
            ("unpaired", self.unpaired),
            ("unreadable", self.unreadable),
            ("unequal size", self.mismatched),
            ("constant image", self.constant),
            ("equal content", tuple(" = ".join(group) for group in self.duplicates)),
        ):
            lines += [f"{what}: {line}" for line in found[:_LISTED]]
            if len(found) > _LISTED:
                lines.append(f"{what}: {len(found) - _LISTED} more")
        return lines

    def write_manifest(self, path: Path) -> None:
        """Write `sha256  path` lines, sorted by path; `sha256sum -c` run in the root checks them.

        Raises:
            BenchError: the file cannot be written.
        """
        write_manifest(self.manifest, path)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write `sha256  path` lines, sorted by path.

    Raises:
        BenchError: the file cannot be written.
    """
    write_text(Path(path), "".join(f"{entry[2]}  {name}\n" for name, entry in sorted(manifest.files.items())))


@dataclass
class _Findings:
    sizes: Counter[str] = field(default_factory=Counter)
    sar_dtypes: Counter[str] = field(default_factory=Counter)
    optical_dtypes: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)


def verify(
    dataset: PairDataset, limit: int | None = None, progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Check a data set on disk; all files are hashed anew, the first `limit` pairs (None: all) are opened.

    Args:
        progress: called with (pairs done, pairs in all).

    Raises:
        BenchError: the folders or tables themselves are missing, or a file cannot be read from disk at all.
    """
    scan = dataset.scan()
    findings = _Findings()
    chosen = scan.pairs if limit is None else scan.pairs[:limit]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, result in enumerate(pool.map(lambda pair: _look(pair, dataset), chosen), start=1):
            _collect(findings, chosen[done - 1], result)
            if progress is not None:
                progress(done, len(chosen))
    manifest = build_manifest(dataset.root, dataset.files(), None)
    images = {name for pair in scan.pairs for name in (pair.optical, pair.sar)}
    return VerifyReport(
        name=dataset.facts.name,
        pairs=len(scan.pairs),
        expected_pairs=dataset.expected_pairs(),
        checked=len(chosen),
        total_bytes=sum(entry[0] for entry in manifest.files.values()),
        sizes=dict(sorted(findings.sizes.items())),
        sar_dtypes=dict(sorted(findings.sar_dtypes.items())),
        optical_dtypes=dict(sorted(findings.optical_dtypes.items())),
        unpaired=scan.unpaired,
        unreadable=tuple(findings.unreadable),
        mismatched=tuple(findings.mismatched),
        constant=tuple(findings.constant),
        duplicates=equal_files(manifest, images),
        other=tuple(_other(dataset, len(scan.pairs), bool(scan.unpaired), findings)),
        manifest=manifest,
    )


def _look(pair: FilePair, dataset: PairDataset) -> tuple[np.ndarray | BenchError, np.ndarray | BenchError]:
    """Return both images, or for each the error that reading it gave."""
    found: list[np.ndarray | BenchError] = []
    for name, read in ((pair.optical, dataset.reading.optical), (pair.sar, dataset.reading.sar.read)):
        try:
            found.append(read(dataset.root / name))
        except BenchError as error:
            found.append(error)
    return found[0], found[1]


def _collect(
    findings: _Findings, pair: FilePair, result: tuple[np.ndarray | BenchError, np.ndarray | BenchError]
) -> None:
    dtypes = (findings.optical_dtypes, findings.sar_dtypes)
    for name, image, counter in zip((pair.optical, pair.sar), result, dtypes, strict=True):
        if isinstance(image, BenchError):
            findings.unreadable.append(str(image))
            continue
        counter[str(image.dtype)] += 1
        if image.min() == image.max():
            findings.constant.append(f"{name} is {image.flat[0]} everywhere")
    optical, sar = result
    if isinstance(optical, BenchError) or isinstance(sar, BenchError):
        return
    if optical.shape[:2] != sar.shape:
        shapes = f"{optical.shape[0]} x {optical.shape[1]} px and {pair.sar} is {sar.shape[0]} x {sar.shape[1]} px"
        findings.mismatched.append(f"{pair.optical} is {shapes}")
    else:
        findings.sizes[f"{sar.shape[0]} x {sar.shape[1]}"] += 1


def equal_files(manifest: Manifest, images: set[str]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of `images` (paths relative to the root) that have equal content."""
    by_hash: dict[str, list[str]] = defaultdict(list)
    for name in sorted(images):
        by_hash[manifest.files[name][2]].append(name)
    return tuple(tuple(names) for names in by_hash.values() if len(names) > 1)


def _other(dataset: PairDataset, pairs: int, lonely: bool, findings: _Findings) -> list[str]:
    lines = []
    expected, side = dataset.expected_pairs(), dataset.patch_px()
    if expected is not None and pairs != expected:
        lines.append(f"{pairs} pairs found, {expected} declared")
    for view, dtypes in (("optical", findings.optical_dtypes), ("SAR", findings.sar_dtypes)):
        if len(dtypes) > 1:
            lines.append(f"{view} images have several pixel types: {', '.join(sorted(dtypes))}")
    if dataset.sar_scale is SarScale.uint8 and set(findings.sar_dtypes) - {"uint8"}:
        lines.append(
            "SAR scale is declared uint8, but the files are not 8-bit; declare sar_scale: amplitude, intensity or db"
        )
    if side is not None:
        wrong = {size: n for size, n in findings.sizes.items() if size != f"{side} x {side}"}
        if wrong:
            lines.append(f"{sum(wrong.values())} pairs are not {side} px square: {', '.join(wrong)}")
    elif len(findings.sizes) > 1:
        lines.append(f"pairs come in {len(findings.sizes)} sizes: {', '.join(findings.sizes)}")
    if not lonely:
        try:
            dataset.index()
        except BenchError as error:
            lines.append(str(error))
    return lines
