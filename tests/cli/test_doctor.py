"""`bench doctor`: what it reports of sound and of faulty installations, and that a crash is reported, not suffered."""

from __future__ import annotations

import getpass
import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Bench

from bench.cli.doctor import _shortened
from bench.cli.main import main
from bench.core.registries import DATASETS, MATCHERS
from bench.core.workspace import Workspace
from bench.data.images import write_image
from bench.models.backbones import DARKNET53, RESNET18
from bench.tools.doctor import Finding, backends, networks, packages, places
from bench.tools.doctor.backends import Outcome, examine_backends, examine_plugins, run_probes
from bench.tools.doctor.data import examine_data, examine_weights, place_line
from bench.tools.doctor.packages import examine_packages, read_declared
from bench.tools.doctor.places import examine_machine, examine_places, try_folder


def silent(text: str) -> None:
    pass


def by_name(findings: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return a function that puts a package of one's own in front of an installed one, for the processes of the
    doctor.
    """
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fakes"))

    def put(name: str, text: str) -> None:
        path = tmp_path / "fakes" / name / "__init__.py"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")

    return put


@pytest.fixture
def no_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All backends work, without trying."""
    monkeypatch.setattr(
        backends, "run_probes", lambda names, device: iter([Outcome(name, True, "works", 0.0, {}) for name in names])
    )


# -- as a user types it ------------------------------------------------------------------------------------------------
def test_quick_names_everything_and_leaves_nothing_behind(bench: Bench) -> None:
    done = bench("doctor", "--quick")
    lines = [line.split() for line in done.stdout.splitlines()]
    for words in (
        ["ok", "torch"],
        ["ok", "mmcv-lite"],
        ["ok", "toy-pairs"],
        ["absent", "qxs-saropt"],
        ["absent", "resnet50"],
        ["ok", "runs"],
    ):
        assert any(line[:2] == words for line in lines), words
    assert done.stdout.splitlines()[-1].startswith("everything needed works (")
    assert "BENCH_ROOT_QXS_SAROPT" in done.stdout and "opt_256_oc_0.2/1.png" in done.stdout
    assert "torch and the accelerator" in done.stderr
    assert bench.files() == []


@pytest.mark.usefixtures("no_probes")
def test_json_holds_no_path_and_names_what_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / DARKNET53.weights["imagenet-darknet"].file).write_bytes(b"half a download")
    (tmp_path / "runs").write_text("a file where the folder belongs")
    monkeypatch.chdir(tmp_path)
    for name, value in (
        ("BENCH_ROOT_QXS_SAROPT", tmp_path / "nowhere"),
        ("BENCH_WEIGHTS", tmp_path),
        ("BENCH_CACHE", tmp_path / "cache"),
    ):
        monkeypatch.setenv(name, str(value))
    assert main(["doctor", "--json", "--runs", str(tmp_path / "runs")]) == 1
    out = capsys.readouterr().out
    told = json.loads(out)
    state = {each["name"]: each["state"] for each in told["findings"]}
    assert not told["ok"] and state["runs"] == "broken" and state["darknet53"] == "broken"
    assert state["qxs-saropt"] == "warn" and state["hrsid"] == "missing" and state["cache"] == "ok"
    for secret in (
        str(tmp_path),
        tmp_path.parent.name,
        str(Path.home()) + "/",
        f"/{getpass.getuser()}/",
        platform.node(),
    ):
        assert secret not in out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot read /data/of/mine/a.png: gone", "cannot read a.png: gone"),
        ("from https://example.org/a/b.pth or sar/1.png", "from https://example.org/a/b.pth or sar/1.png"),
        ("~/x/y.pth is damaged", "y.pth is damaged"),
    ],
)
def test_paths_are_shortened_and_nothing_else(text: str, shown: str) -> None:
    assert _shortened(text) == shown


def test_every_matcher_with_a_network_and_a_training_can_be_tried() -> None:
    for name in MATCHERS.names():
        if MATCHERS.get(name).uses_backbone:
            assert "forward pass" in networks.matcher(name, "cpu"), name
    assert "two steps" in networks.training("cpu")
    for name in ("shallow", "resnet18", "efficientnet-lite0"):
        assert "forward pass" in networks.backbone(name, "cpu")


