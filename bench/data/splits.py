"""Splits: which samples train, validate and test, under which rule, with which leakage guard; hashed, and kept as a CSV
file.

Owns the assignment and its checks. The order of chance is that of SHA-256 over (seed, name), so a split depends
neither on the order of the index nor on a library's random stream. What a user writes is in `split_spec.py`, the
dealing of folds in `folds.py`, geometry in `places.py`.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError, nearest
from bench.core.store import atomic_write
from bench.core.workspace import user_path
from bench.data.csv_files import read_csv
from bench.data.folds import by_chance, deal_folds
from bench.data.index import Sampled, default_groups
from bench.data.places import overlapping, within
from bench.data.split_spec import SplitSpec, exact

PARTS = ("train", "validation", "test", "dropped")
TRAIN, VALIDATION, TEST, DROPPED = range(4)


@dataclass(frozen=True, eq=False)
class Split:
    """Who is where.

    Attributes:
        train, validation, test, dropped: sorted int64 positions in the index; together a partition of it.
        groups: leakage group of every sample of the index.
        sha256: hash over the sorted (id, part) lines; equal hash, equal split.
        summary: JSON facts: samples ("pairs", "scenes") and groups a part, how many were dropped and why, and how many
            training and validation samples still share ground, or their scene, with a test sample (None where places or
            scenes are unknown).
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    dropped: np.ndarray
    groups: tuple[str, ...]
    sha256: str
    summary: dict[str, Any]


def make_split(index: Sampled, spec: SplitSpec) -> Split:
    """Split `index` (of pairs or of scenes) as `spec` says.

    Raises:
        BenchError: unknown column, group or value; too few groups; a guard without places; a part left empty.
    """
    if spec.kind == "file":
        return read_split(user_path(str(spec.path)), index)
    parts = np.full(len(index), TRAIN, dtype=np.int8)
    reasons = {"require": _apply_require(index, spec, parts)}
    if spec.kind == "random":
        groups = tuple(index.column(spec.by)) if spec.by else default_groups(index)
        _split_random(index, spec, parts)
    elif spec.kind == "folds":
        by = spec.by or ("scene" if "scene" in index.columns else "id")
        groups = tuple(index.column(by))
        _split_folds(index, spec, parts, groups, by)
    else:
        groups = tuple(index.column(spec.by or "scene"))
        _split_grouped(index, spec, parts, groups)
    if spec.guard_m > 0:
        reasons |= _apply_guard(index, spec.guard_m, parts)
    if spec.labelled is not None:
        reasons["unlabelled"] = _drop_unlabelled(index, spec, spec.labelled, parts, groups)
    wanted = spec.validation_groups is not None or spec.validation_share() > 0
    return _finish(index, parts, groups, reasons, wanted)


def write_split(split: Split, index: Sampled, path: Path) -> None:
    """Write a split as CSV with columns id, part, group, in index order, atomically.

    Raises:
        BenchError: the file cannot be written.
    """
    parts = _codes(split, index)
    with atomic_write(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["id", "part", "group"])
        writer.writerows(
            [name, PARTS[code], group]
            for name, code, group in zip(index.ids, parts.tolist(), split.groups, strict=True)
        )


def read_split(path: Path, index: Sampled) -> Split:
    """Read a split CSV (columns id, part; group is optional) for `index`.

    Raises:
        BenchError: unreadable file, unknown part, ids that the index lacks or the file lacks or repeats, or train or
            test left empty.
    """
    rows = read_csv(Path(path), required=("id", "part"))
    position = {name: i for i, name in enumerate(index.ids)}
    parts = np.full(len(index), -1, dtype=np.int8)
    groups = list(default_groups(index))
    for row in rows:
        name, part = row["id"], row["part"]
        if name not in position:
            raise BenchError(
                f"{path} names {index.noun} {name!r}, which {index.where} does not have; is it the split of another set"
                " or patch size?"
            )
        if part not in PARTS:
            raise BenchError(f"{path}: {index.noun} {name!r} is in part {part!r}{nearest(part, PARTS)}")
        if parts[position[name]] != -1:
            raise BenchError(f"{path} names {index.noun} {name!r} twice")
        parts[position[name]] = PARTS.index(part)
        groups[position[name]] = row.get("group") or groups[position[name]]
    lacking = np.flatnonzero(parts == -1)
    if len(lacking):
        raise BenchError(
            f"{path} lacks {len(lacking)} {index.noun}s of {index.where}, first {index.ids[lacking[0]]!r}; give each a"
            " part (or dropped)"
        )
    return _finish(
        index, parts, tuple(groups), {"file": int((parts == DROPPED).sum())}, bool((parts == VALIDATION).any())
    )


