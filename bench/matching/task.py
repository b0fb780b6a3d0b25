"""The matching task: cells, keys, and the stages train, predict, score, draw."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.config import PLUGIN_PREFIX, Suite
from bench.data.manifest import file_sha256
from bench.data.scaling import VERSION as SCALING_VERSION
from bench.data.scaling import ScalingParams
from bench.errors import BenchError, MissingInputs, first_line
from bench.matching import MATCHERS
from bench.matching.data import LoadedData, PlannedData, fit_scalings, load_data, plan_data
from bench.matching.expand import expand_section
from bench.matching.matcher import FitData, Matcher, Scalings, Setup
from bench.matching.spec import METRICS_VERSION, PAIRS_VERSION, TRAINING_VERSION, MatchingSection
from bench.models import BACKBONES
from bench.records import MODEL, PREDICTIONS, TRAIN, Record
from bench.store import atomic_write, canonical_hash, read_json
from bench.tables import Table
from bench.task import Cell, Identity, Job, Keys, Origin, Scores, Selection, Task
from bench.workspace import Workspace


class MatchingTask(Task):
    """Does a SAR patch show the same place as an optical patch?"""

    name = "matching"
    Section = MatchingSection

    def expand(self, suite: Suite, section: MatchingSection, selection: Selection, origin: Origin) -> list[Cell]:
        return expand_section(suite, section, selection, origin)

    def identify(self, cell: Cell, workspace: Workspace) -> Identity:
        plan, weights = _find_inputs(cell, workspace)
        method, protocol = cell.spec["method"], cell.spec["protocol"]
        initial = None if weights is None else file_sha256(weights, workspace.cache)
        backbone = None if method["backbone"] is None else BACKBONES.get(method["backbone"]).version
        matcher = MATCHERS.get(method["matcher"])
        plugin = _plugin_hash(matcher, workspace)
        train = canonical_hash(
            {
                "task": self.name,
                "method": {**method, "init": None},
                "matcher_version": matcher.version,
                **({} if plugin is None else {"plugin_sha256": plugin}),
                "training_version": TRAINING_VERSION if matcher.uses_backbone else None,
                "backbone_version": backbone,
                "initial_weights": initial,
                "data": plan.identity(),
                "scaling": [SCALING_VERSION, cell.spec["dataset"]["sar_scaling"], cell.spec["dataset"]["optical_scaling"]],
                "seed": cell.seed,
            }
        )
        drawn = {key: protocol[key] for key in ("hard", "clusters", "negative_seed", "gallery")}
        predict = canonical_hash({"train": train, "pairs": drawn, "pairs_version": PAIRS_VERSION})
        score = canonical_hash({"predict": predict, "protocol": protocol["name"], "metrics_version": METRICS_VERSION})
        counts = {part: len(plan.part(part)) for part in ("train", "validation", "test")}
        inputs = {
            "data": plan.identity(),
            "initial_weights_sha256": initial,
            "split_counts": counts,
            "split_summary": plan.split.summary,
        }
        options = method["options"]
        trained = options.get("entries") or counts["train"] * options.get("epochs", 1)
        data_key = canonical_hash({key: value for key, value in plan.identity().items() if key != "split"})
        return Identity(Keys(train, predict, score), inputs, trained + counts["test"], data_key)

    def prepare(self, job: Job) -> None:
        _load(job)

    def train(self, job: Job) -> dict[str, Any]:
        from bench.matching.batches import derangement

        spec = job.cell.spec
        data = _load(job)
        scaling = fit_scalings(data, spec["dataset"]["sar_scaling"], spec["dataset"]["optical_scaling"])
        seed = job.cell.seed or 0
        n = len(data.train)
        shuffled = spec["method"]["control"] == "shuffled"
        matcher = _matcher(job, scaling)
        facts = matcher.fit(
            FitData(
                train=data.train,
                validation=data.validation,
                pairing=derangement(n, seed) if shuffled else np.arange(n),
                seed=seed,
                scaling=scaling,
                context=job.context,
                initial_weights=_initial_weights(job.cell, job.workspace),
                initial_branch=spec["method"]["init_branch"],
                precision=spec["method"]["precision"],
            )
        )
        state = matcher.state()
        outputs = {}
        if state:
            save_state(job.folder / MODEL, state)
            outputs["weights_sha256"] = file_sha256(job.folder / MODEL, None)
        constant = {view: len(ids) for view, ids in data.train.cache.constant.items()}
        scalings = {"sar": asdict(scaling.sar), "optical": asdict(scaling.optical)}
        return {**facts, "scaling": scalings, "constant_images": constant, "outputs": outputs}

    def predict(self, job: Job) -> dict[str, Any]:
        from bench.matching.predict import predict_cell

        data = _load(job)
        stored = read_json(job.folder / TRAIN)["facts"]["scaling"]
        scaling = Scalings(ScalingParams(**stored["sar"]), ScalingParams(**stored["optical"]))
        matcher = _matcher(job, scaling)
        if (job.folder / MODEL).is_file():
            matcher.load_state(load_state(job.folder / MODEL))
        return predict_cell(job, data, matcher)

    def score(self, folder: Path) -> Scores:
        from bench.matching.predictions import load_predictions
        from bench.matching.scoring import score_predictions

        return score_predictions(load_predictions(folder / PREDICTIONS))

    def draw(self, job: Job) -> list[Path]:
        from bench.matching.figures import draw_cell

        return draw_cell(job.folder, job.cell.describe(), _load(job))

    def table(self, suite_name: str, title: str, description: str, records: Sequence[Record]) -> Table:
        from bench.matching.board import matching_table

        return matching_table(title, description, records)


def _plugin_hash(matcher: type[Matcher], workspace: Workspace) -> str | None:
    """Return the SHA-256 of the plug-in file that defines a matcher, None for an installed one, which its `version` stands for."""
    if not matcher.__module__.startswith(PLUGIN_PREFIX):
        return None
    return file_sha256(Path(str(sys.modules[matcher.__module__].__file__)), workspace.cache)


def _find_inputs(cell: Cell, workspace: Workspace) -> tuple[PlannedData, Path | None]:
    """Return the planned data and the file of the initial weights; what is missing of either is told together."""
    missing: list[str] = []
    plan, weights = None, None
    try:
        plan = plan_data(cell, workspace)
    except BenchError as error:
        missing.append(str(error))
    try:
        weights = _initial_weights(cell, workspace)
    except BenchError as error:
        missing.append(str(error))
    if plan is None or missing:
        raise MissingInputs(missing)
    return plan, weights


def _load(job: Job) -> LoadedData:
    """Open the decoded cache, building it with progress on the first call."""
    plan: PlannedData = plan_data(job.cell, job.workspace)
    bars: list[Any] = []

    def report(done: int, total: int) -> None:
        if not bars:
            bars.append(job.context.progress.bar("decode images", total, unit="pair").__enter__())
        bars[0].advance(done - bars[0].done)

    try:
        return load_data(plan, job.workspace.cache, report)
    finally:
        for bar in bars:
            bar.__exit__(None, None, None)


def _matcher(job: Job, scaling: Scalings) -> Matcher:
    method = job.cell.spec["method"]
    cls = MATCHERS.get(method["matcher"])
    matcher: Matcher = cls(cls.Options.model_validate(method["options"]))
    matcher.prepare(Setup(method["backbone"], scaling, job.context))
    return matcher


def _initial_weights(cell: Cell, workspace: Workspace) -> Path | None:
    """Return the file of the initial weights, or None for a random start.

    Raises:
        BenchError: the file is missing; the message names it, where to put it, and the command that downloads it.
    """
    init, backbone = cell.spec["method"]["init"], cell.spec["method"]["backbone"]
    if init == "none":
        return None
    if init == "imagenet":
        from bench.models.weight_files import find_weights

        return find_weights(backbone, workspace.env)
    path = Path(cell.places["init"])
    if not path.is_file():
        raise BenchError(f"matching.methods.{cell.method}.init: {path} does not exist; give none, imagenet, or the path of a checkpoint")
    return path


def save_state(path: Path, state: dict[str, np.ndarray]) -> None:
    """Write a matcher's state as safetensors, atomically; equal arrays give equal bytes.

    Raises:
        BenchError: the folder cannot be written to, or the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with atomic_write(path) as temporary:
        try:
            save_file({name: np.asarray(array, order="C") for name, array in state.items()}, str(temporary))
        except SafetensorError as error:
            raise BenchError(f"cannot write {path}: {first_line(error)}; free space or choose another folder") from error


def load_state(path: Path) -> dict[str, np.ndarray]:
    """Read a matcher's state.

    Raises:
        BenchError: missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise BenchError(f"{path}: cannot read the model ({error}); run the cell again with --force") from error
