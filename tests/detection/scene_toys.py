"""Small detection sets made on the spot, opened through the scene cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.data.images import write_image
from bench.data.ships.index import SceneIndex, ShipScene
from bench.data.ships.scene_cache import SceneStore, open_scenes
from bench.data.ships.view import SceneView


def write_scenes(
    root: Path,
    images: Sequence[np.ndarray],
    boxes: Sequence[Sequence[Sequence[float]]] | None = None,
    ignored: tuple[int, ...] = (),
) -> SceneIndex:
    """Write `images` as <root>/images/<n>.* and return their index; the boxes of the scenes `ignored` are all to be
    ignored.
    """
    (root / "images").mkdir(parents=True, exist_ok=True)
    items = []
    for number, image in enumerate(images):
        path = write_image(root / "images" / str(number), image)
        own = np.array(boxes[number] if boxes else [], dtype=np.float64).reshape(-1, 4)
        flags = np.full(len(own), number in ignored)
        height, width = image.shape[:2]
        items.append(
            ShipScene(f"s{number}", f"images/{path.name}", number, height, width, own, flags, f"port{number // 2}")
        )
    return SceneIndex(tuple(items), "the toy set")


def store_of(root: Path, index: SceneIndex, cache: Path, manifest: str = "m") -> SceneStore:
    return open_scenes(index, root, manifest, "toy-v1", cache)


def view_of(
    folder: Path,
    images: Sequence[np.ndarray],
    boxes: Sequence[Sequence[Sequence[float]]] | None = None,
    ignored: tuple[int, ...] = (),
) -> SceneView:
    """Write, decode and return all scenes as a view."""
    index = write_scenes(folder / "set", images, boxes, ignored)
    return SceneView(store_of(folder / "set", index, folder / "cache"), index, np.arange(len(images)))