def without(split: Split, index: Sampled, positions: np.ndarray) -> Split:
    """Return the split with the samples at `positions` (int64) dropped as well.

    Raises:
        BenchError: a part that had samples has none left.
    """
    parts = _codes(split, index)
    before = int((parts == DROPPED).sum())
    parts[positions] = DROPPED
    reasons = {**split.summary["dropped"], "more": int((parts == DROPPED).sum()) - before}
    return _finish(index, parts, split.groups, reasons, len(split.validation) > 0)


def _codes(split: Split, index: Sampled) -> np.ndarray:
    """Return the part of every sample as its position in `PARTS`, int8."""
    parts = np.full(len(index), DROPPED, dtype=np.int8)
    for code, name in enumerate(PARTS):
        parts[getattr(split, name)] = code
    return parts


def _count(share: Fraction, total: int) -> int:
    """Return `share` of `total`, rounded half up."""
    return int(share * total + Fraction(1, 2))


def _apply_require(index: Sampled, spec: SplitSpec, parts: np.ndarray) -> int:
    for column, value in spec.require.items():
        cells = index.column(column)
        if value not in cells:
            raise BenchError(f"no {index.noun} of {index.where} has {column} = {value!r}{nearest(value, cells)}")
        parts[[cell != value for cell in cells]] = DROPPED
    return int((parts == DROPPED).sum())


def _drop_unlabelled(index: Sampled, spec: SplitSpec, share: float, parts: np.ndarray, groups: tuple[str, ...]) -> int:
    """Drop all of the training part but the share that is labelled; return how many samples went."""
    inner = tuple(index.column(spec.validation_by)) if spec.validation_by else groups
    target = exact(share) * int((parts == TRAIN).sum())
    kept = _chosen(inner, parts, target, spec.seed, spec.validation_by or spec.by or "scene", 1)
    gone = (parts == TRAIN) & ~kept
    parts[gone] = DROPPED
    return int(gone.sum())


def _split_random(index: Sampled, spec: SplitSpec, parts: np.ndarray) -> None:
    eligible = np.flatnonzero(parts == TRAIN)
    order = eligible[by_chance([index.ids[i] for i in eligible.tolist()], spec.seed)]
    _, validation, test = spec.shares()
    n_test = _count(test, len(eligible))
    if spec.validation_from == "train":
        n_validation = _count(spec.validation_share(), len(eligible) - n_test)
    else:
        n_validation = _count(validation, len(eligible))
    parts[order[:n_test]] = TEST
    parts[order[n_test : n_test + n_validation]] = VALIDATION


def _split_folds(index: Sampled, spec: SplitSpec, parts: np.ndarray, groups: tuple[str, ...], by: str) -> None:
    if spec.fold is None or spec.folds is None:
        raise BenchError(f"kind: folds names no fold; say which one is tested (fold: 0 ... {(spec.folds or 2) - 1})")
    eligible = np.flatnonzero(parts == TRAIN).tolist()
    columns = [index.column(name) for name in spec.stratify]
    strata = [tuple(column[i] for column in columns) for i in eligible]
    folds = deal_folds([groups[i] for i in eligible], strata, spec.folds, spec.seed)
    parts[[i for i in eligible if folds[groups[i]] == spec.fold]] = TEST
    if spec.validation_share() > 0:
        target = spec.validation_share() * int((parts == TRAIN).sum())
        parts[_chosen(groups, parts, target, spec.seed, by, 1)] = VALIDATION


def _split_grouped(index: Sampled, spec: SplitSpec, parts: np.ndarray, groups: tuple[str, ...]) -> None:
    eligible = int((parts == TRAIN).sum())
    by = spec.by or "scene"
    inner_by = spec.validation_by or by
    automatic = spec.validation_groups is None and spec.validation_share() > 0
    if spec.test_groups is not None:
        test = _named(groups, parts, spec.test_groups, f"test_groups: no {index.noun} has {by}")
    else:
        reserved = spec.validation_groups if spec.validation_groups and inner_by == by else ()
        target = spec.shares()[2] * eligible
        test = _chosen(groups, parts, target, spec.seed, by, 1 + (automatic and inner_by == by), reserved)
    parts[test] = TEST
    if not automatic and spec.validation_groups is None:
        return
    inner = groups if inner_by == by else tuple(index.column(inner_by))
    if spec.validation_groups is not None:
        validation = _named(
            inner, parts, spec.validation_groups, f"validation_groups: no {index.noun} outside test has {inner_by}"
        )
    else:
        base = int((parts == TRAIN).sum()) if spec.validation_from == "train" else eligible
        validation = _chosen(inner, parts, spec.validation_share() * base, spec.seed, inner_by, 1)
    parts[validation] = VALIDATION


def _sizes(groups: tuple[str, ...], parts: np.ndarray) -> Counter[str]:
    """Return how many samples that are still in train each group has."""
    return Counter(group for group, part in zip(groups, parts.tolist(), strict=True) if part == TRAIN)


