"""What a record must hold to be believed as a record: checked in one place whenever one is read, since anyone may have
written it.

Owns names, labels, keys and the parts that the views of every task read (inputs, provenance, cost). What a task's own
spec, inputs and facts must hold is its `Task.record_schema`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from bench.core.errors import BenchError, nearest
from bench.core.escaping import one_line
from bench.core.registries import TASKS
from bench.core.validation import MAX_SEED, label_problem
from bench.execution.cell import slot_problem

if TYPE_CHECKING:
    from bench.execution.records import Record

_HEX = re.compile(r"[0-9a-f]{64}")
_STAGES = {"train", "predict", "score"}
LARGEST = 1e15  # of a number in a record, so that sums and squares of it stay finite


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds a character that cannot be printed, such as a line break")
    return text


Line = Annotated[str, Field(max_length=4000), AfterValidator(_one_line)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=int(LARGEST))]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
PerPart = dict[str, Count | None]


def _of_every_part(counts: dict[str, int]) -> dict[str, int]:
    missing = [part for part in ("train", "validation", "test") if part not in counts]
    if missing:
        raise ValueError(f"the {missing[0]} part is missing")
    return counts


Counts = Annotated[dict[str, Count], AfterValidator(_of_every_part)]


class Stated(BaseModel):
    """Base of what a part of a record must hold: types are exact, further keys are left alone."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class StatedHardware(Stated):
    """The machine of a stage."""

    device: Line | None = None
    accelerator: Line | None = None
    processor: Line | None = None
    threads: Count | None = None
    processes: Count = 1


class StatedCode(Stated):
    """The code state of a stage."""

    commit: Line
    dirty: bool


class StatedMaker(Stated):
    """Who made a stage."""

    git: StatedCode | None = None
    hardware: StatedHardware | None = None


class StatedProvenance(StatedMaker):
    """`Record.provenance`."""

    hardware: StatedHardware = StatedHardware()
    trained_by: StatedMaker | None = None
    predicted_by: StatedMaker | None = None
    versions: dict[str, Line | None] = {}


class StatedCost(Stated):
    """The cost of one stage."""

    seconds: Number = 0.0
    peak_memory_bytes: Count | None = None
    samples_per_second: Number | None = None
    megapixels_per_second: Number | None = None


class StatedData(Stated):
    """`inputs.data`: what identifies the samples; its names come together or not at all."""

    dataset: Line | None = None
    version: Count | Line | None = None
    manifest: Line | None = None
    split: Line | None = None
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _whole(self) -> StatedData:
        if self.dataset and None in (self.version, self.manifest, self.split):
            raise ValueError("version, manifest and split are missing beside the name of the data set")
        return self


class StatedSummary(Stated):
    """`inputs.split_summary`: counts, before any limit."""

    pairs: dict[str, Count] | None = None
    scenes: dict[str, Count] | None = None
    sharing_ground_with_test: PerPart | None = None
    sharing_scene_with_test: PerPart | None = None


class StatedMember(Stated):
    """One of `inputs.fused`: a cell whose predictions a fused row is made of."""

    task: Line
    row: Line
    cell: Line
    command: Line
    train: Hash
    predict: Hash
    score: Hash


class StatedInputs(Stated):
    """`Record.inputs`, as the views of every task read it."""

    data: StatedData
    split_counts: dict[str, Count] = {}
    split_summary: StatedSummary | None = None
    files_sha256: dict[str, Line] | None = None
    initial_weights_sha256: Line | None = None
    test_files_in_training: Count | None = None
    pretraining_shares_files: Count | None = None
    fused: list[StatedMember] | None = None


class StatedSpec(Stated):
    """`Record.spec`."""

    protocol: Any


class StatedFacts(Stated):
    """`Record.facts`. What is missing is None; `needed` holds what a finished record has."""

    needed: ClassVar[tuple[str, ...]] = ()

    samples_total: Count | None = None
    submitted: bool | None = None
    outputs: dict[str, Line | None] = {}


class StatedParts(Stated):
    """The parts of a record that the views of every task read; the base of `Task.record_schema`."""

    spec: StatedSpec
    inputs: StatedInputs
    facts: StatedFacts
    names: dict[str, Line]
    metrics: dict[str, Number | None]
    outputs: dict[str, Line | None]
    cost: dict[str, StatedCost]
    provenance: StatedProvenance

    @model_validator(mode="after")
    def _finished(self, info: ValidationInfo) -> StatedParts:
        finished = (info.context or {}).get("status") == "finished"
        for name in type(self.facts).needed if finished else ():
            if getattr(self.facts, name) is None:
                raise ValueError(f"facts.{type(self.facts).model_fields[name].alias or name} is missing")
        return self


def record_problem(record: Record) -> str:
    """Return what keeps a record from being taken for one, "" where nothing does.

    Raises:
        BenchError: its task is not registered here.
    """
    problem = _wrong_names(record) or _wrong_keys(record)
    if problem:
        return problem
    if record.task not in TASKS.names():
        raise BenchError(
            f"task {ascii(record.task[:40])} of {record.method} on {record.dataset} is not registered here"
            f"{nearest(record.task, TASKS.names())}; that of a plug-in is, once its package is installed"
        )
    from bench.execution.task import get_task

    parts = {name: getattr(record, name) for name in StatedParts.model_fields}
    try:
        get_task(record.task).record_schema.model_validate(parts, context={"status": record.status})
    except ValidationError as error:
        return validation_problem(error)
    return ""


def validation_problem(error: ValidationError) -> str:
    """Return the first problem as "facts.gallery.size: Field required", on one line."""
    first = error.errors()[0]
    at = ".".join(str(part) for part in first["loc"])
    return one_line(f"{at[:80]}: {first['msg'].removeprefix('Value error, ')}")


def _wrong_names(record: Record) -> str:
    problem = label_problem(record.suite) or slot_problem(record.dataset, record.method, record.seed)
    if record.seed is not None and not 0 <= record.seed <= MAX_SEED:
        problem = problem or f"seed: {record.seed} is none; seeds are whole numbers from 0 to {MAX_SEED}"
    if record.limit is not None and record.limit < 1:
        problem = problem or f"limit: {record.limit} is no number of samples"
    return problem


def _wrong_keys(record: Record) -> str:
    if set(record.keys) != _STAGES:
        return f"keys: expected {', '.join(sorted(_STAGES))}"
    hashes = {"fingerprint": record.fingerprint, "row_key": record.row_key, **record.keys}
    wrong = [name for name, value in hashes.items() if not _HEX.fullmatch(value)]
    wrong += ["requires" for key in record.requires if not _HEX.fullmatch(key.partition(":")[2])]
    return f"{wrong[0]}: no hash of 64 hexadecimal digits" if wrong else ""
