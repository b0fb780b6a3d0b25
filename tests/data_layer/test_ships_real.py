"""The real HRSID subset and the AIR-SARShip-1.0 labels, where BENCH_DATA says that they are here: known counts and
rules.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import tifffile
from ship_files import write_voc

from bench.data.dataset import open_dataset
from bench.data.datasets.air_sarship import SCENES, TEST, AirSarShip
from bench.data.images import as_sar, read_image
from bench.data.ships.verify import verify_ships
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split

DATA = Path(os.environ.get("BENCH_DATA", "."))
HRSID = DATA / "hrsid_468"
LABELS = DATA / "air_sarship_1_labels" / "boxes.csv"
needs_hrsid = pytest.mark.skipif(not HRSID.is_dir(), reason="set BENCH_DATA to the folder that holds hrsid_468")
needs_labels = pytest.mark.skipif(
    not LABELS.is_file(), reason="set BENCH_DATA to the folder that holds air_sarship_1_labels"
)


@needs_hrsid
def test_counts_of_the_hrsid_subset(tmp_path: Path) -> None:
    counts = {}
    for name in ("site_train", "site_test", "train2017", "test2017"):
        index = open_dataset("hrsid", {"annotations": name}, HRSID, tmp_path, kind="ships").index()
        counts[name] = (len(index), sum(len(item.boxes) for item in index.items))
        assert {(item.height, item.width) for item in index.items} == {(800, 800)}
    assert counts == {
        "site_train": (326, 978),
        "site_test": (111, 344),
        "train2017": (366, 1061),
        "test2017": (71, 261),
    }


@needs_hrsid
def test_the_site_lists_share_no_site_and_the_official_ones_share_scenes(tmp_path: Path) -> None:
    index = open_dataset("hrsid", {"annotations": ["site_train", "site_test"]}, HRSID, tmp_path, kind="ships").index()
    assert len(index) == 437 and len({item.image_id for item in index.items}) == 437
    lists = np.array(index.column("list"))
    for column in ("scene", "site"):
        values = np.array(index.column(column))
        assert not set(values[lists == "site_train"]) & set(values[lists == "site_test"])
    assert index.column("shore").count("inshore") == 46 + 16
    assert set(index.columns) >= {"site", "official_split", "label_source", "pixels", "bright_frac", "list_image_id"}
    official = open_dataset("hrsid", {}, HRSID, tmp_path, kind="ships").index()
    scenes, lists = np.array(official.column("scene")), np.array(official.column("list"))
    assert set(scenes[lists == "train2017"]) & set(scenes[lists == "test2017"])
    spec = SplitSpec(kind="grouped", by="list", test_groups=("site_test",), validation_by="site", validation=0.15)
    split = make_split(index, spec)
    assert len(split.test) == 111 and split.summary["scenes"]["test"] == 111


@needs_hrsid
def test_the_images_are_one_channel(tmp_path: Path) -> None:
    index = open_dataset("hrsid", {"annotations": "site_test"}, HRSID, tmp_path, kind="ships").index()
    for item in index.items[::40]:
        assert as_sar(read_image(HRSID / item.image), HRSID / item.image).shape == (800, 800)


@needs_hrsid
@pytest.mark.slow
def test_the_subset_verifies(tmp_path: Path) -> None:
    report = verify_ships(
        open_dataset("hrsid", {"annotations": ["site_train", "site_test"]}, HRSID, tmp_path, kind="ships")
    )
    assert report.ok and report.dtypes == {"uint8": 437}


@needs_labels
def test_the_circulating_labels_make_the_declared_set(tmp_path: Path) -> None:
    """All 461 boxes as VOC files beside headers of the right size: 31 scenes, the circulating split, nothing
    outside.
    """
    boxes = defaultdict(list)
    with LABELS.open() as stream:
        for row in csv.DictReader(stream):
            boxes[int(row["scene"])].append([float(row[name]) for name in ("x1", "y1", "x2", "y2")])
            assert (row["split"] == "test") == (int(row["scene"]) in TEST)
    (tmp_path / "data").mkdir()
    for number in SCENES:
        side = 4140 if number == 13 else 3000
        # sparse zeros
        tifffile.memmap(tmp_path / "data" / f"SARShip-1.0-{number}.tiff", shape=(side, side), dtype=np.uint16)
        write_voc(tmp_path / "xml" / f"AIR-SARShip-1.0-{number}-label.xml", boxes[number])
    dataset = AirSarShip.at(tmp_path)
    index = dataset.index()
    assert (len(index), sum(len(item.boxes) for item in index.items)) == dataset.expected() == (31, 461)
    assert all(np.array_equal(item.boxes, boxes[item.image_id]) for item in index.items)  # nothing was clipped
    split = make_split(index, SplitSpec(kind="grouped", by="split", test_groups=("test",), validation=0))
    ships = np.array([len(item.boxes) for item in index.items])
    assert (ships[split.train].sum(), ships[split.test].sum()) == (336, 125) and len(split.test) == 10
    assert [int(index.items[i].image_id) for i in split.test] == sorted(TEST)
