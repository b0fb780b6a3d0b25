"""What a detection cell counts of its data: ships, and files that its test part shares with what trained it."""

from __future__ import annotations

from collections.abc import Sequence

from bench.data.manifest import file_hashes, shared_files
from bench.suite.data_plan import PARTS, PlannedData

SHARED_FILES = ("test_files_in_training", "pretraining_shares_files")  # what `count_shared_files` counts


def count_ships(plan: PlannedData) -> dict[str, int]:
    """Return how many ships that count each part holds."""
    return {name: sum(int((~plan.index.items[i].ignore).sum()) for i in plan.part(name).tolist()) for name in PARTS}


def count_shared_files(plan: PlannedData, pretraining: Sequence[PlannedData]) -> dict[str, int | None]:
    """Return how many test images are, byte by byte, images that train or validate, or files that the pretraining saw.

    Args:
        pretraining: the data of the matching cells that the backbone starts from; none where it starts otherwise (then
            unknown: None).
    """
    of = {
        part: file_hashes(plan.manifest, [plan.index.items[i].image for i in plan.part(part).tolist()])
        for part in PARTS
    }
    seen = [digest for other in pretraining for _, _, digest in other.manifest.files.values()]
    counts = (
        shared_files(of["test"], of["train"] + of["validation"]),
        shared_files(of["test"], seen) if pretraining else None,
    )
    return dict(zip(SHARED_FILES, counts, strict=True))
