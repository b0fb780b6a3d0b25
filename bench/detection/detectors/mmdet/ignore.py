"""Boxes to ignore in training, where mmdet forgets them: its assigner in images without a ship, and its YOLOv3 head
everywhere.

A box to ignore (a ship cut to a sliver by the tile, VOC "difficult", COCO "iscrowd") counts neither as ship nor as
background. Classes are made on call, since mmdet can be imported only once `mmcv_bridge.install` has run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


IGNORE_SHARE = 0.5


def heed_ignored(assigner: Any) -> None:
    """Let mmdet's MaxIoUAssigner of this configuration leave out priors that lie by half in a box to ignore."""
    assigner.update(type=ignoring_assigner(), ignore_iof_thr=IGNORE_SHARE)


def ignoring_assigner() -> type[Any]:
    """Return mmdet's MaxIoUAssigner, which heeds boxes to ignore in images without a ship as well.

    Its own `assign` makes everything background there, whatever `ignore_iof_thr` says.
    """
    from mmdet.models.task_modules import MaxIoUAssigner

    class IgnoringAssigner(MaxIoUAssigner):
        """MaxIoUAssigner; in an image without a ship, priors that lie in an ignored box by the threshold are left
        out.
        """

        def assign(
            self, pred_instances: Any, gt_instances: Any, gt_instances_ignore: Any = None, **arguments: Any
        ) -> Any:
            result = super().assign(pred_instances, gt_instances, gt_instances_ignore, **arguments)
            priors, aside = pred_instances.priors, None if gt_instances_ignore is None else gt_instances_ignore.bboxes
            if (
                len(gt_instances.bboxes) == 0
                and len(priors)
                and aside is not None
                and len(aside)
                and self.ignore_iof_thr > 0
            ):
                share = self.iou_calculator(priors, aside, mode="iof").max(dim=1).values
                result.gt_inds[share > self.ignore_iof_thr] = -1
            return result

    return IgnoringAssigner


def ignoring_yolo_head() -> type[Any]:
    """Return mmdet's YOLOv3 head with a rule for boxes to ignore: an anchor whose cell has its centre in one is no
    background.
    """
    from mmdet.models import YOLOV3Head

    class IgnoringHead(YOLOV3Head):
        """YOLOV3Head that leaves cells in ignored boxes out of the objectness loss, unless they answer for a ship."""

        _ignored: Sequence[Tensor] = ()

        def loss_by_feat(  # type: ignore[override]  # as every head of mmdet does
            self, pred_maps: Any, batch_gt_instances: Any, batch_img_metas: Any, batch_gt_instances_ignore: Any = None
        ) -> Any:
            self._ignored = (
                [] if batch_gt_instances_ignore is None else [part.bboxes for part in batch_gt_instances_ignore]
            )
            return super().loss_by_feat(pred_maps, batch_gt_instances, batch_img_metas)

        def get_targets(self, anchor_list: Any, responsible_flag_list: Any, batch_gt_instances: Any) -> Any:
            targets, negatives = super().get_targets(anchor_list, responsible_flag_list, batch_gt_instances)
            for image, boxes in enumerate(self._ignored):
                if len(boxes):
                    for level, anchors in enumerate(anchor_list[image]):
                        negatives[level][image][_centres_in(anchors, boxes)] = 0
            return targets, negatives

    return IgnoringHead


def _centres_in(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return (n,) bool: whether the centre of each of `anchors` (n, 4) lies in one of `boxes` (k, 4)."""
    x = (anchors[:, 0] + anchors[:, 2])[:, None] / 2
    y = (anchors[:, 1] + anchors[:, 3])[:, None] / 2
    inside = (x >= boxes[:, 0]) & (x < boxes[:, 2]) & (y >= boxes[:, 1]) & (y < boxes[:, 3])
    return inside.any(1)
