"""Say what is installed, which backends work (by using them), which data are found, and what to do about the rest.
Needs no network.

Exit code 0 when everything that is needed works; data sets, weight files, a GPU and optional packages may be absent. 1
when something that is needed is missing, or something that is installed is broken.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence

from bench.cli.options import add_place_arguments, place_arguments
from bench.core.registries import DATASETS
from bench.core.workspace import Workspace
from bench.tools.doctor import Finding, examine

EXAMPLES = """  bench doctor                       everything, under a minute
  bench doctor --quick               without the computations
  bench doctor --root qxs-saropt=DIR is the data set that lies there complete?
  bench doctor --json                for programs; holds no path of this machine"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quick", action="store_true", help="leave out what computes: networks, evaluators, digests of weight files"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    add_place_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    workspace, started = Workspace.at(**place_arguments(args)), time.monotonic()
    for name in set(workspace.roots) - {""}:
        DATASETS.entry(name)  # refuses an unknown name, with the nearest

    def announce(what: str) -> None:
        print(f"[{time.monotonic() - started:4.0f} s] {what}", file=sys.stderr, flush=True)

    findings = list(examine(workspace, args.quick, announce))
    if args.json:
        print(
            json.dumps(
                {"ok": not any(each.fails for each in findings), "findings": [_as_json(each) for each in findings]},
                indent=1,
            )
        )
    else:
        _print(findings)
    return 1 if any(each.fails for each in findings) else 0


def _print(findings: Sequence[Finding]) -> None:
    width = max(len(each.name) for each in findings)
    for section in dict.fromkeys(each.section for each in findings):
        print(section)
        for each in (each for each in findings if each.section == section):
            place = f"  ({each.place})" if each.place else ""
            print(f"  {_word(each).ljust(7)}  {each.name.ljust(width)}  {each.text}{place}")
            if each.advice:
                print(f"  {''.ljust(7)}  {''.ljust(width)}  -> {each.advice}")
        print()
    print(_summary(findings))


def _word(finding: Finding) -> str:
    return (
        "absent"
        if finding.state == "missing" and not finding.needed
        else finding.state.upper()
        if finding.fails
        else finding.state
    )


def _summary(findings: Sequence[Finding]) -> str:
    failing = [each for each in findings if each.fails]
    counts = Counter(_word(each) for each in findings if not each.fails and each.state != "ok")
    rest = ", ".join(f"{number} {word}" for word, number in counts.items())
    if failing:
        return f"{len(failing)} of {len(findings)} things do not work: " + ", ".join(each.name for each in failing)
    return "everything needed works" + (f" ({rest}, with what to do about it above)" if rest else "")


def _as_json(finding: Finding) -> dict[str, object]:
    """Return a finding without what identifies a machine: of absolute paths in messages the last part is left."""
    texts = {"text": _shortened(finding.text), "advice": _shortened(finding.advice)}
    return {"section": finding.section, "name": finding.name, "state": finding.state, "needed": finding.needed, **texts}


def _shortened(text: str) -> str:
    return re.sub(r"(?<![\w.:/])(?:~|/[\w.@+-]+)(?:/[\w.@+-]+)*/([\w.@+-]+)", r"\1", text)
