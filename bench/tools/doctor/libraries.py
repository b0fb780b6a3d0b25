"""Probes of the libraries without torch and of the classical methods: a small computation each, whose outcome is
known.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError, first_line
from bench.core.registry import Registry
from bench.tools.doctor import require


def scipy_fft(device: str) -> str:
    """A Fourier transform there and back."""
    from scipy.fft import irfft2, rfft2

    image = np.random.default_rng(0).random((32, 32), dtype=np.float32)
    require(
        np.allclose(irfft2(rfft2(image), image.shape), image, atol=1e-5),
        "a Fourier transform there and back changes an image",
    )
    return "Fourier transform there and back"


def sklearn_fits(device: str) -> str:
    """Two clusters are found, and two classes separated."""
    from sklearn.cluster import KMeans
    from sklearn.linear_model import LogisticRegression

    points = np.concatenate([np.zeros((8, 2)), np.ones((8, 2))])
    label = np.arange(16) >= 8
    found = KMeans(n_clusters=2, n_init=2, random_state=0).fit(points).labels_
    require(
        len(set(found[:8])) == len(set(found[8:])) == 1 and found[0] != found[8], "k-means does not find two clusters"
    )
    require(
        (LogisticRegression().fit(points, label).predict(points) == label).all(),
        "a regression does not separate two classes",
    )
    return "k-means, logistic regression"


def image_files(device: str) -> str:
    """PNG of 8 and 16 bits and TIFF of floats, written and read; JPEG read; a resize by opencv, which mmcv does it
    with.
    """
    import cv2
    from PIL import Image

    from bench.data.images import read_image, write_image

    grey = (np.arange(48 * 40) % 251).astype(np.uint8).reshape(48, 40)
    with tempfile.TemporaryDirectory(prefix="bench-doctor-") as folder:
        for name, image in (
            ("8", grey),
            ("rgb", np.stack([grey] * 3, axis=2)),
            ("16", grey.astype(np.uint16) * 200),
            ("f", grey / np.float32(7)),
        ):
            path = write_image(Path(folder) / name, image)
            require(
                np.array_equal(read_image(path), image),
                f"an image of {image.dtype} changes when it is saved as {path.suffix}",
            )
        Image.fromarray(grey).save(Path(folder) / "a.jpg")
        require(read_image(Path(folder) / "a.jpg").shape == grey.shape, "a JPEG cannot be read")
    require(cv2.resize(grey, (20, 24)).shape == (24, 20), "opencv does not resize an image")
    return f"PNG, TIFF and JPEG; opencv {cv2.__version__}"


def safetensors_file(device: str) -> str:
    """The state of a method, written and read."""
    from bench.models.states import load_state, save_state

    state = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    with tempfile.TemporaryDirectory(prefix="bench-doctor-") as folder:
        save_state(Path(folder) / "model.safetensors", state)
        require(
            np.array_equal(load_state(Path(folder) / "model.safetensors")["weight"], state["weight"]),
            "a state changes when it is saved",
        )
    return "a state saved and read"


def matplotlib_draws(device: str) -> str:
    """One picture, in memory."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure, stream = Figure(figsize=(2, 2)), io.BytesIO()
    figure.subplots().plot([0, 1], [0, 1])
    figure.savefig(stream, format="png")
    require(stream.getvalue().startswith(b"\x89PNG"), "no PNG came out")
    return "one picture drawn"


