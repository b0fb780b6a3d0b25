"""The families of sets that make themselves: pairs and ship scenes, made once in the cache folder, repeatable from
their options.

A set's own file declares its facts, its generator and the generator's version.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from bench.core.progress import Progress
from bench.data.dataset import Dataset
from bench.data.folders import FolderOptions, FolderPairs
from bench.data.patch_folder import TABLE, folder_names
from bench.data.scaling import SarScale
from bench.data.ships.coco_scenes import CocoLayout
from bench.data.ships.dataset import ShipDataset
from bench.data.whole_folder import generated_folder

IMAGES, LIST = "images", "annotations.json"


class Generated(Dataset):
    """What both families share: making the folder.

    Class attributes:
        stem: begins the name of its folder in the cache.
    """

    generated = True
    stem: ClassVar[str]

    @staticmethod
    @abstractmethod
    def write(root: Path, options: Any, /) -> None:
        """Fill the empty folder `root`."""

    @classmethod
    @abstractmethod
    def is_whole(cls, root: Path, options: Any) -> bool:
        """Return whether a folder made before has everything; an OSError means no."""

    @classmethod
    def prepare(cls, root: Path | None, options: Any, cache: Path) -> Path:
        """Return `root`, or the generated folder below `cache`."""
        if root is not None:
            return root
        spec = {"version": cls.version, "options": options.model_dump(mode="json")}

        def write(folder: Path) -> None:
            Progress().say(f"making the data of {cls.facts.name}, once, in {cache}")
            cls.write(folder, options)

        return generated_folder(cache, cls.stem, spec, write, lambda folder: cls.is_whole(folder, options))


class GeneratedPairs(Generated, FolderPairs):
    """Pairs in the QXS-SAROPT layout with patches.csv beside them. Options: `scenes`, `patches_per_scene`, `patch_px`,
    and `overlap_px` where neighbours share pixels.
    """

    @classmethod
    def settings_of(cls, options: Any) -> FolderOptions:
        optical, sar = folder_names(options.patch_px, getattr(options, "overlap_px", 0))
        return FolderOptions(optical=optical, sar=sar, pair_by="number", table=TABLE, crs="local metres")

    @classmethod
    def is_whole(cls, root: Path, options: Any) -> bool:
        settings = cls.settings_of(options)
        counts = {len(os.listdir(root / name)) for name in (settings.optical, settings.sar)}
        return (root / TABLE).is_file() and counts == {options.scenes * options.patches_per_scene}


class GeneratedShips(Generated, ShipDataset):
    """Scenes in images/ with one COCO list. Options: `scenes`, `bits`."""

    layout = CocoLayout(images=IMAGES, annotations=(LIST,), official=(LIST,))

    @property
    def sar_scale(self) -> SarScale:
        """8-bit scenes are declared "uint8", 16-bit ones "amplitude"."""
        return SarScale.uint8 if self.options.bits == 8 else SarScale.amplitude

    def expected(self) -> tuple[int | None, int | None]:
        return self.options.scenes, None

    @classmethod
    def is_whole(cls, root: Path, options: Any) -> bool:
        return (root / LIST).is_file() and len(os.listdir(root / IMAGES)) == int(options.scenes)
