"""Several ranks at the price of one import of torch: a process that forks them, and prints what they came to as JSON.

    python forked_ranks.py FOLDER [compare [more]] [detectors] [HOW A RANK ENDS ...]

What runs is the genuine thing: `train` and `bench.worker.main`, each fork told its rank by the variables that torchrun
sets.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from training_toys import toy_context

from bench.execution import worker
from bench.matching.matchers import networks
from bench.models.weights import state_sha256
from bench.training.api import train
from bench.training.parallel import gather
from bench.training.ranks import ReleasedError, world_from_environment
from bench.training.spec import TrainSpec

SIDE, DIM, BATCH = 40, 6, 7
COMPARE, MORE, DETECT = "compare", "more", "detectors"
HANG_S = 60  # a rank that has not ended by then is ended by a signal, which the tests see
NET = """\
name: ranks
plugins: [{plugin}]
matching:
  protocol: {{name: match/test-v1, hard: scene, gallery: 8}}
  datasets:
    toy:
      dataset: toy-pairs
      options: {{scenes: 3, patches_per_scene: 12, patch_px: 32}}
      splits:
        grouped: {{kind: grouped, by: scene, test: 0.34, validation: 0.4}}
  methods:
    small: {{matcher: small, options: {{epochs: 3, batch_size: 5, dim: 6, select: best, lr: 0.01{options}}}}}
    histogram: {{matcher: histogram}}
"""
PLUGIN = """\
import os, signal
from pydantic import Field
from bench.core.errors import BenchError
from bench.core.registries import MATCHERS
from bench.matching.matchers.infonce import InfoNce, InfoNceOptions

class SmallOptions(InfoNceOptions):
    ends: str = ""

@MATCHERS.register("small", "a network of one convolution; ends one rank or all when told to")
class Small(InfoNce):
    Options = SmallOptions
    uses_backbone = False

    def _initial(self, data):
        import torch
        torch.manual_seed(data.seed)
        return self._build("")

    def load_state(self, state):
        import torch
        self._network = self._build("")
        self._network.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})

    def _build(self, backbone):
        from forked_ranks import small
        from bench.matching.matchers.networks import InfoNceNetwork
        network = small(InfoNceNetwork)(self.options.dim, None, self.options.temperature)
        genuine, calls, ends = network.loss, [0], self.options.ends
        def loss(batch):
            calls[0] += 1
            rank = int(os.environ.get("TEST_RANK", "0"))
            if calls[0] == 4 and not os.path.exists(os.environ.get("TEST_MARK", "/")):
                if ends == "raise-1" and rank == 1:
                    raise BenchError("the second rank had enough")
                if ends == "raise-0" and rank == 0:
                    raise ValueError("the first rank had enough")
                if ends == "kill-1" and rank == 1 or ends == "kill-0" and rank == 0:
                    open(os.environ["TEST_MARK"], "w").close()
                    os.kill(os.getpid(), signal.SIGKILL)
                if ends == "nan":
                    return {"loss": genuine(batch)["loss"] * (float("nan") if rank == 1 else 1)}
            return genuine(batch)
        network.loss = loss
        return network
"""


def small(base: type[networks.PairNetwork]) -> Callable[..., networks.PairNetwork]:
    """Return `base` with branches of one convolution, without batch norm."""

    class Encoder(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 4, 5, stride=3), nn.Linear(4, dim)

        def forward(self, images: Tensor) -> Tensor:
            return nn.functional.normalize(self.out(torch.tanh(self.conv(images)).mean((2, 3))), dim=1)

    class SmallNetwork(base):  # type: ignore[valid-type, misc]
        def __init__(self, dim: int, *arguments: Any) -> None:
            super().__init__("resnet18", 2, *arguments)
            self.sar, self.optical = Encoder(dim), Encoder(dim)

    return SmallNetwork


class MeanNetwork(nn.Module):
    """A loss that is a mean over samples, another value, and a parameter that no batch uses."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.unused = nn.Linear(3 * SIDE, DIM), nn.Parameter(torch.ones(3))

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        out = self.head(batch["optical"].mean(1).flatten(1))
        return {
            "loss_a": out.square().mean(1).mean(),
            "loss_b": (out[:, 0] * batch["label"]).mean(),
            "size": out.abs().mean(),
        }


