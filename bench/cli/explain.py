"""Where a number comes from: the command, code state, data and weights behind one record, and the cells it starts from.

Every hash is recomputed from the files that are still there. Exit code 1 when one of them is not what the record was
made of, or a record could not be read.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.workspace import user_path
from bench.tools.lineage import explain, find_sources, look_up_seeds, short

EXAMPLES = """  bench explain 2df415e2                              any leading digits of a fingerprint, four at least
  bench explain leaderboards/hrsid/entries/detection--hrsid-site--cfar--once.json
  bench explain hrsid:faster-rcnn/osm                    a row: every seed of it
  bench explain hrsid/detection--hrsid-site--faster-rcnn-osm--seed0 --json"""
INDENT, WIDTH = 13, 128
Line = tuple[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "record",
        metavar="RECORD",
        help="leading digits of a fingerprint, an entry, a cell's folder, suite/task--slot, or a row as in"
        " `bench compare`, [BOARD:][DATASET/SPLIT/]LABEL, seed by seed",
    )
    parser.add_argument(
        "--runs",
        type=user_path,
        default=Path("runs"),
        metavar="DIR",
        help="where cells keep their files (default: runs)",
    )
    parser.add_argument(
        "--boards",
        type=user_path,
        default=Path("leaderboards"),
        metavar="DIR",
        help="where boards are (default: leaderboards)",
    )
    parser.add_argument("--json", action="store_true", dest="as_json", help="print everything, hashes in full, as JSON")


def execute(args: argparse.Namespace) -> int:
    sources, damaged = find_sources(args.runs, args.boards)
    for problem in damaged:
        print(f"left out: {problem}", file=sys.stderr)
    if not sources:
        raise BenchError(
            f"no record under {args.runs} or {args.boards}; run a suite first (bench run --config quickstart), or name"
            " the folders"
        )
    found = look_up_seeds(args.record, sources)
    reports = [explain(each, sources, args.runs, args.boards) for each in found]
    if args.as_json:
        print(json.dumps(reports[0] if len(reports) == 1 else reports, indent=1, sort_keys=True))
    else:
        places = {"runs": args.runs, "boards": args.boards}
        print("\n\n".join("\n".join(to_lines(report, places)) for report in reports))
    return int(bool(damaged) or any(report["problems"] for report in reports))


def to_lines(report: Mapping[str, Any], places: Mapping[str, Path]) -> list[str]:
    """Return the report for a terminal: one label a line, hashes cut to 12 digits, what a cell starts from indented
    below it.
    """
    out = [_title(report), ""]
    out += _aligned(
        [
            ("fingerprint", short(report["fingerprint"])),
            *_command(report),
            *_numbers(report),
            *_own(report),
            *_facts(report),
        ]
    )
    if report["starts_from"]:
        out += ["", _needs(report)]
        for cell in report["starts_from"]:
            out += _required(cell, "  ", report["code"]["versions"])
    used = [_cell(user) for user in report["used_by"]] or ["no cell found"]
    out += ["", *_aligned([("used by" if number == 0 else "", text) for number, text in enumerate(used)])]
    out += _aligned(
        [*_standing(report, places), *_costs(report), *(("PROBLEM", problem) for problem in report["problems"])]
    )
    return out


def _title(report: Mapping[str, Any]) -> str:
    marks = [report["status"]]
    marks += ["smoke: a wiring check, no measurement"] if report["smoke"] else []
    marks += [f"limit {report['limit']}: a wiring check, no measurement"] if report["limit"] is not None else []
    return f"{_cell(report, with_hash=False)}: {', '.join(marks)}"


def _cell(cell: Mapping[str, Any], with_hash: bool = True) -> str:
    seed = "" if cell["seed"] is None else f", seed {cell['seed']}"
    return f"{cell['task']} {cell['method']} on {cell['dataset']}{seed}" + (
        f"  {short(cell['fingerprint'])}" if with_hash else ""
    )


def _command(cell: Mapping[str, Any]) -> Iterator[Line]:
    yield "command", cell["command"] or "unknown"


def _numbers(report: Mapping[str, Any]) -> Iterator[Line]:
    if report["failure"] is not None:
        yield "failed", f"in {report['failure']['stage']}: {report['failure']['message']}"
        return
    name = report["headline"]["metric"]
    yield "number", f"{name} {_number(report['headline']['value'])}"
    level = name.rpartition(".")[0] + "."
    others = {
        key.removeprefix(level): value
        for key, value in report["metrics"].items()
        if key.startswith(level) and key != name
    }
    known = [f"{key} {_number(value)}" for key, value in others.items() if value is not None and "." not in key]
    if known:
        yield "", ", ".join(known)
    rest = (
        sum(value is not None for value in report["metrics"].values())
        - len(known)
        - (report["headline"]["value"] is not None)
    )
    if rest:
        yield "", f"and {rest} more (--json)"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _own(cell: Mapping[str, Any], versions: Mapping[str, Any] | None = None) -> Iterator[Line]:
    """Yield what a cell's record says, whether of the requested cell or of one that another (made with `versions`)
    starts from.
    """
    yield from _code(cell, versions)
    data = cell["data"]
    if data.get("dataset"):
        yield (
            "data",
            (
                f"{data['dataset']} (reader version {data['version']}), manifest {short(data['manifest'])}, split"
                f" {short(data['split'])}"
            ),
        )
    counts = [_counts(data["split_counts"])] if data["split_counts"] else []
    counts += [f"ships: {_counts(data['ships'])}"] if data["ships"] else []
    if counts:
        yield "", "; ".join(counts)
    options = {name: value for name, value in data.get("options", {}).items() if value is not None and value != {}}
    if options:
        yield "", "options: " + ", ".join(f"{name}: {_plain(value)}" for name, value in sorted(options.items()))
    if cell["files_sha256"]:
        yield "given files", ", ".join(f"{name} {short(sha)}" for name, sha in sorted(cell["files_sha256"].items()))
    yield from _weights(cell["weights"])


def _code(cell: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> Iterator[Line]:
    """Yield code, machine, and versions other than the `known` ones; who trained and predicted only where that differs
    from who scored.
    """
    code, machine = cell["code"], cell["machine"]
    version = code["versions"].get("saropt-bench")
    yield "code", _git(code["scored"]) + (f", saropt-bench {version}" if version else "")
    for stage in ("trained", "predicted"):
        noted = code[stage] is not None or machine[stage] is not None
        if noted and (code[stage], machine[stage]) != (code["scored"], machine["scored"]):
            yield "", f"{stage} by {_git(code[stage])}, on {_machine(machine[stage])} (merged)"
    if machine["scored"]:
        yield "machine", _machine(machine["scored"])
    versions = [f"{name} {value}" for name, value in code["versions"].items() if value and name != "saropt-bench"]
    if versions and code["versions"] == known:
        yield "versions", "the same as above"
    elif versions:
        yield "versions", ", ".join(versions)


def _git(state: Mapping[str, Any] | None) -> str:
    if not state:
        return "commit unknown (installed without git)"
    return f"commit {short(state['commit'])}, " + ("with uncommitted changes" if state["dirty"] else "clean")


def _machine(hardware: Mapping[str, Any] | None) -> str:
    if not hardware:
        return "an unknown machine"
    threads = hardware.get("threads")
    parts = [hardware.get("processor"), hardware.get("accelerator"), f"device {hardware.get('device')}"]
    parts += [f"{threads} thread" + ("" if threads == 1 else "s")] if threads else []
    parts += [f"{hardware['processes']} processes"] if hardware.get("processes", 1) > 1 else []
    return ", ".join(part for part in parts if part)


def _weights(weights: Mapping[str, Any]) -> Iterator[Line]:
    label = "weights"
    if "start" in weights:
        yield label, "start: " + _start(weights)
        label = ""
    made = [
        (name, weights.get(f"{key}_sha256")) for name, key in (("model", "weights"), ("predictions", "predictions"))
    ]
    if any(sha for _, sha in made):
        yield label, ", ".join(f"{name} {short(sha)}" for name, sha in made if sha)


def _start(weights: Mapping[str, Any]) -> str:
    if weights["initial_sha256"]:
        branch = f" (its {weights['initial_branch']}*)" if weights["initial_branch"] else ""
        return f"{weights['start']}, file {short(weights['initial_sha256'])}{branch}"
    state = weights["initial_state_sha256"]
    return ("random" if weights["start"] == "none" else str(weights["start"])) + (
        f", state {short(state)}" if state else ""
    )


def _facts(report: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the protocol, the drawn pairs and gallery, or tiles and merging; and the outcome of training."""
    facts, spec = report["facts"], report["spec"]
    if facts.get("submitted"):
        yield "submitted", "by another tool" + (f", {report['reference']}" if report["reference"] else "")
    yield (
        "protocol",
        ", ".join(
            f"{name}: {_plain(value)}" for name, value in sorted(spec.get("protocol", {}).items()) if value is not None
        ),
    )
    if "pairs_sha256" in facts:
        drawn = facts.get("pair_counts", {}).get("test", {})
        yield "pairs", f"test {short(facts['pairs_sha256'].get('test'))}: {_counts(drawn)}"
        yield "", f"gallery of {facts.get('gallery.size')}, {short(facts.get('gallery_sha256'))}"
    if spec.get("dataset", {}).get("tiles"):
        yield "tiles", _plain(spec["dataset"]["tiles"])
    trained = ("epochs", "chosen_epoch", "training_tiles", "training_entries", "resumed_from_epoch", "mmcv_operators")
    figures = [f"{name.replace('_', ' ')} {facts[name]}" for name in trained if facts.get(name) is not None]
    if figures:
        yield "training", ", ".join(figures)


