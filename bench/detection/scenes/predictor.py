"""A detector that is ready for scenes of its user's: out of a finished cell, or one that needs no training; and what
its values have to be.

Owns how a cell's folder becomes a detector again without its data set, and the rule that says which scenes it may be
shown: a network has learned values of one scale, and fed with others it finds nothing, or everything, without an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from bench.core.context import ExecutionContext
from bench.core.errors import BenchError
from bench.core.options import check_overridden
from bench.core.registries import DATASETS, DETECTORS
from bench.core.store import read_json
from bench.data.dataset import parse_options
from bench.data.scaling import VERSION as SCALING_VERSION
from bench.data.scaling import SarScale, ScalingParams, check_scaling
from bench.detection.detectors.base import Detections, Detector, Setup
from bench.detection.detectors.cfar.detector import Cfar
from bench.detection.fusion import Fusion
from bench.detection.spec import Merging, Tiles
from bench.detection.submission.submission import Submission
from bench.execution.records import CHANGED, MODEL, TRAIN, Record, file_state, output_hashes
from bench.models.states import load_state
from bench.tasks.fusion import FUSED

_STATE = "what its pixels are is never guessed: state that they are amplitude, intensity or db"


@dataclass(frozen=True)
class Predictor:
    """A detector with all settings of its test.

    Attributes:
        name: of the row, or of the detector where there is no cell.
        detector, options, backbone: as in the spec; options with every default written out.
        scaling: of the cell; None where nothing was trained on any scene.
        sar_scale, gsd_m: as the cell's data set declares them.
        score_floor: of the protocol: detections below are dropped.
        model: the cell's weights, None for a detector without.
        made_of: hashes that stand for it: train key and weights of the cell.
        instance: a detector that somebody has made already, None where it is built here.
    """

    name: str
    detector: str
    options: Mapping[str, Any]
    backbone: str | None = None
    scaling: ScalingParams | None = None
    tiles: Tiles = field(default_factory=lambda: Tiles.model_validate({}))
    merging: Merging = field(default_factory=lambda: Merging.model_validate({}))
    sar_scale: SarScale | None = None
    gsd_m: float | None = None
    score_floor: float = 0.0
    model: Path | None = None
    made_of: Mapping[str, str | None] = field(default_factory=dict)
    instance: Detector | None = None

    @property
    def cls(self) -> type[Detector]:
        found: type[Detector] = DETECTORS.get(self.detector) if self.instance is None else type(self.instance)
        return found

    def kept(self, found: Detections, threshold: float | None = None) -> Detections:
        """Return the detections from the protocol's floor and a threshold on."""
        for floor in (self.score_floor or None, threshold):
            found = found if floor is None else found.take(found.scores >= floor)
        return found

    def device(self, name: str) -> str:
        """Return the device to use, checked to exist; torch is imported for detectors with a network alone.

        Raises:
            BenchError: no such device, or one that the detector has no use for.
        """
        if self.cls.trains:
            from bench.training.api import choose_device

            return choose_device(name)
        if name not in ("auto", "cpu"):
            message = f"device {name}: {self.name} has no network and works on the CPU; leave it out"
            raise BenchError(message, "device")
        return "cpu"

    @property
    def scales_values(self) -> bool:
        """Whether it sees values by way of its scaling; CFAR takes them as power, whatever their range."""
        return not issubclass(self.cls, Cfar)

    def build(self, context: ExecutionContext) -> Detector:
        """Return the detector with its weights. Raises BenchError where they are damaged or another network's."""
        assert self.scaling is not None, "settled for a scene before"
        setup = Setup(self.backbone, self.scaling, self.tiles, self.merging, context, self.gsd_m, self.sar_scale)
        made = self.instance
        if made is None:
            made = self.cls(parse_options(self.cls.Options, self.options, f"detector {self.detector}"))
        elif made.prepared and replace(made.setup, context=context) == setup:
            return made
        made.prepare(setup)
        if self.model is not None:
            made.load_state(load_state(self.model))
        return made

    def identity(self) -> dict[str, Any]:
        """Return what of it can change a detection, as JSON."""
        return {
            "detector": {
                "name": self.detector,
                "version": self.cls.version,
                "backbone": self.backbone,
                "options": dict(self.options),
            },
            "model": dict(self.made_of),
            "scaling": asdict(self.scaling) if self.scaling else None,
            "sar_scale": self.sar_scale,
            "gsd_m": self.gsd_m,
            "tiles": self.tiles.model_dump(),
            "merging": self.merging.model_dump(),
            "score_floor": self.score_floor,
        }

    def for_scene(
        self,
        dtype: np.dtype,
        stated: SarScale | None,
        values: tuple[float, float] | None,
        gsd_m: float | None,
        where: object,
    ) -> Predictor:
        """Return the detector with the settings for one scene.

        Args:
            dtype: of the scene's pixels. stated: what the user says they are. values: which of them become 0 and 1,
                where the user says so.
            gsd_m: of the scene, None where unknown: then that of the cell's data set holds.
            where: the scene, for messages.

        Raises:
            BenchError: the scene's values are not those that the detector was trained on, or nobody states what they
            are.
        """
        if stated is SarScale.uint8 and dtype != np.uint8:
            raise BenchError(
                f"{where} holds {dtype} values, and uint8 is for 8-bit scenes; state amplitude, intensity or db",
                "sar_scale",
            )
        adapted = replace(self, gsd_m=gsd_m or self.gsd_m)
        if values is not None:
            low, high = values
            if not (np.isfinite(values).all() and high > low):
                raise BenchError(
                    f"value_range {low:g} {high:g}: the first value becomes 0, the second 1; the first must be the"
                    " smaller",
                    "value_range",
                )
            adapted = replace(adapted, scaling=ScalingParams("percentile", SCALING_VERSION, float(low), float(high)))
        if not self.scales_values:
            return replace(
                adapted,
                sar_scale=_power_scale(self.sar_scale, dtype, stated, where),
                scaling=adapted.scaling or _UNUSED,
            )
        if values is not None:
            return replace(adapted, sar_scale=stated or self.sar_scale)
        if self.scaling is None:
            if dtype != np.uint8:
                raise BenchError(
                    f"{where} holds {dtype} values; say which of them become 0 and 1 for {self.name}", "value_range"
                )
            return replace(adapted, scaling=ScalingParams("uint8", SCALING_VERSION, 0.0, 255.0), sar_scale=stated)
        _check_values(self, self.scaling, dtype, stated, where)
        return adapted


