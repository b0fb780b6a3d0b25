"""A detector for scenes of one's own: which values it may be shown, and which cells hold one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lineage_toys import DETECTION, FAILED, MATCHING, put_cell
from predict_toys import context_of, write_tiff

from bench.core.errors import BenchError
from bench.data.reading import SarReading
from bench.data.scaling import SarScale, ScalingParams
from bench.detection.detectors.cfar.detector import Cfar
from bench.detection.scenes.folder import Stated, check_scenes
from bench.detection.scenes.predictor import Predictor, from_cell, without_training
from bench.detection.scenes.scene_predictions import check_values, scene_identity
from bench.detection.scenes.scene_reader import open_scene
from bench.execution.records import Record, load_record, write_stage

pytest.importorskip("rasterio")
U8 = ScalingParams("uint8", 1, 0.0, 255.0)
DB = ScalingParams("percentile", 1, -35.0, 5.0)
AMPLITUDE = ScalingParams("percentile", 1, 20.0, 9000.0)
LOG = ScalingParams("log-percentile", 1, -4.0, 0.5)
CFAR_CELL = {"detector": "cfar", "backbone": None, "pretrain": "none", "pretrained_by": None, "options": {"pfa": 1e-9}}


def network(scaling: ScalingParams, scale: SarScale) -> Predictor:
    return Predictor("net on set", "faster-rcnn", {}, "resnet18", scaling, sar_scale=scale)


# -- values ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("scaling", "trained", "dtype", "stated", "refused"),
    [
        (U8, "uint8", np.uint8, None, None),
        (U8, "uint8", np.uint8, "amplitude", None),
        (U8, "uint8", np.uint8, "db", "trained on 8-bit amplitudes, not on db"),
        (
            U8,
            "uint8",
            np.float32,
            None,
            r"float32 values, but net on set was trained on 8-bit ones \(x / 255\); .*values of the scene become 0 and 1",
        ),
        (U8, "uint8", np.float32, "db", "trained on 8-bit ones"),
        (U8, "uint8", np.uint16, None, "trained on 8-bit ones"),
        (DB, "db", np.float32, None, "never guessed: state that they are amplitude"),
        (DB, "db", np.float32, "db", None),
        (DB, "db", np.float32, "intensity", "is stated as intensity, but net on set was trained on db from -35 to 5"),
        (DB, "db", np.uint8, None, "uint8 values, but net on set was trained on db"),
        (DB, "db", np.uint16, None, "taken as amplitude, but net on set was trained on db"),
        (AMPLITUDE, "amplitude", np.uint16, None, None),
        (AMPLITUDE, "amplitude", np.float32, "amplitude", None),
        (AMPLITUDE, "amplitude", np.uint16, "intensity", "is stated as intensity"),
        (
            AMPLITUDE,
            "amplitude",
            np.uint8,
            None,
            "uint8 values, but net on set was trained on amplitude from 20 to 9000",
        ),
        (LOG, "intensity", np.float32, "intensity", None),
        (LOG, "intensity", np.uint16, None, None),
        (LOG, "intensity", np.float32, "db", "trained on intensity from -4 to 0.5 in log10"),
        (AMPLITUDE, "amplitude", np.uint16, "uint8", "and uint8 is for 8-bit scenes"),
    ],
)
def test_a_network_is_shown_what_it_was_trained_on_alone(
    scaling: ScalingParams, trained: str, dtype: type, stated: str | None, refused: str | None
) -> None:
    ready, scale = network(scaling, SarScale(trained)), None if stated is None else SarScale(stated)
    if refused is None:
        assert ready.for_scene(np.dtype(dtype), scale, None, None, "scene.tif").scaling == scaling
    else:
        with pytest.raises(BenchError, match=refused) as told:
            ready.for_scene(np.dtype(dtype), scale, None, None, "scene.tif")
        assert str(told.value).startswith("scene.tif") and "\n" not in str(told.value)


def test_values_that_the_user_states_replace_the_scaling_and_change_the_identity() -> None:
    ready = network(U8, SarScale.uint8)
    told = ready.for_scene(np.dtype(np.float32), SarScale.db, (-35.0, 5.0), 10.0, "scene.tif")
    assert told.scaling == DB and told.sar_scale is SarScale.db and told.gsd_m == 10.0
    assert told.identity() != ready.for_scene(np.dtype(np.uint8), None, None, 10.0, "scene.tif").identity()
    json.dumps(told.identity())
    for values in ((5.0, 5.0), (7.0, 5.0), (float("nan"), 5.0)):
        with pytest.raises(BenchError, match="the first must be the smaller"):
            ready.for_scene(np.dtype(np.uint8), None, values, None, "scene.tif")


@pytest.mark.parametrize(
    ("dtype", "stated", "expected"),
    [
        (np.uint8, None, "amplitude"), (np.uint16, None, "amplitude"), (np.uint16, "intensity", "intensity"),
        (np.float32, "db", "db"), (np.float32, None, None),
    ],
)  # fmt: skip
def test_cfar_takes_power_on_any_scale_that_is_known(dtype: type, stated: str | None, expected: str | None) -> None:
    ready = without_training("cfar", {})
    scale = None if stated is None else SarScale(stated)
    if expected is None:
        with pytest.raises(BenchError, match="never guessed: state that they are amplitude"):
            ready.for_scene(np.dtype(dtype), scale, None, None, "scene.tif")
    else:
        assert ready.for_scene(np.dtype(dtype), scale, None, None, "scene.tif").sar_scale == expected


def test_scenes_of_another_calibration_are_found_out_by_their_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ready = network(AMPLITUDE, SarScale.amplitude)
    for factor, message in ((300.0, None), (0.01, "lie below 20"), (1e4, "lie above 9000")):
        image = np.minimum(factor * rng.exponential(3.0, (200, 200)), 65535).astype(np.float32)
        image[:100] = 0.0  # black corners tell nothing
        with open_scene(write_tiff(tmp_path / "scene.tif", image)) as reader:
            if message is None:
                check_values(ready, reader)
            else:
                with pytest.raises(
                    BenchError,
                    match=f"scene.tif: .* of its pixels {message}, where net on set .*state the values that become 0 and 1",
                ):
                    check_values(ready, reader)


@pytest.mark.parametrize(
    ("stated", "value", "message"),
    [
        ("amplitude", -12.5, "holds -12.5, which is no amplitude"),
        ("db", -9999.0, "holds -9999, which is no backscatter in dB"),
        ("db", 4000.0, "holds 4000, which is no backscatter in dB"),
        ("intensity", -32768.0, "holds -32768, which is no intensity"),
        ("intensity", -0.01, ""),  # as noise subtraction leaves them
    ],
)
@pytest.mark.parametrize("values", [None, (0.0, 1.0)])
def test_scenes_get_the_checks_of_the_scale_that_data_sets_get(
    tmp_path: Path, stated: str, value: float, message: str, values: tuple[float, float] | None
) -> None:
    image = np.ones((200, 300), np.float32)
    image[150, 250] = value
    path, ready = write_tiff(tmp_path / "scene.tif", image), without_training("cfar", {})
    says = Stated.checked(None, None, stated, values, None)
    if not message:
        check_scenes({"scene": path}, ready, says)
        return
    with pytest.raises(BenchError, match=message):
        check_scenes({"scene": path}, ready, says)
    with pytest.raises(BenchError, match=message):
        SarReading(scale=SarScale(stated)).read(path)
    check_scenes({"scene": path}, ready, replace(says, nodata=value))
    with open_scene(path) as reader:  # a value that no sampled tile holds is met when it is read
        reader.scale = SarScale(stated)
        reader.read((0, 0, 100, 100), 0)
        with pytest.raises(BenchError, match=message):
            reader.read((100, 200, 100, 100), 0)


def test_everything_that_can_change_a_detection_is_in_the_identity(tmp_path: Path) -> None:
    ready = network(U8, SarScale.uint8)
    path = write_tiff(tmp_path / "scene.tif", np.zeros((64, 64), np.uint8))

    def identity(of: Predictor = ready, band: int | None = None, nodata: float | None = None) -> dict[str, Any]:
        with open_scene(path, band, nodata) as reader:
            return json.loads(json.dumps(scene_identity(of, reader, band, nodata, tmp_path / "hashes")))

    first = identity()
    others = [identity(nodata=3), identity(nodata=float("nan")), identity(network(DB, SarScale.db)), identity(band=1)]
    (tmp_path / "scene.tif.msk").write_bytes(b"mask")
    others.append(identity())
    write_tiff(path, np.ones((64, 64), np.uint8))
    others.append(identity())
    assert all(other != first for other in others) and first == json.loads(json.dumps(first))


# -- cells -------------------------------------------------------------------------------------------------------------
def cell(folder: Path, record: Record, method: dict[str, Any] | None = None, model: bytes | None = b"model") -> Path:
    spec = {**record.spec, "method": {**record.spec["method"], **(method or {})}}
    made = put_cell(folder / "runs", record.model_copy(update={"spec": spec}), model=model)
    write_stage(made, "train", record.keys["train"], {"facts": {"scaling": vars(U8)}, "cost": {}, "made_by": {}})
    return made


def test_a_cell_becomes_its_detector_again(tmp_path: Path) -> None:
    folder = cell(tmp_path, DETECTION, CFAR_CELL, model=None)
    ready = from_cell(folder, load_record(folder / "record.json"))
    assert ready.sar_scale is SarScale.uint8 and ready.gsd_m == 5.0 and ready.scaling == U8 and ready.model is None
    assert (ready.tiles.size_px, ready.tiles.overlap_px, ready.merging.iou) == (512, 200, 0.5)
    made = ready.for_scene(np.dtype(np.uint8), None, None, None, "scene.tif").build(context_of(tmp_path))
    assert isinstance(made, Cfar) and made.options.pfa == 1e-9 and made.setup.gsd_m == 5.0
    assert ready.for_scene(np.dtype(np.uint8), None, None, 20.0, "scene.tif").gsd_m == 20.0, (
        "the scene's own goes before the set's"
    )


@pytest.mark.parametrize(
    ("record", "method", "damage", "message"),
    [
        (MATCHING, None, None, "is a matching cell; ships are found by the detector of a detection cell"),
        (FAILED, None, None, "failed in"),
        (DETECTION.model_copy(update={"smoke": True}), None, None, "is a smoke run"),
        (DETECTION, {"detector": "submission"}, None, "holds boxes that another tool submitted"),
        (DETECTION, {"detector": "faster-rcnn"}, "gone", "its model was cleaned away .*make it again: bench run"),
        (DETECTION, {"detector": "faster-rcnn"}, "other", "is not the model that its record was made of"),
        (DETECTION, {"detector": "no-such"}, None, "unknown detector 'no-such'"),
    ],
)
def test_cells_without_a_detector_that_could_run(
    tmp_path: Path, record: Record, method: dict[str, Any] | None, damage: str | None, message: str
) -> None:
    if record is FAILED:
        record = DETECTION.model_copy(
            update={"status": "failed", "failure": FAILED.failure, "metrics": {}, "outputs": {}}
        )
    folder = cell(tmp_path, record, method)
    if damage == "gone":
        (folder / "model.safetensors").unlink()
    if damage == "other":
        (folder / "model.safetensors").write_bytes(b"another")
    with pytest.raises(BenchError, match=message) as told:
        from_cell(folder, load_record(folder / "record.json"))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cfra", {}, "unknown detector 'cfra'; nearest: cfar"),
        ("faster-rcnn", {}, "has to be trained; give a finished cell"),
        ("submission", {}, "boxes of another tool"),
        ("cfar", {"pfaa": 1}, "has no option 'pfaa'; nearest: .*pfa"),
        ("cfar", {"pfa": 2}, "detector cfar, option pfa"),
    ],
)
def test_detectors_that_cannot_do_without_a_cell(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        without_training(name, settings)


def test_options_are_taken_from_text_as_numbers() -> None:
    assert without_training("cfar", {"pfa": "1e-10"}).options["pfa"] == 1e-10  # YAML takes 1e-10 for a text
