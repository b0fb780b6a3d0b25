"""The specification of a simulation: the world, the optical sensor, the SAR sensor. Frozen, validated; no behaviour.

Frame: metres from the top-left corner of the scene, x right, y down. Angles in the image plane are measured from +x
towards +y.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION = 1
"""Raise it when the same specs give other pixels."""


Season = Literal["spring", "summer", "autumn", "winter"]


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PortSpec(_Spec):
    """A port and its surroundings.

    Attributes:
        seed: of everything. height_px, width_px, gsd_m: the scene's grid.
        land_share: share of the scene that is land, 0..1; islands and harbours come on top.
        relief_m: width of the coast's windings in metres.
        urban: share of the districts near the coast that are built up, 0..1.
        ports: harbours per 10 km of scene edge; 0 for none.
        ships: number of ships that the SAR view shows where there is room for them, None for what berths, anchorages
            and traffic give.
        traffic: ships under way per km2 of sea, at `ships` None.
        anchorages: dense groups of ships at anchor, per 25 km2 of sea.
        occupancy: share of berths taken, 0..1.
        islands: small islands and rocks per km2 of sea.
        bridges: whether narrow water is bridged.
    """

    seed: int = Field(default=0, ge=0)
    height_px: int = Field(default=1024, ge=32, le=60_000)
    width_px: int = Field(default=1024, ge=32, le=60_000)
    gsd_m: float = Field(default=1.0, ge=0.25, le=30.0)
    land_share: float = Field(default=0.5, ge=0.0, le=1.0)
    relief_m: float = Field(default=250.0, gt=0)
    urban: float = Field(default=0.7, ge=0.0, le=1.0)
    ports: float = Field(default=8.0, ge=0.0)
    ships: int | None = Field(default=None, ge=0)
    traffic: float = Field(default=0.8, ge=0.0)
    anchorages: float = Field(default=4.0, ge=0.0)
    occupancy: float = Field(default=0.6, ge=0.0, le=1.0)
    islands: float = Field(default=0.3, ge=0.0)
    bridges: bool = True


class OpticalSpec(_Spec):
    """An optical sensor looking straight down.

    Attributes:
        sun_azimuth_deg: direction the sunlight travels in the image plane. sun_elevation_deg: above the horizon.
        season: colours of vegetation.
        tone: three gains and three offsets, red, green, blue, of the city's imagery.
        haze: share of a uniform haze, 0..1. blur_px: standard deviation of the sensor's point spread. noise: standard
            deviation in grey levels.
    """

    sun_azimuth_deg: float = 50.0
    sun_elevation_deg: float = Field(default=50.0, gt=5.0, lt=90.0)
    season: Season = "summer"
    tone: tuple[float, ...] = Field(default=(1.0, 1.0, 1.0, 0.0, 0.0, 0.0), min_length=6, max_length=6)
    haze: float = Field(default=0.06, ge=0.0, lt=1.0)
    blur_px: float = Field(default=0.7, ge=0.0, le=3.0)
    noise: float = Field(default=2.0, ge=0.0)


class SarSpec(_Spec):
    """A side-looking SAR, its images projected to the ground plane.

    Attributes:
        look_deg: direction in the image plane in which range grows, away from the sensor. incidence_deg: from the
            vertical.
        looks: independent looks averaged in intensity. resolution_px: half-power width of the point response over the
            pixel spacing.
        taper: weight of the generalised Hamming window of both axes, 1 for none (side lobes of -13 dB), 0.54 for the
            lowest.
        sea_db: mean backscatter of open sea. sea_shape: shape parameter of the K distribution's texture, None for pure
            speckle.
        noise_db: noise-equivalent backscatter. contrast_db: added to built structures over everything else.
        bits: 8 or 16 bits of amplitude. gain: grey levels per unit of amplitude (square root of backscatter).
        ambiguity_db: power of azimuth ambiguities of ships under the ship itself, negative, None for none. ambiguity_m:
            their offset.
    """

    look_deg: float = 0.0
    incidence_deg: float = Field(default=35.0, gt=10.0, lt=70.0)
    looks: int = Field(default=1, ge=1, le=16)
    resolution_px: float = Field(default=1.3, ge=0.5, le=6.0)
    taper: float = Field(default=0.75, ge=0.5, le=1.0)
    sea_db: float = -22.0
    sea_shape: float | None = Field(default=12.0, gt=0.1)
    noise_db: float = -30.0
    contrast_db: float = 0.0
    bits: Literal[8, 16] = 8
    gain: float = Field(default=260.0, gt=0)
    ambiguity_db: float | None = Field(default=None, lt=0)
    ambiguity_m: float = Field(default=400.0, gt=0)
