"""The matching task: cells, keys, and the stages train, predict, score, draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.boards.evidence import Evidence
from bench.boards.tables import Table
from bench.core.errors import BenchError, MissingInputs
from bench.core.registries import BACKBONES, MATCHERS
from bench.core.store import canonical_hash, read_json
from bench.core.workspace import Workspace
from bench.data.manifest import file_sha256
from bench.data.scaling import VERSION as SCALING_VERSION
from bench.data.scaling import ScalingParams
from bench.execution.cell import Cell, Identity, Keys, Origin, Selection
from bench.execution.known_answers import Known
from bench.execution.records import MODEL, PREDICTIONS, TRAIN, Record
from bench.execution.task import Job, Scores, Task
from bench.matching.data import LoadedData, fit_scalings, load_data
from bench.matching.expand import expand_section
from bench.matching.matchers.base import FitData, Matcher, Scalings, Setup
from bench.matching.spec import METRICS_VERSION, PAIRS_VERSION, TRAINING_VERSION, MatchingSection
from bench.matching.submission.submission import OURS, Submission
from bench.models.states import load_state, save_state
from bench.statistics.resampling import Resampled
from bench.submissions.sheets import FORMATS, existing_file
from bench.suite.config import Suite
from bench.suite.data_plan import PlannedData, plan_data, plugin_sha256
from bench.suite.smoke import find_initial_weights, replaced_by


class MatchingTask(Task):
    """Does a SAR patch show the same place as an optical patch?"""

    name = "matching"
    headline = "uniform.accuracy"
    Section = MatchingSection
    filters = ("dataset", "split", "method", "matcher", "backbone", "control")

    def expand(self, suite: Suite, section: MatchingSection, selection: Selection, origin: Origin) -> list[Cell]:
        return expand_section(suite, section, selection, origin)

    def identify(self, cell: Cell, workspace: Workspace) -> Identity:
        plan, weights, results = _find_inputs(cell, workspace)
        method, protocol = cell.spec["method"], cell.spec["protocol"]
        initial = None if weights is None else file_sha256(weights, workspace.cache)
        submitted = {} if results is None else {"files_sha256": {"results": file_sha256(results, workspace.cache)}}
        backbone = None if method["backbone"] is None else BACKBONES.get(method["backbone"]).version
        matcher = MATCHERS.get(method["matcher"])
        plugin = plugin_sha256(matcher, workspace)
        train = canonical_hash(
            {
                "task": self.name,
                "method": {**method, "init": None},
                "matcher_version": matcher.version,
                **({} if plugin is None else {"plugin_sha256": plugin}),
                "training_version": TRAINING_VERSION if matcher.uses_backbone else None,
                "backbone_version": backbone,
                "initial_weights": initial,
                **submitted,
                "data": plan.identity(),
                "scaling": [
                    SCALING_VERSION,
                    cell.spec["dataset"]["sar_scaling"],
                    cell.spec["dataset"]["optical_scaling"],
                ],
                "seed": cell.seed,
            }
        )
        drawn = {key: protocol[key] for key in ("hard", "clusters", "negative_seed", "gallery")}
        predict = canonical_hash({"train": train, "pairs": drawn, "pairs_version": PAIRS_VERSION})
        score = canonical_hash({"predict": predict, "protocol": protocol["name"], "metrics_version": METRICS_VERSION})
        counts = plan.counts()
        inputs = {
            "data": plan.identity(),
            "initial_weights_sha256": initial,
            "split_counts": counts,
            "split_summary": plan.split.summary,
            "training_pixels": None,
            **submitted,
        }
        if replaced_by(weights) is not None:
            inputs["replaced_weights"] = replaced_by(weights)
        options = method["options"]
        trained = options.get("entries") or counts["train"] * options.get("epochs", 1)
        side = options.get("input_px") or getattr(plan.dataset.options, "patch_px", None) or plan.dataset.patch_px()
        if backbone is not None and side is not None:
            inputs["training_pixels"] = 2 * trained * side**2
        return Identity(Keys(train, predict, score), inputs, trained + counts["test"], plan.data_key())

    def prepare(self, job: Job) -> None:
        _load(job)

    def train(self, job: Job) -> dict[str, Any]:
        if _is_submitted(job.cell):
            return {"outputs": {}}  # nothing is trained, so nothing is looked at
        from bench.matching.matchers.batches import derangement

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
        constant = {view: len(ids) for view, ids in data.train.store.constant.items()}
        scalings = {"sar": asdict(scaling.sar), "optical": asdict(scaling.optical)}
        return {**facts, "scaling": scalings, "constant_images": constant, "outputs": outputs}

    def predict(self, job: Job) -> dict[str, Any]:
        from bench.matching.predict import predict_cell, predict_submission

        data = _load(job)
        if _is_submitted(job.cell):
            return predict_submission(job, data)
        stored = read_json(job.folder / TRAIN)["facts"]["scaling"]
        scaling = Scalings(ScalingParams(**stored["sar"]), ScalingParams(**stored["optical"]))
        matcher = _matcher(job, scaling)
        if (job.folder / MODEL).is_file():
            matcher.load_state(load_state(job.folder / MODEL))
        return predict_cell(job, data, matcher)

    def score(self, folder: Path) -> Scores:
        from bench.matching.scoring.predictions import load_predictions
        from bench.matching.scoring.score import score_predictions

        return score_predictions(load_predictions(folder / PREDICTIONS))

    def draw(self, job: Job) -> list[Path]:
        from bench.matching.board.figures import draw_cell

        return draw_cell(job.folder, job.cell.describe(), _load(job))

    def resampled(self, metric: str, record: Record, samples: Mapping[str, Any]) -> Resampled | None:
        from bench.matching.scoring.resampled import resampled

        return resampled(metric, record, samples)

    def table(
        self, suite_name: str, title: str, description: str, records: Sequence[Record], evidence: Evidence
    ) -> Table:
        from bench.matching.board.table import matching_table

        return matching_table(title, description, records, evidence)

    def selftest(self) -> Sequence[Known]:
        from bench.matching.scoring.selftest import known_predictions

        return known_predictions()


def _find_inputs(cell: Cell, workspace: Workspace) -> tuple[PlannedData, Path | None, Path | None]:
    """Return the planned data, the file of the initial weights and a submitted one; what is missing of them is told
    together.
    """
    missing: list[str] = []
    plan, weights, results = None, None, None
    try:
        plan = plan_data(cell, workspace)
    except BenchError as error:
        missing.append(str(error))
    try:
        weights = _initial_weights(cell, workspace)
        if "results" in cell.origin.places:
            results = existing_file(Path(cell.origin.places["results"]), (*FORMATS, OURS))
    except BenchError as error:
        missing.append(str(error))
    if plan is None or missing:
        raise MissingInputs(missing)
    return plan, weights, results


def _is_submitted(cell: Cell) -> bool:
    return issubclass(MATCHERS.get(cell.spec["method"]["matcher"]), Submission)


def _load(job: Job) -> LoadedData:
    """Open the decoded cache, building it with progress on the first call."""
    plan: PlannedData = plan_data(job.cell, job.workspace)
    with job.context.progress.whole("decode images", "pair") as report:
        return load_data(plan, job.workspace.cache, report)


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
        return find_initial_weights(backbone, cell, workspace)
    path = Path(cell.origin.places["init"])
    if not path.is_file():
        raise BenchError(
            f"matching.methods.{cell.method}.init: {path} does not exist; give none, imagenet, or the path of a"
            " checkpoint"
        )
    return path
