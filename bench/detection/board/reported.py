"""What the papers report for this task, as data: value, source, table, protocol facts; and how a record of ours differs
from them.

Shown beside ours, never mixed with it. The facts and their marks: docs/detection-protocols.md, section 1; the rule:
docs/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.core.registries import BACKBONES
from bench.statistics.verdicts import Published, Verdict, verdict

if TYPE_CHECKING:
    from bench.execution.records import Record
    from bench.statistics.inference import Estimate

AP = "AP"
SCENES, SHIPS, TEST_SCENES, TEST_SHIPS = 31, 461, 10, 125
OSM_PAIRS = 20_000
MARGIN = 0.01
"""One point: less than the gains that Table III is about (1.32 and 1.24 points), so that a start without the gain
cannot pass for one with it. It is a third of the binomial standard error of 125 ships, so most verdicts will be "within
noise": that is what ten scenes can say."""


@dataclass(frozen=True, kw_only=True)
class Reported(Published):
    """One cell of a published table.

    Attributes:
        dataset, detector, pretrain, backbone: registry names of the row of ours that it stands beside.
    """

    dataset: str
    detector: str
    pretrain: str
    backbone: str

    @property
    def ap(self) -> float:
        """The published AP, in [0, 1]."""
        return self.values[AP]


_KNOWN = {
    "data": "AIR-SARShip-1.0: 31 scenes; 461 ships in the label files that circulate",
    "metric": "AP, compatible with IoU 0.5 and not with the mean over 0.50 to 0.95 (inferred)",
    "split": (
        "one split, no cross-validation; 21 scenes train and 10 test (the ratio of the set's publisher; the lists that"
        " circulate)"
    ),
}
_OPEN = (
    "the lists of the split, and so whether its test scenes are the circulating ten",
    "the definition of AP (area, 11 points) and whether scenes or tiles are scored",
    "tile size and overlap",
    "the scaling of 16-bit values",
    "schedule, learning rate, batch, augmentation, anchors, frozen stages",
    "whether scenes were held out for validation",
    "the number of runs and which of them is printed",
)
_OSM_OPEN = ("what the matching network started from, and how it was trained",)
_BACKBONES = {"faster-rcnn": "resnet50", "yolov3": "darknet53"}


def _table_iii(detector: str, pretrain: str, ap: float) -> Reported:
    """Return a cell of Table III. It has no standard error of its own here: the test scenes are presumed to be the
    same.
    """
    backbone = _BACKBONES[detector]
    start = "ImageNet" if pretrain == "imagenet" else "the SAR branch of Table II's network with the same backbone"
    return Reported(
        dataset="air-sarship-1.0",
        detector=detector,
        pretrain=pretrain,
        backbone=backbone,
        values={AP: ap},
        source="Huang et al., QXS-SAROPT, arXiv 2103.08259",
        table="Table III",
        known={**_KNOWN, "backbone": f"{backbone} (inferred from Table II)", "initial weights": start},
        open=_OPEN + (_OSM_OPEN if pretrain == "osm" else ()),
        margin=MARGIN,
    )


REPORTED = (
    _table_iii("faster-rcnn", "imagenet", 0.8720),
    _table_iii("faster-rcnn", "osm", 0.8852),
    _table_iii("yolov3", "imagenet", 0.8712),
    _table_iii("yolov3", "osm", 0.8836),
)


def find_reported(dataset: str, detector: str, pretrain: str) -> Reported | None:
    """Return the published number of a detector with a pretraining on a data set, or None where there is none."""
    for row in REPORTED:
        if (row.dataset, row.detector, row.pretrain) == (dataset, detector, pretrain):
            return row
    return None


def judge(records: Sequence[Record], ours: Estimate | None, metric: str = "scene.ap_area") -> Verdict | None:
    """Return the verdict of one row of the board, None where nothing is published for it.

    Args:
        records: of the row, one a seed (merged ones, for the mean over folds).
        ours: their AP, None where it is not defined.
        metric: which of our metrics `ours` is.
    """
    spec = records[0].spec
    found = find_reported(spec["dataset"]["name"], spec["method"]["detector"], spec["method"]["pretrain"])
    if found is None:
        return None
    known = list(dict.fromkeys(text for record in records for text in differences(record, metric)))
    return verdict(found, {AP: ours}, known, len(records), sum(record.status == "failed" for record in records))


def differences(record: Record, metric: str = "scene.ap_area") -> list[str]:
    """Return every known difference of a record from what is known of Table III, as "<part>: <what>"; empty where none
    is known.

    Whether the files are the genuine ones can only be judged by their numbers of scenes and ships.
    """
    return [*_run(record), *_data(record), *_split(record), *_metric(metric), *_method(record)]


