"""Which data sets and weight files are found, how complete they are, and what to place where for the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, first_line
from bench.core.registries import BACKBONES, DATASETS
from bench.core.workspace import Workspace
from bench.data.dataset import Dataset, parse_options, resolve_root, root_variable
from bench.data.facts import SetFacts
from bench.models.backbones import BackboneFacts, WeightFile
from bench.models.weight_files import local_file, verify_weights
from bench.tools.doctor import Finding

DATA, WEIGHTS = "Data sets", "ImageNet weights"


def examine_data(workspace: Workspace) -> Iterator[Finding]:
    """Yield every registered data set: found and complete, or what to place where. Opens no image."""
    try:
        names = DATASETS.names()
    except BenchError as error:
        yield Finding(DATA, "registry", "broken", str(error), "see Plug-ins")
        return
    for name in names:
        try:
            cls: type[Dataset] = DATASETS.get(name)
        except BenchError as error:
            yield Finding(DATA, name, "broken", first_line(error), "see Plug-ins")
            continue
        yield _dataset(name, cls, workspace)


def _dataset(name: str, cls: type[Dataset], workspace: Workspace) -> Finding:
    explicit = workspace.root_for(name, name)
    if cls.generated and explicit is None:
        return Finding(DATA, name, "ok", "generated when it is needed", needed=False)
    variable, given = root_variable(name), explicit is not None or bool(workspace.env.get(root_variable(name)))
    own = _is_users_own(cls.facts)
    try:
        root = resolve_root(cls.facts, explicit, workspace.env)
    except BenchError:
        if given:
            advice = f"give the folder that holds it, or unset {variable}; layout: bench data info {name}"
            return Finding(
                DATA, name, "warn", f"{'--root' if explicit else variable} names no folder", advice, needed=False
            )
        if own:
            return Finding(
                DATA, name, "ok", f"reader of your own data: give its folder with --root {name}=DIR", needed=False
            )
        return Finding(
            DATA, name, "missing", f"not found; {place_line(cls.facts)}", _advice(cls.facts, variable), needed=False
        )
    try:
        options = parse_options(cls.Options, {}, f"data set {name}")
        dataset: Any = cls(cls.locate(root, options), options, None)
        return _found(name, dataset, root)
    except BenchError as error:
        if own:
            text = "found; how complete it is depends on the options of your config"
            return Finding(DATA, name, "ok", text, "", needed=False, place=str(root))
        text = _without(first_line(error), root)
        return Finding(
            DATA, name, "warn", text, f"compare with the layout: bench data info {name}", needed=False, place=str(root)
        )


def _found(name: str, dataset: Any, root: Path) -> Finding:
    """Return how many of the declared samples are there."""
    scan, problems = dataset.scan(), []
    if dataset.kind == "pairs":
        have, wanted, noun = len(scan.pairs), dataset.expected_pairs(), "pairs"
        problems += [f"{len(scan.unpaired)} files without a partner"] if scan.unpaired else []
    else:
        have, wanted, noun = len(scan.claims), dataset.expected()[0], "scenes"
        problems += [f"{len(scan.problems)} problems in the annotations"] if scan.problems else []
    text = f"{have:,} {noun}" if wanted is None else f"{have:,} of {wanted:,} {noun}"
    wrong = bool(problems) or wanted is not None and have != wanted
    advice = f"bench data verify {name} lists what is wrong" if wrong else ""
    return Finding(
        DATA, name, "warn" if wrong else "ok", "; ".join([text, *problems]), advice, needed=False, place=str(root)
    )


def place_line(facts: SetFacts) -> str:
    """Return the layout of a set in one line: its folder, and the files below it."""
    lines = [re.split(r"\s{2,}", line.strip())[0] for line in facts.place_what.splitlines() if line.strip()]
    return f"place {' and '.join(lines[1:]) or lines[0]} in a folder"


def _advice(facts: SetFacts, variable: str) -> str:
    return (
        f"set {variable} to that folder, or BENCH_DATA to the one that holds {facts.folder}/; see bench data info"
        f" {facts.name}"
    )


def _is_users_own(facts: SetFacts) -> bool:
    return facts.homepage == "your own data"


def _without(text: str, root: Path) -> str:
    return text.replace(str(root), "its folder")


def examine_weights(workspace: Workspace, quick: bool) -> Iterator[Finding]:
    """Yield every published weight file: found and intact, or where to put it. With `quick`, intact means of the right
    size.
    """
    try:
        names = BACKBONES.names()
    except BenchError as error:
        yield Finding(WEIGHTS, "registry", "broken", str(error), "see Plug-ins")
        return
    for name in names:
        try:
            facts: BackboneFacts = BACKBONES.get(name)
        except BenchError as error:
            yield Finding(WEIGHTS, name, "broken", first_line(error), "see Plug-ins")
            continue
        held = {
            variant: path
            for variant, file in facts.weights.items()
            if (path := local_file(file, workspace.env)) is not None
        }
        for variant, path in held.items():
            yield _weights(name, facts.weights[variant], path, quick)
        if not held and facts.weights:
            file = facts.weight_file(next(iter(facts.weights)))
            advice = f"put it into $BENCH_WEIGHTS or ./weights, or run: {file.how(name)}"
            yield Finding(
                WEIGHTS, name, "missing", f"{file.file} not found; needed for init: imagenet", advice, needed=False
            )


def _weights(name: str, file: WeightFile, path: Path, quick: bool) -> Finding:
    try:
        verify_weights(path, file, sha256=file.sha256_prefix if quick else None)
    except BenchError as error:
        text = first_line(error).replace(str(path), file.file)
        return Finding(
            WEIGHTS,
            name,
            "broken",
            text,
            f"delete it, then: {file.how_again(name)}",
            needed=False,
            place=str(path),
        )
    checked = "size" if quick or not file.sha256_prefix else "SHA-256"
    return Finding(WEIGHTS, name, "ok", f"{file.file}, {checked} as published", needed=False, place=str(path))