_UNUSED = ScalingParams("percentile", SCALING_VERSION, 0.0, 1.0)  # CFAR takes values as they are


def _power_scale(declared: SarScale | None, dtype: np.dtype, stated: SarScale | None, where: object) -> SarScale:
    """Return what the pixels of a scene are for a detector on intensities: stated, else what integers are in the cell's
    set, else amplitude.
    """
    if stated is None and dtype.kind == "f":
        raise BenchError(f"{where} holds {dtype} values, and {_STATE}", "sar_scale")
    scale = stated or (declared if declared is not None and declared is not SarScale.db else SarScale.amplitude)
    return SarScale.amplitude if scale is SarScale.uint8 else scale


def _check_values(
    ready: Predictor, scaling: ScalingParams, dtype: np.dtype, stated: SarScale | None, where: object
) -> None:
    """Raise BenchError unless a scene's values are, by type and by what the user states, those that the cell was
    trained on.
    """
    say = "say which values of the scene become 0 and 1"
    if scaling.name == "uint8":
        if dtype != np.uint8:
            raise BenchError(
                f"{where} holds {dtype} values, but {ready.name} was trained on 8-bit ones (x / 255); {say}",
                "value_range",
            )
        if stated not in (None, SarScale.uint8, SarScale.amplitude):
            message = f"{where}: {ready.name} was trained on 8-bit amplitudes, not on {stated}; {say}"
            raise BenchError(message, "value_range")
        return
    trained = f"{scaling.low:g} to {scaling.high:g}{' in log10' if scaling.name == 'log-percentile' else ''}"
    if ready.sar_scale is SarScale.uint8 or dtype == np.uint8:
        if ready.sar_scale is not SarScale.uint8 or dtype != np.uint8:
            what = f"{where} holds {dtype} values, but {ready.name} was trained on {ready.sar_scale}"
            raise BenchError(f"{what} from {trained}; {say}", "value_range")
        return
    if stated is None and dtype.kind == "f":
        raise BenchError(
            f"{where} holds {dtype} values, and {_STATE}; {ready.name} was trained on {ready.sar_scale} from {trained}",
            "sar_scale",
        )
    if (stated or SarScale.amplitude) is not ready.sar_scale and not (
        stated is None and ready.sar_scale is SarScale.intensity
    ):
        what = f"is stated as {stated}" if stated else f"holds {dtype} values, taken as amplitude"
        raise BenchError(
            f"{where} {what}, but {ready.name} was trained on {ready.sar_scale} from {trained}; convert it, or {say}",
            "value_range",
        )
    check_scaling(scaling.name, dtype, ready.sar_scale)


