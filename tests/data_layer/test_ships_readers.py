"""Readers of detection sets: genuine layouts, matching of names, file names that must not lead outside, tables, boxes,
and refusals.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ship_files import coco, write_air_sarship, write_coco, write_tiff, write_voc, write_voc_folder

from bench.core.errors import BenchError
from bench.data.dataset import open_dataset
from bench.data.datasets.air_sarship import ONE_METRE, SCENES, TEST, AirSarShip
from bench.data.datasets.coco_folder import CocoFolder
from bench.data.datasets.hrsid import Hrsid
from bench.data.datasets.voc_folder import VocFolder
from bench.data.scaling import SarScale
from bench.data.ships.boxes import clip_boxes
from bench.data.ships.files import last_integer, resolve
from bench.data.ships.index import SceneIndex


def amplitude(root: Path, reader: type = VocFolder, **options: Any) -> Any:
    return reader.at(root, sar_scale="amplitude", **options)  # type: ignore[attr-defined]


# -- AIR-SARShip-1.0 ---------------------------------------------------------------------------------------------------
def test_air_sarship_in_its_genuine_layout(tmp_path: Path) -> None:
    root = write_air_sarship(tmp_path, {10: [[1, 2, 20, 30]], 2: [[0, 0, 50, 60], [5, 5, 9, 9]], 7: []})
    write_tiff(root / "AIR-SARShip-1.0-data" / "13.tiff", 90, 80)
    # a stated size that is too small
    write_voc(root / "AIR-SARShip-1.0-xml" / "13-label.xml", [[60, 70, 79, 89]], (60, 50))
    dataset = AirSarShip.at(root)
    index = dataset.index()
    assert index.ids == ("2", "7", "10", "13") == index.scenes and [item.image_id for item in index.items] == [
        2,
        7,
        10,
        13,
    ]
    assert [(item.height, item.width) for item in index.items] == [(60, 50)] * 3 + [(90, 80)]
    assert index.items[0].boxes.tolist() == [[0, 0, 50, 60], [5, 5, 9, 9]] and index.items[1].boxes.shape == (0, 4)
    assert index.items[2].image == "AIR-SARShip-1.0-data/10.tiff"
    assert index.column("shore") == ["inshore", "offshore", "offshore", "inshore"]
    assert index.column("resolution_m") == ["1", "3", "1", "1"] and index.column("split") == [
        "train",
        "train",
        "test",
        "train",
    ]
    assert dataset.sar_scale is SarScale.amplitude and dataset.gsd_m is None and len(dataset.files()) == 8
    assert set(dataset.manifest().files) == {path.relative_to(root).as_posix() for path in dataset.files()}


def test_the_table_of_scenes_adds_up_to_what_is_known() -> None:
    """Counts of protocols research: 21 inshore, 10 at 1 m, 10 test scenes; test scenes inshore 5 8 12 22 31, at 1 m 8
    10 12.
    """
    assert len(SCENES) == 31 and len(TEST) == 10 and len(ONE_METRE) == 10
    facts = {n: AirSarShip.columns_of(str(n)) for n in SCENES}
    assert sum(f["shore"] == "inshore" for f in facts.values()) == 21
    assert [n for n in SCENES if facts[n]["split"] == "test" and facts[n]["shore"] == "inshore"] == [5, 8, 12, 22, 31]
    assert [n for n in SCENES if facts[n]["split"] == "test" and facts[n]["resolution_m"] == "1"] == [8, 10, 12]


def test_air_sarship_as_it_circulates(tmp_path: Path) -> None:
    """Other folder names, an outer folder, other stems, and what GDAL leaves beside a TIFF."""
    write_tiff(tmp_path / "AIR" / "images" / "AIR-SARShip-1.0-7.tif", 60, 50)
    write_voc(tmp_path / "AIR" / "labels" / "SARShip-1.0-7.xml", [[1, 2, 3, 4]])
    (tmp_path / "AIR" / "images" / "AIR-SARShip-1.0-7.tif.aux.xml").write_text("<PAMDataset/>")
    (tmp_path / "AIR" / "labels" / "._SARShip-1.0-7.xml").write_bytes(b"\0")
    index = AirSarShip.at(tmp_path).index()
    assert index.ids == index.scenes == ("7",)  # the scene used to be "1", of the name, and so that of every image


@pytest.mark.parametrize(
    ("name", "number"), [("AIR-SARShip-1.0-7-label.xml", 7), ("a/12.tiff", 12), ("x.xml", None), ("1.0-031.tif", 31)]
)
def test_last_integer(name: str, number: int | None) -> None:
    assert last_integer(name) == number


def test_air_sarship_that_does_not_fit_together(tmp_path: Path) -> None:
    root = write_air_sarship(tmp_path, {1: [], 2: []})
    (root / "AIR-SARShip-1.0-xml" / "1-label.xml").unlink()
    with pytest.raises(BenchError, match=r"^image AIR-SARShip-1.0-data/1.tiff has no annotation$"):
        AirSarShip.at(root).index()
    write_voc(root / "AIR-SARShip-1.0-xml" / "1-label.xml", [])
    (root / "AIR-SARShip-1.0-data" / "2.tiff").unlink()
    with pytest.raises(BenchError, match=r"^annotation AIR-SARShip-1.0-xml/2-label.xml has no image$"):
        AirSarShip.at(root).index()
    write_tiff(root / "tiles" / "2.tiff", 60, 50)
    write_tiff(root / "tiles" / "scene_2.tiff", 60, 50)
    with pytest.raises(BenchError, match="tiles/2.tiff and tiles/scene_2.tiff are both the image of '2'; remove one"):
        AirSarShip.at(root).index()
    (root / "tiles" / "2.tiff").rename(root / "tiles" / "sea.tiff")
    with pytest.raises(BenchError, match="image tiles/sea.tiff has no number in its name"):
        AirSarShip.at(root).index()
    (root / "tiles" / "sea.tiff").unlink()
    write_air_sarship(root, {32: []})
    with pytest.raises(BenchError, match="'32' is none of AIR-SARShip-1.0's images, 1 to 31"):
        AirSarShip.at(root).index()


def test_a_folder_without_the_set_says_what_to_place(tmp_path: Path) -> None:
    for reader in (AirSarShip, Hrsid, VocFolder, CocoFolder):
        with pytest.raises(BenchError) as error:
            reader.at(tmp_path)
        assert "Place it like this" in str(error.value) and reader.facts.homepage in str(error.value)
    write_tiff(tmp_path / "1.tiff", 5, 5)
    with pytest.raises(BenchError, match=r"looked at .*/\*\*/\*\.xml"):
        AirSarShip.at(tmp_path)


# -- VOC folders -------------------------------------------------------------------------------------------------------
def test_voc_folder(tmp_path: Path) -> None:
    root = write_voc_folder(tmp_path, {"a_2": [[1, 2, 10, 20]], "a_10": []})
    index = amplitude(root, gsd_m=3, scene_pattern="^[a-z]").index()
    assert (
        index.ids == ("a_2", "a_10")
        and [item.image_id for item in index.items] == [2, 10]
        and index.scenes == ("a", "a")
    )
    assert amplitude(root, gsd_m=3).gsd_m == 3.0
    assert amplitude(root, scene_pattern="_([0-9]+)").index().scenes == ("2", "10")
    assert amplitude(root, scene_pattern="_(x)").index().columns == ("id",)
    write_voc_folder(tmp_path, {"b_2": []})
    # two images of number 2: numbered in order
    assert [item.image_id for item in amplitude(root).index().items] == [1, 2, 3]
    assert amplitude(root, one_based=True).index().items[0].boxes.tolist() == [[0, 1, 10, 20]]


def test_voc_folder_by_number_and_doubled(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_tiff(root / "voc" / "img" / "scene-7.tif", 40, 30)
    write_voc(root / "voc" / "xml" / "label_007.xml", [[1, 2, 3, 4]], difficult=[1])
    dataset = amplitude(root, images="img", annotations="xml", match="number")
    assert dataset.root == root / "voc" and dataset.index().ids == ("7",)
    assert dataset.index().items[0].ignore.tolist() == [True]


def test_the_filename_in_an_xml_is_never_followed(tmp_path: Path) -> None:
    root = write_voc_folder(tmp_path / "set", {"1": []})
    write_voc(root / "Annotations" / "1.xml", [], filename="../../../../etc/passwd")
    assert amplitude(root).index().items[0].image == "JPEGImages/1.png"


def test_sar_scale_must_be_declared(tmp_path: Path) -> None:
    for reader, root in ((VocFolder, write_voc_folder(tmp_path / "v", {"1": []})), (CocoFolder, tmp_path / "c")):
        write_coco(tmp_path / "c", {"annotations.json": coco({"a.png": []})})
        with pytest.raises(
            BenchError, match=r"needs the option sar_scale \(amplitude, intensity, db, uint8\).* never guessed"
        ):
            reader.at(root)
        assert reader.at(root, sar_scale="db").sar_scale is SarScale.db


# -- boxes and sizes ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([10, 2, 5, 20], r"1.xml: box 1 \(x1, y1, x2, y2 = 10, 2, 5, 20\) is inverted \(JPEGImages/1.png\)"),
        ([10, 20, 15, 2], "is inverted"),
        ([10, 2, 10, 20], "has no area"),
        ([10, 2, 31.5, 20], "reaches outside the image of 30 x 40 px"),
        ([10, 2, 20, 41.01], "reaches outside the image"),
        ([-1.5, 2, 20, 20], "reaches outside the image"),
        ([30, 2, 31, 20], "has no area"),  # within the tolerance, but nothing of it is in the image
        ([1e30, 2, 2e30, 20], "reaches outside the image"),
    ],
)
def test_wrong_boxes_are_errors(tmp_path: Path, box: list[float], message: str) -> None:
    root = write_voc_folder(tmp_path, {"1": [box]})
    with pytest.raises(BenchError, match=message):
        amplitude(root).index()


def test_boxes_that_cannot_be_meant_so(tmp_path: Path) -> None:
    """Truth gets the checks that predictions get: shares of the image, and corners in the place of sizes."""
    voc = write_voc_folder(tmp_path / "voc", {"1": [[0.1, 0.2, 0.5, 0.3], [0.6, 0.2, 1, 0.3]], "2": [[3, 3, 9, 9]]})
    with pytest.raises(BenchError, match=r"1.xml: boxes look like shares of the image.*\(JPEGImages/1.png\)$"):
        amplitude(voc).index()
    cases: list[tuple[list[list[float]], str]] = [
        ([[0.1, 0.2, 0.4, 0.1]], "boxes look like shares of the image"),
        ([[20, 30, 28, 38], [2, 2, 4, 4]], "looks like x1, y1, x2, y2: 1 of 2 boxes leave the image of 30 x 40 px"),
        ([[20, 30, 18, 9]], "reaches outside the image"),
    ]
    for number, (boxes, message) in enumerate(cases):
        root = write_coco(tmp_path / str(number), {"annotations.json": coco({"a.png": boxes})})
        with pytest.raises(BenchError, match=message):
            amplitude(root, CocoFolder).index()


def test_up_to_one_pixel_over_the_edge_is_clipped(tmp_path: Path) -> None:
    root = write_voc_folder(tmp_path, {"1": [[-1, -0.5, 31, 41], [0, 0, 30, 40]]})
    assert amplitude(root).index().items[0].boxes.tolist() == [[0, 0, 30, 40], [0, 0, 30, 40]]


@given(st.lists(st.tuples(*[st.floats(-5, 45)] * 4), max_size=8))
def test_clip_boxes_keeps_what_is_right(raw: list[tuple[float, ...]]) -> None:
    boxes = np.array(raw, dtype=np.float64).reshape(-1, 4)
    clipped, lines = clip_boxes(boxes, 40, 30)
    assert clipped.shape == boxes.shape
    inner = ((boxes >= 0) & (boxes <= [30, 40, 30, 40])).all(axis=1)
    assert np.array_equal(clipped[inner], boxes[inner])
    wrong = {int(line.split()[1]) - 1 for line in lines}
    for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        near = min(x1, y1, x2, y2) >= -1 and max(x1, x2) <= 31 and max(y1, y2) <= 41
        assert (i in wrong) == (not near or x2 < x1 or y2 < y1 or not (clipped[i, 2:] > clipped[i, :2]).all())


def test_several_problems_are_counted_and_named_where_they_are_listed(tmp_path: Path) -> None:
    root = write_voc_folder(tmp_path, {"1": [[10, 2, 5, 20], [1, 1, 90, 9]], "2": []})
    (root / "Annotations" / "2.xml").write_text("<annotation>")
    with pytest.raises(
        BenchError, match=r"no well-formed XML.*\(2 more problems; `bench data verify voc-folder` lists them\)"
    ) as error:
        amplitude(root).index()
    assert "\n" not in str(error.value)


def test_a_stated_size_must_agree(tmp_path: Path) -> None:
    root = write_voc_folder(tmp_path, {"1": []})
    write_voc(root / "Annotations" / "1.xml", [], size=(30, 40))
    with pytest.raises(
        BenchError, match=r"states 30 x 40 px \(height x width\) for JPEGImages/1.png, which is 40 x 30 px"
    ):
        amplitude(root).index()
    raw = coco({"a.png": []})
    write_coco(tmp_path / "c", {"annotations.json": raw})
    raw["images"][0]["width"] = 31
    (tmp_path / "c" / "annotations.json").write_text(json.dumps(raw))
    with pytest.raises(BenchError, match="annotations.json states 40 x 31 px"):
        amplitude(tmp_path / "c", CocoFolder).index()


def test_several_kinds_of_objects_need_a_choice(tmp_path: Path) -> None:
    root = write_voc_folder(tmp_path, {"1": [[1, 2, 3, 4]], "2": [[1, 2, 3, 4]], "3": [[5, 6, 7, 8]]})
    write_voc(root / "Annotations" / "2.xml", [[1, 2, 9, 9]], name="buoy")
    write_voc(root / "Annotations" / "3.xml", [[5, 6, 7, 8]], name="Ship")
    with pytest.raises(BenchError, match=r"several names \(ship, buoy, Ship\); say which are ships: categories"):
        amplitude(root).index()
    index = amplitude(root, categories=["ship", "Ship"]).index()
    assert [len(item.boxes) for item in index.items] == [1, 0, 1]
    with pytest.raises(BenchError, match="no object is called 'shp'.*nearest: "):
        amplitude(root, categories=["shp"]).index()


# -- tables ------------------------------------------------------------------------------------------------------------
def test_a_table_adds_columns(tmp_path: Path) -> None:
    root = write_voc_folder(tmp_path, {"a1": [], "a2": []})
    (root / "t.csv").write_text("id,scene,shore\na2,S,inshore\na1,,offshore\nnot_here,X,inshore\n")
    dataset = amplitude(root, table="t.csv", scene_pattern="^[a-z]")
    index = dataset.index()
    assert index.scenes == ("a", "S") and index.column("shore") == ["offshore", "inshore"]
    assert root / "t.csv" in dataset.files() and "t.csv" in dataset.manifest().files
    (root / "t.csv").write_text("id,shore\na2,inshore\n")
    with pytest.raises(BenchError, match="t.csv has no row for image 'a1'"):
        amplitude(root, table="t.csv").index()
    (root / "t.csv").write_text("id\na2\na2\n")
    with pytest.raises(BenchError, match="two rows for id 'a2'"):
        amplitude(root, table="t.csv").index()


def test_options_are_checked(tmp_path: Path) -> None:
    root = write_voc_folder(tmp_path, {"1": []})
    for options, message in (
        ({"sar_scal": "db"}, "has no option 'sar_scal'; nearest: sar_scale"),
        ({"scene_pattern": "("}, "is no regular expression"),
        ({"gsd_m": 0}, "option gsd_m"),
        ({"match": "name"}, "option match"),
    ):
        with pytest.raises(BenchError, match=message):
            open_dataset("voc-folder", options, root, tmp_path / "cache")


# -- file names ------------------------------------------------------------------------------------------------------
OUTSIDE = [
    "../secret.png",
    "images/../../secret.png",
    "..\\secret.png",
    "/a/../secret.png",
    "..",
    "",
    "a\0b.png",
    "\ud800.png",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_file_names_never_lead_outside(tmp_path: Path, name: str) -> None:
    root = write_coco(tmp_path / "set", {"annotations.json": coco({"secret.png": []})})
    write_coco(tmp_path, {"other.json": coco({"secret.png": []})}, ".")  # what an attacker would like to reach
    raw = coco({"secret.png": []})
    raw["images"][0]["file_name"] = name
    (root / "annotations.json").write_text(json.dumps(raw))
    with pytest.raises(BenchError, match="'..' is refused|is no text") as error:
        amplitude(root, CocoFolder).index()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["/SECRET", "C:\\Users\\x\\secret.png", "//host/secret.png", "/home/x/set/t/secret.png"]
)
def test_an_absolute_name_is_looked_for_below_the_set_alone(tmp_path: Path, name: str) -> None:
    """Lists carry the paths of the machine that they were made on; the file with the longest equal end is meant."""
    write_coco(tmp_path, {"other.json": coco({"secret.png": []})}, ".")  # what an attacker would like to reach
    raw: dict[str, Any] = coco({"secret.png": [], "t/secret.png": []})
    root = write_coco(tmp_path / "set", {"annotations.json": raw})
    del raw["images"][1]
    raw["images"][0]["file_name"] = name.replace("/SECRET", str(tmp_path / "secret.png"))
    (root / "annotations.json").write_text(json.dumps(raw))
    in_a_folder = "t/" if "/t/" in name else ""
    assert resolve(root, raw["images"][0]["file_name"], ("images",)) == f"images/{in_a_folder}secret.png"
    shutil.rmtree(root / "images")
    (root / "images").mkdir()
    assert resolve(root, raw["images"][0]["file_name"], ("images",)) is None
    with pytest.raises(BenchError, match="secret.png' is not in images/"):
        amplitude(root, CocoFolder).index()


def test_symbolic_links_never_lead_outside(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", {"annotations.json": coco({"a.png": []})})
    (root / "images" / "a.png").rename(tmp_path / "a.png")
    (root / "images" / "a.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(BenchError, match="'a.png' leads outside .* through a symbolic link"):
        amplitude(root, CocoFolder).index()
    (tmp_path / "set2").mkdir()
    (tmp_path / "set2" / "a.png").write_bytes((tmp_path / "a.png").read_bytes())
    with pytest.raises(BenchError, match="symbolic link"):  # a neighbour whose name begins alike
        (root / "images" / "a.png").unlink()
        (root / "images" / "a.png").symlink_to(tmp_path / "set2" / "a.png")
        amplitude(root, CocoFolder).index()
    (root / "images" / "a.png").unlink()
    (root / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    (root / "images" / "a.png").symlink_to(root / "b.png")  # a link that stays inside is fine
    assert amplitude(root, CocoFolder).index().ids == ("a",)


def test_a_linked_folder_of_images_is_the_users_own(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", {"annotations.json": coco({"a.png": [], "t/b.png": []})})
    (root / "images").rename(tmp_path / "elsewhere")
    (root / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(root)
    for named in (root, tmp_path / "link"):
        assert [item.image for item in amplitude(named, CocoFolder).index().items] == ["images/a.png", "images/t/b.png"]
    (tmp_path / "elsewhere" / "t").rename(tmp_path / "third")  # but a link inside it was put there by somebody else
    (tmp_path / "elsewhere" / "t").symlink_to(tmp_path / "third")
    with pytest.raises(BenchError, match="'t/b.png' leads outside .* through a symbolic link"):
        amplitude(root, CocoFolder).index()


@given(
    st.text(min_size=1, max_size=20)
    | st.lists(st.sampled_from(["..", ".", "a", "", "C:", "\\", "~"]), min_size=1).map("/".join)
)
def test_a_name_is_resolved_below_the_root_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.getbasetemp() / "resolved"
    (root / "images" / "a").mkdir(parents=True, exist_ok=True)
    (root / "images" / "a" / "a").touch()
    (root / "images" / "~").touch()
    try:
        path = resolve(root, name, ("images", ""))
    except BenchError:
        return
    assert path in (None, "images/a/a", "images/~")


# -- kinds of sets -----------------------------------------------------------------------------------------------------
def test_a_set_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BenchError,
        match=(
            "^data set hrsid holds SAR scenes with ship boxes.*; SAR-optical pairs.* needed here; known: .*qxs-saropt"
        ),
    ):
        open_dataset("hrsid", {}, None, tmp_path, kind="pairs")
    with pytest.raises(
        BenchError, match="^data set toy-pairs holds SAR-optical pairs.*needed here; known: air-sarship-1.0, "
    ):
        open_dataset("toy-pairs", {}, None, tmp_path, kind="ships")
    root = write_voc_folder(tmp_path / "v", {"1": []})
    dataset = open_dataset("voc-folder", {"sar_scale": "db"}, root, tmp_path / "cache", kind="ships")
    assert isinstance(dataset.index(), SceneIndex)
