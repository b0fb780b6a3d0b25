"""`bench run --smoke`: every cell through the genuine path, marked, in a folder of its own, random weights where
published ones lack.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from command_line import TOY, Bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ship_files import write_voc

from bench.boards.entries import file_entries
from bench.core.errors import BenchError
from bench.core.options import CAPS, options_for
from bench.core.registries import DETECTORS, MATCHERS
from bench.data.ships.index import ShipScene
from bench.data.ships.toy import ToyShipScenes, render_ships
from bench.data.toy import ToyScene, write_toy_pairs
from bench.execution.cell import Origin, Selection
from bench.execution.records import Record, load_record
from bench.models.backbones import EFFICIENTNET_LITE0
from bench.models.weight_files import find_weights, local_file
from bench.models.weights import load_initial_weights
from bench.suite.config import load_suite
from bench.suite.expansion import expand
from bench.suite.smoke import PAIRS, SCENES, few_pairs, few_scenes, write_stand_in

PROBE = '''\
"""Two detectors that are done at once: one boxes what is bright, one breaks."""

import numpy as np

from bench.core.registries import DETECTORS
from bench.detection.detectors.base import Detections, Detector, DetectorOptions, ScenePrediction


class ProbeOptions(DetectorOptions):
    rounds: int = 1000

    def smoke(self):
        return self.model_copy(update={"rounds": 3})


@DETECTORS.register("probe", "boxes everything bright")
class Probe(Detector):
    Options = ProbeOptions
    trains = True
    seeded = True
    backbones = ("resnet18",)

    def _fit(self, data):
        return {"rounds": self.options.rounds}

    def _predict(self, image):
        return ScenePrediction(Detections(np.array([[1.0, 1.0, 20.0, 20.0]]), np.ones(1)))


@DETECTORS.register("broken", "breaks")
class Broken(Detector):
    def _predict(self, image):
        raise RuntimeError("a wire is loose")
'''
SHIPS = f"""\
name: ships
plugins: [probe.py]
seeds: [4]
matching:{TOY}\
  methods:
    nce: {{matcher: infonce, backbone: resnet18, init: imagenet, options: {{epochs: 90, batch_size: 12, input_px: 32, dim: 8}}}}
detection:
  protocol: {{name: det/test-v1, strata: shore}}
  datasets:
    toy:
      dataset: toy-ships
      options: {{scenes: 8, scene_px: 96}}
      splits:
        half: {{kind: random, by: scene, test: 0.5, validation: 0}}
  methods:
    probe: {{detector: probe, pretrain: [imagenet, osm]}}
    broken: {{detector: broken}}
