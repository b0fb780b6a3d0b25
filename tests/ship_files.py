"""Small detection sets written in the genuine layouts: VOC XML beside TIFF, COCO JSON beside JPEG. Random pixels, boxes
as given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from bench.data.images import write_image

Boxes = Sequence[Sequence[float]]


def write_tiff(path: Path, height: int, width: int, dtype: type[np.generic] = np.uint16, seed: int = 0) -> None:
    """Write a one-channel TIFF of random values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed + height * width).integers(0, 250, (height, width))
    tifffile.imwrite(path, values.astype(dtype), photometric="minisblack")


def write_voc(
    path: Path,
    boxes: Boxes,
    size: tuple[int, int] | None = None,
    filename: str = "x.png",
    name: str = "ship",
    difficult: Sequence[int] = (),
) -> None:
    """Write a VOC XML file; `size` is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = ["<annotation>", f"<filename>{filename}</filename>"]
    if size:
        parts.append(f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>1</depth></size>")
    for number, box in enumerate(boxes):
        corners = "".join(
            f"<{tag}>{value:g}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        flag = difficult[number] if difficult else 0
        parts.append(f"<object><name>{name}</name><difficult>{flag}</difficult><bndbox>{corners}</bndbox></object>")
    path.write_text("\n".join([*parts, "</annotation>"]))


def write_air_sarship(root: Path, scenes: Mapping[int, Boxes], size: tuple[int, int] = (60, 50)) -> Path:
    """Write scenes in the layout of AIR-SARShip-1.0."""
    for number, boxes in scenes.items():
        write_tiff(root / "AIR-SARShip-1.0-data" / f"{number}.tiff", *size, seed=number)
        write_voc(root / "AIR-SARShip-1.0-xml" / f"{number}-label.xml", boxes, size)
    return root


def write_voc_folder(root: Path, images: Mapping[str, Boxes], size: tuple[int, int] = (40, 30)) -> Path:
    """Write JPEGImages/<name>.png and Annotations/<name>.xml."""
    (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
    for number, (name, boxes) in enumerate(images.items()):
        values = np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8)
        write_image(root / "JPEGImages" / name, values)
        write_voc(root / "Annotations" / f"{name}.xml", boxes, size)
    return root


def coco(
    images: Mapping[str, Boxes], size: tuple[int, int] = (40, 30), first_id: int = 1, **extra: Any
) -> dict[str, Any]:
    """Return a COCO object for images with boxes x, y, width, height; `extra` maps further keys of an image to a list
    of values.
    """
    entries = [
        {
            "id": first_id + i,
            "file_name": name,
            "height": size[0],
            "width": size[1],
            **{key: values[i] for key, values in extra.items()},
        }
        for i, name in enumerate(images)
    ]
    annotations = [
        {"image_id": entry["id"], "category_id": 1, "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0}
        for entry in entries
        for box in images[entry["file_name"]]
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    return {"images": entries, "annotations": annotations, "categories": [{"id": 1, "name": "ship"}]}


def write_coco(root: Path, lists: Mapping[str, dict[str, Any]], folder: str = "images") -> Path:
    """Write COCO lists (path -> object) and a random three-channel image for each entry, unless one is there."""
    for path, value in lists.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(value))
        for entry in value["images"]:
            target = root / folder / entry["file_name"]
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                seed = sum(entry["file_name"].encode())
                values = np.random.default_rng(seed).integers(0, 256, (entry["height"], entry["width"]), dtype=np.uint8)
                write_image(target.with_suffix(""), np.repeat(values[:, :, None], 3, axis=2))
    return root