def _needs(cell: Mapping[str, Any]) -> str:
    return "is made of the predictions of" if cell["fused"] else "starts from the training of"


def _required(cell: Mapping[str, Any], indent: str, versions: Mapping[str, Any]) -> list[str]:
    if not cell["found"]:
        name = cell["cell"] or "a cell whose record was not found"
        lines = [("train key", short(cell["train_key"])), ("record", "not under the runs folder or on a board here")]
        lines += list(_command(cell)) if cell["command"] else []
        return [f"{indent}{cell['task']} {name}", *_aligned(lines, indent + "  ")]
    out = [f"{indent}{_cell(cell)}" + ("" if cell["status"] == "finished" else f"  ({cell['status']})")]
    out += _aligned([*_command(cell), *_own(cell, versions)], indent + "  ")
    for deeper in cell["starts_from"]:
        out += [f"{indent}  which {_needs(cell)}", *_required(deeper, indent + "    ", versions)]
    return out


def _standing(report: Mapping[str, Any], places: Mapping[str, Path]) -> Iterator[Line]:
    boards = [str(places["boards"] / board) for board in report["boards"]]
    yield "boards", ", ".join(boards) if boards else "on none"
    by_path: dict[str, list[str]] = {}
    for file in report["files"]:
        by_path.setdefault(str(places[file["in"]] / file["path"]), []).append(f"{file['file']} {file['state']}")
    label = "files"
    for path, states in by_path.items():
        yield label, f"{path}: {', '.join(states)}"
        label = ""


