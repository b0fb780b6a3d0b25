"""`submission`: distances that another tool gave to the sampled pairs, from a table or a predictions file, scored like
every row.

Owns what is requested of another tool (each distinct pair once, without label and kind) and whether its answer is
complete and meant for it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from bench.core.errors import BenchError, nearest
from bench.core.store import canonical_hash
from bench.execution.cell import Cell
from bench.matching.matchers.base import Matcher, MatcherOptions
from bench.matching.matchers.distances import paired
from bench.matching.scoring.predictions import PartPredictions, Predictions, load_predictions
from bench.matching.scoring.sampling import PARTS, SampledPairs
from bench.submissions.claims import MADE_FOR, check_claims, claims_in, claims_of
from bench.submissions.request import submitted_file
from bench.submissions.sheets import FORMATS, Sheet, lacking, read_sheet
from bench.suite.data_plan import PlannedData

OURS = ".npz"  # a predictions file of this task
READ = (*FORMATS, OURS)
HANDOUT = "bench data pairs --config SUITE --out pairs.csv"
GALLERY = "gallery"
REQUESTED = (*PARTS, GALLERY)
NAMES = ("pair", "part", "sar", "optical")
# columns of the handout that may stay in the answer
PASSED_OVER = ("sar_file", "optical_file", "sar_window", "optical_window")
COLUMNS = (
    f"the columns are pair, or part, sar and optical, or all of them as `{HANDOUT}` writes them; distance (smaller ="
    f" more alike) or similarity; {MADE_FOR}, which must be there where sar and optical are not"
)

_LARGEST = float(np.finfo(np.float32).max)
_MERGED = 0.01  # share of distinct values that may become equal when they are rounded to float32
_CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}  # distances of one pair that were computed twice, in float32


class SubmissionOptions(MatcherOptions):
    """Options of a submitted row.

    Attributes:
        results: path of a table of distances (.csv, .json, .parquet) or of a predictions file of this task (.npz).
        threshold: a fixed one: a match if distance <= threshold, or similarity >= threshold. Without it, decisions need
            the validation pairs, on which the threshold is chosen.
    """

    results: str = Field(min_length=1)
    threshold: float | None = Field(default=None, allow_inf_nan=False, ge=-_LARGEST, le=_LARGEST)


class Submission(Matcher[SubmissionOptions]):
    """A row that was computed elsewhere; `bench.matching.predict` reads its file instead of computing distances."""

    version = 1
    Options = SubmissionOptions


@dataclass(frozen=True)
class RequestedPairs:
    """The pairs requested of another tool: each distinct pair of positions once, in an order that shows no kind.

    Attributes:
        parts: (n,) text, "validation", "test" or "gallery"; the parts stand one behind the other.
        sar, optical: (n,) ids of the two patches, equal for a true pair; opaque ones where `blinded`.
        start: part -> its first number. at: part -> for each sampled pair (or, row by row, each place of the gallery's
            matrix) its number.
        hashes: what an answer may say that it was made for.
    """

    parts: tuple[str, ...]
    sar: tuple[str, ...]
    optical: tuple[str, ...]
    start: Mapping[str, int]
    at: Mapping[str, np.ndarray]
    hashes: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.parts)

    @cached_property
    def number(self) -> dict[tuple[str, str, str], int]:
        """(part, SAR id, optical id) -> number of the pair."""
        return {key: i for i, key in enumerate(zip(self.parts, self.sar, self.optical, strict=True))}

    def code(self, view: str, name: str) -> str:
        """Return the opaque id of a patch, which tells nothing of that of the other view; keyed by what is drawn."""
        return view[0] + canonical_hash([self.hashes[MADE_FOR], view, name])[:16]

    @cached_property
    def blinded(self) -> RequestedPairs:
        """The same pairs under opaque ids and, part by part, in the order of these, which tells nothing either."""
        codes = {
            (view, name): self.code(view, name) for view in ("sar", "optical") for name in set(getattr(self, view))
        }
        sar, optical = ([codes[view, name] for name in getattr(self, view)] for view in ("sar", "optical"))
        order = sorted(range(len(self)), key=lambda i: (REQUESTED.index(self.parts[i]), sar[i], optical[i]))
        number = np.empty(len(self), dtype=np.int64)
        number[order] = np.arange(len(self))
        return replace(
            self,
            sar=tuple(sar[i] for i in order),
            optical=tuple(optical[i] for i in order),
            at={part: number[at] for part, at in self.at.items()},
            hashes={**self.hashes, MADE_FOR: canonical_hash([self.hashes[MADE_FOR], "blinded"])[:16]},
        )

    def called(self, number: int) -> str:
        """Return "pair 7 (v2 and v4)" for messages."""
        return f"pair {number} ({self.sar[number]} and {self.optical[number]})"

    def of(self, part: str) -> slice:
        """Return the numbers of a part's pairs."""
        later = [self.start[other] for other in REQUESTED[REQUESTED.index(part) + 1 :]]
        return slice(self.start[part], later[0] if later else len(self))