def pycocotools_evaluates(device: str) -> str:
    """Two ships of which one is found: AP at IoU 0.5 is 51/101, by pycocotools and by our evaluator."""
    from bench.detection.detectors.base import Detections
    from bench.detection.scoring.coco_reference import coco_aps
    from bench.detection.scoring.evaluator import BoxTable, ap_from_matches, match

    truth = np.array([[10.0, 10.0, 50.0, 50.0], [100.0, 100.0, 140.0, 140.0]])
    table = BoxTable.of([(truth, np.zeros(2, dtype=bool))], [Detections(truth[:1], np.ones(1))])
    theirs = coco_aps(table, {"scene": np.ones(1)})["scene"][0]["ap50"]
    require(abs((theirs or 0) - 51 / 101) < 1e-9, f"AP50 is {theirs}, must be 51/101")
    require(abs((ap_from_matches(match(table, "coco"), "101-point") or 0) - 51 / 101) < 1e-9, "our AP50 is another")
    return "AP50 of a known case, equal to ours"


def cfog(device: str) -> str:
    """A patch is nearer to itself than to another one."""
    from bench.matching.matchers.cfog import Cfog, CfogOptions

    sar = np.random.default_rng(0).integers(0, 255, (2, 64, 64)).astype(np.uint8)
    optical = np.repeat(sar[..., None], 3, axis=3)
    found = Cfog(CfogOptions(max_shift_px=2)).score_pairs(sar, optical, np.array([[0, 0], [0, 1]]))
    require(found[0] < found[1], "a patch is not nearest to itself")
    return "a patch matched to itself"


def cfar(device: str) -> str:
    """One bright ship on dark clutter is found."""
    from bench.core.context import ExecutionContext
    from bench.core.progress import Progress
    from bench.data.scaling import SarScale, ScalingParams
    from bench.detection.detectors.base import Setup
    from bench.detection.detectors.cfar.detector import Cfar, CfarOptions
    from bench.detection.spec import Merging, Tiles

    image = np.random.default_rng(0).gamma(4.0, 5.0, (160, 160)).clip(1, 255).astype(np.uint8)
    image[70:90, 60:100] = 250
    detector = Cfar(CfarOptions.model_validate({}))
    with tempfile.TemporaryDirectory(prefix="bench-doctor-") as folder:
        context = ExecutionContext(
            Path(folder), Path(folder), "cpu", 1, 0, lambda line: None, Progress(lambda line: None, io.StringIO())
        )
        scaling, tiles, merging = (
            ScalingParams("uint8", 1, 0.0, 255.0),
            Tiles.model_validate({}),
            Merging.model_validate({}),
        )
        detector.prepare(Setup(None, scaling, tiles, merging, context, sar_scale=SarScale.amplitude))
        found = detector.predict(image).merged
    best = found.boxes[np.argmax(found.scores)] if len(found) else np.zeros(4)
    require(np.abs(best - [60, 70, 100, 90]).max() <= 4, f"a ship at 60, 70, 100, 90 is found at {best.tolist()}")
    return "one ship on clutter found"


def components(device: str) -> tuple[str, dict[str, Any]]:
    """Every registered component can be imported; those of other packages are reported one by one."""
    from bench.core.registries import BACKBONES, DATASETS, DETECTORS, MATCHERS, TASKS

    own, foreign, broken = 0, [], []
    for registry in (TASKS, DATASETS, MATCHERS, DETECTORS, BACKBONES):
        for name, source, problem in _load_all(registry):
            if source != "saropt-bench":
                foreign.append({"kind": registry.kind, "name": name, "source": source, "problem": problem})
            elif problem:
                broken.append(f"{registry.kind} {name}: {problem}")
            else:
                own += 1
    require(not broken, "; ".join(broken))
    return f"{own} tasks, data sets, matchers, detectors and backbones can be imported", {"foreign": foreign}


def _load_all(registry: Registry) -> list[tuple[str, str, str]]:
    """Return (name, source, problem) of every component of one kind; problem "" where it can be imported."""
    try:
        names = registry.names()
    except BenchError as error:  # two packages claim one name; both are reported
        return [("entry points", "several packages", first_line(error))]
    out = []
    for name in names:
        problem = ""
        try:
            registry.get(name)
        except BenchError as error:
            problem = first_line(error)
        out.append((name, registry.entry(name).source, problem))
    return out
