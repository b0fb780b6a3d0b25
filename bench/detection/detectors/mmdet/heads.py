"""What training in mixed precision and by several processes needs of mmdet's necks and heads (torch; imported at
execution time only).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bench.training.parallel import mean_factor


def hand_on_full_precision(part: nn.Module) -> None:
    """Let `part` compute as its surroundings say, and hand on fp32: what follows it has to be exact.

    Behind a head stands the loss. Behind the neck stands the RoI extractor, which casts the coordinates of proposals to
    the type of the features: bfloat16, with 8 significant bits, would round those beyond 256 px to whole multiples of 2
    px and more.
    """
    part.register_forward_hook(lambda module, inputs, output: _floats(output))


class SampleCounts:
    """How many anchors and regions a two-stage detector's losses are divided by, in its latest step: of this process's
    images alone.

    mmdet divides a loss by the number of samples drawn from the images of one process; where several processes share a
    batch, that is not yet the number of the batch.
    """

    def __init__(self, model: Any) -> None:
        self.rpn, self.rcnn = 0, 0
        genuine = model.rpn_head.get_targets

        def get_targets(*arguments: Any, **named: Any) -> Any:
            targets = genuine(*arguments, **named)
            self.rpn = int(targets[4])  # AnchorHead.get_targets: ..., avg_factor
            return targets

        model.rpn_head.get_targets = get_targets
        model.roi_head.bbox_head.register_forward_hook(self._regions)

    def _regions(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.rcnn = len(output[0])

    def factors(self) -> dict[str, float]:
        """Return what each loss is multiplied with to be divided by the number of the batch; 1 where one process has
        all of it.
        """
        rpn, rcnn = mean_factor(self.rpn), mean_factor(self.rcnn)
        return {"loss_rpn_cls": rpn, "loss_rpn_bbox": rpn, "loss_cls": rcnn, "loss_bbox": rcnn}


def _floats(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, list | tuple):
        return type(value)(_floats(part) for part in value)
    return value
