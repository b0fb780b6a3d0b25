"""The matching task: cells, keys, and the stages train, predict, score, draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.boards.evidence import Evidence
from bench.boards.tables import Table
from bench.core.errors import BenchError
from bench.core.registries import MATCHERS
from bench.core.workspace import Workspace
from bench.data.scaling import ScalingParams
from bench.execution.cell import Cell, Selection
from bench.execution.known_answers import Known
from bench.execution.records import PREDICTIONS, Record
from bench.execution.task import Job, Scores, Settled
from bench.matching.data import fit_scalings, samples_scenes
from bench.matching.expand import INITS, check_method, with_controls
from bench.matching.matchers.base import FitData, Matcher, Scalings, Setup
from bench.matching.record_schema import SAMPLES, MatchingParts
from bench.matching.spec import (
    METRICS_VERSION,
    PAIRS_VERSION,
    TRAINING_VERSION,
    MatcherEntry,
    MatchingSection,
    PairsEntry,
)
from bench.matching.submission.submission import READ
from bench.statistics.resampling import Resampled
from bench.submissions.request import Submissions
from bench.suite.data_plan import PlannedData
from bench.suite.expansion import MethodRow
from bench.suite.smoke import find_initial_weights
from bench.tasks.base import TRAINING_DATA, Inputs, SectionTask
from bench.tasks.data import LoadedPairs, areas_of, load_training_scenes, scenes_identity
from bench.tasks.fusion import Member
from bench.tasks.keys import Version
from bench.tasks.rows import Methods

ENOUGH_PAIRS = 20  # true pairs that a submission must part from all others before it looks like the labels


class MatchingTask(SectionTask):
    """Does a SAR patch show the same place as an optical patch?"""

    name = "matching"
    headline = "uniform.roc_auc"
    predicted = ("distance",)
    Section = MatchingSection
    filters = ("dataset", "split", "method", "matcher", "backbone", "control")

    component, registry = "matcher", MATCHERS
    formats = READ
    metrics_version = METRICS_VERSION
    record_schema, samples_schema = MatchingParts, SAMPLES

    # -- cells ---------------------------------------------------------------------------------------------------------
    def narrow(self, methods: Methods, selection: Selection) -> Methods:
        if "control" not in selection.filters:
            return methods
        return with_controls(methods, selection.filters["control"])

    def default_row(self, name: str, others: Sequence[MatcherEntry]) -> tuple[str, MatcherEntry]:
        uses = MATCHERS.get(name).uses_backbone
        backbone = next((other.backbone for other in others if other.backbone), "resnet18") if uses else None
        return f"{name}-{backbone}" if uses else name, MatcherEntry(matcher=name, backbone=backbone)

    def rows_of(
        self, label: str, method: MatcherEntry, names: Mapping[str, str], where: str, selection: Selection
    ) -> list[MethodRow]:
        check_method(method, where)
        init = None if method.init in INITS else method.init
        return [self.row(label, method, names, where, selection.smoke, {"init": init})]

    def dataset_spec(self, entry: PairsEntry) -> dict[str, Any]:
        return {"optical_scaling": entry.optical_scaling}

    def method_spec(self, row: MethodRow, required: tuple[Cell, ...]) -> dict[str, Any]:
        init = row.method.init
        return {
            "init": init if init in INITS else f"checkpoint:{Path(init).name}",
            "init_branch": row.method.init_branch,
            "control": row.method.control,
        }

    # -- keys ----------------------------------------------------------------------------------------------------------
    def scalings(self, cell: Cell) -> list[str | None]:
        return [cell.spec["dataset"]["sar_scaling"], cell.spec["dataset"]["optical_scaling"]]

    def plan(self, cell: Cell, workspace: Workspace) -> PlannedData:
        plan = super().plan(cell, workspace)
        if samples_scenes(cell):
            areas_of(plan)  # a set without scenes is refused before anything runs
        return plan

    def train_identity(self, cell: Cell, inputs: Mapping[str, Any], requires: Sequence[str]) -> dict[str, Any]:
        return {
            "method": {**cell.spec["method"], "init": None},
            "training_version": Version(TRAINING_VERSION) if self.component_of(cell).uses_backbone else None,
            "initial_weights": inputs["initial_weights_sha256"],
            **({"files_sha256": inputs["files_sha256"]} if "files_sha256" in inputs else {}),
        }

    def predict_identity(self, cell: Cell) -> dict[str, Any]:
        protocol = cell.spec["protocol"]
        drawn = {key: protocol[key] for key in ("hard", "clusters", "negative_seed", "gallery")}
        return {"pairs": drawn, "pairs_version": Version(PAIRS_VERSION)}

    def inputs(self, cell: Cell, found: Inputs, workspace: Workspace) -> dict[str, Any]:
        plan, side = found.plan, None
        if cell.spec["method"]["backbone"] is not None:
            own = cell.spec["method"]["options"].get("input_px")
            side = own or getattr(plan.dataset.options, "patch_px", None) or plan.dataset.patch_px()
        return {
            "initial_weights_sha256": found.hashes.get("initial"),
            "training_pixels": None if side is None else 2 * _trained(cell, found) * side**2,
            **({"files_sha256": {"results": found.hashes["results"]}} if "results" in found.hashes else {}),
            **({TRAINING_DATA: scenes_identity(plan)} if samples_scenes(cell) else {}),
        }

    def size(self, cell: Cell, found: Inputs) -> int:
        counts = found.plan.counts()
        return _trained(cell, found) + counts["validation"] + counts["test"]

    def initial_file(self, cell: Cell, workspace: Workspace) -> Path | None:
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

    # -- stages --------------------------------------------------------------------------------------------------------
    def load(self, job: Job) -> LoadedPairs:
        data: LoadedPairs = super().load(job)
        if not samples_scenes(job.cell):
            return data
        with job.context.progress.whole("decode scenes", "scene") as report:
            return replace(data, scenes=load_training_scenes(data.plan, job.workspace.cache, report))

    def fit_scaling(self, cell: Cell, data: LoadedPairs) -> Scalings:
        return fit_scalings(data, *self.scalings(cell))

    def scaling_to_json(self, scaling: Scalings) -> dict[str, Any]:
        return {"sar": asdict(scaling.sar), "optical": asdict(scaling.optical)}

    def scaling_from_json(self, raw: Any) -> Scalings:
        return Scalings(ScalingParams(**raw["sar"]), ScalingParams(**raw["optical"]))

    def build(self, job: Job, scaling: Scalings, data: LoadedPairs) -> Matcher:
        method, cls = job.cell.spec["method"], self.component_of(job.cell)
        matcher: Matcher = cls(cls.Options.model_validate(method["options"]))
        matcher.prepare(Setup(method["backbone"], scaling, job.context))
        return matcher

    def fit(self, component: Matcher, job: Job, data: LoadedPairs, scaling: Scalings) -> dict[str, Any]:
        from bench.matching.matchers.batches import derangement

        method, seed, n = job.cell.spec["method"], job.cell.seed or 0, len(data.train)
        facts = component.fit(
            FitData(
                train=data.train,
                validation=data.validation,
                pairing=derangement(n, seed) if method["control"] == "shuffled" else np.arange(n),
                seed=seed,
                scaling=scaling,
                context=job.context,
                initial_weights=self.initial_file(job.cell, job.workspace),
                initial_branch=method["init_branch"],
                precision=method["precision"],
                scenes=data.scenes,
            )
        )
        return {**facts, "constant_images": {view: len(ids) for view, ids in data.train.store.constant.items()}}

    def predict_with(self, component: Matcher, job: Job, data: LoadedPairs) -> dict[str, Any]:
        from bench.matching.predict import predict_cell

        return predict_cell(job, data, component)

    def predict_submission(self, job: Job, data: LoadedPairs) -> dict[str, Any]:
        from bench.matching.predict import predict_submission

        return predict_submission(job, data)

    def fuse(self, job: Job, members: Sequence[Member]) -> dict[str, Any]:
        from bench.matching.fusion import fuse_rows

        return fuse_rows(job, members)

    def score(self, folder: Path) -> Scores:
        from bench.matching.scoring.predictions import load_predictions
        from bench.matching.scoring.score import score_predictions

        return score_predictions(load_predictions(folder / PREDICTIONS))

    def draw(self, job: Job) -> list[Path]:
        from bench.matching.board.figures import draw_cell

        return draw_cell(job.folder, job.cell.describe(), self.load(job))

    def settled(self, record: Record, samples: Mapping[str, Any]) -> Settled:
        from bench.matching.scoring.score import settled

        return settled(record, samples)

    def resampled(self, metric: str, record: Record, samples: Mapping[str, Any]) -> Resampled | None:
        from bench.matching.scoring.resampled import resampled

        return resampled(metric, record, samples)

    def table(
        self, suite_name: str, title: str, description: str, records: Sequence[Record], evidence: Evidence
    ) -> Table:
        from bench.matching.board.table import matching_table

        return matching_table(title, description, records, evidence)

    def looks_like_truth(self, record: Record) -> str:
        uniform, hard = (record.metrics.get(f"{kind}.roc_auc") for kind in ("uniform", "hard"))
        if uniform != 1.0 or hard not in (1.0, None) or record.facts.get("uniform.positives", 0) < ENOUGH_PAIRS:
            return ""
        return "every true pair is nearer than every other, AUC 1 exactly, as where the labels were handed in"

    def submissions(self) -> Submissions:
        from bench.matching.submission.submit import PairSubmissions

        return PairSubmissions(self, stand_in="cfog", options=("threshold",))

    def selftest(self) -> Sequence[Known]:
        from bench.matching.scoring.selftest import known_predictions

        return known_predictions()


def _trained(cell: Cell, found: Inputs) -> int:
    """Return the training budget in pairs."""
    options = cell.spec["method"]["options"]
    return int(options.get("entries") or found.plan.counts()["train"] * options.get("epochs", 1))
