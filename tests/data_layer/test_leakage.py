"""What a record tells of leakage: from positions, from scenes, from files; and that not knowing is told as not
knowing.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ship_files import coco, write_coco

from bench.boards.leakage import FOOTNOTES, Leakage, leak_mark, leakage
from bench.core.workspace import Workspace
from bench.data.datasets.ssdd import Ssdd
from bench.data.images import write_image
from bench.data.manifest import shared_files
from bench.data.toy import ToyScene, write_toy_pairs
from bench.execution.cell import Cell, Identity, Origin, Selection
from bench.execution.records import Record, load_record, new_record
from bench.execution.task import get_task
from bench.suite.config import load_suite
from bench.suite.expansion import expand

OLD = load_record(Path(__file__).parents[1] / "core" / "records_v1" / "finished.json")
RANDOM = {"kind": "random", "test": 0.3, "validation": 0.2}
VOC = """<annotation><filename>{number:06d}.png</filename><size><width>220</width><height>200</height><depth>1</depth>
</size><object><name>ship</name><bndbox><xmin>10</xmin><ymin>10</ymin><xmax>40</xmax><ymax>30</ymax></bndbox></object>
</annotation>"""
Plan = Callable[..., list[Record]]
UNKNOWN = "unknown: positions and scenes are not known; run `bench data audit`"


def told(split: dict[str, Any] | None = None, **inputs: Any) -> Leakage:
    """Return the verdict on a record with these inputs: `ground` and `scene` are (train, validation) counts."""
    sizes = {"train": 50, "validation": 10, "test": 20}
    summary: dict[str, Any] = {"scenes": sizes}
    for what in ("ground", "scene"):
        if what in inputs:
            summary[f"sharing_{what}_with_test"] = dict(zip(("train", "validation"), inputs.pop(what), strict=True))
    spec = {**OLD.spec, "dataset": {**OLD.spec["dataset"], "split": split or RANDOM}}
    return leakage(OLD.model_copy(update={"spec": spec, "inputs": {"split_summary": summary, **inputs}}))


def test_ground_decides_where_places_are_known() -> None:
    assert told(ground=(0, 0), scene=(50, 10)).kind == "none"  # patches of one scene that share no ground
    found = told(ground=(3, 1), scene=(0, 0))
    assert found.kind == "shared" and found.mark == "◊"
    assert (
        found.text
        == "3 of 50 training samples share ground with the test part; 1 of 10 validation samples share ground with the"
        " test part"
    )
    assert told(ground=(0, 1)).kind == "shared"


def test_scenes_decide_where_places_are_not_known() -> None:
    assert told(ground=(None, None), scene=(0, 0)).kind == "none"
    found = told(ground=(None, None), scene=(7, 0))
    assert found == Leakage("shared", "7 of 50 training samples come from a scene that is in the test part too")


def test_not_knowing_is_neither_clean_nor_leaking() -> None:
    for found in (told(ground=(None, None), scene=(None, None)), told(ground=(0, None), scene=(None, 0))):
        assert found.kind == "unknown" and found.mark == "?" and found.text == UNKNOWN
    assert set(FOOTNOTES) == {"◊", "?"} and "bench data audit" in FOOTNOTES["?"]


def test_equal_files_count_in_any_case() -> None:
    clean: dict[str, Any] = {"scene": (0, 0), "test_files_in_training": 0, "pretraining_shares_files": None}
    assert told(**clean).kind == "none" and told(**{**clean, "pretraining_shares_files": 0}).kind == "none"
    assert (
        told(**{**clean, "pretraining_shares_files": 2}).text == "test images that the pretraining saw, byte by byte: 2"
    )
    found = told(scene=(None, None), test_files_in_training=1)
    assert found == Leakage("shared", "test images that also train or validate, byte by byte: 1")


def test_what_an_audit_of_an_official_split_found_is_said_in_place_of_unknown() -> None:
    sentence = Ssdd.facts.audited["split"]
    assert told(scene=(None, None), audited=sentence) == Leakage("shared", sentence)
    assert "196 of 232 official test images share pixels with training images" in sentence
    assert (
        "196 of 232 test images share pixels" in " ".join(Ssdd.facts.notes.split())
        and "unknown" not in Ssdd.facts.notes
    )


def test_planning_states_what_is_known_of_an_official_split(plan: Plan, tmp_path: Path) -> None:
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / "ssdd" / folder).mkdir(parents=True)
    for number in (1, 2, 3, 9, 10, 12):
        image = np.random.default_rng(number).integers(0, 256, (200, 220), dtype=np.uint8)
        write_image(tmp_path / "ssdd" / "JPEGImages" / f"{number:06d}", image)
        (tmp_path / "ssdd" / "Annotations" / f"{number:06d}.xml").write_text(VOC.format(number=number))
    official = {"kind": "grouped", "by": "split", "test_groups": ["test"], "validation": 0}
    for split, kind in ((official, "shared"), ({"kind": "random", "test": 0.4, "validation": 0}, "unknown")):
        suite = {"detection": {"datasets": {"s": {"dataset": "ssdd", "splits": {"it": split}}}}}
        suite["detection"]["methods"] = {"cfar": {"detector": "cfar"}}
        (record,) = plan("detection", suite, {"ssdd": tmp_path / "ssdd"})
        assert leakage(record).kind == kind, leakage(record)


def test_records_from_before_scenes_were_counted() -> None:
    assert leakage(OLD).kind == "none" and leak_mark(OLD) == ""  # positions were known
    by_scene = {"kind": "grouped", "by": None, "test": 0.3}
    assert told(by_scene).kind == "none" and told({**by_scene, "by": "list"}).kind == "unknown"
    assert "older" in told(RANDOM).text


@given(st.lists(st.sampled_from("abcdef")), st.lists(st.sampled_from("abcdef")))
def test_shared_files_are_counted_once_for_each_test_file(test: list[str], other: list[str]) -> None:
    assert shared_files(test, other) == sum(1 for digest in test if digest in other)


# -- planned from names and hashes alone -------------------------------------------------------------------------------


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Return the records that cells of a suite would make, as far as planning settles them."""

    def records(task: str, suite: dict[str, Any], roots: dict[str, Path]) -> list[Record]:
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump({"name": "leaks", "seeds": [0], **suite}))
        cells: list[Cell] = expand(load_suite(str(path)), Selection(), [task], Origin("--config suite.yaml", tmp_path))
        workspace = Workspace(tmp_path / "runs", tmp_path / "boards", roots, {})
        found: list[tuple[Cell, Identity]] = [(cell, get_task(cell.task).identify(cell, workspace)) for cell in cells]
        return [new_record(cell, identity, "finished") for cell, identity in found if cell.task == task]

    return records


