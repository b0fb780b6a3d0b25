"""A smoke run: every cell of a suite through the genuine path with a few samples and a couple of iterations, to check
the wiring.

Owns what such a run cuts down (samples, iterations, seeds), its folder, and what stands in for published weight files
that are not here: random weights in the published layout, under a name that says so. They lie in the smoke run's
folder, and only a smoke cell looks there. A smoke cell is marked (`Mode.smoke`, `Record.smoke`) and has keys of its
own, so that nothing of it is ever reused, filed or counted as cost.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.store import atomic_write
from bench.core.workspace import Workspace

if TYPE_CHECKING:
    from bench.data.ships.index import ShipScene
    from bench.execution.cell import Cell
    from bench.models.backbones import BackboneFacts, WeightFile

FOLDER, WEIGHTS = "smoke", "weights"
STAND_IN = "smoke-random-"  # names of replaced weight files begin with it
SMOKE_SEEDS = 2
PAIRS = {"train": 4, "validation": 8, "test": 8}  # samples a part; few to train on, some to draw negatives from
SCENES, SCENE_PIXELS = 2, 4_000_000  # at most so many scenes a part, and fewer where they are large; one at least


# -- samples -----------------------------------------------------------------------------------------------------------
def few_pairs(positions: np.ndarray, part: str) -> np.ndarray:
    """Return the pairs of a part that a smoke run keeps, (m,) int64 ascending; all where there are no more than that.

    The first few and the last few, so that some share a scene and some do not.
    """
    count = PAIRS[part]
    return (
        positions if len(positions) <= count else np.concatenate([positions[: count // 2], positions[-(count // 2) :]])
    )


def few_scenes(positions: np.ndarray, items: Sequence[ShipScene]) -> np.ndarray:
    """Return the scenes of a part that a smoke run keeps, (m,) int64 ascending, of the set's `items`.

    Those that hold a ship first, of these the smallest: prediction looks at whole scenes.
    """

    def order(position: int) -> tuple[bool, int, int]:
        scene = items[position]
        return bool(scene.ignore.all()), scene.height * scene.width, position

    kept: list[int] = []
    pixels = 0
    for position in sorted(positions.tolist(), key=order)[:SCENES]:
        pixels += items[position].height * items[position].width
        if not kept or pixels <= SCENE_PIXELS:
            kept.append(position)
    return np.array(sorted(kept), dtype=np.int64)


# -- places ------------------------------------------------------------------------------------------------------------
def smoke_workspace(workspace: Workspace) -> Workspace:
    """Return the workspace of a smoke run: a folder of its own for the cells, the decoded data shared with the genuine
    runs.
    """
    cache = {"BENCH_CACHE": str(workspace.cache.resolve())}
    return replace(workspace, runs=workspace.runs / FOLDER, env={**workspace.env, **cache})


# -- weights -----------------------------------------------------------------------------------------------------------
def find_initial_weights(backbone: str, cell: Cell, workspace: Workspace) -> Path:
    """Return the published weight file of `backbone`; for a smoke cell, where that is absent, what was written in its
    place.

    Raises:
        BenchError: there is none; the message says which file, where to put it, and the command that fetches it.
    """
    from bench.models.weight_files import find_weights, locate_weights

    if cell.mode.smoke and locate_weights(backbone, workspace.env) is None:
        stand_in = _stand_in_path(backbone, workspace)
        if stand_in.is_file():
            return stand_in
    return find_weights(backbone, workspace.env)


def replaced_by(path: Path | None) -> str | None:
    """Return what a record says of initial weights that are a stand-in; None for any other file."""
    return path.name if path is not None and path.name.startswith(STAND_IN) else None


def replace_absent_weights(cells: Iterable[Cell], workspace: Workspace, say: Callable[[str], None]) -> None:
    """Write random weights for each published file that smoke cells start from and that is not here; say so.

    Raises:
        BenchError: a published file is here but damaged, or the folder cannot be written to.
    """
    from bench.models.weight_files import locate_weights

    for backbone in _published(cells):
        if locate_weights(backbone, workspace.env) is None:
            path = _stand_in_path(backbone, workspace)
            if not path.is_file():
                write_stand_in(backbone, path)
            say(f"ImageNet file of {backbone} not here: replaced by random weights for this check ({path})")


def write_stand_in(backbone: str, path: Path) -> None:
    """Write random weights of `backbone` in the layout of its first published file; the same bytes every time.

    The mark stands in the name of the file and in the metadata of its state dict, where the tensors are the published
    ones in name, shape and dtype.
    """
    import torch

    from bench.core.registries import BACKBONES

    facts: BackboneFacts = BACKBONES.get(backbone)
    weights = next(iter(facts.weights.values()), None)
    digest = hashlib.sha256(f"smoke {backbone}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest[:4], "little"))
        state = _published_layout(facts, weights)
    state._metadata = {"": {"version": 1}, "saropt-bench": {"smoke": "random weights, not trained on anything"}}
    stream = io.BytesIO()  # a path would get into the bytes
    torch.save(state, stream)
    with atomic_write(path) as temporary:
        temporary.write_bytes(stream.getvalue())


def _published_layout(facts: BackboneFacts, weights: WeightFile | None) -> Any:
    """Return a new network's state under the names of the published file, drawn from torch's global generator."""
    from collections import OrderedDict

    import torch

    from bench.models import keymaps

    state: Mapping[str, torch.Tensor] = facts.build().state_dict()
    if weights is not None and weights.layout == "torchvision":
        linear = torch.nn.Linear(facts.out_channels[3], 1000)
        # older than the counters
        state = {name: value for name, value in state.items() if not name.endswith(keymaps.COUNTER)}
        state = {**state, "fc.weight": linear.weight.detach(), "fc.bias": linear.bias.detach()}
    elif weights is not None and weights.layout == "mmdet-darknet":
        state = keymaps.darknet_to_mmdet(state)
    elif weights is not None and weights.layout == "efficientnet-pytorch":
        layers = {
            "_conv_head": torch.nn.Conv2d(facts.out_channels[3], 1280, 1, bias=False),
            "_bn1": torch.nn.BatchNorm2d(1280),
            "_fc": torch.nn.Linear(1280, 1000),
        }
        head = {f"{name}.{key}": value for name, each in layers.items() for key, value in each.state_dict().items()}
        state = {**keymaps.efficientnet_to_package(state), **head}
    return OrderedDict(state)


def _published(cells: Iterable[Cell]) -> list[str]:
    """Return the backbones whose published weights the cells start from, or the cells that they require."""
    found: dict[str, None] = {}
    for cell in cells:
        method = cell.spec.get("method", {})
        start = str(method.get("init") or method.get("pretrain") or "")
        if start.startswith("imagenet") and method.get("backbone"):
            found[str(method["backbone"])] = None
        found |= dict.fromkeys(_published(cell.requires))
    return list(found)


def _stand_in_path(backbone: str, workspace: Workspace) -> Path:
    return workspace.runs / WEIGHTS / f"{STAND_IN}{backbone}.pth"