def requested_pairs(data: Mapping[str, Any], sampled: SampledPairs) -> RequestedPairs:
    """Return the pairs requested of another tool.

    Args:
        data: identity of the planned data (`PlannedData.identity`).
    """
    parts: list[str] = []
    sar: list[str] = []
    optical: list[str] = []
    start: dict[str, int] = {}
    at: dict[str, np.ndarray] = {}
    for part in REQUESTED:
        ids = sampled.ids["test" if part == GALLERY else part]
        if part == GALLERY:
            grid = np.meshgrid(sampled.gallery, sampled.gallery, indexing="ij")
            s, o = (axis.ravel() for axis in grid)
        else:
            s, o = sampled.pairs[part].sar, sampled.pairs[part].optical
        distinct, inverse = np.unique(s * len(ids) + o, return_inverse=True)
        start[part] = len(parts)
        at[part] = len(parts) + inverse
        parts += [part] * len(distinct)
        sar += [ids[i] for i in (distinct // max(len(ids), 1)).tolist()]
        optical += [ids[i] for i in (distinct % max(len(ids), 1)).tolist()]
    hashes = claims_of(data, pairs_sha256=canonical_hash([sampled.pairs_sha256, sampled.gallery_sha256]))
    return RequestedPairs(tuple(parts), tuple(sar), tuple(optical), start, at, hashes)


@dataclass(frozen=True)
class Submitted:
    """An answer, laid onto what was sampled.

    Attributes:
        distance: part -> (p,) float32 of the sampled pairs, NaN where the method failed; all NaN for a validation that
            was left out.
        gallery: (g, g) float32, None where it was left out.
        sar_embedding, optical_embedding, embedding_distance: of a predictions file with embeddings, in the order of the
            test part.
        fixed_threshold: of the distance.
        facts: for the record.
    """

    distance: Mapping[str, np.ndarray]
    gallery: np.ndarray | None
    fixed_threshold: float | None
    facts: dict[str, Any]
    sar_embedding: np.ndarray | None = None
    optical_embedding: np.ndarray | None = None
    embedding_distance: str | None = None


def read_submission(cell: Cell, plan: PlannedData, sampled: SampledPairs) -> Submitted:
    """Return the distances of a submitted cell.

    Raises:
        BenchError: the file is no such table, was made for other data, another split or another sampling, or does not
            name every pair exactly once with a finite distance or an empty field.
    """
    path = submitted_file(cell, READ)
    threshold: float | None = cell.spec["method"]["options"]["threshold"]
    requested = requested_pairs(plan.identity(), sampled)
    if path.suffix.lower() == OURS:
        return _from_predictions(path, requested, sampled, threshold)
    sheet = read_sheet(path, "pairs", "the columns pair, part, sar, optical, distance")
    sheet.check_columns((("distance", "similarity"),), (*NAMES, *PASSED_OVER, MADE_FOR), COLUMNS)
    named = set(NAMES[1:]) <= set(sheet.table)
    if not named and not {"pair", MADE_FOR} <= set(sheet.table):
        raise BenchError(f"{path} does not say which pairs it means; {COLUMNS}")
    claims = claims_in(sheet)
    requested = _asked(sheet, claims, named, requested)
    agreed = check_claims(claims, requested.hashes, path, HANDOUT)
    numbers = _numbers_of(sheet, requested, named)
    value, sign = ("distance", 1.0) if "distance" in sheet.table else ("similarity", -1.0)
    legal = f"a finite {value} within single precision, or an empty field where the method failed"
    distance = np.full(len(requested), np.nan)
    distance[numbers] = sign * sheet.numbers(value, legal, empty=True, largest=_LARGEST)
    given = np.zeros(len(requested), dtype=bool)
    given[numbers] = True
    fixed = None if threshold is None else float(np.float32(sign * threshold))
    return _laid(path, requested, sampled, distance, given, fixed, {"submitted_for": agreed, "submitted_value": value})


def _asked(sheet: Sheet, claims: Mapping[str, Any], named: bool, requested: RequestedPairs) -> RequestedPairs:
    """Return the pairs under the ids and numbers of a table: opaque ones, or those of the data set, as the handout had
    them before and still has with `--originals`.
    """
    stated = claims.get(MADE_FOR)
    if stated is not None:
        return requested if stated == requested.hashes[MADE_FOR] else requested.blinded
    opaque = set(requested.blinded.sar)
    return requested.blinded if named and any(name in opaque for name in sheet.texts("sar")) else requested


def _numbers_of(sheet: Sheet, requested: RequestedPairs, named: bool) -> np.ndarray:
    """Return the number of each row's pair, (n,) int64, each once."""
    by_number = sheet.positions("pair", len(requested)) if "pair" in sheet.table else None
    numbers = _numbers_by_name(sheet, requested) if named else by_number
    assert numbers is not None  # `read_submission` has seen one of the two
    if by_number is not None and (by_number != numbers).any():
        i = int(np.argmax(by_number != numbers))
        pair = by_number[i]
        here = f"pair {pair} is {requested.sar[pair]} and {requested.optical[pair]} of {requested.parts[pair]} here"
        raise BenchError(f"{sheet.where(i)}: {here}, not what the row names; predict what `{HANDOUT}` writes")
    sheet.check_once(
        numbers, lambda i: f"pair {i} ({requested.sar[i]} and {requested.optical[i]} of {requested.parts[i]})"
    )
    return numbers


def _numbers_by_name(sheet: Sheet, requested: RequestedPairs) -> np.ndarray:
    """Return the number of the pair that each row names, (n,) int64."""
    out = np.empty(len(sheet.table), dtype=np.int64)
    for i, key in enumerate(zip(*(sheet.texts(name) for name in NAMES[1:]), strict=True)):
        number = requested.number.get(key)
        if number is None:
            raise BenchError(f"{sheet.where(i)}: {_unknown(key, requested)}")
        out[i] = number
    return out


def _unknown(key: tuple[str, str, str], requested: RequestedPairs) -> str:
    """Return what is wrong with a pair that was not requested."""
    part, sar, optical = key
    if part not in REQUESTED:
        return f"unknown part {part!r}{nearest(part, REQUESTED)}"
    chosen = requested.of(part)
    for view, name, ids in (("SAR", sar, requested.sar[chosen]), ("optical", optical, requested.optical[chosen])):
        if name not in set(ids):
            return f"unknown {view} patch {name!r} in {part}{nearest(name, set(ids))}"
    return f"the pair {sar} and {optical} is not requested in {part}; predict what `{HANDOUT}` writes"


def _laid(
    path: Path,
    requested: RequestedPairs,
    sampled: SampledPairs,
    distance: np.ndarray,
    given: np.ndarray,
    fixed: float | None,
    facts: dict[str, Any],
) -> Submitted:
    """Lay distances by number onto the sampled pairs, once every part is complete or, where it may be, left out."""
    present = {part: bool(given[requested.of(part)].any()) for part in REQUESTED}
    for part in REQUESTED:
        own = given[requested.of(part)]
        missing = lacking(own, f"{len(own)} {part} pairs", requested.called, requested.start[part])
        if missing and (part == "test" or present[part]):
            advice = "write a row for each, with an empty distance where the method failed"
            raise BenchError(f"{path} lacks {missing}; {advice}")
    if not present["validation"] and len(sampled.pairs["validation"]) and fixed is None:
        number = len(given[requested.of("validation")])
        raise BenchError(
            f"{path} has none of the {number} validation pairs, on which the threshold is chosen; add them, or state a"
            " threshold with --threshold"
        )
    known = np.isfinite(distance)
    if not known[requested.of("test")].any():
        raise BenchError(
            f"{path}: every distance of the test pairs is empty; a method that fails on all of them needs no row"
        )
    _check_precision(distance[known], path)
    single = distance.astype(np.float32)
    gallery = single[requested.at[GALLERY]].reshape(len(sampled.gallery), -1) if present[GALLERY] else None
    facts = {"submitted": True, **facts}
    if gallery is None:
        facts["gallery_sha256"] = None
    return Submitted({part: single[requested.at[part]] for part in PARTS}, gallery, fixed, facts)


def _check_precision(values: np.ndarray, path: Path) -> None:
    """Raise BenchError where distances that differ become equal in float32, in which every row of a board is kept."""
    distinct = len(np.unique(values))
    single = len(np.unique(values.astype(np.float32)))
    if distinct - single > max(1, _MERGED * distinct):
        equal = f"of {distinct} different distances {distinct - single} become equal in single precision"
        raise BenchError(f"{path}: {equal}, which boards keep; subtract what they share or take a logarithm")


def _from_predictions(
    path: Path, requested: RequestedPairs, sampled: SampledPairs, threshold: float | None
) -> Submitted:
    """Read a predictions file of this task: its pairs, wherever they stand in it; its labels and kinds are not looked
    at.
    """
    if not zipfile.is_zipfile(path):
        raise BenchError(
            f"{path} is no predictions file of the matching task (.npz); submit a table instead: {COLUMNS}"
        )
    found = load_predictions(path)
    distance, given = np.full(len(requested), np.nan), np.zeros(len(requested), dtype=bool)
    for part in REQUESTED:
        own: PartPredictions = getattr(found, "test" if part == GALLERY else part)
        if part == GALLERY:
            grid = np.meshgrid(found.gallery_position, found.gallery_position, indexing="ij")
            s, o = (axis.ravel() for axis in grid)
            values = found.gallery_distance.ravel()
        else:
            s, o, values = own.pair_sar, own.pair_optical, own.distance
        ids = own.id.tolist()
        for sar, optical, value in zip(s.tolist(), o.tolist(), values.tolist(), strict=True):
            key = (part, ids[sar], ids[optical])
            number = requested.number.get(key)
            if number is None:
                raise BenchError(f"{path}: {_unknown(key, requested)}")
            value = value if np.isfinite(value) else np.nan
            if given[number] and not np.isclose(distance[number], value, equal_nan=True, **_CLOSE):
                raise BenchError(
                    f"{path}: two distances of pair {number} ({ids[sar]} and {ids[optical]} of {part}):"
                    f" {distance[number]}, {value}"
                )
            distance[number], given[number] = value, True
    fixed = found.fixed_threshold if threshold is None else threshold
    out = _laid(
        path, requested, sampled, distance, given, fixed, {"submitted_for": None, "submitted_value": "predictions file"}
    )
    return _with_embeddings(path, out, found, sampled)


def _with_embeddings(path: Path, out: Submitted, found: Predictions, sampled: SampledPairs) -> Submitted:
    """Take over the embeddings of a predictions file, in our order, once they are seen to give its distances."""
    name = found.embedding_distance
    if found.sar_embedding is None or found.optical_embedding is None or name is None:
        return out
    order = {sample: i for i, sample in enumerate(found.test.id.tolist())}
    if set(order) != set(sampled.ids["test"]) or len(order) < len(found.test.id):
        raise BenchError(f"{path}: its embeddings are not of the {len(sampled.ids['test'])} test samples, each once")
    take = np.array([order[sample] for sample in sampled.ids["test"]], dtype=np.int64)
    sar, optical = (np.asarray(each[take], dtype=np.float32) for each in (found.sar_embedding, found.optical_embedding))
    pairs = sampled.pairs["test"]
    expected = paired(name, sar[pairs.sar], optical[pairs.optical])
    if not np.allclose(expected, out.distance["test"], equal_nan=True, **_CLOSE):
        raise BenchError(
            f"{path}: its embeddings do not give its distances by {name!r}; leave the embeddings out, or the distances"
            " are wrong"
        )
    return Submitted(out.distance, out.gallery, out.fixed_threshold, out.facts, sar, optical, name)