def _costs(report: Mapping[str, Any]) -> Iterator[Line]:
    stages = [
        f"{stage} {cost['seconds']:.1f} s"
        for stage, cost in sorted(report["cost"].items(), key=_stage)
        if "seconds" in cost
    ]
    peaks = [cost["peak_memory_bytes"] for cost in report["cost"].values() if cost.get("peak_memory_bytes")]
    if stages:
        yield "cost", ", ".join([*stages, *([f"peak memory {max(peaks) / 2**30:.1f} GiB"] if peaks else [])])


def _stage(item: tuple[str, Any]) -> int:
    order = ("train", "predict", "score")
    return order.index(item[0]) if item[0] in order else len(order)


def _counts(counts: Mapping[str, int]) -> str:
    parts = [name for name in ("train", "validation", "test", "positive", "uniform", "hard") if name in counts]
    return ", ".join(f"{name} {counts[name]}" for name in parts)


def _plain(value: Any) -> str:
    """Return an option's value as it is written in YAML, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_plain(inner)}" for name, inner in value.items() if inner is not None) + "}"
    return "[" + ", ".join(map(_plain, value)) + "]" if isinstance(value, list) else str(value)


def _aligned(lines: list[Line], indent: str = "") -> list[str]:
    """Return labelled lines with their texts below each other; long texts go on below."""
    out = []
    for label, text in lines:
        wrapped = textwrap.wrap(text, WIDTH - INDENT - len(indent), break_long_words=False, break_on_hyphens=False) or [
            ""
        ]
        out += [
            f"{indent}{(label if number == 0 else '').ljust(INDENT)}{line}".rstrip()
            for number, line in enumerate(wrapped)
        ]
    return out
