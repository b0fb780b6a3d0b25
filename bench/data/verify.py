"""Looking at a data set on disk as it is: every file opened, hashed, and compared with its partner and with the
declared facts.

Owns what a report says of any set, and the reports of pairs; those of scenes with ships are in `ships/verify.py`.
Unlike the index, which stops at the first problem, this collects all of them. It writes nothing but the manifest file
it is requested.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from bench.core.errors import BenchError
from bench.core.progress import OnCount
from bench.core.store import write_text
from bench.data.dataset import Dataset, FilePair, PairDataset
from bench.data.decoded import read_ahead
from bench.data.manifest import Manifest, build_manifest, unreadable
from bench.data.reading import SarReading
from bench.data.scaling import SarScale
from bench.data.windows import left_out_line

Item = TypeVar("Item")
Checked = TypeVar("Checked")


@dataclass(frozen=True, kw_only=True)
class DataReport(ABC):
    """What was found of any set. Paths are relative to the root.

    Class attributes:
        listed: how many lines of a kind of problem are shown, None for all.

    Attributes:
        name: data set.
        checked: how many samples were opened (fewer than there are under a limit).
        total_bytes: size of all files of the manifest.
        sizes: "height x width" -> number of samples.
        unreadable: a line for each image that cannot be used: truncated, no image, complex, NaN, unequal SAR channels.
        constant: images with one single value.
        duplicates: groups of images with equal content.
        notes: what is unusual, but no fault.
        composites: a line on SAR images of three channels that differ, and how they are read; "" for none.
        manifest: hashes of all files.
    """

    listed: ClassVar[int | None] = None

    name: str
    checked: int
    total_bytes: int
    sizes: dict[str, int]
    unreadable: tuple[str, ...]
    constant: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    composites: str = ""
    manifest: Manifest

    @property
    @abstractmethod
    def found(self) -> str:
        """How many samples there are, and how many should be."""

    @property
    @abstractmethod
    def counts(self) -> dict[str, dict[str, int]]:
        """What is counted by value: sizes and pixel types."""

    @property
    @abstractmethod
    def general(self) -> Sequence[str]:
        """Problems of the whole set, as lines."""

    @property
    @abstractmethod
    def kinds(self) -> dict[str, Sequence[str]]:
        """Problems of single samples: kind -> lines, the gravest kinds first, but for those that all sets share."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """Every problem as one line, the gravest kinds first; lists longer than `listed` end in a count."""
        equal = [" = ".join(group) for group in self.duplicates]
        lines = list(self.general)
        for what, found in {**self.kinds, "constant image": self.constant, "equal content": equal}.items():
            shown = found[: self.listed]
            lines += [f"{what}: {line}" for line in shown]
            lines += [f"{what}: {len(found) - len(shown)} more"] if len(found) > len(shown) else []
        return lines

    @property
    def summary(self) -> list[str]:
        """What was looked at, as the lines of a terminal."""
        rows = [
            (what, ", ".join(f"{key}: {count}" for key, count in counts.items()))
            for what, counts in self.counts.items()
        ]
        rows += [("note", note) for note in (self.composites, *self.notes) if note]
        rows += [("manifest", self.manifest.sha256)]
        first = f"{self.name}: {self.found}, {self.checked} opened, {self.total_bytes / 2**20:.1f} MiB"
        return [first, *(f"{what.ljust(14)} {text}" for what, text in rows)]

    def write_manifest(self, path: Path) -> None:
        """Write `sha256  path` lines, sorted by path; `sha256sum -c` run in the root checks them. A line that begins
        with "#" states how colour composites are read, where there are any.

        Raises:
            BenchError: the file cannot be written.
        """
        files = sorted(self.manifest.files.items())
        reading = f"# {self.composites}\n" if self.composites else ""
        write_text(Path(path), reading + "".join(f"{entry[2]}  {name}\n" for name, entry in files))


@dataclass(frozen=True, kw_only=True)
class VerifyReport(DataReport):
    """What was found of a set of pairs.

    Attributes:
        pairs: complete file pairs. expected_pairs: as declared, None where nothing is.
        sar_dtypes, optical_dtypes: pixel types -> number of images.
        unpaired: a line for each file without partner.
        mismatched: a line for each pair whose images differ in size.
        other: further problems: files that claim one pair, the count, mixed dtypes, the declared SAR scale, an index
            that cannot be made.
    """

    listed = 20

    pairs: int
    expected_pairs: int | None
    sar_dtypes: dict[str, int]
    optical_dtypes: dict[str, int]
    unpaired: tuple[str, ...]
    mismatched: tuple[str, ...]
    other: tuple[str, ...]

    @property
    def found(self) -> str:
        return f"{self.pairs} pairs (expected: {expected(self.expected_pairs)})"

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        return {"sizes": self.sizes, "SAR types": self.sar_dtypes, "optical types": self.optical_dtypes}

    @property
    def general(self) -> Sequence[str]:
        return self.other

    @property
    def kinds(self) -> dict[str, Sequence[str]]:
        return {"unpaired": self.unpaired, "unreadable": self.unreadable, "unequal size": self.mismatched}


def expected(count: int | None) -> str:
    """Return a declared count in words."""
    return "not declared" if count is None else str(count)


# -- what the checks of all sets share ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class Seen:
    """What decoding one image showed; the pixels themselves are let go at once.

    Attributes:
        shape: (height, width), None where the image cannot be read. dtype: its pixel type, "" likewise.
        error, constant: a line on why it cannot be read, or on its one value; "" for others.
        composite: the file, where it has three channels that differ; "" for others.
    """

    shape: tuple[int, int] | None = None
    dtype: str = ""
    error: str = ""
    constant: str = ""
    composite: str = ""


def look(root: Path, name: str, read: Callable[[Path], np.ndarray]) -> Seen:
    """Decode the image `name` below `root`."""
    try:
        image = read(root / name)
    except BenchError as error:
        return Seen(error=str(error))
    flat = image.size > 1 and image.min() == image.max()
    constant = f"{name} is {image.flat[0]} everywhere" if flat else ""
    return Seen((image.shape[0], image.shape[1]), str(image.dtype), constant=constant)


def look_sar(root: Path, name: str, reading: SarReading) -> Seen:
    """Decode the SAR image `name` below `root`, noting whether three channels became one."""
    composite = []

    def read(path: Path) -> np.ndarray:
        image, unequal = reading.read_noting(path)
        composite.append(name if unequal else "")
        return image

    return replace(look(root, name, read), composite="".join(composite))


def composites_line(seen: Iterable[Seen], reading: SarReading) -> str:
    """Return a line on the SAR images of three channels that differ; "" where there are none."""
    names = [one.composite for one in seen if one.composite]
    first = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} images have three unequal channels, read as {reading.channels}: {first}" if names else ""


def look_at_all(one: Callable[[Item], Checked], items: Sequence[Item], progress: OnCount | None) -> list[Checked]:
    """Return `one(item)` of all items, several at a time; `progress` is called with (items done, items in all)."""
    out = []
    for done, result in enumerate(read_ahead(one, items), start=1):
        out.append(result)
        if progress is not None:
            progress(done, len(items))
    return out


def shared_findings(
    dataset: Dataset, images: Iterable[str], seen: Iterable[Seen], sizes: Iterable[str]
) -> dict[str, Any]:
    """Return the fields of `DataReport` but `checked`; all files are hashed anew.

    Args:
        images: all images, relative to the root. seen: those that were opened. sizes: of the samples, in words.
    """
    seen = list(seen)
    lines = [one.error for one in seen if one.error]
    try:
        files = dataset.files()
    except BenchError as error:  # a table that is not there; the images are looked at all the same
        files, lines = [dataset.root / name for name in images], [*lines, str(error)]
    wrong = {path: line for path in files if (line := unreadable(path))}
    lines += [line for path, line in wrong.items() if not any(str(path) in error for error in lines)]
    manifest = build_manifest(dataset.root, [path for path in files if path not in wrong], None, dataset.declared())
    by_hash: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(images)):
        if name in manifest.files:
            by_hash[manifest.files[name][2]].append(name)
    return {
        "name": dataset.facts.name,
        "total_bytes": sum(entry[0] for entry in manifest.files.values()),
        "sizes": _tally(sizes),
        "unreadable": tuple(lines),
        "constant": tuple(one.constant for one in seen if one.constant),
        "duplicates": tuple(tuple(names) for names in by_hash.values() if len(names) > 1),
        "manifest": manifest,
    }


def in_words(shape: tuple[int, int]) -> str:
    """Return (height, width) as "height x width"."""
    return f"{shape[0]} x {shape[1]}"


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def pixel_types(seen: Iterable[Seen]) -> dict[str, int]:
    """Return pixel type -> number of images, sorted; unreadable images have none."""
    return _tally(one.dtype for one in seen if one.dtype)


def type_problems(dtypes: Mapping[str, int], what: str) -> list[str]:
    """Return a line on images of several pixel types."""
    return [f"{what} have several pixel types: {', '.join(sorted(dtypes))}"] if len(dtypes) > 1 else []


def scale_problems(dataset: Dataset, dtypes: Mapping[str, int]) -> list[str]:
    """Return a line on SAR images that are not of the declared scale."""
    if dataset.sar_scale is not SarScale.uint8 or not set(dtypes) - {"uint8"}:
        return []
    return ["SAR scale is declared uint8, but the files are not 8-bit; declare sar_scale: amplitude, intensity or db"]


def index_problems(dataset: Dataset) -> list[str]:
    """Return a line on what only the whole can show, such as an id that stands twice."""
    try:
        dataset.index()
    except BenchError as error:
        return [str(error)]
    return []


# -- pairs -------------------------------------------------------------------------------------------------------------
def verify(dataset: PairDataset, limit: int | None = None, progress: OnCount | None = None) -> VerifyReport:
    """Check a data set on disk; all files are hashed anew, the first `limit` pairs (None: all) are opened.

    Args:
        progress: called with (pairs done, pairs in all).

    Raises:
        BenchError: the folders themselves are missing.
    """
    scan = dataset.scan()
    chosen = scan.pairs[:limit]

    def both(pair: FilePair) -> tuple[Seen, Seen]:
        optical = look(dataset.root, pair.optical, dataset.reading.optical)
        return optical, look_sar(dataset.root, pair.sar, dataset.reading.sar)

    seen = look_at_all(both, chosen, progress)
    optical_types, sar_types = (pixel_types(pair[view] for pair in seen) for view in (0, 1))
    sizes, mismatched = [], []
    for pair, (optical, sar) in zip(chosen, seen, strict=True):
        if optical.shape is None or sar.shape is None:
            continue
        if optical.shape == sar.shape:
            sizes.append(in_words(sar.shape))
        else:
            shapes = f"{in_words(optical.shape)} px and {pair.sar} is {in_words(sar.shape)} px"
            mismatched.append(f"{pair.optical} is {shapes}")
    images = [name for pair in scan.pairs for name in (pair.optical, pair.sar)]
    of_index = () if scan.unpaired or scan.problems else tuple(index_problems(dataset))
    lost = left_out_line(dataset.left_out(), by=dataset.left_out_by())
    return VerifyReport(
        **shared_findings(dataset, images, [one for pair in seen for one in pair], sizes),
        checked=len(chosen),
        pairs=len(scan.pairs),
        expected_pairs=dataset.expected_pairs(),
        sar_dtypes=sar_types,
        optical_dtypes=optical_types,
        composites=composites_line((pair[1] for pair in seen), dataset.reading.sar),
        notes=(lost,) if lost else (),
        unpaired=scan.unpaired,
        mismatched=tuple(mismatched),
        other=(
            *scan.problems,
            *_count_problems(dataset, len(scan.pairs)),
            *type_problems(optical_types, "optical images"),
            *type_problems(sar_types, "SAR images"),
            *scale_problems(dataset, sar_types),
            *_size_problems(dataset.patch_px(), _tally(sizes)),
            *of_index,
        ),
    )


def _count_problems(dataset: PairDataset, pairs: int) -> list[str]:
    declared = dataset.expected_pairs()
    return [f"{pairs} pairs found, {declared} declared"] if declared not in (None, pairs) else []


def _size_problems(side: int | None, sizes: Mapping[str, int]) -> list[str]:
    if side is None:
        return [f"pairs come in {len(sizes)} sizes: {', '.join(sizes)}"] if len(sizes) > 1 else []
    wrong = {size: n for size, n in sizes.items() if size != in_words((side, side))}
    return [f"{sum(wrong.values())} pairs are not {side} px square: {', '.join(wrong)}"] if wrong else []
