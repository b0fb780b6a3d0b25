"""Where a number comes from: every record found, by fingerprint, and what each says about itself and the cells it
starts from.

A view of records, of `runs/` and of the boards' entries alike: it reads and hashes files, and changes none.
"""

from __future__ import annotations

import os
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.boards.checks import scores_missing, wrong_identity, wrong_numbers
from bench.boards.entries import ENTRIES, ENTRY_FILES, read_samples
from bench.core.errors import BenchError, nearest
from bench.core.untrusted import is_regular
from bench.execution.cell import row_names
from bench.execution.records import (
    CHANGED,
    MODEL,
    PREDICTIONS,
    RECORD,
    SCORES,
    Record,
    file_state,
    load_record,
    output_hashes,
)
from bench.execution.task import get_task
from bench.tasks.fusion import FUSED, changed_members

RUNS = "runs"  # stands for a board's name in the name of a row that is on none
SHORTEST_PREFIX = 4
SHOWN_HASH = 12
LEVELS = 2  # of cells that a cell starts from: more than today's tasks have


@dataclass(frozen=True)
class Source:
    """One record and where it was read.

    Attributes:
        path: `record.json` of a cell's folder, or an entry of a board.
        board: name of the suite whose board holds the entry, "" for a cell's folder.
    """

    path: Path
    record: Record
    board: str = ""

    @property
    def samples(self) -> Path:
        """The file of its per-sample scores; a failed cell has none."""
        return self.path.with_suffix(".npz") if self.board else self.path.parent / SCORES


def find_sources(runs: Path | None, boards: Path | None) -> tuple[list[Source], list[str]]:
    """Return every readable record of cells and entries, and one message for each damaged one."""
    sources, problems = [], []
    found = (
        []
        if boards is None
        else [(path, path.parents[1].name) for path in sorted(boards.glob(f"*/{ENTRIES}/{ENTRY_FILES}"))]
    )
    found += [] if runs is None else [(path, "") for path in sorted(runs.glob(f"*/*/{RECORD}"))]
    for path, board in found:
        try:
            sources.append(Source(path, load_record(path), board))
        except BenchError as error:
            problems.append(str(error))
    return sources, problems


def describe(record: Record) -> str:
    """Return "bnn on s1s2-256/place, seed 1"."""
    return f"{record.method} on {record.dataset}" + ("" if record.seed is None else f", seed {record.seed}")


def look_up(text: str, sources: Sequence[Source]) -> list[Source]:
    """Return the sources of the one fingerprint that `text` names.

    Args:
        text: at least 4 leading hexadecimal digits of a fingerprint (else of a train or predict key, or of a model's or
            a predictions file's hash), the path of an entry or of a cell's folder, "suite/task--slot", where the suite
            may be left out, or the name of a row with one seed (`row_names`).

    Raises:
        BenchError: nothing is called so (the nearest are named), or several fingerprints are.
    """
    found = _called(text, sources)
    prints = list(dict.fromkeys(source.record.fingerprint for source in found))
    if len(prints) > 1:
        first = {source.record.fingerprint: source.record for source in reversed(found)}
        listed = [f"{key[:SHOWN_HASH]} ({first[key].task} {describe(first[key])})" for key in prints[:8]]
        more = f" and {len(prints) - 8} more" if len(prints) > 8 else ""
        raise BenchError(f"{text!r} is ambiguous, give more of one of: {', '.join(listed)}{more}")
    return [source for source in sources if source.record.fingerprint == prints[0]]


def look_up_seeds(text: str, sources: Sequence[Source]) -> list[list[Source]]:
    """Return what `look_up` does, for each seed where `text` names one row of several.

    Raises:
        BenchError: nothing is called so, or what is called so is more than one row.
    """
    found = _called(text, sources)
    seeds = {source.record.fingerprint: source.record.seed for source in found}
    rows = {(record.task, record.dataset, record.row_key) for record in (source.record for source in found)}
    if len(rows) > 1 or len(set(seeds.values())) < len(seeds):
        return [look_up(text, sources)]
    order = sorted(seeds, key=lambda key: -1 if seeds[key] is None else int(seeds[key] or 0))
    return [[source for source in sources if source.record.fingerprint == key] for key in order]


def _called(text: str, sources: Sequence[Source]) -> list[Source]:
    found = _by_path(text, sources) or _by_hash(text, sources) or _by_name(text, sources) or _by_row(text, sources)
    if not found:
        raise BenchError(_unknown(text, sources))
    return found


def _by_row(text: str, sources: Sequence[Source]) -> list[Source]:
    """Return the sources of the row with this name; those of a board go before those under the runs folder."""
    found = []
    for source in sources:
        record = source.record
        if text in row_names(source.board or RUNS, record.task, record.dataset, record.method, record.row_key):
            found.append(source)
    return [source for source in found if source.board] or found