@pytest.mark.slow
def test_the_whole_examination_of_this_installation(bench: Bench) -> None:
    out = bench("doctor").stdout
    for name in (
        "backbone darknet53",
        "matcher infonce",
        "training",
        "faster-rcnn",
        "yolov3",
        "pycocotools",
        "matplotlib",
        "cfar",
    ):
        assert any(line.strip().startswith(f"ok       {name} ") for line in out.splitlines()), name
    assert bench.files() == []


@pytest.mark.usefixtures("no_probes")
def test_the_exit_code_tells_needed_from_optional(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["doctor", "--quick", "--runs", str(tmp_path / "runs"), "--boards", str(tmp_path / "boards")]
    assert main(words) == 0 and "absent   hrsid" in capsys.readouterr().out
    monkeypatch.setattr(packages, "installed", lambda name: None if name == "pytest" else "2.0")
    assert main(words) == 0 and "without pytest" in capsys.readouterr().out
    monkeypatch.setattr(packages, "installed", lambda name: None if name == "scipy" else "2.0")
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "MISSING  scipy" in out and "pip install -c constraints.txt 'scipy>=1.13,<2'" in out
    assert out.splitlines()[-1].endswith("do not work: scipy")


# -- packages ----------------------------------------------------------------------------------------------------------
def test_every_declared_dependency_is_looked_at_against_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    found = by_name(examine_packages())
    wanted = {text.split(">")[0].split("<")[0] for text in read_declared().needed}
    assert len(wanted) > 15 and wanted <= set(found) and all(found[name].state == "ok" for name in wanted)
    monkeypatch.setattr(packages, "installed", lambda name: "0.1" if name in ("torch", "mypy") else "2.99")
    found = by_name(examine_packages())
    assert (
        found["torch"].state == "warn" and "0.1 is outside >=2.6,<3" in found["torch"].text and not found["torch"].fails
    )
    assert found["extra dev"].state == "warn" and "mypy" in found["extra dev"].text
    assert found["mmcv and mmcv-lite"].state == "warn"  # every name is installed here, these two into one folder
    monkeypatch.setattr("platform.python_version", lambda: "3.9.1")
    assert by_name(examine_packages())["python"].state == "warn"


def test_distributions_that_stand_in_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def examined(**versions: str) -> dict[str, Finding]:
        def known(name: str) -> str | None:
            return versions.get(name.replace("-", "_"), None if "opencv" in name or "mmcv" in name else "2.99")

        monkeypatch.setattr(packages, "installed", known)
        monkeypatch.setattr("bench.core.provenance.installed", known)
        return by_name(examine_packages())

    found = examined(opencv_python="4.12", mmcv="2.1.0")
    assert found["opencv-python-headless"].state == found["mmcv-lite"].state == "ok"
    assert "4.12  (wanted >=4.10,<6" in found["opencv-python-headless"].text
    assert found["opencv-python-headless"].text.endswith("opencv-python stands in)")
    assert not [name for name in found if " and " in name]
    found = examined(opencv_python="4.12", opencv_python_headless="4.12")
    assert found["opencv-python and opencv-python-headless"].state == "ok"
    assert found["opencv-python-headless"].state == "ok" and found["mmcv-lite"].fails
    found = examined(opencv_python="4.12", opencv_python_headless="4.13", mmcv="2.1.0", mmcv_lite="2.1.0")
    for name, wanted in (
        ("opencv-python and opencv-python-headless", "opencv-python-headless"),
        ("mmcv and mmcv-lite", "mmcv-lite"),
    ):
        assert found[name].state == "warn" and f"then install {wanted} again" in found[name].advice
    assert examined()["opencv-python-headless"].fails


def test_an_installed_wheel_is_asked_what_it_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy-1.0.dist-info").mkdir()
    lines = ["Name: toy", "Version: 1.0", "Requires-Python: >=3.11", "Requires-Dist: numpy>=2", "Provides-Extra: dev"]
    lines += ["Requires-Dist: pytest>=8; extra == 'dev'", "Requires-Dist: absent-thing>=1"]
    (tmp_path / "toy-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(packages, "NAME", "toy")  # not what the pyproject.toml beside the code is called
    declared = read_declared()
    assert (declared.python, declared.needed, declared.extras) == (
        ">=3.11",
        ("numpy>=2", "absent-thing>=1"),
        {"dev": ("pytest>=8",)},
    )
    found = by_name(examine_packages())
    assert found["numpy"].state == found["extra dev"].state == "ok" and found["absent-thing"].fails
    assert found["absent-thing"].advice == "pip install 'absent-thing>=1'"


# -- backends ----------------------------------------------------------------------------------------------------------
def test_a_crash_costs_one_probe_and_no_other(library: Callable[[str, str], None]) -> None:
    library("sklearn", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    library("matplotlib", "raise ImportError('libfreetype.so.6: cannot open shared object file')\n")
    found = list(run_probes(("scipy", "scikit-learn", "matplotlib", "safetensors"), "cpu"))
    assert [(each.name, each.good) for each in found] == [
        ("scipy", True), ("scikit-learn", False), ("matplotlib", False), ("safetensors", True)
    ]  # fmt: skip
    assert "SIGSEGV" in found[1].text
    assert found[2].text == "ImportError: libfreetype.so.6: cannot open shared object file"


def test_a_probe_that_hangs_is_stopped(library: Callable[[str, str], None]) -> None:
    library("safetensors", "import time\ntime.sleep(600)\n")
    (found,) = run_probes(("safetensors",), "cpu", timeout_s=3)
    assert not found.good and found.text == "no answer after 3 s, stopped"


def test_a_wrong_number_is_as_bad_as_a_crash(library: Callable[[str, str], None]) -> None:
    library("sklearn", "")
    fit = "    def fit(self, x):\n        self.labels_ = [0] * len(x)\n        return self\n"
    library("sklearn/cluster", "class KMeans:\n    def __init__(self, **options): pass\n" + fit)
    library("sklearn/linear_model", "LogisticRegression = None\n")
    (found,) = run_probes(("scikit-learn",), "cpu")
    assert not found.good and found.text.endswith("ProbeError: k-means does not find two clusters")


def test_findings_say_how_to_see_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = {
        "torch": Outcome("torch", True, "2.9", 1.0, {}),
        "accelerator": Outcome("accelerator", True, "H200", 0.1, {"cuda": True}),
    }

    def probes(names: Any, device: str) -> Any:
        bad = "yolov3" if device == "cuda" else ""
        return iter([outcomes.get(name) or Outcome(name, name != bad, "text", 0.2, {}) for name in names])

    monkeypatch.setattr(backends, "run_probes", probes)
    found = by_name(examine_backends(False, silent))
    assert (
        found["backbone resnet50"].state
        == found["faster-rcnn on CUDA"].state
        == found["matcher bnn on CUDA"].state
        == "ok"
    )
    assert found["yolov3 on CUDA"].fails and found["yolov3"].state == "ok"
    assert found["yolov3 on CUDA"].advice.endswith("python -m bench.tools.doctor.probes --device cuda 'yolov3'")
    assert set(by_name(examine_backends(True, silent))) == {"torch", "accelerator"}


def test_a_gpu_that_torch_cannot_use_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.tools.doctor.networks import accelerator

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert accelerator("cpu") == ("none: everything runs on the CPU", {"cuda": False})
    monkeypatch.setattr(shutil, "which", lambda name: "nvidia-smi")
    text, facts = accelerator("cpu")
    assert "cannot use it" in text and not facts["cuda"] and facts["advice"]


def test_plug_ins_are_told_one_by_one(tmp_path: Path, library: Callable[[str, str], None]) -> None:
    library("ghost", "class Good: pass\n")
    folder = tmp_path / "fakes" / "ghost-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: ghost\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[saropt_bench.matchers]\ngood = ghost:Good\ngone = ghost:Gone\n")
    found = by_name(examine_plugins(silent))
    assert found["own components"].state == "ok"
    assert found["matcher good"].state == "ok" and found["matcher good"].text == "from ghost"
    assert found["matcher gone"].fails and "no attribute 'Gone'" in found["matcher gone"].text
    (folder / "entry_points.txt").write_text("[saropt_bench.matchers]\nbnn = ghost:Good\n")
    found = by_name(examine_plugins(silent))
    assert "two matchers are called 'bnn'" in found["matcher entry points"].text and found["matcher entry points"].fails


# -- data and weights --------------------------------------------------------------------------------------------------
def write_qxs(folder: Path, pairs: int) -> Path:
    for view, shape in (("opt_256_oc_0.2", (16, 16, 3)), ("sar_256_oc_0.2", (16, 16))):
        (folder / view).mkdir(parents=True)
        for number in range(pairs):
            write_image(folder / view / str(number + 1), np.full(shape, number, dtype=np.uint8))
    return folder


def test_data_sets_are_counted(tmp_path: Path) -> None:
    write_qxs(tmp_path / "QXSLAB_SAROPT", 3)
    (tmp_path / "HRSID_JPG").mkdir()
    found = by_name(examine_data(Workspace(env={"BENCH_DATA": str(tmp_path)})))
    qxs = found["qxs-saropt"]
    assert (
        (qxs.state, qxs.text) == ("warn", "3 of 20,000 pairs")
        and "bench data verify" in qxs.advice
        and qxs.place.endswith("QXSLAB_SAROPT")
    )
    assert found["hrsid"].state == "warn" and str(tmp_path) not in found["hrsid"].text
    assert found["s1s2-scenes"].state == "missing" and not found["s1s2-scenes"].fails
    assert found["toy-ships"].state == "ok" and "--root voc-folder=DIR" in found["voc-folder"].text
    (tmp_path / "QXSLAB_SAROPT" / "sar_256_oc_0.2" / "3.png").unlink()
    found = by_name(examine_data(Workspace(roots={"qxs-saropt": tmp_path / "QXSLAB_SAROPT"}, env={})))
    assert found["qxs-saropt"].text == "2 of 20,000 pairs; 1 files without a partner"
    assert found["hrsid"].state == "missing"


def test_a_complete_set_is_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    cls = DATASETS.get("qxs-saropt")
    monkeypatch.setattr(cls, "facts", replace(cls.facts, expected_pairs=2))
    found = by_name(examine_data(Workspace(env={"BENCH_ROOT_QXS_SAROPT": str(write_qxs(tmp_path / "q", 2))})))[
        "qxs-saropt"
    ]
    assert (found.state, found.text, found.advice) == ("ok", "2 of 2 pairs", "")


def test_a_variable_that_names_no_folder_is_no_absence(tmp_path: Path) -> None:
    found = by_name(examine_data(Workspace(env={"BENCH_ROOT_HRSID": str(tmp_path / "typo")})))["hrsid"]
    assert found.state == "warn" and found.text == "BENCH_ROOT_HRSID names no folder"


@pytest.mark.parametrize("name", DATASETS.names())
def test_what_to_place_fits_into_a_line(name: str) -> None:
    line = place_line(DATASETS.get(name).facts)
    assert "\n" not in line and line.startswith("place ") and len(line) < 160


def test_weight_files_are_found_and_their_damage_too(tmp_path: Path) -> None:
    (tmp_path / RESNET18.weights["imagenet"].file).write_bytes(b"not what it is called")
    workspace = Workspace(env={"BENCH_WEIGHTS": str(tmp_path), "HOME": str(tmp_path)})
    found = by_name(examine_weights(workspace, quick=False))
    assert found["resnet18"].fails and "bench data weights resnet18 --download" in found["resnet18"].advice
    assert found["resnet50"].state == "missing" and not found["resnet50"].fails
    # sizes alone: this file's size is not published
    quick = by_name(examine_weights(workspace, quick=True))["resnet18"]
    assert quick.state == "ok" and "size" in quick.text


# -- the machine and the folders ---------------------------------------------------------------------------------------
def test_folders_are_tried_where_they_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path / "a" / "runs", tmp_path / "boards", env={})
    (tmp_path / "boards").mkdir()
    found = by_name(examine_places(workspace))
    assert found["runs"].text.startswith("to be made, writable") and found["boards"].text.startswith("writable")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "boards"] and not list((tmp_path / "boards").iterdir())

    monkeypatch.setattr(places, "LOW_DISK", 2**80)
    assert by_name(examine_places(workspace))["runs"].state == "warn"

    def refuse(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert (
        try_folder(tmp_path) == "cannot be locked (flock): two runs would not see each other (Operation not supported)"
    )
    assert by_name(examine_places(workspace))["cache"].fails


def test_a_small_machine_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    found = by_name(examine_machine())
    assert "cores" in found["processor"].text and found["processor"].state == "ok"
    monkeypatch.setattr(places, "LOW_SHARED", 2**60)
    monkeypatch.setattr(places, "LOW_MEMORY", 2**60)
    found = by_name(examine_machine())
    assert found["shared memory"].state == found["memory"].state == "warn"
    assert "--workers 0" in found["shared memory"].advice and not found["memory"].fails
