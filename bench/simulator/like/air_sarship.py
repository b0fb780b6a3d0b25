"""AIR-SARShip-1.0: 31 scenes of 16 bit with VOC files, at the published shores and resolutions, and, on request, at
published ship positions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.core.store import canonical_hash
from bench.data.csv_files import read_csv
from bench.data.datasets.air_sarship import OFFSHORE, ONE_METRE, SCENES, TEST
from bench.simulator.like import Plan, Request
from bench.simulator.ship_scenes import ShipScene, Shore, draw_scene, render_scene, shares, whole_pixels
from bench.simulator.spec import VERSION

SIDE_PX = 3000
SHIPS_TRAIN, SHIPS_TEST = 336, 125
IMAGES, LABELS = "AIR-SARShip-1.0/AIR-SARShip-1.0-data", "AIR-SARShip-1.0/AIR-SARShip-1.0-xml"
Task = tuple[int, ShipScene, "np.ndarray | None"]


def plan(request: Request) -> Plan:
    """Return how the set is made.

    Raises:
        BenchError: more scenes than the set has, misregistration, which scenes do not have, or positions of no scene.
    """
    count = len(SCENES) if request.count is None else request.count
    if not 1 <= count <= len(SCENES):
        raise BenchError(f"--images {count}: AIR-SARShip-1.0 has {len(SCENES)} scenes")
    if request.misregistration_px:
        raise BenchError("--misregistration-px is for pairs; these are SAR scenes alone")
    boxes = request.boxes
    stamp = {
        "like": "air-sarship-1.0", "version": VERSION, "images": count, "seed": request.seed,
        "ships_at": None if boxes is None else canonical_hash({str(name): at.tolist() for name, at in boxes.items()}),
    }  # fmt: skip
    ships = _ship_counts(request.seed)
    tasks: list[Task] = []
    for number in list(SCENES)[:count]:
        given = None if boxes is None else boxes.get(number, np.zeros((0, 4)))
        farthest = 0.0 if given is None else given[:, 2:].max(initial=0.0)
        side = SIDE_PX if farthest <= SIDE_PX else int(np.ceil(farthest)) + 40
        shore: Shore = "offshore" if number in OFFSHORE else "inshore"
        scene = draw_scene(
            request.seed, number, (side, side), 1.0 if number in ONE_METRE else 3.0, shore, ships[number], bits=16
        )
        tasks.append((number, scene, given))
    return Plan(stamp, tasks, write_scene, lambda folder, rows: None, f"{count} scenes of 16 bit")


def _ship_counts(seed: int) -> dict[int, int]:
    """Return ships by scene: as many in all, in training and in test, as the published labels have; dealt unevenly, as
    there.
    """
    rng = np.random.default_rng([seed, 97])
    out: dict[int, int] = {}
    for part, total in ((sorted(TEST), SHIPS_TEST), (sorted(set(SCENES) - TEST), SHIPS_TRAIN)):
        out |= dict(zip(part, shares(rng, total, len(part), 2, 0.8).tolist(), strict=True))
    return out


def write_scene(folder: Path, task: Task) -> list[Any]:
    """Write one scene and its labels."""
    import tifffile

    from bench.data.ships.writing import voc_text

    number, scene, given = task
    amplitude, boxes = render_scene(scene, given)
    size = (amplitude.shape[0], amplitude.shape[1])
    for name in (IMAGES, LABELS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        folder / IMAGES / f"{number}.tiff", amplitude, photometric="minisblack", metadata=None, software=False
    )
    written = whole_pixels(boxes, size) if given is None else given
    (folder / LABELS / f"{number}-label.xml").write_text(voc_text(f"{number}.tiff", size, written), encoding="utf-8")
    return [number, len(written)]


def read_positions(path: Path) -> dict[int, np.ndarray]:
    """Return scene -> (k, 4) boxes from published labels: a CSV with columns scene, x1, y1, x2, y2, or a folder of VOC
    files named by scene.

    Raises:
        BenchError: nothing there, or no numbers.
    """
    found: dict[int, list[list[float]]] = {}
    if path.is_dir():
        from bench.data.ships.files import last_integer, walk
        from bench.data.ships.voc import parse_voc

        for name in walk(path, "", {".xml"}):
            number = last_integer(name)
            if number is None:
                raise BenchError(f"{path / name} has no scene number in its name")
            found.setdefault(number, []).extend(parse_voc(path / name).boxes.tolist())
    else:
        for line, row in enumerate(read_csv(path, required=("scene", "x1", "y1", "x2", "y2")), start=2):
            try:
                found.setdefault(int(row["scene"]), []).append([float(row[name]) for name in ("x1", "y1", "x2", "y2")])
            except ValueError as error:
                raise BenchError(f"{path}, row {line}: {error}") from error
    if not found:
        raise BenchError(
            f"{path} holds no ship positions; give a CSV with scene, x1, y1, x2, y2, or a folder of VOC files"
        )
    out = {number: np.array(boxes, dtype=np.float64).reshape(-1, 4) for number, boxes in found.items()}
    for number, boxes in out.items():
        if number not in SCENES:
            raise BenchError(f"{path} names scene {number}; AIR-SARShip-1.0 has scenes 1 to {len(SCENES)}")
        if not (
            np.isfinite(boxes).all()
            and (boxes[:, :2] >= 0).all()
            and (boxes[:, 2:] > boxes[:, :2]).all()
            and boxes.max(initial=0) < 20_000
        ):
            raise BenchError(f"{path}, scene {number}: a box is no x1 < x2, y1 < y2 within a scene")
    return out