def _by_path(text: str, sources: Sequence[Source]) -> list[Source]:
    path = Path(text)
    path = path / RECORD if path.is_dir() else path.with_suffix(".json") if path.suffix == ".npz" else path
    if not path.is_file():
        return []
    known = [source for source in sources if source.path.resolve() == path.resolve()]
    if known:
        return known
    raise BenchError(
        f"{path} is neither a cell under the runs folder nor an entry of a board; name its folder with --runs or"
        " --boards"
    )


def _by_hash(text: str, sources: Sequence[Source]) -> list[Source]:
    prefix = text.lower()
    if not prefix or not set(prefix) <= set(string.hexdigits):
        return []
    if len(prefix) < SHORTEST_PREFIX:
        raise BenchError(f"{text!r} is too short; give at least {SHORTEST_PREFIX} digits of the fingerprint")
    exact = [source for source in sources if source.record.fingerprint.startswith(prefix)]
    return exact or [
        source for source in sources if any(str(key).startswith(prefix) for key in _other_hashes(source.record))
    ]


def _other_hashes(record: Record) -> list[str]:
    return [*record.keys.values(), *(str(value) for value in output_hashes(record).values())]


def _names(source: Source) -> set[str]:
    """Return what a source may be called besides its fingerprint."""
    slot = f"{source.record.task}--{source.record.slot}"
    return {slot, source.record.slot, f"{source.board or source.record.suite}/{slot}", source.path.parent.name} - {
        ENTRIES
    }


def _by_name(text: str, sources: Sequence[Source]) -> list[Source]:
    """Return the sources with this name; what stands on a board now goes before what earlier settings left under the
    runs folder.
    """
    found = [source for source in sources if text in _names(source)]
    return [source for source in found if source.board] or found


def _unknown(text: str, sources: Sequence[Source]) -> str:
    if not sources:
        return (
            f"no record {text!r}: there is no finished cell and no entry at all; name their folders with --runs and"
            " --boards"
        )
    known = (
        {source.record.fingerprint[:SHOWN_HASH] for source in sources}
        if set(text.lower()) <= set(string.hexdigits)
        else set()
    )
    known = known or {
        name
        for source in sources
        for name in (
            f"{source.board or source.record.suite}/{source.record.task}--{source.record.slot}",
            f"{source.board or RUNS}:{source.record.dataset}/{source.record.method}",
        )
    }
    return f"no record is called {text!r}{nearest(text, known)}"


# -- what a record says ------------------------------------------------------------------------------------------------
def explain(found: Sequence[Source], sources: Sequence[Source], runs: Path, boards: Path) -> dict[str, Any]:
    """Return the lineage of the record in `found` (its places, equal fingerprints) as JSON: the cells it starts from,
    two levels deep.

    Folders are relative to `runs` and `boards`. `problems` lists what does not agree any more: exit code 1 of
    `bench explain`.
    """
    record = found[0].record
    headline = get_task(record.task).headline
    files = [state for source in found for state in _files(source, boards if source.board else runs)]
    problems = [
        f"{file['path']}: {file['file']} is not what the record was made of"
        for file in files
        if file["state"] == CHANGED
    ]
    problems += [
        f"{_relative(source.path, boards if source.board else runs)} holds other numbers under the same fingerprint"
        for source in found[1:]
        if source.record.metrics != record.metrics
    ]
    problems += dict.fromkeys(problem for source in found if (problem := _wrong(source)))
    required = [required_cell(record, key, sources) for key in record.requires]
    left = [cell["weights"].get("predictions_sha256") if cell["found"] else None for cell in required]
    problems += [*_other_starts(record, required), *changed_members(record, left)]
    key = f"{record.task}:{record.keys['train']}"
    users = {source.record.fingerprint: source.record for source in sources if key in source.record.requires}
    return {
        **_own(record),
        "status": record.status,
        "limit": record.limit,
        "smoke": record.smoke,
        "failure": (
            None if record.failure is None else {"stage": record.failure.stage, "message": record.failure.message}
        ),
        "keys": record.keys,
        "row_key": record.row_key,
        "headline": {"metric": headline, "value": record.metrics.get(headline)},
        "metrics": record.metrics,
        "facts": {name: value for name, value in record.facts.items() if name != "outputs"},
        "spec": record.spec,
        "reference": record.names.get("reference"),
        "starts_from": required,
        "used_by": [{**_label(user), "command": user.command} for user in users.values()],
        "boards": list(dict.fromkeys(f"{source.board}/{record.task}.md" for source in found if source.board)),
        "files": files,
        "cost": record.cost,
        "problems": problems,
    }


def _wrong(source: Source) -> str:
    """Return what in a record does not follow from what it says of itself or from its per-sample scores."""
    record, problem = source.record, wrong_identity(source.record)
    if problem or record.status != "finished":
        return problem
    try:
        there = os.path.lexists(source.samples)
        return wrong_numbers(record, read_samples(source.samples, record.task))[0] if there else scores_missing(record)
    except BenchError as error:
        return str(error)


