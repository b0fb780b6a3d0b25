"""Pretraining arms: what a detector's backbone starts from, and the matching cell that an OSM arm depends on.

The SAR branch of a network trained for matching *is* the OSM pretraining. Detection knows the matching task by its
cells alone: it asks the task to expand the suite's `matching` section and picks the trained row with its own backbone,
so that Table II's cell is Table III's start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import BenchError, nearest
from bench.core.validation import validate
from bench.core.workspace import Workspace
from bench.detection.spec import ARMS, COMPUTE, IMAGENET_ARMS, OSM_ARMS, OsmSource
from bench.execution.cell import Cell, Origin, Selection
from bench.execution.task import get_task
from bench.suite.config import Suite
from bench.suite.smoke import find_initial_weights

if TYPE_CHECKING:
    from bench.detection.detectors.base import InitialWeights

MATCHING, SAR_BRANCH = "matching", "sar.backbone."
CHECKPOINT = "checkpoint:"
DENSE = ("dense", "dense-pyramid")  # the matchers of dense features on a backbone
OSM_DENSE = "osm-dense"  # the arms that start from one of them
# in our matchers, two-branch files, our detectors (a backbone of ours, of mmdet), mmdet's
_BRANCHES = (SAR_BRANCH, "sar.", "model.backbone.network.", "model.backbone.", "backbone.")


@dataclass(frozen=True)
class Arm:
    """One pretraining.

    Attributes:
        text: as the user wrote it.
        start: "none", "checkpoint", or one of IMAGENET_ARMS or OSM_ARMS.
        path: of a checkpoint.
        compute: train longer by what the OSM pretraining cost.
    """

    text: str
    start: str
    path: str | None = None
    compute: bool = False

    @property
    def label(self) -> str:
        """The arm's part of a row's label, usable as a file name."""
        name = f"checkpoint-{Path(self.path).stem}" if self.path else self.start
        return name + (COMPUTE if self.compute else "")

    @property
    def needs_matching(self) -> bool:
        """Whether the arm depends on a matching cell: for its weights, or for its cost."""
        return self.start in OSM_ARMS or self.compute

    @property
    def dense(self) -> bool:
        """Whether it starts from a `dense` matcher."""
        return self.start.startswith(OSM_DENSE)

    @property
    def shuffled(self) -> bool:
        """Whether it starts from a network that was trained on shuffled pairs."""
        return self.start in OSM_ARMS and self.start.endswith("-shuffled")


def parse_arm(text: str, where: str) -> Arm:
    """Return the arm that `text` names.

    Raises:
        BenchError: unknown; "+compute" behind an OSM arm; a checkpoint without a path.
    """
    compute = text.endswith(COMPUTE)
    word = text.removesuffix(COMPUTE)
    if word.startswith(CHECKPOINT):
        path = word.removeprefix(CHECKPOINT)
        if not path:
            raise BenchError(f"{where}: {text!r} names no file; write checkpoint:PATH")
        return Arm(text, "checkpoint", path, compute)
    if word not in ARMS:
        raise BenchError(f"{where}: unknown pretraining {text!r}{nearest(word, [*ARMS, 'checkpoint:PATH'])}")
    if compute and word.startswith("osm"):
        raise BenchError(
            f"{where}: {text!r} makes no sense: the control {COMPUTE} gives another start what {word} has had already"
        )
    return Arm(text, word, None, compute)


def matching_cell(
    arm: Arm,
    source: OsmSource,
    suite: Suite,
    backbone: str,
    seed: int | None,
    selection: Selection,
    origin: Origin,
    where: str,
) -> Cell:
    """Return the matching cell that an arm depends on: same backbone, same seed, same limit.

    Raises:
        BenchError: the suite has no matching section, or no trained row there for this backbone.
    """
    if MATCHING not in suite.tasks:
        raise BenchError(
            f"{where}: {arm.text!r} starts from a matching network, and the suite has no `matching` section; add one"
        )
    task = get_task(MATCHING)
    section = validate(task.Section, suite.tasks[MATCHING], f"{suite.name}: {MATCHING}")
    rows, controls = (source.dense, source.dense_shuffled) if arm.dense else (source.methods, source.shuffled)
    named = {"dataset": source.dataset, "split": source.split, "method": rows.get(backbone)}
    seeds = None if seed is None else (seed,)

    def cells(**filters: str | None) -> list[Cell]:
        chosen = {name: (value,) for name, value in {**named, **filters}.items() if value is not None}
        try:
            found = task.expand(suite, section, replace(selection, filters=chosen, seeds=seeds, beside=False), origin)
        except BenchError as error:
            raise BenchError(f"{where}: pretraining {arm.text!r} finds no row to start from: {error}") from error
        mine = [cell for cell in found if cell.spec["method"]["backbone"] == backbone]
        fits = [cell for cell in mine if (cell.spec["method"]["matcher"] in DENSE) == arm.dense]
        if mine and not fits and chosen.get("method"):
            raise BenchError(
                f"{where}: {arm.text!r} starts from {'a' if arm.dense else 'no'} `{'` or `'.join(DENSE)}` matcher, and"
                f" row {chosen['method'][0]!r} is {mine[0].spec['method']['matcher']!r}; name another under"
                f" detection.osm{'.dense' if arm.dense else '.methods'}"
            )
        return [cell for cell in fits if cell.dataset == fits[0].dataset]

    true = cells(backbone=backbone, control="none")
    if not true:
        raise BenchError(
            f"{where}: the suite's matching section has no trained {'dense ' if arm.dense else ''}row with backbone"
            f" {backbone!r}; add one, or name it under detection.osm{'.dense' if arm.dense else ''}"
        )
    if not arm.shuffled:
        return true[0]
    return _shuffled_cell(cells, true[0], controls.get(backbone), arm, backbone, where)


def _shuffled_cell(
    cells: Callable[..., list[Cell]], true: Cell, named: str | None, arm: Arm, backbone: str, where: str
) -> Cell:
    """Return the control of a true row: the row that the suite names, else its twin with `control: shuffled`, else the
    true row trained on shuffled pairs, as a row of its own.
    """
    if named is not None:
        found = cells(method=named)
    else:
        data, split = true.origin.names["dataset"], true.origin.names["split"]
        twins = cells(dataset=data, split=split, method=None, control="shuffled", backbone=backbone)
        found = [cell for cell in twins if _twin(cell, true)] or _retargeted(cells, true)
    if not found:
        key = "detection.osm.dense_shuffled" if arm.dense else "detection.osm.shuffled"
        raise BenchError(
            f"{where}: no matching row trains backbone {backbone!r} on shuffled pairs; name one under {key}"
        )
    return found[0]


def _twin(cell: Cell, true: Cell) -> bool:
    """Return whether a control differs from its true row in nothing but the control."""
    return {**cell.spec["method"], "control": "none"} == dict(true.spec["method"])


def _retargeted(cells: Callable[..., list[Cell]], true: Cell) -> list[Cell]:
    """Return the true row, trained on shuffled pairs, as a row of its own."""
    how = {name: value for name, value in true.origin.names.items() if name not in ("dataset", "split")}
    return cells(dataset=true.origin.names["dataset"], split=true.origin.names["split"], control="shuffled", **how)


def find_initial(cell: Cell, workspace: Workspace) -> Path | None:
    """Return the file that a cell's backbone starts from; None for a random start, and for an OSM arm, whose file does
    not exist yet.

    Raises:
        BenchError: the file is missing; the message names it, where to put it, and the command that downloads it.
    """
    start, backbone = cell.spec["method"]["pretrain"], cell.spec["method"]["backbone"]
    if start.removesuffix(COMPUTE) in IMAGENET_ARMS:
        return find_initial_weights(backbone, cell, workspace)
    if "pretrain" not in cell.origin.places:
        return None
    path = Path(cell.origin.places["pretrain"])
    if not path.is_file():
        raise BenchError(
            f"{cell.describe()}: pretrain checkpoint {path} does not exist; write checkpoint:PATH of a file that is"
            " there"
        )
    return path


def initial_weights(path: Path | None, pretrain: str) -> InitialWeights | None:
    """Return the file with the prefix under which the backbone stands in it (the SAR branch of a two-branch file, a
    detector's backbone), and whether the arm `pretrain` permutes what stands there.
    """
    from bench.detection.detectors.base import InitialWeights
    from bench.models.weights import first_prefix, load_weights

    if path is None:
        return None
    state, _ = load_weights(path)
    return InitialWeights(path, first_prefix(state, _BRANCHES), pretrain.removesuffix(COMPUTE) == IMAGENET_ARMS[1])
