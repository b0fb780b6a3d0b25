"""The pictures of docs/simulator.md, rendered from fixed seeds: the same code gives the same pictures.

    python benchmarks/simulator_gallery.py --out docs/images/simulator

The pages' text says what they show. Nothing is chosen by its looks at run time: what a detail is centred on follows
from the world (its tallest building, its longest ship that stays at its berth). `--scale 0.1` renders everything small,
for a test.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.data.windows import Window
from bench.simulator.cities import kept_windows, render_pair
from bench.simulator.like.qxs_saropt import MANNERS
from bench.simulator.materials import Ground
from bench.simulator.optical import render_optical
from bench.simulator.sar import render_sar, sar_boxes
from bench.simulator.ship_scenes import draw_scene, render_scene
from bench.simulator.spec import OpticalSpec, PortSpec, SarSpec
from bench.simulator.structures import facing
from bench.simulator.world import World, world_of

QUALITY = 82
GAP_PX = 4
BOX_COLOUR = (255, 196, 0)
SAR = SarSpec(looks=2, gain=300.0)
OPTICAL = OpticalSpec()
HARBOUR = PortSpec(seed=6, height_px=1600, width_px=1600, ports=16.0, occupancy=0.7, urban=0.75)
TOWN = HARBOUR.model_copy(update={"seed": 2})
OIL = HARBOUR.model_copy(update={"seed": 1})
ISLANDS = HARBOUR.model_copy(update={"seed": 3, "land_share": 0.0, "islands": 2.0, "ports": 0.0, "bridges": False})


def main() -> None:
    """Render all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of all sides in pixels; other than 1 only to try the script"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        Image.fromarray(draw(args.scale)).save(args.out / f"{name}.jpg", quality=QUALITY, optimize=True)
        print(f"{args.out / name}.jpg: {(args.out / f'{name}.jpg').stat().st_size / 1024:.0f} KiB")


# -- pictures ----------------------------------------------------------------------------------------------------------
def harbour(scale: float) -> np.ndarray:
    """Return a harbour at 1 m in both views, every ship of the SAR view in its box."""
    world = world_of(HARBOUR)
    window = (190, 20, _px(640, scale), _px(640, scale))
    optical, sar = render_optical(world, OPTICAL, window), _rgb(render_sar(world, SAR, window))
    sar = boxed(sar, sar_boxes(world, SAR, window))
    return beside(
        [labelled(optical, "optical, 1 m", bar_m=100), labelled(sar, "SAR, 1 m", bar_m=100, arrow_deg=SAR.look_deg)]
    )


def cities(scale: float) -> np.ndarray:
    """Return two patches of each of three cities, cut as for `--like qxs-saropt`: optical above SAR."""
    columns = []
    for number in range(3):
        side = _px(256, scale)
        city, windows = kept_windows(number, 0, 40, side, side, 1.0, MANNERS[number])
        world = world_of(city.port)
        windows = sorted(windows, key=lambda window: abs(world.land_share(window) - 0.75))
        for place in (0, 1):
            optical, sar = render_pair(world, city, windows[place])
            columns.append(above([labelled(optical, f"city {number + 1}"), _rgb(sar)]))
    return beside(columns)