def _run(record: Record) -> list[str]:
    out = [] if record.limit is None else [f"run: limited to {record.limit} scenes a part"]
    return out + (["run: a smoke test"] if record.smoke else [])


def _data(record: Record) -> list[str]:
    """Compare the size of the set. A limited run and a fold count their own parts: their difference is
    reported elsewhere.
    """
    scenes = _scenes(record)
    if scenes is None:
        return ["data: the record does not count its scenes"]
    out = [] if sum(scenes.values()) == SCENES else [f"data: {sum(scenes.values())} scenes, the set has {SCENES}"]
    ships = sum(record.inputs["ships"].values())
    whole = record.limit is None and "folds" not in record.facts and not scenes["dropped"]
    return out + ([f"data: {ships} ships, the labels in circulation hold {SHIPS}"] if whole and ships != SHIPS else [])


def _scenes(record: Record) -> dict[str, int] | None:
    """Return how many scenes each part has, before any limit; None where the record does not say."""
    scenes: dict[str, int] | None = record.inputs.get("split_summary", {}).get("scenes")
    return scenes if scenes and {"train", "validation", "test", "dropped"} <= set(scenes) else None


def _split(record: Record) -> list[str]:
    split, scenes = record.spec["dataset"]["split"], _scenes(record)
    if split["kind"] == "folds":
        return [f"split: {split['folds']} folds, the paper has one split"]
    if (split["kind"], split.get("by"), list(split.get("test_groups") or ())) != ("grouped", "split", ["test"]):
        return [f"split: {split['kind']}, not the 21/10 scenes that circulate"]
    if scenes is None:
        return []
    out = []
    if scenes["dropped"]:
        out.append(f"split: {scenes['dropped']} scenes dropped")
    if scenes["test"] != TEST_SCENES or record.limit is None and record.inputs["ships"]["test"] != TEST_SHIPS:
        out.append(
            f"split: {record.inputs['ships']['test']} ships in {scenes['test']} test scenes, not {TEST_SHIPS} in"
            f" {TEST_SCENES}"
        )
    return out


_ALLOWED = ("scene.ap_area", "scene.ap_11pt", "scene.ap50")


def _metric(metric: str) -> list[str]:
    if metric in _ALLOWED:
        return []
    why = {
        "tile": "counts a ship once for each of our overlapping tiles",
        "scene.ap_coco": "is the mean over IoU 0.50 to 0.95, the paper's AP is not",
    }
    reason = why.get(metric.partition(".")[0]) or why.get(metric) or "is no AP at IoU 0.5 over all test scenes"
    return [f"metric: {metric} {reason}"]


def _method(record: Record) -> list[str]:
    method = record.spec["method"]
    wanted = _BACKBONES.get(method["detector"])
    if wanted is None:
        return [f"method: detector {method['detector']} is in none of the paper's rows"]
    out = (
        [] if method["backbone"] == wanted else [f"method: backbone {method['backbone']}, the paper's row has {wanted}"]
    )
    if method["pretrain"] == "imagenet":
        digest = record.inputs.get("files_sha256", {}).get("initial")
        known = [weights.sha256_prefix for weights in BACKBONES.get(method["backbone"]).weights.values()]
        if digest is None or not any(digest.startswith(prefix) for prefix in known):
            out.append("method: the initial weights are not the published ImageNet file")
        return out
    if method["pretrain"] == "osm":
        sources = record.inputs.get("pretrained_by") or [{}]
        return out + _pretraining(sources[0], method["backbone"])
    return [*out, f"method: pretraining {method['pretrain']} is in none of the paper's rows"]


def _pretraining(source: dict[str, Any], backbone: str) -> list[str]:
    """Compare the matching cell that an OSM arm starts from with what the paper pretrains on."""
    if not {"dataset", "pairs", "matcher", "backbone", "init", "control"} <= set(source):
        return ["method: the record does not say what its OSM pretraining saw"]
    out = []
    if (source["dataset"], source["pairs"]) != ("qxs-saropt", OSM_PAIRS):
        out.append(
            f"method: OSM pretraining on {source['pairs']:,} pairs of {source['dataset']}, the paper's on {OSM_PAIRS:,}"
            " of qxs-saropt"
        )
    if (source["matcher"], source["backbone"], source["control"]) != ("bnn", backbone, "none"):
        control = "" if source["control"] == "none" else f", control {source['control']}"
        out.append(
            f"method: OSM pretraining by {source['matcher']} with {source['backbone']}{control}, the paper's by bnn"
            f" with {backbone}"
        )
    return out
