"""What the harness costs on the detection task, as ratios measured in one run; figures in docs/performance.md.

    python benchmarks/detection.py [training] [inference] [evaluator] [cfar] [--device cpu] [--threads N] [--rounds 3]
    ...

training   a training step through the harness (decoded scenes, tiles cut in memory, mmengine's Runner with our hooks) against the same
           network in mmdet's own pipeline (benchmarks/mmdet_pipeline.py): same tiles' size and number of ships, batch,
           threads
inference  a whole scene through the detector (tiles cut, scaled, merged) against the network's own prediction of the same tiles, ready
           as tensors in memory
evaluator  COCO's AP at ten thresholds and four size ranges of 70,000 detections against pycocotools, from the boxes to the numbers;
           the numbers must be equal
cfar       megapixels per second of the whole detector on a scene, and of its threshold test against a loop over the pixels on the same
           window; the exceedances must be equal
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# this file's own folder would hide the standard library's `statistics`
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from bench.core.errors import BenchError
from bench.data.scaling import SarScale, ScalingParams
from bench.detection.detectors.base import Detections
from bench.detection.scoring.evaluator import (
    IOUS,
    SIZES,
    BoxTable,
    ap_from_matches,
    match,
    mean_ap_from_matches,
)
from benchmarks.captured import captured_detector, context_of, detection_cells, run_harness
from benchmarks.generated_sets import write_scenes
from benchmarks.mmdet_pipeline import read_by_mmdet, train_by_mmdet, with_stock_roi_align, write_tiles
from benchmarks.ratios import Line, add_how, by_turns, clocked, compared, machine, parsed, table
from benchmarks.step_times import FewBatches, wait_for

PARTS = ("training", "inference", "evaluator", "cfar")
TRAINING_GOAL, INFERENCE_GOAL, EVALUATOR_GOAL = 1.2, 0.85, 8.0
SMALL_HEADS = {
    "fpn_channels": 64,
    "rpn_channels": 64,
    "roi_fc": 256,
    "roi_samples": 128,
    "train_proposals": 300,
    "test_proposals": 300,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the parts that were named (all by default), print the table; return the exit code."""
    args = _arguments(arguments)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="bench-speed-") as folder:
        place = Path(folder)
        if {"training", "inference"} & set(args.parts):
            write_scenes(place / "data", args.scene_px, args.ships)
        for part in args.parts:
            run = {"training": training, "inference": inference, "evaluator": evaluator, "cfar": cfar}[part]
            lines += run(args, place)
    print(machine(args.device, args.threads), end="\n\n")
    print(table(lines))
    return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_how(parser, PARTS)
    parser.add_argument(
        "--mmdet-workers",
        type=int,
        default=2,
        metavar="N",
        help="those of mmdet's pipeline (default: 2, as in its configs)",
    )
    parser.add_argument(
        "--detector", default="faster-rcnn", choices=("faster-rcnn", "yolov3"), help="(default: faster-rcnn)"
    )
    parser.add_argument("--backbone", default="resnet18", help="its backbone (default: resnet18)")
    parser.add_argument(
        "--full-heads", action="store_true", help="Faster R-CNN's own widths; without, those for a small machine"
    )
    parser.add_argument("--tile-px", type=int, default=256, metavar="N", help="side of the tiles (default: 256)")
    parser.add_argument("--batch", type=int, default=4, metavar="N", help="tiles a step (default: 4)")
    parser.add_argument(
        "--channels-last",
        action="store_true",
        help="memory format of the harness's convolutions (mmdet's stays as it is)",
    )
    parser.add_argument("--steps", type=int, default=25, metavar="N", help="steps of a timed training (default: 25)")
    parser.add_argument(
        "--scene-px", type=int, default=1500, metavar="N", help="side of the generated scenes (default: 1500)"
    )
    parser.add_argument("--ships", type=int, default=60, metavar="N", help="ships a scene (default: 60)")
    parser.add_argument(
        "--detections", type=int, default=70_000, metavar="N", help="for the evaluator (default: 70000)"
    )
    parser.add_argument(
        "--cfar-px", type=int, default=3000, metavar="N", help="side of the scene for CFAR (default: 3000)"
    )
    parser.add_argument(
        "--naive-px", type=int, default=256, metavar="N", help="side of the window for the loop (default: 256)"
    )
    return parsed(parser, PARTS, arguments)


