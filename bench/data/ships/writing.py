"""Writing annotations: the text of a VOC file, and a COCO list that grows image by image. Used by everything that
generates scenes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np


def voc_text(filename: str, size: tuple[int, int], boxes: np.ndarray, depth: int = 1) -> str:
    """Return a Pascal VOC file for one image.

    Args:
        size: (height, width). boxes: (k, 4) x1, y1, x2, y2 in px, written as they are. depth: channels.
    """
    height, width = size
    lines = ["<annotation>", f"  <filename>{escape(filename)}</filename>", "  <size>"]
    lines += [
        f"    <width>{width}</width>",
        f"    <height>{height}</height>",
        f"    <depth>{depth}</depth>",
        "  </size>",
    ]
    for box in boxes.tolist():
        corners = "".join(
            f"<{name}>{value:.15g}</{name}>" for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        lines.append(f"  <object><name>ship</name><difficult>0</difficult><bndbox>{corners}</bndbox></object>")
    return "\n".join([*lines, "</annotation>"]) + "\n"


class CocoList:
    """A COCO list of ships.

    Args:
        outlines: write each box as a segmentation too, as sets with instance masks have one.
    """

    def __init__(self, outlines: bool = False) -> None:
        self.outlines = outlines
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(
        self,
        file_name: str,
        size: tuple[int, int],
        boxes: np.ndarray,
        image_id: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Add an image of (height, width) with its (k, 4) boxes x1, y1, x2, y2 in px; ids count from 1."""
        number = len(self.images) + 1 if image_id is None else image_id
        self.images.append({"id": number, "file_name": file_name, "height": size[0], "width": size[1], **(extra or {})})
        for x1, y1, x2, y2 in boxes.tolist():
            one: dict[str, Any] = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            if self.outlines:
                one["segmentation"] = [[x1, y1, x2, y1, x2, y2, x1, y2]]
            self.annotations.append({"id": len(self.annotations) + 1, "image_id": number, "category_id": 1, **one})

    def write(self, path: Path) -> None:
        """Write the list with its one category."""
        written = {"images": self.images, "annotations": self.annotations, "categories": [{"id": 1, "name": "ship"}]}
        path.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