class Pairs:
    """Sixteen entries of noise in batches of 7, 7 and 2; nobody takes fewer than 2 of one, so the last is for rank 0
    alone.
    """

    smallest_share = 2

    def __len__(self) -> int:
        return 3

    def indices(self, epoch: int) -> list[np.ndarray]:
        order = np.random.default_rng(epoch).permutation(2 * BATCH + 2)
        return [order[:BATCH], order[BATCH : 2 * BATCH], order[2 * BATCH :]]

    def fetch(self, epoch: int, batch_indices: np.ndarray) -> dict[str, np.ndarray]:
        rng = [np.random.default_rng([epoch, int(index)]) for index in batch_indices]
        return {
            "sar": np.stack([r.random((SIDE, SIDE), np.float32) for r in rng]),
            "optical": np.stack([r.random((SIDE, SIDE, 3), np.float32) for r in rng]),
            "label": (batch_indices % 3 == 0).astype(np.float32),
            "shift": np.stack([r.integers(-1, 2, 2) for r in rng]),
        }


def dense() -> nn.Module:
    """The network of `dense` on its own backbone, without batch norm."""
    from bench.matching.matchers.dense_network import DenseNetwork

    network = DenseNetwork("shallow", DIM, 2, 0, 0.1)
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            module[1] = nn.Identity()
    return network


CASES: dict[str, Callable[[], nn.Module]] = {
    "mean": MeanNetwork,
    "infonce": lambda: small(networks.InfoNceNetwork)(DIM, None, 0.1),
    "bnn": lambda: small(networks.BnnNetwork)(DIM, None, 2.0, False),
    "dense": dense,
    "bnn-in-batch": lambda: small(networks.BnnNetwork)(DIM, None, 2.0, True),
}


class Tiles:
    """Three noisy tiles with two, one and no ship: one batch."""

    def __len__(self) -> int:
        return 1

    def indices(self, epoch: int) -> list[np.ndarray]:
        return [np.arange(3)]

    def fetch(self, epoch: int, batch_indices: np.ndarray) -> dict[str, Any]:
        ships = [
            np.array([[10.0, 12, 40, 30], [50, 50, 90, 80]], np.float32),
            np.array([[20.0, 60, 44, 90]], np.float32),
        ]
        ships.append(np.zeros((0, 4), np.float32))
        images = [np.random.default_rng([epoch, int(index)]).random((96, 96), np.float32) for index in batch_indices]
        return {
            "image": np.stack(images),
            "boxes": [ships[i] for i in batch_indices],
            "ignored": [ships[2] for _ in batch_indices],
        }


def detector(name: str) -> nn.Module:
    """An mmdet detector without randomness: batch norm keeps its statistics, and every anchor and proposal counts."""
    from bench.detection.detectors.mmdet.faster_rcnn import FasterRcnn
    from bench.detection.detectors.mmdet.yolov3 import YoloV3

    cls: Any
    cls, backbone = (FasterRcnn, "resnet18") if name == "faster-rcnn" else (YoloV3, "darknet53")
    small = {"fpn_channels": 16, "rpn_channels": 16, "roi_fc": 32, "train_proposals": 50, "anchor_scales": (4.0,)}
    every = {"rpn_samples": 100_000, "roi_samples": 100_000}
    network: nn.Module = cls(cls.Options(**({**small, **every} if cls is FasterRcnn else {})))._build(backbone).eval()
    network.train = lambda mode=True: network  # type: ignore[method-assign]
    return network


DETECTORS: dict[str, Callable[[], nn.Module]] = {name: partial(detector, name) for name in ("faster-rcnn", "yolov3")}