def _other_starts(record: Record, required: Sequence[dict[str, Any]]) -> list[str]:
    """Return what is wrong where a cell that was found has left another model since: it was trained again."""
    start = _initial(record).get("initial_sha256")
    models = [
        cell["weights"].get("weights_sha256") for cell in required if cell["found"] and cell["status"] == "finished"
    ]
    if not start or not any(models) or start in models:
        return []
    return [
        f"it started from the model {short(start)}, but the cell it starts from has left"
        f" {', '.join(map(short, models))} since"
    ]


def required_cell(record: Record, key: str, sources: Sequence[Source], levels: int = LEVELS) -> dict[str, Any]:
    """Return what is known of a cell that `record` starts from or is made of.

    Args:
        key: "task:train key", one of `record.requires`.

    Returns:
        Its own lineage where its record was found, else what `record` holds of it, with `found` saying which.
    """
    task, _, train = key.partition(":")
    stated = [cell for name in ("pretrained_by", FUSED) for cell in record.inputs.get(name) or []]
    noted: dict[str, Any] = next((cell for cell in stated if cell.get("train") == train), {})
    mine = [source.record for source in sources if source.record.task == task and source.record.keys["train"] == train]
    mine.sort(key=lambda other: (other.fingerprint != noted.get("score"), other.status != "finished"))
    if not mine:
        return {
            "task": task,
            "train_key": train,
            "found": False,
            "cell": noted.get("cell"),
            "command": noted.get("command"),
        }
    required = mine[0]
    deeper = [required_cell(required, inner, sources, levels - 1) for inner in required.requires] if levels > 1 else []
    return {**_own(required), "train_key": train, "found": True, "status": required.status, "starts_from": deeper}


def _label(record: Record) -> dict[str, Any]:
    return {
        "fingerprint": record.fingerprint,
        "task": record.task,
        "suite": record.suite,
        "dataset": record.dataset,
        "method": record.method,
        "seed": record.seed,
    }


def _own(record: Record) -> dict[str, Any]:
    """Return a cell's own command, code state, machine, data and weights."""
    provenance, inputs = record.provenance, record.inputs
    made = {name: provenance.get(name) or {} for name in ("trained_by", "predicted_by")}
    return {
        **_label(record),
        "command": record.command,
        "code": {
            "scored": provenance.get("git"),
            "trained": made["trained_by"].get("git"),
            "predicted": made["predicted_by"].get("git"),
            "versions": provenance.get("versions", {}),
        },
        "machine": {
            "scored": provenance.get("hardware"),
            "trained": made["trained_by"].get("hardware"),
            "predicted": made["predicted_by"].get("hardware"),
        },
        "data": {
            **inputs.get("data", {}),
            "split_counts": inputs.get("split_counts"),
            "split_summary": inputs.get("split_summary"),
            "ships": inputs.get("ships"),
        },
        "weights": {**_initial(record), **output_hashes(record)},
        "files_sha256": {name: sha for name, sha in (inputs.get("files_sha256") or {}).items() if name != "initial"},
        "fused": bool(inputs.get(FUSED)),
    }


def _initial(record: Record) -> dict[str, Any]:
    """Return what the network started from: `start` in words, the SHA-256 of the file, and its branch; empty where
    there is no network.
    """
    method = record.spec.get("method", {})
    if method.get("backbone") is None:
        return {}
    initial = record.facts.get("initial_weights") or {}
    sha = (
        initial.get("sha256")
        or record.inputs.get("initial_weights_sha256")
        or (record.inputs.get("files_sha256") or {}).get("initial")
    )
    return {
        "start": method.get("init", method.get("pretrain")),
        "initial_sha256": sha,
        "initial_branch": initial.get("branch") or method.get("init_branch") or None,
        "initial_state_sha256": record.facts.get("initial_state_sha256"),
    }


def _files(source: Source, base: Path) -> list[dict[str, str]]:
    """Return the state of each file that a record promises, beside it."""
    at = _relative(source.path if source.board else source.path.parent, base)
    place = "boards" if source.board else "runs"
    out = []
    if not source.board:
        hashes = output_hashes(source.record)
        for name, key in ((PREDICTIONS, "predictions_sha256"), (MODEL, "weights_sha256")):
            if hashes.get(key):
                out.append(
                    {"in": place, "path": at, "file": name, "state": file_state(source.path.parent / name, hashes[key])}
                )
    if source.record.status == "finished":
        out.append(
            {
                "in": place,
                "path": at,
                "file": "per-sample scores",
                "state": "there" if is_regular(source.samples) else "missing",
            }
        )
    return out


def _relative(path: Path, base: Path) -> str:
    """Return a path as it is seen from a runs or boards folder: what is printed may be kept, and names no machine."""
    return path.relative_to(base).as_posix()


def short(value: str | None) -> str:
    """Return the first digits of a hash, "unknown" for none."""
    return str(value)[:SHOWN_HASH] if value else "unknown"
