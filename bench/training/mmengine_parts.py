"""The one place where mmengine is imported at module level: what trainings use of it (torch; imported at execution time
only). `pkg_resources`, which mmengine asks for, is served first.
"""

from __future__ import annotations

from bench.training import pkg_resources_bridge

pkg_resources_bridge.install()

from mmengine.hooks import Hook  # noqa: E402
from mmengine.logging import MessageHub, MMLogger  # noqa: E402
from mmengine.optim import AmpOptimWrapper, OptimWrapper  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

__all__ = ["AmpOptimWrapper", "DefaultScope", "Hook", "MMLogger", "MessageHub", "OptimWrapper", "Runner"]
