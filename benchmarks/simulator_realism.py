"""How close simulated images are to real ones: grey levels, autocorrelation, power spectrum, ship-to-clutter ratio.

    python benchmarks/simulator_realism.py --hrsid DIR --s1s2 DIR

compares the real tiles of HRSID in DIR (any part of it) with simulated ones of the same layout, and real Sentinel-1/2
scenes of 10 m with simulated ground of 10 m. Prints Markdown tables. The statistics are those that a detector or
matcher can live on; none was fitted.

Patches are chosen by the same rule in real and simulated images: "sea" is dark and without anything bright, "land" is
much brighter than the darkest fifth of its tile, coast included; patches near a labelled ship are left out of both.
Numbers are medians over patches or ships, quartiles in brackets.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.data.dataset import open_dataset
from bench.data.images import as_sar, read_image
from bench.data.ships.index import ShipScene

LAGS = (1, 4)
QUANTILES = (0.05, 0.95, 0.999)
BANDS = ((1 / 64, 1 / 16), (1 / 16, 1 / 4), (1 / 4, 1 / 2))  # cycles per pixel
RING_PX = (10, 20)  # from where to where the clutter around a ship's box is measured
LONG_PX = 25.0  # ships from here on are told apart from smaller ones, whose boxes hold little but the ship's edge


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hrsid", type=Path, help="root of real HRSID tiles")
    parser.add_argument(
        "--hrsid-list", default="site_train", help="stem of the annotation list to read (default: site_train)"
    )
    parser.add_argument("--s1s2", type=Path, help="root of the real Sentinel scenes")
    parser.add_argument("--images", type=int, default=160, help="simulated tiles (default: 160)")
    parser.add_argument("--scenes", type=int, default=12, help="simulated scenes of 10 m (default: 12)")
    args = parser.parse_args()
    if args.hrsid is None and args.s1s2 is None:
        parser.error("give --hrsid, --s1s2 or both: there is nothing to compare with")
    with tempfile.TemporaryDirectory() as folder:
        if args.hrsid is not None:
            compare_ships(args.hrsid, args.hrsid_list, Path(folder), args.images)
        if args.s1s2 is not None:
            compare_pairs(args.s1s2, args.scenes)


def compare_ships(real: Path, annotations: str, folder: Path, images: int) -> None:
    """Print the statistics of real and of simulated ship tiles side by side."""
    from bench.simulator.like import Request, hrsid
    from bench.simulator.produce import produce

    plan = hrsid.plan(Request(images, seed=7))
    produce(folder / "hrsid", plan.stamp, plan.tasks, plan.make, plan.finish, jobs=2)
    columns = [
        ship_statistics(open_dataset("hrsid", {"annotations": annotations}, real, folder / "cache")),
        ship_statistics(open_dataset("hrsid", {}, folder / "hrsid", folder / "cache")),
    ]
    print("| SAR tiles, 8 bit | real (HRSID) | simulated (`--like hrsid`) |\n|---|---|---|")
    for name in columns[0]:
        print(f"| {name} | {columns[0][name]} | {columns[1][name]} |")


def ship_statistics(dataset: object) -> dict[str, str]:
    """Return the statistics of a set of ship tiles as text."""
    sea: dict[str, list[float]] = {}
    land: dict[str, list[float]] = {}
    ratios, lengths = [], []
    for item, image in _tiles(dataset):
        away = np.ones(image.shape, dtype=bool)
        for x1, y1, x2, y2 in np.rint(item.boxes).astype(int).tolist():
            away[max(0, y1 - 24) : y2 + 24, max(0, x1 - 24) : x2 + 24] = False
        for patch in _quiet_patches(image, away):
            _collect(patch, sea)
        for patch in _bright_patches(image, away):
            _collect(patch, land)
        for box in item.boxes:
            ratio = ship_to_clutter_db(image, box)
            if ratio is not None:
                ratios.append(ratio)
                lengths.append(float(max(box[2] - box[0], box[3] - box[1])))
    out = {f"sea, {key}": _median(values) for key, values in sea.items()}
    out |= {f"land, {key}": _median(values) for key, values in land.items()}
    long = np.array(lengths) >= LONG_PX
    out[f"ship to clutter, dB, boxes from {LONG_PX:g} px"] = _median(np.array(ratios)[long].tolist())
    out[f"ship to clutter, dB, boxes below {LONG_PX:g} px"] = _median(np.array(ratios)[~long].tolist())
    out["longer side of a ship's box, px"] = _median(lengths)
    counts = [len(next(iter(values.values()), [])) for values in (sea, land)]
    out["patches of sea, of land, ships"] = f"{counts[0]:,}, {counts[1]:,}, {len(ratios):,}"
    return out


def _tiles(dataset: object) -> Iterator[tuple[ShipScene, np.ndarray]]:
    for item in dataset.index().items:  # type: ignore[attr-defined]
        path = dataset.root / item.image  # type: ignore[attr-defined]
        yield item, as_sar(read_image(path), path).astype(np.float64)


def _quiet_patches(image: np.ndarray, away: np.ndarray, side: int = 128) -> Iterator[np.ndarray]:
    """Yield patches of open water: dark, but not the black beyond an acquisition's edge, and without anything
    bright.
    """
    for patch, free in _grid(image, away, side):
        if free.all() and 1 < patch.mean() < 45 and np.quantile(patch, 0.9995) < 5 * patch.mean() + 12:
            yield patch


def _bright_patches(image: np.ndarray, away: np.ndarray, side: int = 128) -> Iterator[np.ndarray]:
    """Yield patches of land: on average twice as bright as the darkest fifth of the tile, and not dark."""
    dark = np.quantile(image, 0.2)
    for patch, free in _grid(image, away, side):
        if free.all() and patch.mean() > max(30.0, 2 * dark):
            yield patch


def _grid(image: np.ndarray, away: np.ndarray, side: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for y in range(0, image.shape[0] - side + 1, side):
        for x in range(0, image.shape[1] - side + 1, side):
            yield image[y : y + side, x : x + side], away[y : y + side, x : x + side]


def _collect(patch: np.ndarray, into: dict[str, list[float]]) -> None:
    into.setdefault("mean grey level", []).append(float(patch.mean()))
    into.setdefault("coefficient of variation", []).append(float(patch.std() / patch.mean()))
    levels = np.quantile(patch, QUANTILES) / patch.mean()
    for quantile, level in zip(QUANTILES, levels, strict=True):
        into.setdefault(f"{quantile:g} quantile over the mean", []).append(float(level))
    for lag, value in zip(LAGS, autocorrelation(patch, LAGS), strict=True):
        into.setdefault(f"autocorrelation at {lag} px", []).append(value)
    for (low, high), share in list(zip(BANDS, band_power(patch), strict=True))[::2]:  # the middle one is what is left
        into.setdefault(f"share of power at 1/{1 / low:g} to 1/{1 / high:g} cycles per px", []).append(share)


def autocorrelation(patch: np.ndarray, lags: tuple[int, ...]) -> list[float]:
    """Return the autocorrelation of a patch at lags along both axes, averaged."""
    values = patch - patch.mean()
    variance = float((values**2).mean())
    return [
        float(((values[lag:] * values[:-lag]).mean() + (values[:, lag:] * values[:, :-lag]).mean()) / 2 / variance)
        for lag in lags
    ]


def band_power(patch: np.ndarray) -> list[float]:
    """Return the shares of the variance in bands of spatial frequency, from the periodogram under a Hann window."""
    window = np.hanning(patch.shape[0])[:, None] * np.hanning(patch.shape[1])[None, :]
    power = np.abs(np.fft.fft2((patch - patch.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(patch.shape[0])[:, None], np.fft.fftfreq(patch.shape[1])[None, :])
    total = power[(radius >= BANDS[0][0]) & (radius < BANDS[-1][1])].sum()
    return [float(power[(radius >= low) & (radius < high)].sum() / total) for low, high in BANDS]


def ship_to_clutter_db(image: np.ndarray, box: np.ndarray) -> float | None:
    """Return the mean intensity in a box over that of the frame `RING_PX` around it in dB; None where the frame leaves
    the image or is black.
    """
    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    inner, outer = RING_PX
    if min(x1, y1) < outer or x2 > image.shape[1] - outer or y2 > image.shape[0] - outer or x2 <= x1 or y2 <= y1:
        return None
    ring = np.ones((y2 - y1 + 2 * outer, x2 - x1 + 2 * outer), dtype=bool)
    ring[outer - inner : inner - outer, outer - inner : inner - outer] = False
    around = float(np.mean(image[y1 - outer : y2 + outer, x1 - outer : x2 + outer][ring] ** 2))
    return None if around <= 0 else float(10 * np.log10((image[y1:y2, x1:x2] ** 2).mean() / around))


def compare_pairs(real: Path, scenes: int) -> None:
    """Print the texture of both views at 10 m, real and simulated."""
    from bench.simulator.cities import Manner, city_of, render_pair
    from bench.simulator.world import World

    names = sorted(path.name for path in (real / "opt").glob("*.png"))
    pairs = [
        (read_image(real / "opt" / name), as_sar(read_image(real / "sar" / name), real / "sar" / name))
        for name in names
    ]
    cities = [city_of(number, 7, 1024, 10.0, Manner(looks=4)) for number in range(scenes)]
    # a Sentinel-1 IW GRD product has 4.4 looks and about 20 x 22 m of resolution on its 10 m grid
    cities = [replace(city, sar=city.sar.model_copy(update={"resolution_px": 2.2})) for city in cities]
    made = [render_pair(World(city.port), city, (0, 0, 1024, 1024)) for city in cities]
    print("\n| 10 m pairs | real (Sentinel-1/2) | simulated |\n|---|---|---|")
    for name, column in (("optical", 0), ("SAR", 1)):
        both = []
        for group in (pairs, made):
            into: dict[str, list[float]] = {}
            for pair in group:
                grey = pair[column].astype(np.float64)
                grey = grey.mean(axis=2) if grey.ndim == 3 else grey
                for patch, _ in _grid(grey, grey, 256):
                    if patch.std() > 4 and patch.mean() > 5:
                        _collect(patch, into)
            both.append(into)
        # levels and what follows from them are matters of stretching
        for key in (key for key in both[0] if "mean" not in key):
            print(f"| {name}, {key} | {_median(both[0][key])} | {_median(both[1].get(key, []))} |")


def _median(values: list[float]) -> str:
    if not values:
        return "none"
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