"""


def records(bench: Bench) -> dict[str, dict[str, Any]]:
    """Return the smoke records by slot."""
    found = sorted((bench.folder / "runs/smoke").glob("*/*/record.json"))
    raw = [json.loads(path.read_text()) for path in found]
    return {f"{r['task']} {r['dataset']} {r['method']} {r['seed']}": r for r in raw}


def loaded(runs: Path) -> list[tuple[Path, Record]]:
    """Return folder and record of the cells directly under a runs folder."""
    return [(path.parent, load_record(path)) for path in sorted(runs.glob("*/*/record.json"))]


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, subprocess.CompletedProcess[str]]]:
    """A smoke run of a suite with a network, two pretrainings and a detector that breaks; no published weights on this
    machine.
    """
    bench = Bench(tmp_path_factory.mktemp("wired"))
    bench.env |= {"HOME": str(bench.folder), "OMP_NUM_THREADS": "1"}
    bench.env.pop("TORCH_HOME", None)
    bench.write("ships.yaml", SHIPS)
    bench.write("probe.py", PROBE)
    yield bench, bench("run", "--config", "ships.yaml", "--smoke", "--no-figures", "--threads", "1", code=1)


def test_every_cell_ran_and_the_broken_one_is_named(wired: tuple[Bench, subprocess.CompletedProcess[str]]) -> None:
    bench, done = wired
    assert set(records(bench)) == {
        "matching toy/grouped nce 4",
        *(f"detection toy/half probe/{start} 4" for start in ("imagenet", "osm")),
        "detection toy/half broken None",
    }
    assert "smoke: 3 of 4 cells ran" in done.stdout
    assert re.search(
        r"FAILED toy-half--broken--once: a wire is loose \(details: runs/smoke/detection/toy-half--broken.*/log.txt\)",
        done.stderr,
    )
    assert done.stdout.count("(smoke run: wiring check, no measurement)") == 2
    assert not (bench.folder / "leaderboards").exists()


def test_samples_and_iterations_are_few_and_the_graph_is_whole(
    wired: tuple[Bench, subprocess.CompletedProcess[str]],
) -> None:
    found = records(wired[0])
    nce, osm = found["matching toy/grouped nce 4"], found["detection toy/half probe/osm 4"]
    assert nce["spec"]["method"]["options"]["epochs"] == 2 and nce["facts"]["training_entries"] == 2 * PAIRS["train"]
    assert nce["inputs"]["split_counts"] == PAIRS
    assert (
        nce["spec"]["method"]["options"]["batch_size"] == CAPS["batch_size"]
        and nce["spec"]["method"]["options"]["input_px"] == 32
    )
    assert osm["facts"]["rounds"] == 3, "a plug-in's own smoke()"
    assert osm["inputs"]["split_counts"] == {"train": SCENES, "validation": 0, "test": SCENES}
    assert osm["requires"] == [f"matching:{nce['keys']['train']}"]
    assert osm["facts"]["initial_weights"]["sha256"] == nce["outputs"]["weights_sha256"]
    assert all(record["smoke"] and record["command"].endswith("--smoke") for record in found.values())


def test_absent_weights_are_replaced_and_told_and_recorded(
    wired: tuple[Bench, subprocess.CompletedProcess[str]],
) -> None:
    bench, done = wired
    assert done.stderr.count("ImageNet file of resnet18 not here: replaced by random weights for this check") == 1
    found = records(bench)
    for name in ("matching toy/grouped nce 4", "detection toy/half probe/imagenet 4"):
        assert found[name]["inputs"]["replaced_weights"] == "smoke-random-resnet18.pth"
    assert "replaced_weights" not in found["detection toy/half probe/osm 4"]["inputs"], (
        "it starts from the matching network"
    )
    genuine = bench.error("run", "--config", "ships.yaml", "--no-figures")
    assert "bench data weights resnet18 --download" in genuine and "replaced" not in genuine


def test_a_smoke_record_enters_no_board_and_no_cost(
    wired: tuple[Bench, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    bench, _ = wired
    runs = bench.folder / "runs"
    assert loaded(runs) == []
    finished = [(path, record) for path, record in loaded(runs / "smoke") if record.status == "finished"]
    assert len(finished) == 3 and file_entries(tmp_path, finished) == 0 and not list(tmp_path.rglob("*.json"))
    plan = bench("plan", "--config", "ships.yaml", "--method", "broken").stdout
    assert "0 finished, 1 to run" in plan and "cost unknown" in plan
    assert "no finished cell under runs" in bench.error("score")


def test_a_smoke_run_beside_a_finished_run_changes_nothing_of_it(tiny: Bench) -> None:
    before = {name: (tiny.folder / name).stat().st_mtime_ns for name in tiny.files("runs/matching", "leaderboards")}
    done = tiny("run", "--config", "tiny.yaml", "--smoke", "--no-figures", "--threads", "1")
    assert "smoke: 4 of 4 cells ran" in done.stdout and "finished already" not in done.stderr
    assert {
        name: (tiny.folder / name).stat().st_mtime_ns for name in tiny.files("runs/matching", "leaderboards")
    } == before
    genuine = {record.row_key for _, record in loaded(tiny.folder / "runs")}
    assert not genuine & {record["row_key"] for record in records(tiny).values()}
    assert "4 cells, 4 finished already, 0 to run" in tiny("run", "--config", "tiny.yaml", "--no-figures").stderr
    again = tiny(
        "run",
        "--config",
        "tiny.yaml",
        "--smoke",
        "--no-figures",
        "--threads",
        "1",
        "--seeds",
        "7",
        "--method",
        "random",
    ).stderr
    assert again.count(": predict, score") == 1 and "seed 7, smoke" in again
    tiny("clean", "smoke", "--yes")
    assert not (tiny.folder / "runs/smoke").exists() and len(loaded(tiny.folder / "runs")) == 4


def test_missing_data_stop_a_smoke_run_and_weights_are_still_told(bench: Bench) -> None:
    bench.env |= {"HOME": str(bench.folder)}
    bench.env.pop("TORCH_HOME", None)
    done = bench(
        "run", "matching", "--config", "paper", "--smoke", "--method", "bnn-resnet50", "--backbone", "resnet18", code=2
    )
    assert "data set qxs-saropt is not here" in done.stderr and "no ImageNet weights" not in done.stderr
    assert "ImageNet file of resnet18 not here: replaced by random weights" in done.stderr
    assert not (bench.folder / "leaderboards").exists() and not list((bench.folder / "runs").rglob("job.json"))


def test_paper_without_anything_lists_all_that_is_missing_at_once(bench: Bench) -> None:
    bench.env |= {"HOME": str(bench.folder)}
    bench.env.pop("TORCH_HOME", None)
    message = bench.error("run", "--config", "paper")
    for part in (
        "data set qxs-saropt is not",
        "data set air-sarship-1.0 is not",
        "weights resnet50 --down",
        "weights darknet53 --down",
    ):
        assert message.count(part) == 1, part


def test_a_bad_suite_is_told_before_anything_is_written(bench: Bench) -> None:
    bench.write("ships.yaml", SHIPS.replace("plugins: [probe.py]\n", ""))
    assert "unknown detector 'probe'" in bench.error("run", "--config", "ships.yaml", "--smoke")
    assert not (bench.folder / "runs").exists()


def test_two_seeds_at_most_unless_they_are_given_and_the_graph_keeps_them() -> None:
    suite, origin = load_suite("quickstart", ["seeds=[3, 1, 2]"]), Origin("--config quickstart", Path())

    def seeds(**selected: Any) -> set[int | None]:
        cells = expand(suite, Selection(**selected), ["matching", "detection"], origin)
        assert all(required in cells and required.seed == cell.seed for cell in cells for required in cell.requires)
        assert len([cell for cell in cells if cell.requires]) == 2 * len({cell.seed for cell in cells} - {None})
        return {cell.seed for cell in cells}

    assert seeds() == {None, 1, 2, 3} and seeds(smoke=True) == {None, 3, 1}
    assert seeds(smoke=True, seeds=(5, 6, 7)) == {None, 5, 6, 7}


# -- the pieces --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", [*(f"matching {n}" for n in MATCHERS.names()), *(f"detection {n}" for n in DETECTORS.names())]
)
def test_the_options_of_every_component_can_be_cut_down(name: str) -> None:
    task, component = name.split()
    given = {"results": "file"} if component == "submission" else {}
    options = (MATCHERS if task == "matching" else DETECTORS).get(component).Options(**given)
    cut = options_for(options, smoke=True)
    for field, value in cut.model_dump().items():
        if field in CAPS and isinstance(value, int | float):
            assert value <= CAPS[field]
        elif field not in CAPS:
            assert value == getattr(options, field), "only the length of the training changes"
    assert options_for(options, smoke=False) is options


def test_options_of_the_shipped_suites_can_be_cut_down() -> None:
    for config in ("paper", "clean", "quickstart", "s1s2", "hrsid"):
        for task, section in load_suite(config).tasks.items():
            for method in section["methods"].values():
                component = MATCHERS.get(method["matcher"]) if task == "matching" else DETECTORS.get(method["detector"])
                cut = options_for(component.Options.model_validate(method.get("options", {})), smoke=True)
                assert getattr(cut, "epochs", 1) <= 2 and getattr(cut, "entries", None) in (None, 8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sets(st.integers(0, 500), max_size=40), st.sampled_from(sorted(PAIRS)))
def test_few_pairs_are_of_the_part_and_from_both_ends(part: set[int], name: str) -> None:
    positions = np.array(sorted(part), dtype=np.int64)
    few = few_pairs(positions, name)
    assert len(few) == min(len(positions), PAIRS[name]) and set(few.tolist()) <= part and (np.diff(few) > 0).all()
    if len(positions):
        assert few[0] == positions[0] and few[-1] == positions[-1]


def test_few_scenes_hold_ships_and_are_the_smallest() -> None:
    sizes = {0: (900, 1), 1: (500, 0), 2: (700, 3), 3: (600, 1), 4: (3000, 2), 5: (4000, 1)}  # edge, ships
    items = [
        ShipScene(
            str(k), f"{k}.png", k, edge, edge, np.tile([1.0, 1.0, 9.0, 9.0], (ships, 1)), np.zeros(ships, dtype=bool)
        )
        for k, (edge, ships) in sizes.items()
    ]
    assert few_scenes(np.arange(6), items).tolist() == [2, 3]
    assert (
        few_scenes(np.array([0, 1]), items).tolist() == [0, 1]
        and few_scenes(np.array([], dtype=np.int64), items).tolist() == []
    )
    assert few_scenes(np.array([4, 5]), items).tolist() == [4], "one scene of 3000 px is enough to predict on"


@pytest.mark.parametrize("backbone", ["resnet18", "darknet53", "efficientnet-lite0"])
def test_stand_ins_have_the_published_layout_and_the_same_bytes(backbone: str, tmp_path: Path) -> None:
    import torch

    path, twin = tmp_path / "a" / f"smoke-random-{backbone}.pth", tmp_path / "b" / "other.pth"
    write_stand_in(backbone, path)
    write_stand_in(backbone, twin)
    assert path.read_bytes() == twin.read_bytes()
    state = torch.load(path, weights_only=True)
    if backbone == "resnet18":
        from torchvision.models import resnet18

        wanted = {
            k: v.shape for k, v in resnet18(weights=None).state_dict().items() if not k.endswith("num_batches_tracked")
        }
    elif backbone == "efficientnet-lite0":
        file = local_file(EFFICIENTNET_LITE0.weight_file(), {"HOME": str(tmp_path)})
        if file is None:
            pytest.skip("needs the extra imagenet")
        wanted = {k: v.shape for k, v in torch.load(file, weights_only=True).items()}
    else:
        from bench.detection.detectors.mmdet import mmcv_bridge

        mmcv_bridge.install()
        from mmdet.models.backbones import Darknet

        wanted = {k: v.shape for k, v in Darknet(53).state_dict().items()}
    assert {key: value.shape for key, value in state.items()} == wanted
    assert "random weights" in state._metadata["saropt-bench"]["smoke"]
    assert load_initial_weights(backbone, path)
    if backbone == "efficientnet-lite0":
        return  # its own file is installed
    with pytest.raises(BenchError, match="no ImageNet weights"):
        find_weights(backbone, {"BENCH_WEIGHTS": str(path.parent), "HOME": str(tmp_path)})


# -- the real thing ----------------------------------------------------------------------------------------------------
def write_papers_data(root: Path) -> None:
    """Write both sets of the paper in the genuine layouts: 48 pairs of 256 px, 31 16-bit scenes of 600 px."""
    pairs = root / "QXSLAB_SAROPT"
    pairs.mkdir(parents=True)
    write_toy_pairs(pairs, ToyScene(scenes=4, patches_per_scene=12, patch_px=256), ("opt_256_oc_0.2", "sar_256_oc_0.2"))
    (pairs / "patches.csv").unlink()
    for number in range(1, 32):
        made = render_ships(ToyShipScenes(scenes=31, scene_px=600, bits=16), number - 1)
        path = root / "AIR-SARShip-1.0" / "AIR-SARShip-1.0-data" / f"{number}.tiff"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, made.amplitude, photometric="minisblack")
        write_voc(
            root / "AIR-SARShip-1.0" / "AIR-SARShip-1.0-xml" / f"{number}-label.xml", made.boxes.tolist(), (600, 600)
        )


@pytest.mark.slow
def test_the_papers_suite_runs_whole(bench: Bench) -> None:
    write_papers_data(bench.folder / "data")
    bench.env |= {"HOME": str(bench.folder), "BENCH_DATA": str(bench.folder / "data")}
    bench.env.pop("TORCH_HOME", None)
    command = [
        *bench.words("run", "--config", "paper", "--smoke", "--no-figures"),
        "--threads",
        str(min(4, os.cpu_count() or 1)),
    ]
    done = subprocess.run(
        command, cwd=bench.folder, env=bench.env, capture_output=True, text=True, timeout=3600, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "smoke: 18 of 18 cells ran" in done.stdout
    assert done.stderr.count("replaced by random weights") == 2
    found = records(bench)
    for detector, matcher in (("faster-rcnn", "bnn-resnet50"), ("yolov3", "bnn-darknet53")):
        for seed in (0, 1):
            osm = found[f"detection air-sarship-1.0/circulating {detector}/osm {seed}"]
            mine = found[f"matching qxs-saropt/random {matcher} {seed}"]
            assert osm["facts"]["initial_weights"] == {
                "sha256": mine["outputs"]["weights_sha256"],
                "branch": "sar.backbone.",
            }
            assert osm["facts"]["training_tiles"] == 4
    sizes = [record.cost for _, record in loaded(bench.folder / "runs/smoke")]
    assert max(cost["train"]["peak_memory_bytes"] for cost in sizes) < 8 * 2**30
    assert sys.platform != "linux" or all(cost["train"]["peak_memory_bytes"] > 0 for cost in sizes)
