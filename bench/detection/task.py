"""The detection task: cells, keys, and the stages train, predict, score, draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.boards.evidence import Evidence
from bench.boards.tables import Table
from bench.core.errors import BenchError, MissingInputs
from bench.core.registries import DETECTORS
from bench.core.workspace import Workspace
from bench.data.manifest import file_sha256
from bench.data.scaling import ScalingParams
from bench.detection.data import SHARED_FILES, count_shared_files, count_ships
from bench.detection.detectors.base import Detector, FitData, Setup
from bench.detection.expand import ArmRow, arms_of, chosen_backbone, row_labels, with_backbone
from bench.detection.pretraining import find_initial, initial_weights, matching_cell
from bench.detection.record_schema import SAMPLES, DetectionParts
from bench.detection.spec import (
    COMPUTE,
    METRICS_VERSION,
    PREDICT_VERSION,
    TRAINING_VERSION,
    DetectionSection,
    DetectorEntry,
    Merging,
    ShipsEntry,
    Tiles,
)
from bench.detection.submission.submission import read_submission
from bench.execution.cell import Cell, Identity, Origin, Selection
from bench.execution.known_answers import Known
from bench.execution.records import PREDICTIONS, Record, find_model
from bench.execution.task import Job, Reference, Scores, Settled
from bench.statistics.resampling import Resampled
from bench.submissions.request import Submissions
from bench.suite.config import Suite
from bench.suite.data_plan import PlannedData, plan_data
from bench.suite.expansion import MethodRow
from bench.tasks.base import Inputs, SectionTask
from bench.tasks.data import LoadedScenes, fit_sar_scaling
from bench.tasks.fusion import Member
from bench.tasks.keys import Version

# Of submitted boxes: from so many ships and such an AP50 on, an AP over the IoUs up to 0.95 that is hardly lower says
# that the boxes are copies. The best detectors keep some seven tenths.
ENOUGH_SHIPS, TRUTH_AP50, EXACT = 10, 0.5, 0.97


class DetectionTask(SectionTask):
    """Where are the ships in a SAR scene?"""

    name = "detection"
    headline = "scene.ap_area"
    predicted = ("scene", "score", "coco_tp")
    Section = DetectionSection
    filters = ("dataset", "split", "method", "detector", "backbone", "pretrain")

    component, registry = "detector", DETECTORS
    kind, smallest = "ships", 1
    decodes = ("scenes", "scene")
    metrics_version = METRICS_VERSION
    record_schema, samples_schema = DetectionParts, SAMPLES

    # -- cells ---------------------------------------------------------------------------------------------------------
    def labels(self, section: DetectionSection) -> list[str]:
        return row_labels(section)

    def backbone_of(self, method: DetectorEntry) -> str | None:
        return chosen_backbone(method)

    def takes_backbone(self, method: DetectorEntry, name: str) -> bool:
        return name in DETECTORS.get(method.detector).backbones

    def rows_of(
        self, label: str, method: DetectorEntry, names: Mapping[str, str], where: str, selection: Selection
    ) -> list[MethodRow]:
        method = with_backbone(method, where)
        rows: list[MethodRow] = []
        for arm in arms_of(method, selection.filters.get("pretrain"), where):
            takes = bool(DETECTORS.get(method.detector).backbones)
            shown, more = (f"{label}/{arm.label}", {"pretrain": arm.text}) if takes else (label, {})
            row = self.row(shown, method, {**names, **more}, where, selection.smoke, {"pretrain": arm.path})
            rows.append(ArmRow(**vars(row), arm=arm))
        return rows

    def required(
        self,
        row: ArmRow,
        section: DetectionSection,
        suite: Suite,
        seed: int | None,
        selection: Selection,
        origin: Origin,
    ) -> tuple[Cell, ...]:
        if not row.arm.needs_matching:
            return ()
        backbone = str(row.method.backbone)
        return (matching_cell(row.arm, section.osm, suite, backbone, seed, selection, origin, row.where),)

    def dataset_spec(self, entry: ShipsEntry) -> dict[str, Any]:
        return {"tiles": entry.tiles.model_dump(mode="json")}

    def method_spec(self, row: MethodRow, required: tuple[Cell, ...]) -> dict[str, Any]:
        if not isinstance(row, ArmRow):  # a fused row
            return {"pretrain": "none", "pretrained_by": None}
        return {"pretrain": row.arm.label, "pretrained_by": required[0].row_key if required else None}

    # -- keys ----------------------------------------------------------------------------------------------------------
    def train_identity(self, cell: Cell, inputs: Mapping[str, Any], requires: Sequence[str]) -> dict[str, Any]:
        extra = inputs["extra_pixels"]
        return {
            "method": {**cell.spec["method"], "pretrain": None, "pretrained_by": None},
            "training_version": Version(TRAINING_VERSION) if self.component_of(cell).trains else None,
            "files": dict(inputs["files_sha256"]),
            "starts_from": list(requires) if extra == 0 else [],
            "extra_pixels": extra,
            "tiles": cell.spec["dataset"]["tiles"],
        }

    def predict_identity(self, cell: Cell) -> dict[str, Any]:
        kept = {name: cell.spec["protocol"][name] for name in ("merging", "score_floor", "strata")}
        return {**kept, "predict_version": Version(PREDICT_VERSION)}

    def inputs(self, cell: Cell, found: Inputs, workspace: Workspace) -> dict[str, Any]:
        if cell.fused:
            return {"files_sha256": {}, "ships": count_ships(found.plan), "pretrained_by": [], "extra_pixels": 0} | {
                name: max(known) if (known := _known(found.sources, name)) else None for name in SHARED_FILES
            }
        extra = _extra_pixels(cell, found)
        pretraining = [plan_data(required, workspace) for required in cell.requires] if extra == 0 else []
        return {
            "files_sha256": dict(found.hashes),
            "ships": count_ships(found.plan),
            "pretrained_by": [
                _source(required, source) for required, source in zip(cell.requires, found.sources, strict=True)
            ],
            "extra_pixels": extra,
            **count_shared_files(found.plan, pretraining),
        }

    def size(self, cell: Cell, found: Inputs) -> int:
        return _trained_tiles(cell.spec["method"]["options"]) + _predicted_tiles(
            found.plan, cell.spec["dataset"]["tiles"]["size_px"]
        )

    def plan(self, cell: Cell, workspace: Workspace) -> PlannedData:
        plan = super().plan(cell, workspace)
        strata = cell.spec["protocol"]["strata"]
        if strata:
            plan.index.column(strata)  # refuses, with the nearest, what the set does not have
        _check_ships(cell, plan)
        return plan

    def initial_file(self, cell: Cell, workspace: Workspace) -> Path | None:
        return find_initial(cell, workspace)

    def check_submission(self, cell: Cell, plan: PlannedData) -> None:
        read_submission(cell, [plan.index.items[i] for i in plan.split.test.tolist()], plan.identity())

    # -- stages --------------------------------------------------------------------------------------------------------
    def fit_scaling(self, cell: Cell, data: LoadedScenes) -> ScalingParams:
        return fit_sar_scaling(data, cell.spec["dataset"]["sar_scaling"])

    def scaling_to_json(self, scaling: ScalingParams) -> dict[str, Any]:
        return asdict(scaling)

    def scaling_from_json(self, raw: Any) -> ScalingParams:
        return ScalingParams(**raw)

    def build(self, job: Job, scaling: ScalingParams, data: LoadedScenes) -> Detector:
        spec, dataset, cls = job.cell.spec, data.plan.dataset, self.component_of(job.cell)
        detector: Detector = cls(cls.Options.model_validate(spec["method"]["options"]))
        tiles = Tiles.model_validate(spec["dataset"]["tiles"])
        merging = Merging.model_validate(spec["protocol"]["merging"])
        backbone = spec["method"]["backbone"]
        detector.prepare(Setup(backbone, scaling, tiles, merging, job.context, dataset.gsd_m, dataset.sar_scale))
        return detector

    def fit(self, component: Detector, job: Job, data: LoadedScenes, scaling: ScalingParams) -> dict[str, Any]:
        initial = initial_weights(_start(job), job.cell.spec["method"]["pretrain"])
        seed, precision = job.cell.seed or 0, job.cell.spec["method"]["precision"]
        extra = int(job.identity.inputs["extra_pixels"])
        facts = component.fit(FitData(data.train, data.validation, seed, initial, precision, extra))
        if initial is not None:
            facts["initial_weights"] = {"sha256": file_sha256(initial.path, None), "branch": initial.branch}
        return facts

    def predict_with(self, component: Detector, job: Job, data: LoadedScenes) -> dict[str, Any]:
        from bench.detection.predict import predict_cell

        return predict_cell(job, data, component)

    def predict_submission(self, job: Job, data: LoadedScenes) -> dict[str, Any]:
        from bench.detection.predict import predict_submission

        return predict_submission(job, data)

    def fuse(self, job: Job, members: Sequence[Member]) -> dict[str, Any]:
        from bench.detection.fusion import fuse_rows

        return fuse_rows(job, members)

    def score(self, folder: Path) -> Scores:
        from bench.detection.scoring.predictions import load_predictions
        from bench.detection.scoring.score import score_predictions

        return score_predictions(load_predictions(folder / PREDICTIONS))

    def reference(self, folder: Path) -> Reference:
        from bench.detection.scoring.coco_reference import coco_reference
        from bench.detection.scoring.predictions import load_predictions

        return coco_reference(load_predictions(folder / PREDICTIONS))

    def draw(self, job: Job) -> list[Path]:
        from bench.detection.board.figures import draw_cell

        return draw_cell(job.folder, job.cell.describe(), self.load(job).test)

    def settled(self, record: Record, samples: Mapping[str, Any]) -> Settled:
        from bench.detection.scoring.score import settled

        return settled(record, samples)

    def resampled(self, metric: str, record: Record, samples: Mapping[str, Any]) -> Resampled | None:
        from bench.detection.scoring.resampled import resampled

        return resampled(metric, record, samples)

    def table(
        self, suite_name: str, title: str, description: str, records: Sequence[Record], evidence: Evidence
    ) -> Table:
        from bench.detection.board.table import detection_table

        return detection_table(title, description, records, evidence)

    def looks_like_truth(self, record: Record) -> str:
        ap50, ap75, ap = (record.metrics.get(f"scene.{name}") for name in ("ap50", "ap75", "ap_coco"))
        if record.facts.get("scene.ships", 0) < ENOUGH_SHIPS or ap50 is None or ap is None or ap50 < TRUTH_AP50:
            return ""
        if ap < EXACT * ap50:
            return ""
        shown = " = ".join(f"{value:.3f}" for value in (ap, ap75 or 0.0, ap50))
        return f"the boxes fit as only the truth's own do: COCO AP, AP75, AP50 are {shown}"

    def submissions(self) -> Submissions:
        return Submissions(self, stand_in="cfar", options=("category", "empty_images_ok"))

    def selftest(self) -> Sequence[Known]:
        from bench.detection.scoring.selftest import known_predictions

        return known_predictions()


def _check_ships(cell: Cell, plan: PlannedData) -> None:
    """Raise BenchError where no ship of the test scenes counts: nothing could be scored. Wiring checks pass."""
    if cell.mode.smoke or cell.mode.limit:
        return
    if not count_ships(plan)["test"]:
        test = [plan.index.items[i] for i in plan.split.test.tolist()]
        boxes = sum(len(scene.ignore) for scene in test)
        found = f"{boxes} boxes, all of them to be ignored" if boxes else "no box"
        raise BenchError(
            f"{cell.dataset}: no ship counts in the {len(test)} test scenes ({found}), so no AP is defined; choose"
            " another split, or correct difficult, iscrowd or ignore in the annotations"
        )


def _extra_pixels(cell: Cell, found: Inputs) -> int:
    """Return the backbone input pixels that the compute-matched control trains longer: what the OSM pretraining saw in
    both branches.
    """
    if not cell.spec["method"]["pretrain"].endswith(COMPUTE):
        return 0
    pixels = found.sources[0].inputs.get("training_pixels")
    if not pixels:
        raise MissingInputs(
            [f"{cell.describe()}: the cost of {cell.requires[0].describe()} is unknown; give its row an input_px"]
        )
    return int(pixels)


def _known(sources: Sequence[Identity], name: str) -> list[int]:
    """Return one input of the members of a fused row, of those for which it is known."""
    return [value for source in sources if (value := source.inputs.get(name)) is not None]


def _source(cell: Cell, identity: Identity) -> dict[str, Any]:
    """Return where the backbone comes from, and what of it a comparison with published numbers has to know."""
    how = {name: cell.spec["method"][name] for name in ("matcher", "backbone", "init", "control")}
    saw = {
        "dataset": cell.spec["dataset"]["name"],
        "pairs": sum(identity.inputs["split_summary"]["pairs"].values()),
        **how,
    }
    keys = {"train": identity.keys.train, "score": identity.keys.score}
    return {"task": cell.task, "cell": cell.describe(), "command": cell.command, **keys, **saw}


def _trained_tiles(options: dict[str, Any]) -> int:
    """Return the training budget in tiles; 0 where it depends on the training scenes."""
    return int(options.get("samples") or (options.get("per_epoch") or 0) * options.get("epochs", 0))


def _predicted_tiles(plan: PlannedData, size_px: int) -> int:
    """Return the area of the validation and test scenes in tiles: what prediction costs."""
    positions = [*plan.split.validation.tolist(), *plan.split.test.tolist()]
    scenes = [plan.index.items[i] for i in positions]
    return int(sum(scene.height * scene.width for scene in scenes) // size_px**2 + 1)


def _start(job: Job) -> Path | None:
    """Return the file that the backbone starts from: a published one, a checkpoint, or the model of the required
    matching cell.
    """
    if job.cell.spec["method"]["pretrain"].startswith("osm"):
        ((task, train_key),) = job.identity.requires
        return find_model(job.workspace.runs, task, train_key)
    return find_initial(job.cell, job.workspace)
