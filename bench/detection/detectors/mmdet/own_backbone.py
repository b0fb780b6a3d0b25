"""A backbone of ours inside an mmdet detector, for networks that mmdet has not (torch; imported at execution time
only).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bench.core.registries import BACKBONES


class OwnBackbone(nn.Module):
    """What an mmdet detector sees of a registered backbone: its last stages, as `type` in a configuration.

    Args:
        name: registered name.
        stages: how many of the four it hands on, the last ones.
        frozen_stages, norm_eval: as mmdet means them: -1 trains all, 0 freezes the stem, i also the first i stages;
            batch norm with the initial weights' statistics. Frozen parts have no gradients and stay in evaluation mode.
    """

    def __init__(self, name: str, stages: int = 4, frozen_stages: int = -1, norm_eval: bool = False) -> None:
        super().__init__()
        self.network: Any = BACKBONES.get(name).build()
        self.stages, self.frozen_stages, self.norm_eval = stages, frozen_stages, norm_eval

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map (n, 3, H, W) to the maps of the last `stages` stages, finest first."""
        return tuple(self.network.forward_stages(images)[-self.stages :])

    def train(self, mode: bool = True) -> OwnBackbone:
        """Set the mode of all parts but the frozen ones and, with `norm_eval`, the norms."""
        super().train(mode)
        if self.frozen_stages >= 0:
            for part in self.network.parts()[: self.frozen_stages + 1]:
                for module in part:
                    module.eval().requires_grad_(False)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self
