"""The detection section's cells: detectors x pretrainings x seeds, the matching cells they start from, and the keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_toys import SUITE, Change, cells_of, changed, labels

import bench.detection.task as detection_task
from bench.core.errors import BenchError, MissingInputs
from bench.core.workspace import Workspace
from bench.data.images import write_image
from bench.detection.pretraining import initial_weights, parse_arm
from bench.execution.job import JOB, JobFile, Settings, read_job
from bench.execution.plan import make_plan
from bench.execution.task import get_task


@pytest.fixture
def ships(tmp_path: Path) -> Path:
    """Six images of 64 px with one ship each, in COCO's layout."""
    root = tmp_path / "ships"
    (root / "images").mkdir(parents=True)
    images, boxes = [], []
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 60, (64, 64)).astype(np.uint8)
        pixels[20:28, 30:50] = 230
        write_image(root / f"images/{i}", pixels)
        images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 64})
        boxes.append({"id": i, "image_id": i, "category_id": 1, "bbox": [30, 20, 20, 8], "area": 160, "iscrowd": 0})
    text = json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "ship"}]})
    (root / "annotations.json").write_text(text)
    return root


@pytest.fixture
def workspace(tmp_path: Path, ships: Path) -> Workspace:
    return Workspace(tmp_path / "runs", tmp_path / "boards", {"ships": ships}, {})


# -- cells -------------------------------------------------------------------------------------------------------------
def test_a_detector_has_a_row_for_each_pretraining_and_names_the_matching_cell_it_starts_from(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, SUITE)
    assert labels(cells) == [
        ("detection", "cfar", None),
        ("detection", "frcnn/none", 0),
        ("detection", "frcnn/none", 1),
        ("matching", "bnn18", 0),
        ("detection", "frcnn/osm", 0),
        ("matching", "bnn18", 1),
        ("detection", "frcnn/osm", 1),
        ("matching", "bnn18-x", 0),
        ("detection", "frcnn/osm-shuffled", 0),
        ("matching", "bnn18-x", 1),
        ("detection", "frcnn/osm-shuffled", 1),
    ]
    assert cells[4].requires == (cells[3],) and cells[1].requires == ()
    assert (
        cells[3].command
        == "bench run matching --config suite.yaml --dataset toy --split grouped --method bnn18 --seeds 0"
    )
    assert cells[4].command.endswith("--dataset ships --split half --method frcnn --pretrain osm --seeds 0")


def test_table_twos_cell_is_table_threes_pretraining(tmp_path: Path) -> None:
    both = cells_of(tmp_path, SUITE, ("matching", "detection"))
    alone = cells_of(tmp_path, SUITE)
    assert all(cell in both for cell in alone)
    assert len({(cell.task, cell.slot) for cell in both}) == len(both)


def test_a_row_may_be_named_and_a_shuffled_twin_is_made_where_the_suite_has_none(tmp_path: Path) -> None:
    raw = changed(lambda raw: raw["detection"].update(osm={"methods": {"resnet18": "nce18"}}))
    cells = cells_of(tmp_path, raw, seeds=(4,), filters={"method": ("frcnn",), "pretrain": ("osm", "osm-shuffled")})
    assert labels(cells) == [
        ("matching", "nce18", 4),
        ("detection", "frcnn/osm", 4),
        ("matching", "nce18-shuffled", 4),
        ("detection", "frcnn/osm-shuffled", 4),
    ]
    assert cells[2].spec["method"] == {**cells[0].spec["method"], "control": "shuffled"}
    twin = cells_of(tmp_path, raw, ("matching",), seeds=(4,), filters={"method": ("nce18",), "control": ("shuffled",)})
    assert twin == [cells[2]], "the command of the twin makes the same cell"


@pytest.mark.parametrize("matcher", ["dense", "dense-pyramid"])
def test_the_dense_arms_start_from_the_dense_row_and_the_others_never_do(tmp_path: Path, matcher: str) -> None:
    def change(raw: dict[str, Any]) -> None:
        dense = {"dense18": {"matcher": matcher, "backbone": "resnet18", "options": {"epochs": 2}}}
        raw["matching"]["methods"] = dense | raw["matching"]["methods"]
        raw["detection"]["methods"]["frcnn"].update(pretrain=["osm", "osm-dense", "osm-dense-shuffled"])

    cells = cells_of(tmp_path, changed(change), seeds=(3,), filters={"method": ("frcnn",)})
    assert labels(cells) == [
        ("matching", "bnn18", 3),
        ("detection", "frcnn/osm", 3),
        ("matching", "dense18", 3),
        ("detection", "frcnn/osm-dense", 3),
        ("matching", "dense18-shuffled", 3),
        ("detection", "frcnn/osm-dense-shuffled", 3),
    ]


