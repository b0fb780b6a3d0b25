"""What a user writes under `detection:`: data sets with their splits and tiles, methods with their pretrainings, and
the protocol.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from bench.core.validation import Spec
from bench.tasks.section import DatasetEntry, MethodEntry, Section

TRAINING_VERSION = (
    1  # raise when the training of networks changes (sampling, targets, losses): they are then trained again
)
PREDICT_VERSION = 1  # raise when tiling or merging change: every cell is then predicted and scored again
METRICS_VERSION = 1  # raise when a metric's definition changes: every cell is then scored again, none is trained again

OSM_ARMS = ("osm", "osm-shuffled", "osm-dense", "osm-dense-shuffled")
IMAGENET_ARMS = ("imagenet", "imagenet-shuffled")
ARMS = ("none", *IMAGENET_ARMS, *OSM_ARMS)  # further: checkpoint:PATH, and any arm with "+compute" behind it
COMPUTE = "+compute"


class Tiles(Spec):
    """How scenes are cut for detectors that look at tiles.

    Attributes:
        size_px: edge of a square tile; smaller scenes are padded at the right and the bottom with what the scaling maps
            to 0.
        overlap_px: pixels shared by neighbours. The last tile of a row or column is moved inwards to end with the
            scene, so no pixel is left out. A ship no longer than the overlap lies whole in at least one tile; longer
            ones are joined from their parts (`Merging`), which needs some overlap: with 0, a ship on the border of two
            tiles stays in two pieces.
        min_visible: training keeps the cut box of a ship when at least this share of its area is in the tile, and
            ignores it otherwise.
    """

    size_px: int = Field(default=512, ge=32)
    overlap_px: int = Field(default=200, ge=0)
    min_visible: float = Field(default=0.5, gt=0, le=1)

    @model_validator(mode="after")
    def _overlap_fits(self) -> Tiles:
        if self.overlap_px >= self.size_px:
            raise ValueError(f"overlap_px {self.overlap_px} must be smaller than size_px {self.size_px}")
        return self


class Merging(Spec):
    """How detections in tiles become detections in the scene (the rule in full: `bench.detection.tiles.merging`).

    Attributes:
        iou: of two detections of different tiles that overlap by more than this IoU the one of higher score stays
            (greedy NMS; inside a tile the detector has judged). Two ends of a ship longer than the overlap that agree
            by more than this where both tiles look are joined.
        margin_px: a tile answers for its core, which ends in the middle of the overlap, widened by this margin.
        contained: a detection that touches an inner edge of its tile goes when at least this share of it lies in a
            larger one of another tile.
    """

    iou: float = Field(default=0.5, gt=0, lt=1)
    margin_px: float = Field(default=8, ge=0)
    contained: float = Field(default=0.7, gt=0, le=1)


class ShipsEntry(DatasetEntry):
    """One data set of a suite.

    Attributes:
        tiles: for every detector that looks at tiles.
    """

    tiles: Tiles = Field(default_factory=lambda: Tiles.model_validate({}))


class DetectorEntry(MethodEntry):
    """One detector of the board, one row or column for each of its pretrainings.

    Attributes:
        detector: registry name. backbone: null for the detector's first.
        pretrain: arms: "none", "imagenet", "imagenet-shuffled", "osm", "osm-shuffled", "osm-dense",
            "osm-dense-shuffled", "checkpoint:PATH"; with "+compute" behind it, the same start is trained longer by what
            the `osm` arm's pretraining cost.
    """

    component = "detector"

    detector: str
    pretrain: tuple[str, ...] = ("none",)

    @field_validator("pretrain", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("pretrain")
    @classmethod
    def _some_distinct(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        if not arms or len(set(arms)) < len(arms):
            raise ValueError(f"pretrain needs one or more different arms; got {list(arms)}")
        return arms


class OsmSource(Spec):
    """Which rows of the suite's `matching` section are the OSM pretraining, one for each backbone.

    Attributes:
        dataset, split: their block; null for the section's first.
        methods: backbone -> row of the `osm` arm; where a backbone is not named, the first trained row with it that is
            not `dense`.
        dense: backbone -> row of the `osm-dense` arm; where a backbone is not named, the first trained `dense` row with
            it.
        shuffled: backbone -> row of the `osm-shuffled` arm, dense_shuffled: of the `osm-dense-shuffled` arm; where not
            named, the twin of the true row with `control: shuffled`, else the true row trained on shuffled pairs, as a
            row of its own.
    """

    dataset: str | None = None
    split: str | None = None
    methods: dict[str, str] = {}
    shuffled: dict[str, str] = {}
    dense: dict[str, str] = {}
    dense_shuffled: dict[str, str] = {}


class DetectionProtocol(Spec):
    """How detectors are compared; equal for every row of a board.

    Attributes:
        name: identifier shown on the board (docs/protocols.md, section 8).
        merging: of tile detections.
        score_floor: detections below are dropped before scoring; 0 keeps what the detector gives.
        strata: column of the data sets whose values are scored apart as well, such as shore; null for none.
    """

    name: str = "det/clean-v1"
    merging: Merging = Field(default_factory=lambda: Merging.model_validate({}))
    score_floor: float = Field(default=0.0, ge=0, lt=1)
    strata: str | None = None


class DetectionSection(Section):
    """The `detection:` section of a suite.

    Attributes:
        reference: "detector/pretraining", or the detector alone where it takes none; null: the first row, in detection
            the detector's first pretraining.
    """

    protocol: DetectionProtocol = Field(default_factory=lambda: DetectionProtocol.model_validate({}))
    osm: OsmSource = Field(default_factory=lambda: OsmSource.model_validate({}))
    datasets: dict[str, ShipsEntry] = Field(min_length=1)
    methods: dict[str, DetectorEntry] = Field(min_length=1)