def _members(groups: tuple[str, ...], parts: np.ndarray, chosen: set[str]) -> np.ndarray:
    """Return the mask of the samples still in train whose group is chosen."""
    member = np.fromiter((group in chosen for group in groups), dtype=bool, count=len(groups))
    mask: np.ndarray = (parts == TRAIN) & member
    return mask


def _named(groups: tuple[str, ...], parts: np.ndarray, names: tuple[str, ...], complaint: str) -> np.ndarray:
    """Return the mask of the named groups; an unknown one raises BenchError."""
    sizes = _sizes(groups, parts)
    for name in names:
        if name not in sizes:
            raise BenchError(f"{complaint} = {name!r}{nearest(name, sizes)}")
    return _members(groups, parts, set(names))


def _chosen(
    groups: tuple[str, ...],
    parts: np.ndarray,
    target: Fraction,
    seed: int,
    by: str,
    leave: int,
    reserved: tuple[str, ...] = (),
) -> np.ndarray:
    """Return the mask of whole groups taken in the order of chance, each if it brings their sum nearer to `target`.

    At least one group is taken, at least `leave` others and all `reserved` ones are not.
    """
    sizes = _sizes(groups, parts)
    names = sorted(set(sizes) - set(reserved))
    if len(names) <= leave:
        raise BenchError(
            f"column {by!r} has only {len(names)} groups left to choose from where {leave + 1} are needed; "
            "choose a finer column (`by`, `validation_by`) or name the groups"
        )
    chosen: set[str] = set()
    count = 0
    for name in (names[i] for i in by_chance(names, seed)):
        if len(chosen) < len(names) - leave and abs(count + sizes[name] - target) < abs(count - target):
            chosen.add(name)
            count += sizes[name]
    return _members(groups, parts, chosen or {min(names, key=lambda name: (sizes[name], name))})


def _apply_guard(index: Sampled, guard_m: float, parts: np.ndarray) -> dict[str, int]:
    places = index.places
    unknown = np.isnan(places).any(axis=1) & (parts != DROPPED)
    if unknown.any():
        first = index.ids[int(np.flatnonzero(unknown)[0])]
        raise BenchError(
            f"guard_m: {guard_m:g} needs the place of every {index.noun}, and {int(unknown.sum())} of {index.where}"
            f" have none (first {first!r}); leave them out with `require`, or set guard_m: 0"
        )
    dropped = {}
    for part, others in ((TEST, (TRAIN, VALIDATION)), (VALIDATION, (TRAIN,))):
        candidates = np.flatnonzero(np.isin(parts, others))
        near = candidates[within(places[candidates], places[parts == part], guard_m)]
        parts[near] = DROPPED
        dropped[f"near_{PARTS[part]}"] = len(near)
    return dropped


def _finish(
    index: Sampled, parts: np.ndarray, groups: tuple[str, ...], reasons: dict[str, int], validation_wanted: bool
) -> Split:
    """Check that no part is empty, hash and summarise."""
    counts = {name: int((parts == code).sum()) for code, name in enumerate(PARTS)}
    needed = ["train", "test"] + (["validation"] if validation_wanted else [])
    for name in needed:
        if counts[name] == 0:
            why = (
                ", ".join(f"{count} dropped by {reason}" for reason, count in reasons.items() if count)
                or "the shares leave nothing"
            )
            raise BenchError(
                f"the split leaves {name} empty ({why}; {counts}); change the shares, the groups or the guard"
            )
    lines = sorted(f"{name}\t{PARTS[code]}\n" for name, code in zip(index.ids, parts.tolist(), strict=True))
    positions = {name: np.flatnonzero(parts == code).astype(np.int64) for code, name in enumerate(PARTS)}
    summary: dict[str, Any] = {
        f"{index.noun}s": counts,
        "groups": {name: len({groups[i] for i in positions[name].tolist()}) for name in PARTS},
        "dropped": reasons,
        "sharing_ground_with_test": _shared_ground(index, positions),
        "sharing_scene_with_test": _shared_scenes(index, positions),
    }
    return Split(
        **positions, groups=groups, sha256=hashlib.sha256("".join(lines).encode()).hexdigest(), summary=summary
    )


def _shared_ground(index: Sampled, positions: dict[str, np.ndarray]) -> dict[str, int | None]:
    places = index.places
    out: dict[str, int | None] = {}
    for name in ("train", "validation"):
        rows, test = places[positions[name]], places[positions["test"]]
        known = not (np.isnan(rows).any() or np.isnan(test).any())
        out[name] = int(overlapping(rows, test).sum()) if known else None
    return out


def _shared_scenes(index: Sampled, positions: dict[str, np.ndarray]) -> dict[str, int | None]:
    test = {index.scenes[i] for i in positions["test"].tolist()}
    out: dict[str, int | None] = {}
    for name in ("train", "validation"):
        mine = [index.scenes[i] for i in positions[name].tolist()]
        out[name] = None if None in test or None in mine else sum(scene in test for scene in mine)
    return out
