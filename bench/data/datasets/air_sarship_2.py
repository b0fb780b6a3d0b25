"""AIR-SARShip-2.0: facts and layout.

Known from lists of data sets that quote the publisher (Journal of Radars): 300 images of 1000 x 1000 px, Gaofen-3, 1 m
and 3 m, one channel of 16 bit. Known from public programs that read it: folders, names and the schema; some pair files
by their stems, one by `source/filename`, so the two should agree. Unknown: the number of ships (the table of
SARDet-100K, which took the set over whole, says 2,040, but is 18 off for HRSID), an official split (those programs
bring lists of their own), and where pixels count from (one program subtracts 1, others take points as they stand).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.data.dataset import DatasetOptions, missing
from bench.data.facts import ShipFacts
from bench.data.images import IMAGE_SUFFIXES
from bench.data.scaling import SarScale
from bench.data.ships.dataset import ShipScan
from bench.data.ships.files import last_integer, walk
from bench.data.ships.points_xml import parse_points
from bench.data.ships.voc import VocAnnotation
from bench.data.ships.voc_scenes import VocScenes


class AirSarShip2Options(DatasetOptions):
    """Options.

    Attributes:
        one_based: whether points are pixel numbers counted from 1, both ends inside the box: 1 is subtracted from the
            smaller ones.
        table: CSV of your own with a row for each image (`id`: its number), for columns such as `scene` or `shore`.
    """

    one_based: bool = False
    table: str | None = None


class AirSarShip2(VocScenes):
    """300 images with XML files of another schema than 1.0's. Both are found below the root by suffix and matched by
    the last integer of their stems, which is the id; PNG and JPEG files count only where there is no TIFF, since they
    are previews otherwise. No scene is
    known: each image is its own leakage group.
    """

    Options = AirSarShip2Options
    facts = ShipFacts(
        name="air-sarship-2.0",
        title="AIR-SARShip-2.0: 300 Gaofen-3 images of 1000 px",
        sensors="Gaofen-3, several modes, C band",
        image_px="1000 x 1000",
        resolution="1 m and 3 m, not told by image",
        gsd_m=None,
        polarisation="single",
        sar_scale=SarScale.amplitude,  # as released; its calibration is undocumented
        expected_scenes=300,
        expected_ships=None,
        licence="not stated with the copies in circulation; see the publisher's page",
        citation=(
            "AIR-SARShip-2.0, Aerospace Information Research Institute, Chinese Academy of Sciences, published by J."
            " Radars"
        ),
        homepage=(
            "https://radars.ac.cn/web/data/getData?newsColumnId=d25c94d7-8fe8-415f-a383-9b0ffd6d5a9a (behind a form)"
        ),
        folder="AIR-SARShip-2.0",
        place_what="""\
    AIR-SARShip-2.0/
      AIR-SARShip-2.0-data/<n>.tiff   one channel, 1000 x 1000
      AIR-SARShip-2.0-xml/<n>.xml     objects/object with possibleresult/name and points/point
    (folder names and stems may differ, the last integer counts)""",
        notes=(
            "Certain: 300 images of 1000 x 1000 px, corner points as texts x,y. Believed: continuous coordinates from"
            " 0; one public program takes them as pixel numbers from 1 (option one_based). The count of ships and an"
            " official split are not known, so neither is declared. No scene is known either: boards mark such rows as"
            " unknown; look with `bench data audit`."
        ),
    )

    def __init__(self, root: Path, options: Any, cache: Path | None = None) -> None:
        super().__init__(root, options, cache)
        self._others: list[str] = []

    @classmethod
    def locate(cls, root: Path, options: Any) -> Path:
        """Return `root` when images and XML files lie anywhere below it."""
        for suffixes, what in ((IMAGE_SUFFIXES, "*.tiff"), ({".xml"}, "*.xml")):
            if next(walk(root, "", suffixes), None) is None:
                raise missing(cls.facts, [f"{root}/**/{what}"])
        return root

    def image_names(self) -> list[str]:
        found = list(walk(self.root, "", IMAGE_SUFFIXES))
        return [name for name in found if name.lower().endswith((".tif", ".tiff"))] or found

    def annotation_names(self) -> list[str]:
        return list(walk(self.root, "", {".xml"}))

    def by_number(self) -> bool:
        return True

    def parse(self, path: Path) -> VocAnnotation:
        found = parse_points(path, self.one_based())
        stated = last_integer(found.filename or "")
        if stated not in (None, last_integer(path.name)):
            self._others.append(f"{path.name} is written for {found.filename}")
        return found

    def _scan(self) -> ShipScan:
        scan = super()._scan()
        more = f" and {len(self._others) - 3} more" if len(self._others) > 3 else ""
        note = f"{'; '.join(self._others[:3])}{more}: are images and annotations of one release?"
        return replace(scan, notes=(*scan.notes, note)) if self._others else scan
