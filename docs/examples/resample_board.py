"""How sure is a difference between two rows of a detection board? A paired bootstrap over leakage groups, from the committed entries alone.

    python docs/examples/resample_board.py leaderboards/hrsid hrsid-site faster-rcnn-osm faster-rcnn-none

Scenes of one group (HRSID: tiles of one acquisition) are drawn together, and both rows see the same draws. AP (area, IoU 0.5) of a row is
the mean over its seeds. Needs no data, no model and no torch: an entry's per-sample scores hold the match of every detection. The
percentile interval covers too little where groups are few: read it as a lower bound of the uncertainty.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bench.detection.evaluator import Matches, ap_from_matches
from bench.detection.scoring import matches_from_samples

DRAWS = 2000


def load(board: Path, block: str, row: str) -> tuple[list[Matches], np.ndarray]:
    """Return the matches of every seed of a row, and the group of every scene, (s,) text."""
    paths = sorted((board / "entries").glob(f"detection--{block}--{row}--*.npz"))
    if not paths:
        raise SystemExit(f"no entries of {row} on {block} in {board}")
    samples = [dict(np.load(path)) for path in paths]
    return [matches_from_samples(each)[1] for each in samples], samples[0]["group"]


def mean_ap(matches: list[Matches], weights: np.ndarray) -> float:
    """Return the mean AP over the seeds, each scene counted as often as `weights` (s,) says."""
    return float(np.mean([ap_from_matches(each, "area", 0.5, "all", weights) or 0.0 for each in matches]))


def main(board: str, block: str, row: str, reference: str) -> None:
    """Print both rows, their difference, and its 95 % percentile interval."""
    (one, group), (other, again) = load(Path(board), block, row), load(Path(board), block, reference)
    assert (group == again).all(), "the rows were not measured on the same scenes"
    names, member = np.unique(group, return_inverse=True)
    everywhere = np.ones(len(group), dtype=np.int64)
    a, b = mean_ap(one, everywhere), mean_ap(other, everywhere)
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        times = np.bincount(generator.integers(0, len(names), len(names)), minlength=len(names))
        weights = times[member].astype(np.int64)
        draws.append(mean_ap(one, weights) - mean_ap(other, weights))
    low, high = np.quantile(draws, [0.025, 0.975])
    print(f"{row} {a:.4f} ({len(one)} seeds), {reference} {b:.4f} ({len(other)} seeds)")
    print(f"difference {a - b:+.4f}, 95 % interval {low:+.4f} to {high:+.4f} over {len(names)} groups, {DRAWS} draws")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
