"""Small generated sets in the layouts of the papers' sets, for timing alone: genuine sizes and types of pixels, no
meaning.
"""

from __future__ import annotations

from pathlib import Path

import tifffile
from PIL import Image

from bench.data.datasets.qxs_saropt import QxsSaropt
from bench.data.ships.toy import ToyShipScenes, render_ships
from bench.data.toy import ToyScene, write_toy_pairs

TRAIN_SCENE, TEST_SCENE = 1, 5  # of AIR-SARShip-1.0, in the circulating split
IMAGES, LABELS = "AIR-SARShip-1.0-data", "AIR-SARShip-1.0-xml"


def write_pairs(root: Path, count: int, side_px: int) -> None:
    """Write `count` pairs in the layout of QXS-SAROPT."""
    root.mkdir(parents=True)
    options = ToyScene(scenes=1, patches_per_scene=count, patch_px=side_px)
    write_toy_pairs(root, options, (QxsSaropt.layout.optical, QxsSaropt.layout.sar))


def compress(root: Path) -> None:
    """Write every PNG below `root` again with Pillow's default compression, as genuine sets are stored; the toy writer
    uses none.
    """
    for path in sorted(root.rglob("*.png")):
        image = Image.open(path)
        image.load()
        image.save(path)


def write_scenes(root: Path, side_px: int, ships: int) -> None:
    """Write a training and a test scene in the layout of AIR-SARShip-1.0: 16-bit TIFF and VOC XML."""
    for folder in (IMAGES, LABELS):
        (root / folder).mkdir(parents=True)
    options = ToyShipScenes(scenes=2, scene_px=side_px, ships_per_scene=ships, bits=16)
    for number, scene in ((TRAIN_SCENE, 0), (TEST_SCENE, 1)):
        made = render_ships(options, scene)
        tifffile.imwrite(root / IMAGES / f"{number}.tiff", made.amplitude, photometric="minisblack")
        objects = "".join(_object(box) for box in made.boxes.tolist())
        (root / LABELS / f"{number}-label.xml").write_text(f"<annotation>{objects}</annotation>\n", encoding="utf-8")


def _object(box: list[float]) -> str:
    corners = "".join(
        f"<{name}>{value:g}</{name}>" for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>ship</name><difficult>0</difficult><bndbox>{corners}</bndbox></object>"
