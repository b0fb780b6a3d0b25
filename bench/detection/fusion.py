"""`fusion` of detection rows: their boxes in scenes put together, scene by scene, from stored predictions alone.

`wbf` is weighted boxes fusion (Solovyev et al. 2021) as mmdet computes it: boxes that overlap by more than `iou` become
one, the mean of their corners by score; its score is the mean of theirs, times the share of the members that it comes
from, so equal members give their own scores back, and what one of n members alone found keeps 1/n of its score. Corners
are rounded to float32. `nms` keeps the box of highest score where several overlap by more than `iou`. `soft-nms` lowers
the scores of the others instead of dropping them (Bodla et al. 2017): by the factor 1 - IoU above `iou`, or, with a
`sigma`, by exp(-IoU^2 / sigma) at any overlap. Neither mmdet without compiled operators nor torchvision has it, and
OpenCV's takes whole pixels, so it is written here.

A score is first multiplied by its member's weight over the largest weight. Boxes are compared by scores, so members
whose scores have no common scale are refused. A fused row saw no tiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from bench.core.errors import BenchError
from bench.detection.detectors.base import Detections, Detector
from bench.detection.scoring.evaluator import BoxTable
from bench.detection.scoring.predictions import (
    DetectionPredictions,
    PartPredictions,
    load_predictions,
    save_predictions,
)
from bench.detection.tiles.merging import iou_matrix, nms
from bench.execution.records import PREDICTIONS, predictions_left
from bench.execution.task import Job
from bench.tasks.fusion import FusionOptions, Member, members_facts


class BoxOptions(FusionOptions):
    """Options of a fused detection row.

    Attributes:
        method: "wbf", "nms" or "soft-nms".
        iou: boxes that overlap by more are taken for one ship.
        skip: boxes of lower score are left out, of soft-NMS also those that were lowered so far.
        weights: of the members, in their order; null weighs them the same.
        sigma: of soft-NMS with a Gaussian; null for the linear one.
    """

    method: Literal["wbf", "nms", "soft-nms"] = "wbf"
    iou: float = Field(default=0.55, gt=0, lt=1)
    skip: float = Field(default=0.0, ge=0)
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    sigma: float | None = Field(default=None, gt=0)

    def problem(self, members: int) -> str:
        if self.weights is not None and len(self.weights) != members:
            return f"weights: {len(self.weights)} for {members} members; give one for each, in the order of `of`"
        if self.sigma is not None and self.method != "soft-nms":
            return f"sigma is of method: soft-nms, and method is {self.method}; remove it"
        return ""

    def overridden(self) -> dict[str, str]:
        return {} if self.sigma is None else {"iou": "with a sigma, scores are lowered at any overlap"}


class Fusion(Detector[BoxOptions]):
    """A row that is made of others; `fuse_rows` computes it from their predictions instead of asking for boxes."""

    version = 1
    seeded = True
    Options = BoxOptions


def fuse_rows(job: Job, members: Sequence[Member]) -> dict[str, Any]:
    """Write the predictions file of a fused cell; return facts for the record.

    Raises:
        BenchError: the members' predictions are of other scenes, or their scores have no common scale.
    """
    options = BoxOptions.model_validate(job.cell.spec["method"]["options"])
    found = {member.label: load_predictions(member.predictions) for member in members}
    fused = fuse(found, options, job.cell.spec["protocol"]["score_floor"])
    save_predictions(job.folder / PREDICTIONS, fused)
    return {**members_facts(members), **predictions_left(job.folder)}


def fuse(members: Mapping[str, DetectionPredictions], options: BoxOptions, floor: float = 0.0) -> DetectionPredictions:
    """Return the fused predictions of both parts, without tiles; boxes that score below `floor` are dropped.

    Args:
        members: label -> predictions, of the same scenes.

    Raises:
        BenchError: they are of other scenes, or their scores have no common scale.
    """
    parts = {name: {label: getattr(each, name) for label, each in members.items()} for name in ("validation", "test")}
    scores = {label: np.concatenate([each[label].scene.score for each in parts.values()]) for label in members}
    _check_scores(scores, options)
    validation, test = (_fuse_part(each, options, floor) for each in parts.values())
    return DetectionPredictions(validation, test)


def _check_scores(scores: Mapping[str, np.ndarray], options: BoxOptions) -> None:
    """Raise BenchError where one member's scores are probabilities and another's are not, or where a mean by negative
    scores would be taken.
    """
    reach = {label: float(each.max()) for label, each in scores.items() if len(each)}
    large = next((label for label, most in reach.items() if most > 1), None)
    small = next((label for label, most in reach.items() if most <= 1), None)
    if large is not None and small is not None:
        raise BenchError(
            f"scores of {large} reach {reach[large]:.3g} and those of {small} lie in 0 to 1: no common scale to fuse"
            " boxes by; fuse rows with scores of one kind"
        )
    below = next((label for label, each in scores.items() if len(each) and each.min() < 0), None)
    if below is not None and options.method != "nms":
        raise BenchError(f"{below} has negative scores, by which {options.method} takes no mean; use method: nms")


def _fuse_part(members: Mapping[str, PartPredictions], options: BoxOptions, floor: float) -> PartPredictions:
    (name, first), *others = members.items()
    for other, part in others:
        if not _same_scenes(first, part):
            raise BenchError(f"{name} and {other} did not look at the same scenes; run both again with this version")
    weights = np.ones(len(members)) if options.weights is None else np.array(options.weights)
    weights = weights / weights.max()
    found = []
    for scene in range(len(first)):
        boxes = [_in_scene(part.scene, scene) for part in members.values()]
        fused = fuse_scene(boxes, weights, options)
        found.append(fused.take(fused.scores >= floor) if floor > 0 else fused)
    none = np.zeros(0, dtype=np.int64)
    return replace(
        first,
        scene=BoxTable.of([first.scene.truth_of(scene) for scene in range(len(first))], found),
        tile_scene=none,
        tile_window=none.reshape(0, 4),
        tile=BoxTable.of([], []),
    )


def fuse_scene(found: Sequence[Detections], weights: np.ndarray, options: BoxOptions) -> Detections:
    """Return the boxes of one scene, highest score first.

    Args:
        found: of each member. weights: (members,) of their scores, the largest 1.
    """
    found = [each.take(each.scores >= options.skip) for each in found]
    if options.method == "wbf":
        fused = _weighted_boxes(found, weights, options.iou)
    else:
        boxes = np.concatenate([each.boxes for each in found])
        scores = np.concatenate([each.scores * weight for each, weight in zip(found, weights, strict=True)])
        if options.method == "nms":
            return Detections(boxes, scores).take(nms(boxes, scores, options.iou))
        scores = soft_nms(boxes, scores, options.iou, options.sigma)
        fused = Detections(boxes, scores).take((scores > 0) & (scores >= options.skip))
    return fused.take(np.argsort(-fused.scores, kind="stable"))


def soft_nms(boxes: np.ndarray, scores: np.ndarray, iou: float, sigma: float | None) -> np.ndarray:
    """Return the scores (n,) as soft-NMS lowers them: the box of highest score lowers those that overlap it, and so on
    with the highest of the others; of equal scores the first.

    Args:
        boxes: (n, 4). scores: (n,), none negative. sigma: of the Gaussian, None for the linear rule above `iou`.
    """
    scores, left = scores.astype(np.float64), np.arange(len(scores))
    while len(left) > 1:
        top = int(np.argmax(scores[left]))
        chosen, left = left[top], np.delete(left, top)
        overlap = iou_matrix(boxes[chosen][None], boxes[left])[0]
        linear = np.where(overlap > iou, 1.0 - overlap, 1.0)
        scores[left] *= linear if sigma is None else np.exp(-(overlap**2) / sigma)
    return scores


def _weighted_boxes(found: Sequence[Detections], weights: np.ndarray, iou: float) -> Detections:
    """Return weighted boxes fusion by mmdet; boxes of score 0, which a mean by score cannot take, are left out."""
    from bench.detection.detectors.mmdet import mmcv_bridge

    mmcv_bridge.install()
    from mmdet.models.utils.wbf import weighted_boxes_fusion

    found = [each.take(each.scores > 0) for each in found]
    if not any(len(each) for each in found):
        return Detections.none()
    labels = [np.zeros(len(each), dtype=np.int64) for each in found]
    boxes, scores, _ = weighted_boxes_fusion(
        [each.boxes for each in found], [each.scores for each in found], labels, weights.tolist(), iou_thr=iou
    )
    return Detections(boxes.double().numpy().reshape(-1, 4), scores.double().numpy())


def _in_scene(table: BoxTable, scene: int) -> Detections:
    rows = slice(int(table.offset[scene]), int(table.offset[scene + 1]))
    return Detections(table.box[rows], table.score[rows])


def _same_scenes(one: PartPredictions, other: PartPredictions) -> bool:
    names = ("id", "height", "width", "stratum")
    truth = ("truth_offset", "truth_box", "truth_ignore")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names) and all(
        np.array_equal(getattr(one.scene, name), getattr(other.scene, name)) for name in truth
    )
