"""The detection task: cells, keys, and the stages train, predict, score, draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.boards.evidence import Evidence
from bench.boards.tables import Table
from bench.core.errors import BenchError, MissingInputs
from bench.core.registries import BACKBONES, DETECTORS
from bench.core.store import canonical_hash, read_json
from bench.core.workspace import Workspace
from bench.data.manifest import file_sha256
from bench.data.scaling import VERSION as SCALING_VERSION
from bench.data.scaling import ScalingParams
from bench.detection.data import LoadedShips, count_shared_files, count_ships, fit_sar_scaling, load_ships
from bench.detection.detectors.base import Detector, FitData, Setup
from bench.detection.expand import expand_section
from bench.detection.pretraining import find_initial, initial_weights
from bench.detection.spec import (
    COMPUTE,
    METRICS_VERSION,
    PREDICT_VERSION,
    TRAINING_VERSION,
    DetectionSection,
    Merging,
    Tiles,
)
from bench.detection.submission.submission import Submission, read_submission
from bench.execution.cell import Cell, Identity, Keys, Origin, Selection
from bench.execution.known_answers import Known
from bench.execution.records import MODEL, PREDICTIONS, TRAIN, Record, find_model
from bench.execution.task import Job, Scores, Task, get_task
from bench.models.states import load_state, save_state
from bench.statistics.resampling import Resampled
from bench.submissions.sheets import FORMATS, existing_file
from bench.suite.config import Suite
from bench.suite.data_plan import PlannedData, plan_data, plugin_sha256
from bench.suite.smoke import replaced_by


class DetectionTask(Task):
    """Where are the ships in a SAR scene?"""

    name = "detection"
    headline = "scene.ap_area"
    Section = DetectionSection
    filters = ("dataset", "split", "method", "detector", "backbone", "pretrain")

    def expand(self, suite: Suite, section: DetectionSection, selection: Selection, origin: Origin) -> list[Cell]:
        return expand_section(suite, section, selection, origin)

    def identify(self, cell: Cell, workspace: Workspace) -> Identity:
        plan, files, sources = _find_inputs(cell, workspace)
        dataset, method, protocol = cell.spec["dataset"], cell.spec["method"], cell.spec["protocol"]
        detector = DETECTORS.get(method["detector"])
        hashes = {name: file_sha256(path, workspace.cache) for name, path in files.items()}
        extra = _extra_pixels(cell, sources)
        plugin = plugin_sha256(detector, workspace)
        train = canonical_hash(
            {
                "task": self.name,
                "method": {**method, "pretrain": None, "pretrained_by": None},
                "detector_version": detector.version,
                **({} if plugin is None else {"plugin_sha256": plugin}),
                "training_version": TRAINING_VERSION if detector.trains else None,
                "backbone_version": BACKBONES.get(method["backbone"]).version if method["backbone"] else None,
                "files": hashes,
                "starts_from": [source.keys.train for source in sources] if extra == 0 else [],
                "extra_pixels": extra,
                "data": plan.identity(),
                "scaling": [SCALING_VERSION, dataset["sar_scaling"]],
                "tiles": dataset["tiles"],
                "seed": cell.seed,
            }
        )
        kept = {name: protocol[name] for name in ("merging", "score_floor", "strata")}
        predict = canonical_hash({"train": train, **kept, "predict_version": PREDICT_VERSION})
        score = canonical_hash({"predict": predict, "protocol": protocol["name"], "metrics_version": METRICS_VERSION})
        inputs = {
            "data": plan.identity(),
            "files_sha256": hashes,
            "split_counts": plan.counts(),
            "split_summary": plan.split.summary,
            "ships": count_ships(plan),
            "pretrained_by": [
                _source(required, source) for required, source in zip(cell.requires, sources, strict=True)
            ],
            "extra_pixels": extra,
        }
        pretraining = [plan_data(required, workspace) for required in cell.requires] if extra == 0 else []
        inputs |= count_shared_files(plan, pretraining)
        if replaced_by(files.get("initial")) is not None:
            inputs["replaced_weights"] = replaced_by(files["initial"])
        requires = tuple(
            (required.task, source.keys.train) for required, source in zip(cell.requires, sources, strict=True)
        )
        samples = _trained_tiles(method["options"]) + _test_tiles(plan, dataset["tiles"]["size_px"])
        return Identity(Keys(train, predict, score), inputs, samples, plan.data_key(), requires)

    def prepare(self, job: Job) -> None:
        _load(job)

    def train(self, job: Job) -> dict[str, Any]:
        if _is_submitted(job.cell):
            return {"outputs": {}}  # nothing is trained, so nothing is looked at
        data, method = _load(job), job.cell.spec["method"]
        scaling = fit_sar_scaling(data, job.cell.spec["dataset"]["sar_scaling"])
        detector = _detector(job, scaling, data)
        initial = initial_weights(_initial_file(job))
        extra = int(job.identity.inputs["extra_pixels"])
        facts = detector.fit(
            FitData(data.train, data.validation, job.cell.seed or 0, initial, method["precision"], extra),
        )
        if initial is not None:
            facts["initial_weights"] = {"sha256": file_sha256(initial.path, None), "branch": initial.branch}
        state = detector.state()
        outputs = {}
        if state:
            save_state(job.folder / MODEL, state)
            outputs["weights_sha256"] = file_sha256(job.folder / MODEL, None)
        return {**facts, "scaling": asdict(scaling), "outputs": outputs}

    def predict(self, job: Job) -> dict[str, Any]:
        from bench.detection.predict import predict_cell, predict_submission

        data = _load(job)
        if _is_submitted(job.cell):
            return predict_submission(job, data)
        scaling = ScalingParams(**read_json(job.folder / TRAIN)["facts"]["scaling"])
        detector = _detector(job, scaling, data)
        if (job.folder / MODEL).is_file():
            detector.load_state(load_state(job.folder / MODEL))
        return predict_cell(job, data, detector)

    def score(self, folder: Path) -> Scores:
        from bench.detection.scoring.predictions import load_predictions
        from bench.detection.scoring.score import score_predictions

        return score_predictions(load_predictions(folder / PREDICTIONS))

    def draw(self, job: Job) -> list[Path]:
        from bench.detection.board.figures import draw_cell

        return draw_cell(job.folder, job.cell.describe(), _load(job).test)

    def resampled(self, metric: str, record: Record, samples: Mapping[str, Any]) -> Resampled | None:
        from bench.detection.scoring.resampled import resampled

        return resampled(metric, record, samples)

    def table(
        self, suite_name: str, title: str, description: str, records: Sequence[Record], evidence: Evidence
    ) -> Table:
        from bench.detection.board.table import detection_table

        return detection_table(title, description, records, evidence)

    def selftest(self) -> Sequence[Known]:
        from bench.detection.scoring.selftest import known_predictions

        return known_predictions()


def _find_inputs(cell: Cell, workspace: Workspace) -> tuple[PlannedData, dict[str, Path], list[Identity]]:
    """Return the planned data, the files that the cell names, and the identities of the cells that it requires.

    Raises:
        MissingInputs: what is missing of any, told together.
    """
    missing: list[str] = []
    plan, files, sources = None, {}, []
    try:
        plan = plan_data(cell, workspace, "ships", smallest=1)
        if cell.spec["protocol"]["strata"]:
            plan.index.column(cell.spec["protocol"]["strata"])  # refuses, with the nearest, what the set does not have
    except BenchError as error:
        missing.append(str(error))
    try:
        initial = find_initial(cell, workspace)
        files = {} if initial is None else {"initial": initial}
        if "results" in cell.origin.places:
            files["results"] = existing_file(Path(cell.origin.places["results"]), FORMATS)
            if plan is not None:
                read_submission(cell, [plan.index.items[i] for i in plan.split.test.tolist()], plan.identity())
    except BenchError as error:
        missing.append(str(error))
    for required in cell.requires:
        try:
            sources.append(get_task(required.task).identify(required, workspace))
        except MissingInputs as error:
            missing += error.messages
    if plan is None or missing:
        raise MissingInputs(missing)
    return plan, files, sources


def _is_submitted(cell: Cell) -> bool:
    return issubclass(DETECTORS.get(cell.spec["method"]["detector"]), Submission)


def _extra_pixels(cell: Cell, sources: Sequence[Identity]) -> int:
    """Return the backbone input pixels that the compute-matched control trains longer: what the OSM pretraining saw in
    both branches.
    """
    if not cell.spec["method"]["pretrain"].endswith(COMPUTE):
        return 0
    pixels = sources[0].inputs.get("training_pixels")
    if not pixels:
        raise MissingInputs(
            [f"{cell.describe()}: the cost of {cell.requires[0].describe()} is unknown; give its row an input_px"]
        )
    return int(pixels)


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
    """Return the training budget in tiles; 0 where only the training scenes could tell it."""
    return int(options.get("samples") or (options.get("per_epoch") or 0) * options.get("epochs", 0))


def _test_tiles(plan: PlannedData, size_px: int) -> int:
    """Return the area of the test scenes in tiles: what prediction costs."""
    return (
        sum(plan.index.items[i].height * plan.index.items[i].width for i in plan.split.test.tolist()) // size_px**2 + 1
    )


def _load(job: Job) -> LoadedShips:
    """Open the decoded scenes, building the cache with progress on the first call."""
    plan = plan_data(job.cell, job.workspace, "ships", smallest=1)
    with job.context.progress.whole("decode scenes", "scene") as report:
        return load_ships(plan, job.workspace.cache, report)


def _detector(job: Job, scaling: ScalingParams, data: LoadedShips) -> Detector:
    spec = job.cell.spec
    cls = DETECTORS.get(spec["method"]["detector"])
    detector: Detector = cls(cls.Options.model_validate(spec["method"]["options"]))
    dataset = data.plan.dataset
    tiles, merging = Tiles.model_validate(spec["dataset"]["tiles"]), Merging.model_validate(spec["protocol"]["merging"])
    detector.prepare(
        Setup(spec["method"]["backbone"], scaling, tiles, merging, job.context, dataset.gsd_m, dataset.sar_scale)
    )
    return detector


def _initial_file(job: Job) -> Path | None:
    """Return the file that the backbone starts from: a published one, a checkpoint, or the model of the required
    matching cell.
    """
    if job.cell.spec["method"]["pretrain"].startswith("osm"):
        ((task, train_key),) = job.identity.requires
        return find_model(job.workspace.runs, task, train_key)
    return find_initial(job.cell, job.workspace)