def _detector(args: argparse.Namespace, place: Path, name: str) -> Any:
    """Return what a detector hands over to `train`, with the detector itself and a test scene."""
    options: dict[str, Any] = {"batch_size": args.batch, "augment": "flip", "per_epoch": args.batch * args.steps}
    options["channels_last"] = args.channels_last
    if args.detector == "faster-rcnn" and not args.full_heads:
        options |= SMALL_HEADS
    dataset = {"dataset": "air-sarship-1.0", "tiles": {"size_px": args.tile_px, "overlap_px": args.tile_px // 4}}
    dataset["splits"] = {"official": {"kind": "grouped", "by": "split", "test_groups": ["test"], "validation": 0}}
    method = {"detector": args.detector, "backbone": args.backbone, "pretrain": "none", "options": options}
    cell, workspace = detection_cells(place, dataset, method)
    return captured_detector(cell, workspace, context_of(args, place / name, place))


# -- training ----------------------------------------------------------------------------------------------------------
def training(args: argparse.Namespace, place: Path) -> list[Line]:
    """Return the line on training steps."""
    from bench.core.registries import BACKBONES

    taken, _, _ = _detector(args, place, "capture-training")
    few = FewBatches(taken.batches, args.batch, args.steps)
    write_tiles(place / "tiles", _tiles_of(few, args.steps))
    facts = BACKBONES.get(args.backbone)
    mean, std = ([255.0 * value for value in values] for values in (facts.mean, facts.std))
    number = iter(range(10**6))

    def ours() -> float:
        spec = replace(taken.spec, epochs=1, warmup_epochs=0.0)
        return run_harness(
            copy.deepcopy(taken.model), few, spec, context_of(args, place / f"harness{next(number)}", place)
        )[0]

    def theirs() -> float:
        model = with_stock_roi_align(copy.deepcopy(taken.model.model))
        with contextlib.redirect_stdout(io.StringIO()):
            return train_by_mmdet(
                model, taken.spec, mean, std, place / "tiles", args.mmdet_workers, args.threads, args.device
            )

    first, second, ratio = by_turns(ours, theirs, args.rounds)
    about = f"{args.detector}-{args.backbone}, tiles of {args.tile_px} px, batch {args.batch}"
    about += ", channels last" if args.channels_last else ""
    rates = [f"{args.batch / seconds:.2f} tiles/s" for seconds in (first, second)]
    return [
        compared(f"training step, {about}", rates[0], f"mmdet's pipeline: {rates[1]}", ratio, TRAINING_GOAL),
        _making(few, place / "tiles", args),
    ]


def _making(batches: FewBatches, folder: Path, args: argparse.Namespace) -> Line:
    """Return the line on making batches alone, in one process: what a fast device waits for."""
    chosen = batches.indices(0)

    def ours() -> None:
        for indices in chosen:
            batches.fetch(0, indices)

    theirs = read_by_mmdet(folder, args.batch * len(chosen))
    ours()
    theirs()
    first, second, ratio = by_turns(clocked(ours), clocked(theirs), args.rounds)
    rates = [f"{args.batch * len(chosen) / seconds:,.0f} tiles/s" for seconds in (first, second)]
    return compared("the same, batches alone, one process", rates[0], f"mmdet's pipeline: {rates[1]}", ratio)


def _tiles_of(batches: FewBatches, steps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the tiles of the batches as 8-bit images with their boxes."""
    tiles = []
    for chosen in batches.indices(0)[:steps]:
        batch = batches.fetch(0, chosen)
        tiles += [
            (np.rint(255 * image).astype(np.uint8), boxes)
            for image, boxes in zip(batch["image"], batch["boxes"], strict=True)
        ]
    return tiles


# -- inference ---------------------------------------------------------------------------------------------------------
def inference(args: argparse.Namespace, place: Path) -> list[Line]:
    """Return the line on a scene."""
    import torch

    from bench.data.scaling import apply_scaling
    from bench.detection.tiles.tiling import cut, dark_value, tile_grid

    taken, detector, scene = _detector(args, place, "capture-inference")
    network = taken.model.to(args.device).eval()
    detector._network = network
    torch.set_num_threads(args.threads)
    windows = tile_grid(*scene.shape, detector.setup.tiles)
    fill = dark_value(detector.setup.scaling, scene.dtype)
    pixels = apply_scaling(detector.setup.scaling, np.stack([cut(scene, window, fill) for window in windows]))
    ready = torch.from_numpy(pixels).to(args.device).split(detector.block)

    def bare() -> None:
        from bench.detection.detectors.mmdet.models import _samples

        with torch.no_grad():
            for block in ready:
                none = [block.new_zeros((0, 4))] * len(block)
                network.model.predict(network._inputs(block), _samples(block, none, none), rescale=False)
        wait_for(args.device)

    def ours() -> None:
        detector.predict(scene)
        wait_for(args.device)

    ours()
    bare()
    first, second, ratio = by_turns(clocked(ours), clocked(bare), args.rounds)
    about = f"{args.detector}-{args.backbone}, scene of {args.scene_px} px, {len(windows)} tiles of {args.tile_px} px"
    return [compared(f"inference, {about}", f"{first:.2f} s", f"network alone: {second:.2f} s", ratio, INFERENCE_GOAL)]


# -- evaluator ---------------------------------------------------------------------------------------------------------
def evaluator(args: argparse.Namespace, place: Path) -> list[Line]:
    """Return the line on COCO's numbers. Raises BenchError where they differ."""
    truth, found = _scenes(args.detections)
    ours: dict[str, float | None] = {}
    theirs: dict[str, float] = {}

    def own() -> None:
        matches = match(BoxTable.of(truth, found), "coco", IOUS, tuple(SIZES))
        for size in SIZES:
            ours[f"AP/{size}"] = mean_ap_from_matches(matches, size)
        ours["AP50"], ours["AP75"] = (ap_from_matches(matches, "101-point", iou) for iou in (0.5, 0.75))

    ground, results = _coco_inputs(truth, found)

    def pycocotools() -> None:
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):
            judge = COCOeval(ground, ground.loadRes(results), "bbox")
            judge.params.maxDets = [1, 10, 1000]
            judge.evaluate()
            judge.accumulate()
        precision = judge.eval["precision"][:, :, 0, :, 2]
        for a, size in enumerate(("all", "small", "medium", "large")):
            theirs[f"AP/{size}"] = _mean(precision[:, :, a])
        theirs["AP50"], theirs["AP75"] = _mean(precision[0, :, 0]), _mean(precision[5, :, 0])

    first, second, ratio = by_turns(clocked(own), clocked(pycocotools), args.rounds)
    off = max(abs(float(ours[name] or 0.0) - theirs[name]) for name in theirs)
    if off > 1e-12:
        raise BenchError(f"the evaluator differs from pycocotools by {off:g}: {ours} and {theirs}")
    count, ships = sum(map(len, found)), sum(len(boxes) for boxes, _ in truth)
    about = f"evaluator, {count:,} detections, {ships:,} ships, {len(truth):,} images (largest difference {off:.0e})"
    return [compared(about, f"{first:.2f} s", f"pycocotools: {second:.2f} s", ratio, EVALUATOR_GOAL)]


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(np.mean(known)) if known.size else -1.0


def _scenes(count: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[Detections]]:
    """Return truth and detections of images like HRSID's: about three ships and sixty detections each; quarter pixels,
    so that equal overlaps are equal to the last bit in every implementation.
    """
    rng = np.random.default_rng(0)
    images = max(1, count // 60)
    scores = rng.permutation(60 * images) / (60 * images)
    truth, found = [], []
    for image in range(images):
        low = np.round(rng.uniform(0, 600, (int(rng.integers(1, 6)), 2)) * 4) / 4
        size = np.round(np.exp(rng.uniform(np.log(8), np.log(200), low.shape)) * 4) / 4
        boxes = np.concatenate([low, low + size], axis=1)
        near = boxes[rng.integers(0, len(boxes), 60)]
        near = near + np.round(rng.normal(0, 0.1, near.shape) * np.tile(near[:, 2:] - near[:, :2], 2) * 4) / 4
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        stray = rng.random(60) < 0.4
        near[stray, :2] = np.round(rng.uniform(0, 600, (int(stray.sum()), 2)) * 4) / 4
        near[stray, 2:] = near[stray, :2] + 20
        truth.append((boxes, np.zeros(len(boxes), dtype=bool)))
        found.append(Detections(near, scores[60 * image : 60 * (image + 1)]))
    return truth, found


def _coco_inputs(
    truth: list[tuple[np.ndarray, np.ndarray]], found: list[Detections]
) -> tuple[Any, list[dict[str, Any]]]:
    from pycocotools.coco import COCO

    ground = COCO()
    annotations: list[dict[str, Any]] = []
    for image, (boxes, _) in enumerate(truth):
        for x1, y1, x2, y2 in boxes.tolist():
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": image, "category_id": 1, **box})
    images = [{"id": image, "height": 800, "width": 800} for image in range(len(truth))]
    ground.dataset = {
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "ship"}],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        ground.createIndex()
    results = [
        {"image_id": image, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
        for image, each in enumerate(found)
        for (x1, y1, x2, y2), score in zip(each.boxes.tolist(), each.scores.tolist(), strict=True)
    ]
    return ground, results


# -- cfar --------------------------------------------------------------------------------------------------------------
def cfar(args: argparse.Namespace, place: Path) -> list[Line]:
    """Return the lines on CFAR. Raises BenchError where the exceedances differ."""
    from bench.detection.detectors.base import Setup
    from bench.detection.detectors.cfar.detector import Cfar, CfarOptions
    from bench.detection.detectors.cfar.land import CELL_PX, SeaMask
    from bench.detection.spec import Merging, Tiles
    from benchmarks import naive_cfar

    rng = np.random.default_rng(0)
    scene = np.minimum(np.sqrt(rng.exponential(1.0, (args.cfar_px, args.cfar_px))) * 500, 65535).astype(np.uint16)
    middle = args.naive_px // 2
    for y, x in [(middle, middle), *rng.integers(50, args.cfar_px - 50, (args.cfar_px**2 // 45_000, 2)).tolist()]:
        scene[y : y + 12, x : x + 5] = 30_000
    setup = Setup(
        None, ScalingParams("percentile", 1, 0.0, 1.0), Tiles(), Merging(), context_of(args, place / "cfar", place)
    )
    setup = replace(setup, sar_scale=SarScale.amplitude)
    plain = Cfar(CfarOptions(land="none", censor_pfa=None, pfa=1e-5, grow_pfa=1e-5))
    whole = Cfar(CfarOptions())
    for detector in (plain, whole):
        detector.prepare(setup)
    crop = np.ascontiguousarray(scene[: args.naive_px, : args.naive_px])
    sea = SeaMask(np.zeros((-(-args.naive_px // CELL_PX),) * 2, dtype=bool), crop.shape)
    masks: list[np.ndarray] = []

    def ours() -> None:
        masks.append(plain.bright_pixels(crop, sea, 1.0, 1e-5).mask(0, len(crop), len(crop)))

    def naive() -> None:
        options = plain.options
        intensity = crop.astype(np.float64) ** 2
        masks.append(naive_cfar.exceedances(intensity, options.guard_px, options.ring_px, 1e-5, options.min_ring))

    first, second, ratio = by_turns(clocked(ours), clocked(naive), args.rounds)
    if not all(np.array_equal(mask, masks[0]) for mask in masks) or not masks[0].any():
        raise BenchError("the exceedances of the loop and of the detector differ")
    size, side = args.naive_px**2 / 1e6, args.cfar_px
    seconds = min(clocked(lambda: whole.predict(scene))() for _ in range(args.rounds))
    about = f"CFAR threshold test, {args.naive_px} px, {int(masks[0].sum())} equal exceedances"
    return [
        compared(about, f"{size / first:.2f} MP/s", f"loop over pixels: {size / second:.3f} MP/s", ratio),
        Line(
            f"CFAR, whole detector (land, two passes), {side} x {side} px",
            f"{side**2 / 1e6 / seconds:.2f} MP/s",
            "",
            None,
        ),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