@pytest.mark.parametrize(
    ("arm", "named", "message"),
    [
        (
            "osm",
            {"methods": {"resnet18": "dense18"}},
            "'osm' starts from no `dense` or `dense-pyramid` matcher, and row 'dense18' is 'dense'",
        ),
        (
            "osm-dense",
            {"dense": {"resnet18": "bnn18"}},
            "'osm-dense' starts from a `dense` or `dense-pyramid` matcher, and row 'bnn18' is 'bnn'",
        ),
    ],
)
def test_a_named_row_of_the_other_kind_is_refused(
    tmp_path: Path, arm: str, named: dict[str, Any], message: str
) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["matching"]["methods"]["dense18"] = {"matcher": "dense", "backbone": "resnet18", "options": {"epochs": 2}}
        raw["detection"]["osm"] = named
        raw["detection"]["methods"]["frcnn"].update(pretrain=[arm])

    with pytest.raises(BenchError) as error:
        cells_of(tmp_path, changed(change))
    assert message in str(error.value)


def test_a_dense_arm_without_a_dense_row_is_told(tmp_path: Path) -> None:
    raw = changed(lambda raw: raw["detection"]["methods"]["frcnn"].update(pretrain=["osm-dense"]))
    with pytest.raises(
        BenchError, match="no trained dense row with backbone 'resnet18'; add one, or name it under detection.osm.dense"
    ):
        cells_of(tmp_path, raw)


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ({"method": ("frcnn",), "pretrain": ("osm",)}, ["frcnn/osm"]),
        ({"pretrain": ("osm",)}, ["cfar", "frcnn/none", "frcnn/osm"]),
        ({"pretrain": ("checkpoint:x/y.pth",)}, ["cfar", "frcnn/none", "frcnn/checkpoint-y"]),
        ({"pretrain": ("none",)}, ["cfar", "frcnn/none"]),
        ({"detector": ("cfar",)}, ["cfar"]),
        ({"backbone": ("resnet50",), "pretrain": ("none",)}, ["cfar", "frcnn-resnet50/none"]),
        ({"detector": ("yolov3",), "pretrain": ("checkpoint:x/y.pth",)}, ["yolov3/checkpoint-y"]),
        ({"method": ("frcnn",), "pretrain": ("imagenet+compute",)}, ["frcnn/imagenet+compute"]),
    ],
)
def test_the_command_line_selects_and_joins_rows(
    tmp_path: Path, filters: dict[str, tuple[str, ...]], rows: list[str]
) -> None:
    cells = [cell for cell in cells_of(tmp_path, SUITE, seeds=(0,), filters=filters) if cell.task == "detection"]
    assert [cell.method for cell in cells] == rows


def test_the_folds_of_a_split_are_cells_of_their_own(tmp_path: Path) -> None:
    splits = {"cv": {"kind": "folds", "folds": 3, "by": "id", "validation": 0}}
    raw = changed(lambda raw: raw["detection"]["datasets"]["ships"].update(splits=splits))
    cells = cells_of(tmp_path, raw, filters={"detector": ("cfar",)})
    assert [cell.dataset for cell in cells] == ["ships/cv-1of3", "ships/cv-2of3", "ships/cv-3of3"]
    assert [cell.spec["dataset"]["split"]["fold"] for cell in cells] == [0, 1, 2]
    one = cells_of(tmp_path, raw, filters={"detector": ("cfar",), "split": ("cv-2of3",)})
    assert one == [cells[1]]
    assert cells_of(tmp_path, raw, filters={"detector": ("cfar",), "split": ("cv",)}) == cells


