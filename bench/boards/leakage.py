"""Leakage by what a record says: does its test part share ground, scenes or files with what it was trained on? A pure
function.

Planning writes the facts into `inputs` (they enter no key), from places, scene names and file hashes alone. What only
pixels can show is the business of `bench data audit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bench.execution.records import Record

SHARED, UNKNOWN = "◊", "?"
FOOTNOTES = {
    SHARED: (
        "the test part shares ground, scenes or files with what trained or pretrained this row: its number is"
        " optimistic"
    ),
    UNKNOWN: (
        "whether the test part shares ground or scenes with what trained this row is unknown; `bench data audit` looks"
        " for it"
    ),
}
AUDIT = "run `bench data audit`"


@dataclass(frozen=True)
class Leakage:
    """A verdict.

    Attributes:
        kind: "none", "shared" or "unknown".
        text: what is shared, by how many samples of how many; or why nothing can be said.
    """

    kind: Literal["none", "shared", "unknown"]
    text: str

    @property
    def mark(self) -> str:
        """The mark of a board's row, a key of `FOOTNOTES`; "" for none."""
        return {"none": "", "shared": SHARED, "unknown": UNKNOWN}[self.kind]


def leak_mark(record: Record) -> str:
    """Return the mark of a record's row on a board, a key of `FOOTNOTES`.

    "" where nothing is shared as far as is known, and for a method that left no fitted state: nothing was trained that
    could remember.
    """
    measured_here = record.outputs and not record.facts.get("submitted")
    return "" if measured_here and "weights_sha256" not in record.outputs else leakage(record).mark


def leakage(record: Record) -> Leakage:
    """Return what a record shows of leakage between its test part and what it was trained, validated or pretrained on.

    Ground decides where the places of all samples are known, scenes where they are not; equal files count in any case,
    and so does what an audit of an official split is known to have found.
    """
    summary = record.inputs.get("split_summary") or {}
    sizes = summary.get("pairs") or summary.get("scenes") or {}
    shared = [*_files(record.inputs)]
    ground, scenes = (summary.get(f"sharing_{what}_with_test") or {} for what in ("ground", "scene"))
    if _known(ground, sizes):
        shared = [*_counted(ground, sizes, "share ground with the test part"), *shared]
        clean = "no training or validation sample shares ground with the test part"
    elif _known(scenes, sizes):
        shared = [*_counted(scenes, sizes, "come from a scene that is in the test part too"), *shared]
        clean = "no scene is in the test part and elsewhere; whether two scenes show one place is not known"
    elif not scenes and _by_scene(record):
        clean = "the split is by scene; whether two scenes show one place is not known"
    else:
        clean = ""
    if shared:
        return Leakage("shared", "; ".join(shared))
    if clean:
        return Leakage("none", clean)
    old = "" if "sharing_scene_with_test" in summary else ", or the record is older than the count of shared scenes"
    return Leakage("unknown", f"unknown: positions and scenes are not known{old}; {AUDIT}")


def _known(shared: Mapping[str, int | None], sizes: Mapping[str, int]) -> bool:
    """Return whether the counts of all parts that hold samples are known."""
    return all(shared.get(part) is not None for part in ("train", "validation") if sizes.get(part, 1))


def _counted(shared: Mapping[str, int | None], sizes: Mapping[str, int], what: str) -> list[str]:
    named = {"train": "training", "validation": "validation"}
    return [
        f"{shared[part]} of {sizes.get(part, '?')} {word} samples {what}"
        for part, word in named.items()
        if shared.get(part)
    ]


def _files(inputs: Mapping[str, Any]) -> list[str]:
    out = [str(inputs["audited"])] if inputs.get("audited") else []
    if inputs.get("test_files_in_training"):
        out.append(f"test images that also train or validate, byte by byte: {inputs['test_files_in_training']}")
    if inputs.get("pretraining_shares_files"):
        out.append(f"test images that the pretraining saw, byte by byte: {inputs['pretraining_shares_files']}")
    return out


def _by_scene(record: Record) -> bool:
    """Return whether the split keeps scenes whole by its own definition: for records older than the counts of shared
    scenes.
    """
    split = (record.spec.get("dataset") or {}).get("split") or {}
    return split.get("kind") == "grouped" and split.get("by") in (None, "scene")