# -- where it comes from -----------------------------------------------------------------------------------------------
def from_cell(folder: Path, record: Record) -> Predictor:
    """Return the detector of a finished detection cell; the plug-ins that its suite names have been imported.

    Raises:
        BenchError: of another task, failed, a smoke run, boxes of another tool, a model that was cleaned away or is
            another one now.
    """
    name = f"{record.method} on {record.dataset}" + ("" if record.seed is None else f", seed {record.seed}")
    if record.task != "detection":
        raise BenchError(
            f"{name} is a {record.task} cell; ships are found by the detector of a detection cell: give one"
        )
    if record.status != "finished":
        stage = f" in {record.failure.stage}: {record.failure.message}" if record.failure else ""
        raise BenchError(f"{name} failed{stage}; run it again first: {record.command}")
    if record.smoke:
        raise BenchError(f"{name} is a smoke run, a wiring check whose network learned nothing; run it in full first")
    method, protocol = record.spec["method"], record.spec["protocol"]
    cls: type[Detector] = DETECTORS.get(method["detector"])
    if issubclass(cls, Submission):
        raise BenchError(f"{name} holds boxes that another tool submitted; there is no detector to run")
    if issubclass(cls, Fusion):
        rows = ", ".join(member["cell"] for member in record.inputs.get(FUSED) or [])
        raise BenchError(f"{name} is made of the predictions of other rows; give the cell of one of them: {rows}")
    train = read_json(folder / TRAIN)
    sha256 = output_hashes(record).get("weights_sha256")
    model = folder / MODEL
    if sha256 is None and cls.trains:
        raise BenchError(f"{name}: its record names no model; compute the cell again")
    if sha256 is not None and not model.is_file():
        raise BenchError(
            f"{name}: its model was cleaned away ({model} is missing); make it again: {record.command} --force"
        )
    if sha256 is not None and file_state(model, sha256) == CHANGED:
        raise BenchError(
            f"{model} is not the model that its record was made of; make it again: {record.command} --force"
        )
    scale, gsd_m = _declared(record)
    return Predictor(
        name=name,
        detector=method["detector"],
        options=method["options"],
        backbone=method["backbone"],
        scaling=_scaling(train, folder),
        tiles=Tiles.model_validate(record.spec["dataset"]["tiles"]),
        merging=Merging.model_validate(protocol["merging"]),
        sar_scale=scale,
        gsd_m=gsd_m,
        score_floor=protocol["score_floor"],
        model=model if sha256 is not None else None,
        made_of={"train_key": record.keys["train"], "weights_sha256": sha256},
    )


def without_training(detector: str, settings: Mapping[str, Any], gsd_m: float | None = None) -> Predictor:
    """Return a detector that learns nothing, by registry name, with the options `settings`.

    Raises:
        BenchError: unknown name or option, or a detector that has to be trained.
    """
    cls: type[Detector] = DETECTORS.get(detector)
    if cls.trains:
        raise BenchError(f"detector {detector} has to be trained; give a finished cell instead")
    if issubclass(cls, Submission):
        raise BenchError("detector submission holds boxes of another tool; there is no detector to run")
    if issubclass(cls, Fusion):
        raise BenchError("detector fusion is made of the predictions of other rows; there is no detector to run")
    options = parse_options(cls.Options, settings, f"detector {detector}")
    check_overridden(options, f"detector {detector}")
    return Predictor(detector, detector, options.model_dump(mode="json"), gsd_m=gsd_m)


def of_instance(detector: Detector, gsd_m: float | None = None) -> Predictor:
    """Return a detector that somebody has made: as it was prepared, or with the defaults of one that learns nothing.

    Raises:
        BenchError: it has to be trained, and was not even prepared.
    """
    name = type(detector).__name__
    options = detector.options.model_dump(mode="json") if isinstance(detector.options, BaseModel) else {}
    ready = Predictor(name, name, options, gsd_m=gsd_m, instance=detector)
    if not detector.prepared:
        if detector.trains:
            raise BenchError(f"{name} has to be trained; give a finished cell instead")
        return ready
    setup = detector.setup
    return replace(
        ready,
        backbone=setup.backbone,
        scaling=setup.scaling,
        tiles=setup.tiles,
        merging=setup.merging,
        sar_scale=setup.sar_scale,
        gsd_m=setup.gsd_m,
    )


def _declared(record: Record) -> tuple[SarScale | None, float | None]:
    """Return what the pixels of the cell's data set are, and its ground sample distance, from its declaration alone: no
    file is read.
    """
    spec = record.spec["dataset"]
    cls = DATASETS.get(spec["name"])
    opened = cls(Path(), parse_options(cls.Options, spec["options"], f"data set {spec['name']}"))
    return opened.sar_scale, opened.gsd_m


def _scaling(train: Any, folder: Path) -> ScalingParams:
    try:
        return ScalingParams(**train["facts"]["scaling"])
    except (KeyError, TypeError) as error:
        raise BenchError(f"{folder / TRAIN} holds no scaling of values; compute the cell again") from error