BAD: dict[str, tuple[Change, dict[str, Any], str]] = {
    "arm": (lambda raw: raw["detection"]["methods"]["frcnn"].update(pretrain=["osn"]), {}, "unknown pretraining 'osn'; nearest: osm"),
    "twice": (lambda raw: raw["detection"]["methods"]["frcnn"].update(pretrain=["osm", "osm"]), {}, "one or more different arms"),
    "backbone": (
        lambda raw: raw["detection"]["methods"]["frcnn"].update(backbone="darknet53"), {},
        "detector 'faster-rcnn' is built on resnet",
    ),
    "untrained": (lambda raw: raw["detection"]["methods"]["cfar"].update(pretrain="osm"), {}, "has no backbone to pretrain"),
    "cfar backbone": (lambda raw: raw["detection"]["methods"]["cfar"].update(backbone="resnet18"), {}, "takes no backbone"),
    "no matching": (lambda raw: raw.pop("matching"), {}, "the suite has no `matching` section"),
    "no row": (
        lambda raw: raw["matching"].update(methods={"cfog": {"matcher": "cfog"}}), {},
        "'osm' finds no row to start from: no method of the suite fits",
    ),
    "row name": (
        lambda raw: raw["detection"].update(osm={"methods": {"resnet18": "bnn19"}}), {}, "'bnn19' is not in this suite; nearest: bnn18",
    ),
    "compute": (lambda raw: None, {"pretrain": ("osm+compute",)}, "makes no sense"),
    "checkpoint": (lambda raw: None, {"pretrain": ("checkpoint:",)}, "names no file"),
    "option": (
        lambda raw: raw["detection"]["methods"]["frcnn"].update(options={"epoch": 1}), {}, "unknown key 'epoch'; nearest: epochs",
    ),
    "kind of set": (lambda raw: raw["detection"]["datasets"]["ships"].update(dataset="coco-foldr"), {}, "unknown dataset 'coco-foldr'"),
    "restriction": (
        lambda raw: raw["detection"]["methods"]["cfar"].update(datasets=["ship"]), {}, "unknown data set 'ship'; nearest: ships",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_sections_are_told_in_one_line(tmp_path: Path, name: str) -> None:
    change, filters, message = BAD[name]
    with pytest.raises(BenchError) as error:
        cells_of(tmp_path, changed(change), filters=filters)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_arm_is_parsed() -> None:
    arm = parse_arm("checkpoint:a/b.safetensors+compute", "here")
    assert (arm.start, arm.path, arm.compute, arm.label) == (
        "checkpoint",
        "a/b.safetensors",
        True,
        "checkpoint-b+compute",
    )


@pytest.mark.parametrize("branch", ["", "sar.backbone.", "model.backbone.", "backbone."])
def test_the_backbone_is_found_in_files_of_matchers_detectors_and_backbones(tmp_path: Path, branch: str) -> None:
    import torch

    from bench.core.registries import BACKBONES
    from bench.models.weights import load_initial_weights, save_weights

    state = BACKBONES.get("resnet18").build().state_dict()
    beside = {"head.weight": torch.zeros(2)} if branch else {}
    save_weights(tmp_path / "file.safetensors", {branch + key: value for key, value in state.items()} | beside)
    found = initial_weights(tmp_path / "file.safetensors", "osm")
    assert found is not None and found.branch == branch and not found.permuted
    for arm in ("imagenet-shuffled", "imagenet-shuffled+compute"):
        permuted = initial_weights(tmp_path / "file.safetensors", arm)
        assert permuted is not None and permuted.permuted
    assert load_initial_weights("resnet18", found.path, found.branch).keys() == state.keys()
    with pytest.raises(BenchError, match="holds a resnet network, not darknet53"):
        load_initial_weights("darknet53", found.path, found.branch)


# -- keys --------------------------------------------------------------------------------------------------------------
def keys_of(folder: Path, raw: dict[str, Any], workspace: Workspace, row: str = "frcnn/osm") -> Any:
    cell = next(cell for cell in cells_of(folder, raw, seeds=(0,)) if cell.method == row)
    return get_task("detection").identify(cell, workspace).keys


def test_what_the_matching_cell_trains_with_changes_the_dependant_and_nothing_else(
    tmp_path: Path, workspace: Workspace
) -> None:
    raw = changed(lambda raw: raw["matching"]["methods"]["bnn18"]["options"].update(epochs=3))
    assert keys_of(tmp_path, raw, workspace).train != keys_of(tmp_path, SUITE, workspace).train
    assert keys_of(tmp_path, raw, workspace, "frcnn/none") == keys_of(tmp_path, SUITE, workspace, "frcnn/none")
    twin = [
        cell.method
        for cell in cells_of(tmp_path, raw, seeds=(0,), filters={"method": ("frcnn",), "pretrain": ("osm-shuffled",)})
    ]
    assert twin[0] == "bnn18-shuffled", "bnn18-x differs in more than the control now, so it is the control of nothing"
    scored = changed(lambda raw: raw["matching"]["protocol"].update(gallery=9))
    assert keys_of(tmp_path, scored, workspace) == keys_of(tmp_path, SUITE, workspace), (
        "dependants hang on the train key alone"
    )


def test_each_part_of_the_spec_changes_the_stage_that_it_can_change(
    tmp_path: Path, workspace: Workspace, monkeypatch: Any
) -> None:
    base = keys_of(tmp_path, SUITE, workspace)
    ships = ("detection", "datasets", "ships")

    def put(path: tuple[str, ...], **values: Any) -> Any:
        def change(raw: dict[str, Any]) -> None:
            for part in path:
                raw = raw.setdefault(part, {})
            raw.update(values)

        return keys_of(tmp_path, changed(change), workspace)

    for other in (
        put(ships, tiles={"size_px": 256}),
        put(("detection", "methods", "frcnn", "options"), lr=0.5),
        put(ships, sar_scaling="percentile"),
    ):
        assert other.train != base.train
    for other in (put(("detection", "protocol"), merging={"iou": 0.3}), put(("detection", "protocol"), strata="id")):
        assert other.train == base.train and other.predict != base.predict
    other = put(("detection", "protocol"), name="det/mine")
    assert other.predict == base.predict and other.score != base.score
    monkeypatch.setattr(detection_task.DetectionTask, "metrics_version", 99)
    other = keys_of(tmp_path, SUITE, workspace)
    assert other.predict == base.predict and other.score != base.score


def test_the_compute_matched_control_trains_longer_by_what_the_pretraining_saw(
    tmp_path: Path, workspace: Workspace
) -> None:
    raw = changed(lambda raw: raw["detection"]["methods"]["frcnn"].update(pretrain=["none", "none+compute", "osm"]))
    found = {
        cell.method: get_task("detection").identify(cell, workspace)
        for cell in cells_of(tmp_path, raw, seeds=(0,))
        if cell.task == "detection"
    }
    train = (
        get_task("matching")
        .identify(cells_of(tmp_path, raw, ("matching",), seeds=(0,))[1], workspace)
        .inputs["split_counts"]["train"]
    )
    assert found["frcnn/none+compute"].inputs["extra_pixels"] == 2 * 2 * train * 32**2  # both branches, two epochs
    assert found["frcnn/none"].inputs["extra_pixels"] == found["frcnn/osm"].inputs["extra_pixels"] == 0
    assert len({identity.keys.train for identity in found.values()}) == len(found)


def test_a_job_carries_the_required_cell_to_another_process(tmp_path: Path, workspace: Workspace) -> None:
    cell = cells_of(tmp_path, SUITE, seeds=(0,), filters={"method": ("frcnn",), "pretrain": ("osm",)})[1]
    identity = get_task("detection").identify(cell, workspace)
    JobFile.of(cell, identity, workspace, Settings()).write(tmp_path / "cell")
    read = read_job(tmp_path / "cell" / JOB)
    assert read.cell == cell and read.identity == identity
    assert identity.requires[0][0] == "matching"


def test_what_is_missing_of_both_tasks_is_told_at_once(tmp_path: Path) -> None:
    raw = changed(lambda raw: raw["matching"]["methods"]["bnn18"].update(init="nowhere.pth"))
    (cell,) = [
        c
        for c in cells_of(tmp_path, raw, seeds=(0,), filters={"method": ("frcnn",), "pretrain": ("osm",)})
        if c.task == "detection"
    ]
    with pytest.raises(MissingInputs) as error:
        get_task("detection").identify(cell, Workspace(tmp_path / "runs", tmp_path / "boards", {}, {}))
    assert any("coco-folder is not here" in text for text in error.value.messages)
    assert any("nowhere.pth does not exist" in text for text in error.value.messages)


@pytest.mark.parametrize("arm", ["imagenet", "imagenet-shuffled"])
def test_imagenet_offline_names_the_file_and_the_command(tmp_path: Path, workspace: Workspace, arm: str) -> None:
    (cell,) = cells_of(tmp_path, SUITE, seeds=(0,), filters={"method": ("frcnn",), "pretrain": (arm,)})
    with pytest.raises(MissingInputs, match="resnet18-.*bench data weights resnet18 --download"):
        get_task("detection").identify(cell, workspace)


def test_a_pair_set_is_refused_in_one_line(tmp_path: Path, workspace: Workspace) -> None:
    entry = {"dataset": "toy-pairs", "splits": {"all": {"kind": "random"}}}
    raw = changed(lambda raw: raw["detection"].update(datasets={"toy": entry}))
    cells = cells_of(tmp_path, raw, filters={"detector": ("cfar",)})
    plan = make_plan(cells, workspace)
    assert len(plan.missing) == 1 and "toy-pairs" in plan.missing[0] and "pairs" in plan.missing[0]