def scene(scale: float) -> np.ndarray:
    """Return a scene of 3 m as a whole, scaled down, and a part of it as it is."""
    side = _px(3000, scale)
    spec = draw_scene(0, 5, (side, side), 3.0, "inshore", max(1, round(60 * scale**2)))
    amplitude, boxes = render_scene(spec)
    small, part = _px(560, scale), _px(560, scale)
    shrunk = np.asarray(Image.fromarray(amplitude).resize((small, small), Image.Resampling.BOX))
    whole = boxed(_rgb(shrunk), boxes * (small / side))
    # the part with the most ships, of those that show some land
    world = World(spec.port)
    corners = [
        (y, x)
        for y in range(0, side - part + 1, max(1, part // 4))
        for x in range(0, side - part + 1, max(1, part // 4))
    ]
    corners = [(y, x) for y, x in corners if 0.25 < world.land_share((y, x, part, part)) < 0.7] or corners
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    within = [((middles > [x, y]) & (middles < [x + part, y + part])).all(axis=1).sum() for y, x in corners]
    y, x = corners[int(np.argmax(within))]
    crop = boxed(_rgb(amplitude[y : y + part, x : x + part]), boxes - [x, y, x, y])
    return beside(
        [labelled(whole, "whole: 9 km"), labelled(crop, "part, 3 m", bar_m=300, gsd_m=3.0, arrow_deg=spec.sar.look_deg)]
    )


def offshore(scale: float) -> np.ndarray:
    """Return ships under way with wakes, and azimuth ambiguities, on a rough sea."""
    side = _px(600, scale)
    port = PortSpec(
        seed=4,
        height_px=side,
        width_px=side,
        gsd_m=2.0,
        land_share=0.0,
        islands=0.0,
        ports=0.0,
        traffic=4.0,
        anchorages=0.0,
    )
    sar = SarSpec(
        look_deg=8.0, looks=3, sea_db=-17.0, sea_shape=30.0, gain=420.0, ambiguity_db=-20.0, ambiguity_m=340.0
    )
    world, window = World(port), (0, 0, side, side)
    left = labelled(
        boxed(_rgb(render_sar(world, sar, window)), sar_boxes(world, sar, window)), "SAR, 2 m", 200, 2.0, 8.0
    )
    return beside([left, labelled(render_optical(world, OPTICAL, window), "optical, at another time", 200, 2.0)])


@dataclass(frozen=True)
class Detail:
    """A crop around one thing: `find` gives its place x, y in metres."""

    title: str
    port: PortSpec
    find: Callable[[World], tuple[float, float]]
    sar: SarSpec = SAR


def details(scale: float) -> np.ndarray:
    """Return crops of 220 m around what a reader of SAR images looks for: optical above SAR."""
    side = _px(220, scale)
    columns = []
    for detail in DETAILS:
        world = world_of(detail.port)
        x, y = detail.find(world)
        top, left = (int(np.clip(round(at) - side // 2, 0, detail.port.height_px - side)) for at in (y, x))
        window: Window = (top, left, side, side)
        sar = _rgb(render_sar(world, detail.sar, window))
        columns.append(
            above([labelled(render_optical(world, OPTICAL, window), detail.title), labelled(sar, "", 50, 1.0, 0.0)])
        )
    rows = [beside(columns[:3]), beside(columns[3:])]
    return above(rows)


def tallest_building(world: World) -> tuple[float, float]:
    """Return the middle of the tallest building at least 150 m inside the scene, lower ones preferred where their walls
    face the sensor.
    """
    edge = world.spec.height_px * world.spec.gsd_m
    found = world.buildings_in((150.0, 150.0, edge - 150.0, edge - 150.0))
    turned = facing(found.corners(), np.array([-1.0, 0.0])).max(axis=1)
    x, y = found.centre[int(np.argmax(found.height_m * turned**8))]
    return float(x), float(y)


def longest_ship_at_berth(world: World) -> tuple[float, float]:
    """Return where the bow of the longest ship lies that both views show."""
    both = {ship.number for ship in world.fleet.optical}
    ship = max(
        (ship for ship in world.fleet.sar if ship.number in both and ship.speed_ms == 0), key=lambda ship: ship.length_m
    )
    return ship.x, ship.y


def work_of(ground: Ground, place: int) -> Callable[[World], tuple[float, float]]:
    """Return a finder of the middle of work number `place` of a kind."""

    def find(world: World) -> tuple[float, float]:
        x, y = [work for work in world.works.works if work.ground == ground][place].corners.mean(axis=0)
        return float(x), float(y)

    return find


def rock(world: World) -> tuple[float, float]:
    """Return the middle of the island that is nearest to a ship in size, 3,000 m2, and at least 150 m inside the
    scene.
    """
    import cv2

    grid = world.grid
    edge = grid.pad + math.ceil(150 / grid.cell_m)
    _, _, found, middles = cv2.connectedComponentsWithStats((world.inland_m > 0).astype(np.uint8))
    x, y = middles.T
    away = np.abs(found[:, cv2.CC_STAT_AREA] * grid.cell_m**2 - 3000.0)
    away[(x < edge) | (x > grid.columns - edge) | (y < edge) | (y > grid.rows - edge)] = np.inf
    column, row = middles[int(np.argmin(away))]
    return float(column - grid.pad + 0.5) * grid.cell_m, float(row - grid.pad + 0.5) * grid.cell_m


DETAILS = (
    Detail("high-rise blocks", TOWN, tallest_building),
    Detail("bridge", TOWN, work_of(Ground.BRIDGE, 0)),
    Detail("tanks", OIL, work_of(Ground.TANK, 8)),
    Detail("breakwater", HARBOUR, work_of(Ground.RUBBLE, 1)),
    Detail("ship, side lobes", HARBOUR, longest_ship_at_berth, SAR.model_copy(update={"taper": 1.0})),
    Detail("rock", ISLANDS, rock),
)
PICTURES = {"harbour": harbour, "cities": cities, "scene": scene, "offshore": offshore, "details": details}


# -- putting together --------------------------------------------------------------------------------------------------
def boxed(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the image with boxes (k, 4) x1, y1, x2, y2 in px drawn 2 px outside of them."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    for x1, y1, x2, y2 in boxes.tolist():
        draw.rectangle((round(x1) - 3, round(y1) - 3, round(x2) + 2, round(y2) + 2), outline=BOX_COLOUR)
    return np.asarray(canvas)


def labelled(
    image: np.ndarray, text: str, bar_m: float = 0.0, gsd_m: float = 1.0, arrow_deg: float | None = None
) -> np.ndarray:
    """Return the image with a title, a scale bar, and an arrow in the direction in which range grows."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    height, width = image.shape[:2]
    font = ImageFont.load_default(15)
    if text:
        draw.text((7, 5), text, fill="white", font=font, stroke_width=2, stroke_fill="black")
    if bar_m:
        y = height - 10
        draw.rectangle((8, y - 4, 8 + bar_m / gsd_m, y), fill="white", outline="black")
        draw.text((8, y - 24), f"{bar_m:g} m", fill="white", font=font, stroke_width=2, stroke_fill="black")
    if arrow_deg is not None:
        along = np.array([np.cos(np.radians(arrow_deg)), np.sin(np.radians(arrow_deg))])
        across, tip = np.array([-along[1], along[0]]), np.array([width - 14.0, height - 14.0])
        draw.line([tuple(tip - 44 * along), tuple(tip)], fill="white", width=2)
        draw.polygon(
            [tuple(tip + 4 * along), tuple(tip - 8 * along + 5 * across), tuple(tip - 8 * along - 5 * across)],
            fill="white",
        )
        draw.text(tuple(tip - [52, 22]), "range", fill="white", font=font, stroke_width=2, stroke_fill="black")
    return np.asarray(canvas)


def beside(images: list[np.ndarray]) -> np.ndarray:
    """Return images of one height side by side, a white gap between them."""
    gap = np.full((images[0].shape[0], GAP_PX, 3), 255, dtype=np.uint8)
    return np.hstack([part for image in images for part in (image, gap)][:-1])


def above(images: list[np.ndarray]) -> np.ndarray:
    """Return images of one width below each other, a white gap between them."""
    gap = np.full((GAP_PX, images[0].shape[1], 3), 255, dtype=np.uint8)
    return np.vstack([part for image in images for part in (image, gap)][:-1])


def _rgb(amplitude: np.ndarray) -> np.ndarray:
    return np.repeat(amplitude[:, :, None], 3, axis=2)


def _px(side: int, scale: float) -> int:
    return max(32, round(side * scale))


if __name__ == "__main__":
    main()
