"""Float and multi-band GeoTIFF: missing pixels, declared bands, compressions, and values that the declared scale rules
out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ship_files import write_voc

from bench.core.errors import BenchError
from bench.core.options import option_values
from bench.data.cache import open_cache
from bench.data.datasets.coco_folder import CocoFolder
from bench.data.datasets.two_folders import TwoFolders
from bench.data.datasets.voc_folder import VocFolder
from bench.data.images import image_size, read_image, write_image
from bench.data.reading import DB_LIMIT, PairReading, SarReading
from bench.data.scaling import SarScale
from bench.data.ships.scene_cache import open_scenes
from bench.data.ships.verify import verify_ships
from bench.data.verify import verify

DB = np.random.default_rng(0).normal(-12, 4, (16, 12)).astype(np.float32)


def geotiff(path: Path, values: np.ndarray, nodata: str | None, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = [(42113, "s", len(nodata) + 1, nodata, True)] if nodata is not None else []
    tifffile.imwrite(path, values, photometric="minisblack", extratags=tags, **how)  # type: ignore[arg-type]
    return path


def test_missing_pixels_become_dark_and_nothing_else_changes(tmp_path: Path) -> None:
    db = np.array([[-20.5, -32768, -3], [-11, np.nan, -25]], dtype=np.float32)
    linear = np.array([[5.0, np.nan], [3.0, 0.5]], dtype=np.float32)
    known = np.where(np.isnan(db), np.float32(-7), db)
    out = read_image(geotiff(tmp_path / "db.tif", known, "-32768"))
    np.testing.assert_array_equal(out, [[-20.5, -25, -3], [-11, -7, -25]])
    np.testing.assert_array_equal(read_image(geotiff(tmp_path / "linear.tif", linear, "nan")), [[5, 0], [3, 0.5]])
    counts = np.array([[7, 65535], [9, 1]], dtype=np.uint16)
    np.testing.assert_array_equal(read_image(geotiff(tmp_path / "counts.tif", counts, "65535")), [[7, 0], [9, 1]])
    np.testing.assert_array_equal(read_image(geotiff(tmp_path / "plain.tif", counts, None)), counts)


def test_missing_pixels_that_nobody_declares_are_refused(tmp_path: Path) -> None:
    values = np.array([[1.0, np.nan]], dtype=np.float32)
    for nodata in (None, "-9999"):
        with pytest.raises(BenchError, match="1 values that are NaN or infinite"):
            read_image(geotiff(tmp_path / "a.tif", values, nodata))
    with pytest.raises(BenchError, match="holds no data: every pixel"):
        read_image(geotiff(tmp_path / "b.tif", np.full((2, 2), -9999, np.float32), "-9999"))
    with pytest.raises(BenchError, match="no-data value 'many', which is no number"):
        read_image(geotiff(tmp_path / "c.tif", np.ones((2, 2), np.float32), "many"))


@pytest.mark.parametrize("how", [{"tile": (16, 16)}, {"compression": "zlib"}])
def test_tiled_and_compressed_files(tmp_path: Path, how: dict[str, object]) -> None:
    values = np.random.default_rng(0).normal(-12, 4, (40, 30)).astype(np.float32)
    np.testing.assert_array_equal(read_image(geotiff(tmp_path / "x.tif", values, "-32768", **how)), values)


def test_float_decibels_pair_with_deep_optical_images_once_declared(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        geotiff(tmp_path / f"sar/{name}.tif", rng.normal(-12, 4, (16, 16)).astype(np.float32), "-32768")
        optical = rng.integers(0, 4000, (16, 16, 3)).astype(np.uint16)
        (tmp_path / "optical").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / f"optical/{name}.tif", optical, photometric="rgb")
    dataset = TwoFolders.at(tmp_path, sar_scale="db")
    index = dataset.index()
    cache = open_cache(index, dataset.root, dataset.manifest().sha256, "t", tmp_path / "cache")
    assert cache.sar.dtype == np.float32 and cache.optical.dtype == np.uint16 and dataset.sar_scale == "db"


def test_a_missing_pixel_never_counts_whatever_its_value(tmp_path: Path) -> None:
    """Whatever the mark, the pixels with data stay bit for bit, and the others are no brighter than any of them."""

    @settings(max_examples=30, deadline=None)
    @given(
        values=arrays(np.float32, (3, 4), elements=st.floats(-90, 90, width=32)),
        holes=arrays(np.bool_, (3, 4)).filter(lambda holes: not holes.all()),
        mark=st.sampled_from([-32768.0, -9999.9, 1e20, float(np.finfo(np.float32).min), float("nan"), float("-inf")]),
        tagged=st.booleans(),
    )
    def check(values: np.ndarray, holes: np.ndarray, mark: float, tagged: bool) -> None:
        path = geotiff(tmp_path / "x.tif", np.where(holes, np.float32(mark), values), repr(mark) if tagged else None)
        out = read_image(path, nodata=None if tagged else mark)
        np.testing.assert_array_equal(out[~holes], values[~holes])
        assert not holes.any() or out[holes].max() <= values[~holes].min()

    check()


def test_a_mark_that_the_pixel_type_cannot_hold_marks_nothing(tmp_path: Path) -> None:
    counts = np.array([[0, 44, 255]], dtype=np.uint8)
    for mark in (300.0, 1.5, -1.0, float("nan")):
        np.testing.assert_array_equal(read_image(write_image(tmp_path / "a", counts), nodata=mark), counts)


def test_values_that_the_declared_scale_rules_out_are_refused(tmp_path: Path) -> None:
    holed = geotiff(tmp_path / "a.tif", np.where(DB > -8, np.float32(-32768), DB), None)
    for scale in (SarScale.db, SarScale.amplitude, SarScale.intensity):
        with pytest.raises(BenchError, match=r"a.tif holds -32768, which is no .*option nodata or sar_nodata"):
            SarReading(scale=scale).read(holed)
    assert SarReading(nodata=-32768, scale=SarScale.db).read(holed).min() == DB.min()
    with pytest.raises(BenchError, match="which is no amplitude"):
        SarReading(scale=SarScale.amplitude).read(geotiff(tmp_path / "b.tif", DB, None))
    with pytest.raises(BenchError, match="which is no backscatter in dB"):
        SarReading(scale=SarScale.db).read(geotiff(tmp_path / "c.tif", DB + np.float32(2 * DB_LIMIT), None))
    noisy = geotiff(tmp_path / "d.tif", np.array([[-0.001, 0.5]], dtype=np.float32), None)
    assert SarReading(scale=SarScale.intensity).read(noisy)[0, 0] < 0


def test_sixteen_bit_values_are_no_backscatter_in_db(tmp_path: Path) -> None:
    counts = geotiff(tmp_path / "a.tif", np.array([[7, 6000]], dtype=np.uint16), None)
    with pytest.raises(BenchError, match="holds 6000, which is no backscatter in dB"):
        SarReading(scale=SarScale.db).read(counts)
    assert SarReading(scale=SarScale.intensity).read(counts).max() == 6000


def test_stored_values_that_a_file_says_are_to_be_rescaled_are_refused(tmp_path: Path) -> None:
    """GDAL's tags turn 6000 into 6000 * 0.01 - 90 dB; taken as they stand they would be another quantity. Colours may
    be any.
    """
    item = '<GDALMetadata><Item name="{}" sample="{}" role="{}">{}</Item></GDALMetadata>'

    def file(*text: object) -> Path:
        counts = np.full((2, 4, 5), 90, dtype=np.uint16)
        tag = item.format(*text)
        how: dict[str, Any] = {"planarconfig": "separate", "extratags": [(42112, "s", len(tag) + 1, tag, True)]}
        tifffile.imwrite(tmp_path / "a.tif", counts, photometric="minisblack", **how)
        return tmp_path / "a.tif"

    for name, text in (("scale", "0.01"), ("offset", "-90"), ("offset", "much")):
        with pytest.raises(
            BenchError, match=rf"a.tif states the {name} {text} for its values, .*gdal_translate -unscale"
        ):
            SarReading(band=2, scale=SarScale.db).read(file(name.upper(), 1, name, text))
        assert SarReading(band=1, scale=SarScale.db).read(tmp_path / "a.tif").max() == 90
        assert PairReading(optical_bands=(2,)).optical(tmp_path / "a.tif").max() == 90
    for plain in (("SCALE", 1, "scale", "1"), ("OFFSET", 1, "offset", "0.0"), ("STATISTICS_MEAN", 1, "", "12")):
        assert SarReading(band=2, scale=SarScale.db).read(file(*plain)).max() == 90


def test_an_internal_mask_hides_its_pixels(tmp_path: Path) -> None:
    holes = DB < -14
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(np.where(holes, np.float32(99), DB), photometric="minisblack", metadata=None)
        tiff.write(~holes, photometric="mask", subfiletype=4, metadata=None)
    out = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(out[~holes], DB[~holes])
    assert (out[holes] == DB[~holes].min()).all()


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_declared_bands_of_a_file_with_many(tmp_path: Path, planar: str) -> None:
    bands = np.random.default_rng(1).integers(0, 4000, (16, 12, 13)).astype(np.uint16)
    stored = bands if planar == "contig" else np.moveaxis(bands, 2, 0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, stored, photometric="minisblack", planarconfig=planar, tile=(16, 16), compression="zlib", predictor=True
    )
    assert image_size(path) == (16, 12)
    np.testing.assert_array_equal(PairReading(optical_bands=(4, 3, 2)).optical(path), bands[:, :, [3, 2, 1]])
    np.testing.assert_array_equal(PairReading(optical_bands=(8,)).optical(path), np.repeat(bands[:, :, 7:8], 3, axis=2))
    with pytest.raises(BenchError, match="has 13 channels; expected 1 or 3, or an option that names the bands"):
        PairReading().optical(path)
    for band in (0, 14):
        with pytest.raises(BenchError, match=f"has 13 bands, counted from 1, and no band {band}"):
            SarReading(band=band).read(path)


def test_pages_are_bands_only_where_a_band_is_declared(tmp_path: Path) -> None:
    stack = np.stack([DB, DB - 7])
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    np.testing.assert_array_equal(SarReading(band=2).read(tmp_path / "a.tif"), DB - 7)
    with pytest.raises(BenchError, match="expected one image of 1 or 3 channels"):
        SarReading().read(tmp_path / "a.tif")


def test_real_geotiffs_of_gdal(tmp_path: Path) -> None:
    """Files as GDAL writes them: its default mark, overviews, tiles never written, and compressions that only other
    decoders have.
    """
    rasterio = pytest.importorskip("rasterio", exc_type=ImportError)
    windows = pytest.importorskip("rasterio.windows", exc_type=ImportError)
    side, mark = 64, float(np.finfo(np.float32).min)
    values = np.random.default_rng(2).normal(-12, 4, (side, side)).astype(np.float32)
    values[:3] = mark

    def write(name: str, nodata: float | None, window: Any = None, **how: Any) -> Path:
        profile = {
            "driver": "GTiff",
            "height": side,
            "width": side,
            "count": 1,
            "dtype": "float32",
            "nodata": nodata,
            **how,
        }
        with rasterio.open(
            tmp_path / name, "w", **profile, crs="EPSG:32611", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 4e6)
        ) as file:
            file.write(values[None] if window is None else values[None, 16:32, 16:32], window=window)
        return tmp_path / name

    want = np.where(values == mark, values[3:].min(), values)
    ways: list[dict[str, Any]] = [
        {},
        {"compress": "lzw", "predictor": 3},
        {"tiled": True, "blockxsize": 16, "blockysize": 16},
    ]
    for number, how in enumerate(ways):
        path = write(f"{number}.tif", mark, **how)
        if "tiled" in how:
            with rasterio.open(path, "r+") as file:
                file.build_overviews([2, 4])
        np.testing.assert_array_equal(read_image(path), want)
    with pytest.raises(BenchError, match="compressed with LERC, which nothing here decodes"):
        read_image(write("lerc.tif", mark, compress="lerc"))
    with rasterio.open(write("scaled.tif", None), "r+") as file:
        file.scales, file.offsets = (0.01,), (-30.0,)
    with pytest.raises(BenchError, match=r"states the (scale 0.01|offset -30)"):
        SarReading(scale=SarScale.db).read(tmp_path / "scaled.tif")
    sparse = {
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 16,
        "SPARSE_OK": "TRUE",
        "window": windows.Window(16, 16, 16, 16),
    }
    for nodata, message in (
        (mark, "has tiles that were never written and the no-data value"),
        (None, "declares no value for them"),
    ):
        with pytest.raises(BenchError, match=message):
            read_image(write("sparse.tif", nodata, **sparse))
    tile = read_image(write("sparse.tif", -9999.0, **sparse))
    np.testing.assert_array_equal(tile[16:32, 16:32], values[16:32, 16:32])
    assert tile[0, 0] == values[16:32, 16:32].min()


def write_pairs(root: Path) -> None:
    rng = np.random.default_rng(3)
    for number in range(3):
        sar = rng.normal(-12, 4, (2, 16, 12)).astype(np.float32)
        sar[:, 0] = np.nan
        geotiff(root / f"sar/{number}.tif", sar, None, planarconfig="separate")
        geotiff(
            root / f"optical/{number}.tif",
            rng.integers(0, 4000, (4, 16, 12)).astype(np.uint16),
            None,
            planarconfig="separate",
        )


OPTIONS: dict[str, Any] = {"sar_scale": "db", "sar_band": 2, "sar_nodata": float("nan"), "optical_bands": (3, 2, 1)}


def test_options_declare_bands_and_missing_pixels_of_pairs(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set")
    dataset = TwoFolders.at(tmp_path / "set", **OPTIONS)
    assert verify(dataset).ok
    index = dataset.index()
    cache = open_cache(index, dataset.root, dataset.manifest().sha256, "t", tmp_path / "cache")
    stored = tifffile.imread(tmp_path / "set/sar/1.tif")[1]
    np.testing.assert_array_equal(cache.sar[1][1:], stored[1:])
    assert (cache.sar[1][0] == stored[1:].min()).all()
    np.testing.assert_array_equal(
        cache.optical[1], np.moveaxis(tifffile.imread(tmp_path / "set/optical/1.tif")[[2, 1, 0]], 0, 2)
    )
    other = TwoFolders.at(tmp_path / "set", **{**OPTIONS, "sar_band": 1})
    again = open_cache(other.index(), other.root, other.manifest().sha256, "t", tmp_path / "cache")
    np.testing.assert_array_equal(again.sar[1][1:], tifffile.imread(tmp_path / "set/sar/1.tif")[0, 1:])
    assert index.take(np.array([1])).reading == index.reading
    report = verify(TwoFolders.at(tmp_path / "set", sar_scale="db"))
    assert len(report.unreadable) == 6 and "an option that names the bands" in report.unreadable[0]


def test_options_that_cannot_be(tmp_path: Path) -> None:
    for options, message in (
        ({"optical_bands": (1, 2)}, "2 bands; name one"),
        ({"sar_band": 0}, "greater than or equal to 1"),
        ({"sar_nodata": "none"}, "option sar_nodata"),
        ({"sar_nodata": True}, "True is no number"),
    ):
        with pytest.raises(BenchError, match=message):
            TwoFolders.at(tmp_path, **options)


def test_undeclared_readings_leave_keys_as_they_were(tmp_path: Path) -> None:
    """Options that came later: cells without them keep their identity, and so do decoded caches."""
    assert not {"sar_band", "sar_nodata", "optical_bands"} & set(option_values(TwoFolders.Options()))
    assert not {"band", "nodata"} & set(option_values(VocFolder.Options(sar_scale=SarScale.db)))
    assert option_values(TwoFolders.Options(sar_nodata=float("nan")))["sar_nodata"] == "nan"  # type: ignore[call-arg]
    assert PairReading(SarReading(scale=SarScale.db)).key() == [] and SarReading(scale=SarScale.db).key() == []


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_options_declare_bands_and_missing_pixels_of_scenes(tmp_path: Path, kind: str) -> None:
    scene = np.stack([DB, np.where(DB > -8, np.float32(-32768), DB - 7)])
    geotiff(tmp_path / "JPEGImages/a.tif", scene, None, planarconfig="separate")
    if kind == "voc":
        write_voc(tmp_path / "Annotations/a.xml", [(1, 2, 6, 8)], (16, 12))
        cls: Any = VocFolder
        options: dict[str, Any] = {}
    else:
        cls, options = CocoFolder, {"images": "JPEGImages"}
        entry = {"id": 1, "file_name": "a.tif", "height": 16, "width": 12}
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 5, 6]}
        (tmp_path / "annotations.json").write_text(
            json.dumps({"images": [entry], "annotations": [box], "categories": [{"id": 1, "name": "ship"}]})
        )
    dataset = cls.at(tmp_path, sar_scale="db", band=2, nodata=-32768, **options)
    assert verify_ships(dataset).ok
    store = open_scenes(dataset.index(), dataset.root, dataset.manifest().sha256, "t", tmp_path / "cache")
    np.testing.assert_array_equal(store.image(0), np.where(DB > -8, (DB - 7)[DB <= -8].min(), DB - 7))
    (line,) = verify_ships(cls.at(tmp_path, sar_scale="db", band=2, **options)).unreadable
    assert "holds -32768, which is no backscatter in dB" in line
