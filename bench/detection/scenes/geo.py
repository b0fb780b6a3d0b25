"""Where the pixels of a scene lie on the ground: from boxes in pixels to polygons in the scene's own coordinate
reference system.

Pixels are continuous, x to the right, y down, (0, 0) at the outer corner of the top-left pixel: the same corner that
GDAL's affine transform starts from (a GeoTIFF that says "pixel is point" has been moved by half a pixel when GDAL hands
its transform over).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Georeference:
    """The coordinate reference system of a scene and its affine transform.

    Attributes:
        crs: what names it: "EPSG:32633", else its WKT.
        transform: (a, b, c, d, e, f): x = a column + b row + c, y = d column + e row + f, as GDAL and rasterio count
            them; b and d are not 0 where the scene is rotated.
        metres_per_unit: of the system's coordinates; None for degrees, whose length differs from place to place.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    metres_per_unit: float | None

    @property
    def gsd_m(self) -> float | None:
        """Ground sample distance in metres: the root of a pixel's area; None for degrees."""
        a, b, _, d, e, _ = self.transform
        return None if self.metres_per_unit is None else float(abs(a * e - b * d) ** 0.5 * self.metres_per_unit)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Return the coordinates (..., 2) of points (..., 2) in pixels, x before y."""
        a, b, c, d, e, f = self.transform
        x, y = points[..., 0], points[..., 1]
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=-1)

    def member(self) -> dict[str, Any]:
        """Return the `crs` member of a GeoJSON file (2008 edition; RFC 7946 knows longitude and latitude alone)."""
        authority, colon, code = self.crs.partition(":")
        urn = f"urn:ogc:def:crs:{authority}::{code}" if colon and authority.isalnum() and code.isalnum() else self.crs
        return {"type": "name", "properties": {"name": urn}}


def rings(boxes: np.ndarray, geo: Georeference | None) -> np.ndarray:
    """Return the outlines of boxes (n, 4) x1, y1, x2, y2 as closed rings (n, 5, 2), counter-clockwise where y points
    up.

    In coordinates of `geo`, or, without it, in pixels; there y points down, and the ring is counter-clockwise as its
    numbers have it.
    """
    x1, y1, x2, y2 = boxes.T
    corners = np.stack(
        [np.stack([x1, y1], -1), np.stack([x2, y1], -1), np.stack([x2, y2], -1), np.stack([x1, y2], -1)], axis=1
    )
    if geo is not None:
        corners = geo.at(corners)
        a, b, _, d, e, _ = geo.transform
        if a * e - b * d < 0:  # the usual case, north up: the transform turns the ring round
            corners = corners[:, ::-1]
    out: np.ndarray = np.concatenate([corners, corners[:, :1]], axis=1)
    return out


def feature_collection(
    name: str, boxes: np.ndarray, scores: np.ndarray, geo: Georeference | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the GeoJSON of one scene: a polygon for each box (n, 4), with its score and its box in pixels as
    properties.
    """
    coordinates = (
        "those of the scene's own coordinate reference system"
        if geo
        else "pixels: x right, y down, origin at the scene's top-left corner"
    )
    features = [
        {
            "type": "Feature",
            "id": number,
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"score": score, "x1": box[0], "y1": box[1], "x2": box[2], "y2": box[3]},
        }
        for number, (ring, box, score) in enumerate(
            zip(rings(boxes, geo).tolist(), boxes.tolist(), scores.tolist(), strict=True), start=1
        )
    ]
    return {
        "type": "FeatureCollection",
        "name": name,
        "crs": geo.member() if geo else None,
        "coordinates": coordinates,
        "made_by": dict(about),
        "features": features,
    }
