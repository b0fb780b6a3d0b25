"""The three keys of a matching cell: what changes which, and what changes none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import BaseModel, ValidationError

import bench.matching.task as matching_task
from bench.core.errors import BenchError
from bench.core.options import later, option_values
from bench.core.registries import MATCHERS
from bench.core.workspace import Workspace
from bench.data.toy import ToyScene, write_toy_pairs
from bench.execution.cell import Cell, Keys, Origin, Selection
from bench.execution.job import JobFile, Settings
from bench.execution.plan import make_plan
from bench.execution.task import get_task
from bench.suite.config import load_suite
from bench.suite.expansion import expand
from bench.tasks import base as task_base

SUITE: dict[str, Any] = {
    "name": "keys",
    "seeds": [0],
    "matching": {
        "protocol": {"gallery": 8},
        "datasets": {
            "toy": {
                "dataset": "toy-pairs",
                "options": {"scenes": 3, "patches_per_scene": 6, "patch_px": 16},
                "splits": {"grouped": {"kind": "grouped", "test": 0.34, "validation": 0.4}},
            }
        },
        "methods": {"net": {"matcher": "bnn", "backbone": "resnet18", "options": {"epochs": 2}}},
    },
}
Change = Callable[[dict[str, Any]], None]


def cells_of(folder: Path, raw: dict[str, Any], selection: Selection = Selection()) -> list[Cell]:  # noqa: B008 - frozen
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(raw))
    suite = load_suite(str(path))
    return expand(suite, selection, list(suite.tasks), Origin("--config suite.yaml", folder))


def keys_of(folder: Path, raw: dict[str, Any], workspace: Workspace, **selection: Any) -> Keys:
    (cell,) = cells_of(folder, raw, Selection(**selection))
    return get_task(cell.task).identify(cell, workspace).keys


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "runs", tmp_path / "boards", {}, {})


@pytest.fixture
def base(tmp_path: Path, workspace: Workspace) -> Keys:
    return keys_of(tmp_path, SUITE, workspace)


def changed(change: Change) -> dict[str, Any]:
    raw = copy.deepcopy(SUITE)
    change(raw)
    return raw


def method(raw: dict[str, Any]) -> dict[str, Any]:
    return raw["matching"]["methods"]["net"]


def dataset(raw: dict[str, Any]) -> dict[str, Any]:
    return raw["matching"]["datasets"]["toy"]


TRAIN: dict[str, Change] = {
    "epochs": lambda raw: method(raw)["options"].update(epochs=3),
    "learning rate": lambda raw: method(raw)["options"].update(lr=0.5),
    "seed": lambda raw: raw.update(seeds=[1]),
    "matcher": lambda raw: method(raw).update(matcher="infonce"),
    "backbone": lambda raw: method(raw).update(backbone="resnet34"),
    "control": lambda raw: method(raw).update(control="shuffled"),
    "precision": lambda raw: method(raw).update(precision="bf16"),
    "data": lambda raw: dataset(raw)["options"].update(seed=1),
    "patch size": lambda raw: dataset(raw)["options"].update(patch_px=20),
    "split": lambda raw: dataset(raw)["splits"]["grouped"].update(kind="random"),
    "split seed": lambda raw: dataset(raw)["splits"]["grouped"].update(seed=1),
    "scaling": lambda raw: dataset(raw).update(sar_scaling="percentile"),
}
PREDICT: dict[str, Change] = {
    "gallery": lambda raw: raw["matching"]["protocol"].update(gallery=9),
    "negative seed": lambda raw: raw["matching"]["protocol"].update(negative_seed=1),
    "hard negatives": lambda raw: raw["matching"]["protocol"].update(hard="none"),
}
SCORE: dict[str, Change] = {"protocol name": lambda raw: raw["matching"]["protocol"].update(name="match/other-v1")}
NONE: dict[str, Change] = {
    "suite name": lambda raw: raw.update(name="other", title="A title", description="words"),
    "method label": lambda raw: raw["matching"]["methods"].update(other=raw["matching"]["methods"].pop("net")),
    "data set label": lambda raw: raw["matching"]["datasets"].update(other=raw["matching"]["datasets"].pop("toy")),
    "split label": lambda raw: dataset(raw)["splits"].update(other=dataset(raw)["splits"].pop("grouped")),
    "defaults written out": lambda raw: method(raw)["options"].update(batch_size=32, schedule="constant"),
    "a title": lambda raw: dataset(raw).update(title="T"),
}


@pytest.mark.parametrize("name", TRAIN)
def test_what_changes_training_changes_all_keys(tmp_path: Path, workspace: Workspace, base: Keys, name: str) -> None:
    keys = keys_of(tmp_path, changed(TRAIN[name]), workspace)
    assert keys.train != base.train and keys.predict != base.predict and keys.score != base.score


@pytest.mark.parametrize("name", PREDICT)
def test_what_changes_the_pairs_trains_nothing(tmp_path: Path, workspace: Workspace, base: Keys, name: str) -> None:
    keys = keys_of(tmp_path, changed(PREDICT[name]), workspace)
    assert keys.train == base.train and keys.predict != base.predict and keys.score != base.score


@pytest.mark.parametrize("name", SCORE)
def test_what_changes_the_protocol_predicts_nothing(
    tmp_path: Path, workspace: Workspace, base: Keys, name: str
) -> None:
    keys = keys_of(tmp_path, changed(SCORE[name]), workspace)
    assert keys.train == base.train and keys.predict == base.predict and keys.score != base.score


@pytest.mark.parametrize("name", NONE)
def test_labels_and_words_change_nothing(tmp_path: Path, workspace: Workspace, base: Keys, name: str) -> None:
    raw = changed(NONE[name])
    (cell,) = cells_of(tmp_path, raw)
    (old,) = cells_of(tmp_path, SUITE)
    assert keys_of(tmp_path, raw, workspace) == base and cell.row_key == old.row_key


@pytest.mark.parametrize(
    ("holder", "constant", "same"),
    [
        (matching_task.MatchingTask, "metrics_version", ("train", "predict")),
        (matching_task, "PAIRS_VERSION", ("train",)),
        (matching_task, "TRAINING_VERSION", ()),
        (task_base, "SCALING_VERSION", ()),
    ],
)
def test_versions_change_their_stage_and_what_follows(
    tmp_path: Path,
    workspace: Workspace,
    base: Keys,
    monkeypatch: pytest.MonkeyPatch,
    holder: Any,
    constant: str,
    same: tuple[str, ...],
) -> None:
    monkeypatch.setattr(holder, constant, 99)
    keys = keys_of(tmp_path, SUITE, workspace)
    assert tuple(name for name in ("train", "predict", "score") if getattr(keys, name) == getattr(base, name)) == same


def test_a_matcher_version_changes_the_train_key(
    tmp_path: Path, workspace: Workspace, base: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MATCHERS.get("bnn"), "version", 99)
    assert keys_of(tmp_path, SUITE, workspace).train != base.train


def test_initial_weights_count_by_content_not_by_name_or_place(
    tmp_path: Path, workspace: Workspace, base: Keys
) -> None:
    def keys(path: Path, content: bytes) -> Keys:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return keys_of(tmp_path, changed(lambda raw: method(raw).update(init=str(path))), workspace)

    first = keys(tmp_path / "a.pth", b"one")
    assert first.train != base.train
    assert keys(tmp_path / "elsewhere" / "b.pth", b"one") == first
    assert keys(tmp_path / "c.pth", b"two").train != first.train
    with pytest.raises(BenchError, match="none.pth does not exist; give none, imagenet, or the path of a checkpoint"):
        keys_of(tmp_path, changed(lambda raw: method(raw).update(init="none.pth")), workspace)


def test_folders_and_context_change_nothing(tmp_path: Path, workspace: Workspace, base: Keys) -> None:
    write_toy_pairs(tmp_path / "copy", ToyScene(scenes=3, patches_per_scene=6, patch_px=16))
    for other in (
        Workspace(tmp_path / "other", tmp_path / "b", {}, {}),
        Workspace(tmp_path / "runs", tmp_path / "b", {"toy": tmp_path / "copy"}, {}),
        Workspace(tmp_path / "runs", tmp_path / "b", {}, {"BENCH_CACHE": str(tmp_path / "cache")}),
    ):
        assert keys_of(tmp_path, SUITE, other) == base
    (cell,) = cells_of(tmp_path, SUITE)
    identity = get_task("matching").identify(cell, workspace)
    for settings in (Settings(), Settings("cuda:1", 8, 4, False, True)):
        assert JobFile.of(cell, identity, workspace, settings).identity.keys.score == base.score


def test_changed_data_change_the_train_key(tmp_path: Path, workspace: Workspace, base: Keys) -> None:
    from bench.data.images import write_image
    from bench.suite.data_plan import _open, _plan

    write_toy_pairs(tmp_path / "copy", ToyScene(scenes=3, patches_per_scene=6, patch_px=16))
    write_image(tmp_path / "copy/sar_16_oc_0/4", np.zeros((16, 16), dtype=np.uint8))
    _open.cache_clear()
    _plan.cache_clear()
    other = Workspace(tmp_path / "runs", tmp_path / "b", {"": tmp_path / "copy"}, {})
    assert keys_of(tmp_path, SUITE, other).train != base.train


def test_a_limit_changes_the_train_key(tmp_path: Path, workspace: Workspace, base: Keys) -> None:
    assert keys_of(tmp_path, SUITE, workspace, limit=5).train != base.train
    assert keys_of(tmp_path, SUITE, workspace, seeds=(0,)) == base


def test_a_matcher_without_a_seed_runs_once(tmp_path: Path) -> None:
    raw = changed(lambda raw: raw.update(seeds=[0, 1, 2]))
    raw["matching"]["methods"] = {
        "c": {"matcher": "cfog"},
        "r": {"matcher": "random"},
        "two": {"matcher": "random", "seeds": [7, 8]},
    }
    assert [(cell.method, cell.seed) for cell in cells_of(tmp_path, raw)] == [
        ("c", None), ("r", 0), ("r", 1), ("r", 2), ("two", 7), ("two", 8),
    ]  # fmt: skip
    assert [cell.seed for cell in cells_of(tmp_path, raw, Selection(seeds=(4,)))] == [None, 4, 4]


def test_labels_that_would_share_a_place_on_the_board_are_refused(tmp_path: Path) -> None:
    raw = changed(lambda raw: dataset(raw)["splits"].update({"a-b": {"kind": "random"}}))
    raw["matching"]["datasets"]["toy-a"] = {**dataset(raw), "splits": {"b": {"kind": "random"}}}
    with pytest.raises(BenchError, match="would share one place on the board; rename a label"):
        cells_of(tmp_path, raw)


def test_the_command_of_a_cell_reproduces_it(tmp_path: Path) -> None:
    raw = changed(lambda raw: raw["matching"]["methods"].update({"two words": raw["matching"]["methods"].pop("net")}))
    (cell,) = cells_of(tmp_path, raw)
    assert (
        cell.command
        == "bench run matching --config suite.yaml --dataset toy --split grouped --method 'two words' --seeds 0"
    )


def test_a_plan_tells_each_missing_thing_once(tmp_path: Path, workspace: Workspace) -> None:
    raw = changed(lambda raw: dataset(raw).update(dataset="qxs-saropt", options={}))
    raw["seeds"] = [0, 1]
    raw["matching"]["methods"]["pre"] = {"matcher": "infonce", "backbone": "resnet18", "init": "imagenet"}
    cells = cells_of(tmp_path, raw)
    empty = Workspace(workspace.runs, workspace.boards, {}, {"HOME": str(tmp_path), "TORCH_HOME": str(tmp_path)})
    plan = make_plan(cells, empty)
    assert not plan.items and len(cells) == 4 and len(plan.missing) == 2
    assert (
        "data set qxs-saropt is not here" in plan.missing[0] and "no ImageNet weights for resnet18" in plan.missing[1]
    )


def test_an_option_that_came_later_enters_the_values_only_when_it_is_used() -> None:
    class Options(BaseModel):
        old: int = 1
        new: int = later(2, ge=0)

    assert option_values(Options()) == {"old": 1}
    assert option_values(Options(new=2)) == {"old": 1}
    assert option_values(Options(new=3)) == {"old": 1, "new": 3}
    with pytest.raises(ValidationError):
        Options(new=-1)