def matching(dataset: dict[str, Any], split: dict[str, Any]) -> dict[str, Any]:
    data = {"pairs": {**dataset, "splits": {"it": split}}}
    return {
        "matching": {
            "protocol": {"hard": "none", "gallery": 4},
            "datasets": data,
            "methods": {"cfog": {"matcher": "cfog"}},
        }
    }


def write_qxs(root: Path, count: int = 20) -> Path:
    rng = np.random.default_rng(0)
    for folder, shape in (("opt_256_oc_0.2", (16, 16, 3)), ("sar_256_oc_0.2", (16, 16))):
        (root / folder).mkdir(parents=True)
        for number in range(1, count + 1):
            write_image(root / folder / str(number), rng.integers(0, 256, shape, dtype=np.uint8))
    return root


def test_the_random_split_of_a_set_without_positions_is_unknown(plan: Plan, tmp_path: Path) -> None:
    root = write_qxs(tmp_path / "QXSLAB_SAROPT")
    (record,) = plan(
        "matching", matching({"dataset": "qxs-saropt"}, {"kind": "random", "train": 0.7}), {"qxs-saropt": root}
    )
    assert leakage(record).text == UNKNOWN and leak_mark(record) == "?"


def test_an_audited_layout_stated_as_the_table_settles_it(plan: Plan, tmp_path: Path) -> None:
    """Overlapping pairs in a row, 52 px shared; their places stated by the option `table`, as `bench data audit` writes
    them.
    """
    root = write_qxs(tmp_path / "QXSLAB_SAROPT")
    with (root / "layout.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "scene", "x_min_m", "y_min_m", "x_max_m", "y_max_m"])
        for number in range(1, 21):
            row, column = divmod(number - 1, 10)
            rows.writerow([number, f"row{row}", 204 * column, 10_000 * row, 204 * column + 256, 10_000 * row + 256])
    options = {"dataset": "qxs-saropt", "options": {"table": "layout.csv"}}
    (mixed,) = plan("matching", matching(options, {"kind": "random", "train": 0.7}), {"qxs-saropt": root})
    assert leak_mark(mixed) == "◊" and "share ground with the test part" in leakage(mixed).text
    by_row = {"kind": "grouped", "by": "scene", "test_groups": ["row1"], "validation": 0}
    (parted,) = plan("matching", matching(options, by_row), {"qxs-saropt": root})
    assert leakage(parted) == Leakage("none", "no training or validation sample shares ground with the test part")


def test_two_folders_with_the_places_of_patches_csv(plan: Plan, tmp_path: Path) -> None:
    write_toy_pairs(tmp_path / "toy", ToyScene(scenes=2, patches_per_scene=12, patch_px=16))
    optical, sar = (next((tmp_path / "toy").glob(f"{view}_*")).name for view in ("opt", "sar"))
    options = {"optical": optical, "sar": sar}
    (silent,) = plan(
        "matching", matching({"dataset": "two-folders", "options": options}, RANDOM), {"two-folders": tmp_path / "toy"}
    )
    stated = {"dataset": "two-folders", "options": {**options, "table": "patches.csv"}}
    (placed,) = plan("matching", matching(stated, RANDOM), {"two-folders": tmp_path / "toy"})
    assert leakage(silent).kind == "unknown" and leakage(placed).kind in ("none", "shared")
    assert placed.inputs["split_summary"]["sharing_ground_with_test"]["train"] is not None


ALONE = {"kind": "grouped", "by": "id", "test_groups": ["P0_0"], "validation": 0}
BY_NAME = {"scene_pattern": "^(P[0-9]+)"}


def detection(split: dict[str, Any], **options: Any) -> dict[str, Any]:
    data = {"ships": {"dataset": "coco-folder", "options": {"sar_scale": "uint8", **options}, "splits": {"it": split}}}
    return {"detection": {"datasets": data, "methods": {"cfar": {"detector": "cfar"}}}}


def write_ships(root: Path, copy: tuple[str, str] | None = None) -> dict[str, Path]:
    """Write six images of two scenes, one of them with the bytes of another; return the roots of a workspace."""
    write_coco(root, {"annotations.json": coco({f"P{i // 3}_{i}.png": [[1, 1, 9, 9]] for i in range(6)})})
    if copy is not None:
        (root / "images" / copy[1]).write_bytes((root / "images" / copy[0]).read_bytes())
    return {"coco-folder": root}


def test_scenes_of_a_detection_set(plan: Plan, tmp_path: Path) -> None:
    roots = write_ships(tmp_path / "ships")
    (by_scene,) = plan("detection", detection({**ALONE, "by": "scene", "test_groups": ["P1"]}, **BY_NAME), roots)
    assert leakage(by_scene).kind == "none" and by_scene.inputs["pretraining_shares_files"] is None
    (by_id,) = plan("detection", detection(ALONE, **BY_NAME), roots)
    assert leakage(by_id).text == "2 of 5 training samples come from a scene that is in the test part too"
    (silent,) = plan("detection", detection(ALONE), roots)
    assert leakage(silent).text == UNKNOWN


def test_equal_files_of_a_detection_set(plan: Plan, tmp_path: Path) -> None:
    split = {**ALONE, "by": "scene", "test_groups": ["P1"]}
    (across,) = plan(
        "detection", detection(split, **BY_NAME), write_ships(tmp_path / "across", ("P0_0.png", "P1_5.png"))
    )
    assert leakage(across).text == "test images that also train or validate, byte by byte: 1"
    (inside,) = plan(
        "detection", detection(split, **BY_NAME), write_ships(tmp_path / "inside", ("P1_4.png", "P1_5.png"))
    )
    assert leakage(inside).kind == "none" and inside.inputs["test_files_in_training"] == 0


def test_files_that_the_pretraining_saw(plan: Plan, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for folder, shape in (("optical", (32, 32, 3)), ("sar", (32, 32))):
        (tmp_path / "pairs" / folder).mkdir(parents=True)
        for number in range(12):
            write_image(tmp_path / "pairs" / folder / str(number), rng.integers(0, 256, shape, dtype=np.uint8))
    root = write_coco(
        tmp_path / "ships", {"annotations.json": coco({f"{i}.png": [[1, 1, 9, 9]] for i in range(4)}, (32, 32))}
    )
    (root / "images" / "0.png").write_bytes((tmp_path / "pairs" / "sar" / "3.png").read_bytes())
    suite = {**matching({"dataset": "two-folders"}, RANDOM), **detection({**ALONE, "test_groups": ["0", "1"]})}
    suite["matching"]["methods"]["nce"] = {
        "matcher": "infonce",
        "backbone": "resnet18",
        "options": {"entries": 8, "input_px": 32},
    }
    learned = {
        "detector": "faster-rcnn",
        "backbone": "resnet18",
        "options": {"samples": 8},
        "pretrain": ["none", "osm", "none+compute"],
    }
    suite["detection"]["methods"] = {"frcnn": learned}
    records = plan("detection", suite, {"coco-folder": root, "two-folders": tmp_path / "pairs"})
    shared = {record.method: record.inputs["pretraining_shares_files"] for record in records}
    assert shared == {"frcnn/none": None, "frcnn/osm": 1, "frcnn/none+compute": None}
    osm = next(record for record in records if record.method == "frcnn/osm")
    assert leakage(osm).text == "test images that the pretraining saw, byte by byte: 1" and leak_mark(osm) == "◊"


def test_a_method_that_fits_nothing_has_nothing_to_remember() -> None:
    """The committed board's random split shares ground; a template matcher saw none of it, and what a submission saw is
    not known.
    """
    entries = Path(__file__).parents[2] / "leaderboards/s1s2/entries"
    fitted, classical = (
        load_record(entries / f"matching--s1s2-256-random--{row}.json") for row in ("bnn-resnet18--seed0", "cfog--once")
    )
    assert leakage(fitted) == leakage(classical) and leakage(fitted).kind == "shared"
    assert leak_mark(fitted) == "◊" and leak_mark(classical) == ""
    assert leak_mark(classical.model_copy(update={"facts": {**classical.facts, "submitted": True}})) == "◊"
