"""What a detection record and its per-sample scores must hold, so that its board can be made of them."""

from __future__ import annotations

from pydantic import model_validator

from bench.core.arrays import ArraySpec
from bench.execution.record_schema import LARGEST, Count, Counts, Line, Stated, StatedFacts
from bench.tasks.record_schema import SectionInputs, SectionParts, SectionSpec, StatedDataset, StatedMethod


class StatedTiles(Stated):
    """`spec.dataset.tiles`."""

    size_px: Count
    overlap_px: Count


class ShipsDataset(StatedDataset):
    """`spec.dataset`."""

    tiles: StatedTiles


class DetectorMethod(StatedMethod):
    """`spec.method`."""

    detector: Line
    pretrain: Line


class StatedProtocol(Stated):
    """`spec.protocol`."""

    strata: Line | None


class DetectionSpec(SectionSpec):
    """`Record.spec`."""

    dataset: ShipsDataset
    method: DetectorMethod
    protocol: StatedProtocol


class Pretraining(Stated):
    """One of `inputs.pretrained_by`; early records name no more than the cell."""

    cell: Line
    command: Line = ""
    train: Line | None = None
    score: Line | None = None
    dataset: Line = ""
    pairs: Count = 0
    matcher: Line = ""
    backbone: Line | None = None
    init: Line = ""
    control: Line = ""


class DetectionInputs(SectionInputs):
    """`Record.inputs`."""

    ships: Counts
    pretrained_by: list[Pretraining] | None = None
    extra_pixels: Count | None = None


class DetectionFacts(StatedFacts):
    """`Record.facts`. Those of levels ("scene.inshore.ships") are looked at by their names."""

    initial_weights: dict[str, Line | None] | None = None

    @model_validator(mode="after")
    def _levels(self) -> DetectionFacts:
        for name, value in (self.model_extra or {}).items():
            if not name.startswith(("scene.", "tile.")) or value is None:
                continue
            whole = not name.endswith(("threshold", "validation_f1"))
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                raise ValueError(f"facts.{name} is no number")
            if not 0 <= value <= LARGEST and whole or not -LARGEST <= value <= LARGEST:
                raise ValueError(f"facts.{name} is out of range")
        return self


class DetectionParts(SectionParts):
    """What a record must hold."""

    spec: DetectionSpec
    inputs: DetectionInputs
    facts: DetectionFacts

    @model_validator(mode="after")
    def _strata(self) -> DetectionParts:
        facts = self.facts.model_extra or {}
        for metric in self.metrics:
            level, _, name = metric.rpartition(".")
            if name == "ap_area" and level.count(".") == 1:
                missing = [f"{level}.{count}" for count in ("ships", "scenes") if facts.get(f"{level}.{count}") is None]
                if missing:
                    raise ValueError(f"facts.{missing[0]} is missing")
        return self


def _matches(of: str, scenes: str, found: str, needed: bool) -> dict[str, ArraySpec]:
    """Return the arrays of `bench.detection.scoring.score.matches_from_samples`."""
    flags = ArraySpec("b", (found,), needed=needed)
    bits = ArraySpec("u", (4, found), needed=needed)
    return {
        f"{of}ships": ArraySpec("iu", (4, scenes), low=0, needed=needed),
        f"{of}scene": ArraySpec("iu", (found,), low=0, high=scenes, needed=needed),
        f"{of}score": ArraySpec("f", (found,), needed=needed, finite=True),
        f"{of}coco_tp": bits,
        f"{of}coco_ignored": bits,
        f"{of}voc_tp": flags,
        f"{of}voc_ignored": flags,
    }


_TEXT = ArraySpec("U", ("scenes",))
# detections of scenes, and of tiles, which early entries do not hold
SAMPLES = {
    "scene_id": _TEXT,
    "group": _TEXT,
    "stratum": _TEXT,
    **_matches("", "scenes", "detections", needed=True),
    **_matches("tile_", "tiles", "tile detections", needed=False),
}