def trained(folder: Path, make: Callable[[], nn.Module], world: Any = None) -> dict[str, Any]:
    """Train; return weights and history. Of a detector, the first gradient in place of the weights: what one step of
    rate 1 took off.
    """
    torch.manual_seed(0)
    network = make()
    spec = TrainSpec(2, BATCH, {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}, clip_norm=1.0)
    context = replace(toy_context(folder), world=world)
    if make in DETECTORS.values():
        before = torch.cat([value.detach().flatten().clone() for value in network.parameters()])
        history = train(network, Tiles(), TrainSpec(1, 3, {"type": "SGD", "lr": 1.0}), context).history
        step = torch.cat([value.detach().flatten() for value in network.parameters()]) - before
        kept = step[:: max(1, len(step) // 20_000)]
        return {"weights": kept.tolist(), "norm": float(step.norm()), "history": history}
    result = train(network, Pairs(), spec, context, lambda net, epoch: {"rows": float(len(gather(torch.ones(2, 1))))})
    weights = torch.cat([value.flatten() for value in network.state_dict().values()]).tolist()
    return {"weights": weights, "history": result.history, "hash": state_sha256(network.state_dict())}


def gradients(
    folder: Path, size: int, rank: int, told: dict[str, str], cases: Mapping[str, Callable[[], nn.Module]]
) -> None:
    """All cases in one world, one training after the other; rank 0 writes what came out."""
    world = world_from_environment(told)
    assert world is not None
    found = {}
    try:
        for name, make in cases.items():
            found[name] = trained(folder / f"{name}-{size}-{rank}", make, world)
    except ReleasedError:
        world.leave()
    else:
        world.close()
        (folder / f"gradients-{size}.json").write_text(json.dumps(found))


def fork_ranks(size: int, act: Callable[[int, dict[str, str]], int | None], mark: Path) -> list[int]:
    """Run `act` in `size` forks; return how each ended (a negative number: by that signal)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    pids = []
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            told = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            os.environ |= {**told, "TEST_RANK": str(rank), "TEST_MARK": str(mark)}
            code = 99
            signal.alarm(HANG_S)
            try:
                code = act(rank, told) or 0
            except BaseException:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def plan(folder: Path, options: str = "") -> dict[str, Path]:
    """Write a suite and the jobs of its cells; return the cells' folders by matcher."""
    from bench.core.plugins import import_plugins
    from bench.core.workspace import Workspace
    from bench.execution.cell import Selection
    from bench.execution.job import JobFile, Settings
    from bench.execution.plan import make_plan
    from bench.suite.config import load_suite
    from bench.suite.expansion import expand

    plugin = folder.parent / "small_matcher.py"
    if not plugin.exists():
        plugin.write_text(PLUGIN)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "ranks.yaml"
    config.write_text(NET.format(plugin=plugin, options=options))
    suite = load_suite(str(config), [])
    import_plugins(suite.plugins, folder)
    cells = expand(suite, Selection(), list(suite.tasks), suite.origin)
    workspace = Workspace(folder / "runs", folder / "boards", {})
    found = {}
    for item in make_plan(cells, workspace).items:
        JobFile.of(item.cell, item.identity, workspace, Settings("cpu", 1, 0, False)).write(item.folder)
        found[item.cell.method] = item.folder
    return found


def work(cell: Path) -> list[int]:
    """Run the genuine worker on a cell, in two ranks."""
    return fork_ranks(2, lambda rank, told: worker.main(cell), cell.parents[2] / "mark")


def told_by(cell: Path) -> dict[str, Any]:
    """Return what a test looks at in a cell's folder."""
    files = {path.name for path in cell.iterdir()}
    record = json.loads((cell / "record.json").read_text()) if "record.json" in files else {}
    return {
        "files": sorted(files - {".lock"}),
        "status": record.get("status"),
        "failure": record.get("failure"),
        "weights": record.get("outputs", {}).get("weights_sha256"),
        "processes": record.get("provenance", {}).get("trained_by", {}).get("hardware", {}).get("processes"),
        "curves": (cell / "curves.csv").read_text() if "curves.csv" in files else "",
        "log": (cell / "log.txt").read_text() if "log.txt" in files else "",
    }


def compared(root: Path, cases: Mapping[str, Callable[[], nn.Module]], sizes: Sequence[int]) -> dict[str, Any]:
    """Train each case in one process, and by each number of ranks."""
    out: dict[str, Any] = {"1": {name: trained(root / f"{name}-1", make) for name, make in cases.items()}}
    for size in sizes:
        codes = fork_ranks(size, lambda rank, told, size=size: gradients(root, size, rank, told, cases), root / "mark")  # type: ignore[misc]
        out[str(size)] = {"codes": codes, **json.loads((root / f"gradients-{size}.json").read_text())}
    return out


def main(root: Path, ends: Sequence[str]) -> dict[str, Any]:
    """Compare weights and run cells; and see what becomes of cells where a rank ends in each of the ways of `ends`."""
    out: dict[str, Any] = {}
    if DETECT in ends:
        return compared(root, DETECTORS, (2,))
    if COMPARE in ends:
        out = compared(root, CASES, (2, 3) if MORE in ends else (2,))
        cells = plan(root / "cells")
        out["worker"] = {"codes": work(cells["small"]), **told_by(cells["small"])}
        if MORE in ends:
            out["again"] = {"codes": work(cells["small"]), **told_by(cells["small"])}
            out["untrained"] = {"codes": work(cells["histogram"]), **told_by(cells["histogram"])}
    for end in [end for end in ends if end not in (COMPARE, MORE)]:
        folder = plan(root / end, f", ends: {end}")["small"]
        out[end] = {"codes": work(folder), **told_by(folder)}
        if end.startswith("kill"):
            out[f"{end}-again"] = {"codes": work(folder), **told_by(folder)}
    return out


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2:])))
