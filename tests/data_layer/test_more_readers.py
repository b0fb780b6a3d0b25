"""SEN1-2 and OSdataset in their genuine layouts, variants, damaged ones, and as a user names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import Bench

from bench.core.errors import BenchError
from bench.data.cache import open_cache
from bench.data.datasets.osdataset import OsDataset
from bench.data.datasets.sen12 import Sen12
from bench.data.images import write_image
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split
from bench.data.verify import verify


def picture(path: Path, channels: int = 1, side: int = 8, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = (np.arange(side * side).reshape(side, side) + value).astype(np.uint8)
    write_image(path, values if channels == 1 else np.repeat(values[:, :, None], 3, axis=2))


# -- SEN1-2 ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def sen12(tmp_path: Path) -> Path:
    root = tmp_path / "SEN1-2"
    for season, number, patch in (
        ("ROIs1868_summer", 2, 10),
        ("ROIs1868_summer", 2, 9),
        ("ROIs1868_summer", 59, 1),
        ("ROIs1158_spring", 2, 9),
    ):
        for view, channels in (("s1", 1), ("s2", 3)):
            picture(root / season / f"{view}_{number}" / f"{season}_{view}_{number}_p{patch}", channels)
    return root


def test_sen12_pairs_by_scene_and_patch(sen12: Path) -> None:
    for root in (sen12, sen12.parent):
        index = Sen12.at(root).index()
        assert index.ids == (
            "ROIs1158_spring_2_p9",
            "ROIs1868_summer_2_p9",
            "ROIs1868_summer_2_p10",
            "ROIs1868_summer_59_p1",
        )
        assert index.scenes == ("ROIs1158_spring_2", "ROIs1868_summer_2", "ROIs1868_summer_2", "ROIs1868_summer_59")
        assert index.samples[1].optical == "ROIs1868_summer/s2_2/ROIs1868_summer_s2_2_p9.png"
        assert index.samples[1].sar == "ROIs1868_summer/s1_2/ROIs1868_summer_s1_2_p9.png"
        assert [sample.attributes["season"] for sample in index.samples] == ["spring", "summer", "summer", "summer"]
    assert Sen12.at(sen12, seasons=("ROIs1158_spring",)).index().ids == ("ROIs1158_spring_2_p9",)


def test_sen12_lacks_are_told(sen12: Path) -> None:
    (sen12 / "ROIs1868_summer/s2_59/ROIs1868_summer_s2_59_p1.png").unlink()
    with pytest.raises(
        BenchError,
        match=r"1 files in .* lack a partner: ROIs1868_summer/s1_59/ROIs1868_summer_s1_59_p1.png has no optical",
    ):
        Sen12.at(sen12).index()
    (sen12 / "ROIs1868_summer/s2_59").rmdir()
    with pytest.raises(BenchError, match="ROIs1868_summer/s1_59/ has no partner ROIs1868_summer/s2_59/"):
        Sen12.at(sen12).index()
    with pytest.raises(BenchError, match="has no season 'ROIs1868_sumer'; nearest: ROIs1868_summer"):
        Sen12.at(sen12, seasons=("ROIs1868_sumer",)).index()
    with pytest.raises(BenchError, match="season ROIs1970_fall is not in"):
        Sen12.at(sen12, seasons=("ROIs1970_fall",)).index()
    with pytest.raises(BenchError, match="data set sen1-2 is not here"):
        Sen12.at(sen12 / "ROIs1868_summer")


def test_sen12_a_file_of_another_scene_pairs_with_nothing(sen12: Path) -> None:
    """Pairs go by the last number, so a file in the wrong folder would find a partner that shows another place."""
    folder = sen12 / "ROIs1868_summer/s1_2"
    (folder / "ROIs1868_summer_s1_2_p9.png").rename(folder / "ROIs1868_summer_s1_59_p9.png")
    with pytest.raises(BenchError, match="ROIs1868_summer_s1_59_p9.png is named for another scene than its folder"):
        Sen12.at(sen12).index()
    assert not verify(Sen12.at(sen12)).ok


def test_sen12_two_files_of_one_patch(sen12: Path) -> None:
    picture(sen12 / "ROIs1868_summer/s1_2/ROIs1868_summer_s1_2_p09")
    with pytest.raises(BenchError, match="both claim pair '9'"):
        Sen12.at(sen12).index()


def test_sen12_variants(sen12: Path) -> None:
    """Doubled outer folder, upper-case suffixes, files of others beside the set."""
    (sen12 / "ROIs1868_summer/s1_59/Thumbs.db").write_text("")
    for path in sorted(sen12.glob("ROIs1158_spring/*/*.png")):
        path.rename(path.with_suffix(".PNG"))
    outer = sen12.parent / "outer"
    (outer / "SEN1-2").mkdir(parents=True)
    sen12.rename(outer / "SEN1-2" / "SEN1-2")
    assert len(Sen12.at(outer).index()) == 4


def test_sen12_splits_by_scene(sen12: Path) -> None:
    index = Sen12.at(sen12).index()
    split = make_split(index, SplitSpec(kind="grouped", by="scene", test_groups=("ROIs1868_summer_2",), validation=0))
    assert [index.ids[i] for i in split.test.tolist()] == ["ROIs1868_summer_2_p9", "ROIs1868_summer_2_p10"]
    split = make_split(index, SplitSpec(kind="grouped", by="season", test_groups=("spring",), validation=0))
    assert [index.ids[i] for i in split.test.tolist()] == ["ROIs1158_spring_2_p9"]


# -- OSdataset ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("apart", [False, True])
def test_osdataset_in_one_folder_or_two(tmp_path: Path, apart: bool) -> None:
    for part, numbers in (("train", (2, 10)), ("val", (1,)), ("test", (2,))):
        for number in numbers:
            for view, channels in (("opt", 3), ("sar", 1)):
                inner = f"{view}/" if apart else ""
                picture(tmp_path / f"OSdataset/512/{part}/{inner}{view}{number}", channels)
    picture(tmp_path / "OSdataset/256/train/opt1", 3)
    picture(tmp_path / "OSdataset/256/train/sar1")
    dataset = OsDataset.at(tmp_path)
    index = dataset.index()
    assert index.ids == ("train_2", "train_10", "val_1", "test_2") and index.scenes == (None,) * 4
    assert [sample.attributes["split"] for sample in index.samples] == ["train", "train", "val", "test"]
    assert index.samples[0].sar == f"512/train/{'sar/' if apart else ''}sar2.png"
    assert OsDataset.at(tmp_path, size_px=256).index().ids == ("train_1",)
    (tmp_path / index.samples[3].sar.replace("512", "OSdataset/512")).unlink()
    with pytest.raises(BenchError, match="lack a partner"):
        OsDataset.at(tmp_path).index()


def test_osdataset_official_split_and_counts(tmp_path: Path) -> None:
    for part, numbers in (("train", (2, 10)), ("val", (1,)), ("test", (2,))):
        for number in numbers:
            picture(tmp_path / f"OSdataset/OSdataset/512/{part}/opt{number}", 3, value=number)
            picture(tmp_path / f"OSdataset/OSdataset/512/{part}/sar{number}", value=number)
    dataset = OsDataset.at(tmp_path)
    index = dataset.index()
    split = make_split(index, SplitSpec(kind="grouped", by="split", test_groups=("test",), validation_groups=("val",)))
    parts = {name: [index.ids[i] for i in getattr(split, name).tolist()] for name in ("train", "validation", "test")}
    assert parts == {"train": ["train_2", "train_10"], "validation": ["val_1"], "test": ["test_2"]}
    problems = "\n".join(verify(dataset).problems)
    assert "4 pairs found, 2673 declared" in problems and "4 pairs are not 512 px square: 8 x 8" in problems
    (tmp_path / "OSdataset/OSdataset/256").mkdir()
    with pytest.raises(BenchError, match="data set osdataset is not here"):
        OsDataset.at(tmp_path, size_px=256)


def test_osdataset_decodes(tmp_path: Path) -> None:
    for number in (1, 2):
        picture(tmp_path / f"512/train/opt{number}", 3, value=number)
        picture(tmp_path / f"512/train/sar{number}", value=number)
    dataset = OsDataset.at(tmp_path)
    index = dataset.index()
    cache = open_cache(index, dataset.root, dataset.manifest().sha256, "t", tmp_path / "cache")
    assert cache.sar.shape == (2, 8, 8) and (cache.sar[1] == cache.sar[0] + 1).all()


# -- as a user types it ------------------------------------------------------------------------------------------------
def test_the_command_line_knows_the_pairs(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    listed = bench.printed("list", "datasets")
    picture(tmp_path / "osm/512/train/opt1", 3)
    picture(tmp_path / "osm/512/train/sar1")
    picture(tmp_path / "sen/ROIs1868_summer/s1_2/ROIs1868_summer_s1_2_p9")
    picture(tmp_path / "sen/ROIs1868_summer/s2_2/ROIs1868_summer_s2_2_p9", 3)
    for name, root, found in (
        ("osdataset", "osm", "1 pairs (expected: 2673)"),
        ("sen1-2", "sen", "1 pairs (expected: 282384)"),
    ):
        assert name in listed and "what to place where" in bench.printed("data", "info", name)
        assert found in bench.printed("data", "verify", name, "--root", root, code=1)
    sizes = bench.printed("data", "verify", "osdataset", "--root", "osm", "--option", "size_px: 256", code=2)
    assert "data set osdataset is not here" in sizes
