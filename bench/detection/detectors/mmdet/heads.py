"""What training in mixed precision and by several processes needs of mmdet's necks and heads (torch; imported at
execution time only).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def hand_on_full_precision(part: nn.Module) -> None:
    """Let `part` compute as its surroundings say, and hand on fp32: what follows it has to be exact.

    Behind a head stands the loss. Behind the neck stands the RoI extractor, which casts the coordinates of proposals to
    the type of the features: bfloat16, with 8 significant bits, would round those beyond 256 px to whole multiples of 2
    px and more.
    """
    part.register_forward_hook(lambda module, inputs, output: _floats(output))


class SampleCount:
    """How many anchors or regions a loss is divided by, in its latest step: of this process's images alone.

    mmdet divides a loss by the number of samples drawn from the images at hand; where several processes share a batch,
    that is not yet the number of the batch (`DetectorNetwork.loss` corrects it).
    """

    latest = 0

    @classmethod
    def of_anchors(cls, head: Any) -> SampleCount:
        """Return the count of an `AnchorHead`: what its `get_targets` returns as `avg_factor`."""
        count, genuine = cls(), head.get_targets

        def get_targets(*arguments: Any, **named: Any) -> Any:
            targets = genuine(*arguments, **named)
            count.latest = int(targets[4])  # AnchorHead.get_targets: ..., avg_factor
            return targets

        head.get_targets = get_targets
        return count

    @classmethod
    def of_regions(cls, head: nn.Module) -> SampleCount:
        """Return the count of the box head of a second stage: the regions that it was given."""
        count = cls()

        def seen(module: nn.Module, inputs: Any, output: Any) -> None:
            count.latest = len(output[0])

        head.register_forward_hook(seen)
        return count


def _floats(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, list | tuple):
        return type(value)(_floats(part) for part in value)
    return value
