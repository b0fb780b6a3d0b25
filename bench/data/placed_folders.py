"""The placed-folders family: many pairs of folders of optical and SAR patches, whose names say what lies in them.

Owns which folders there are and what their names say; files in them are paired by `folders.py`, by the last number of
their stems.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from bench.core.errors import BenchError, nearest
from bench.data.dataset import DatasetOptions, FilePair, PairDataset, Scan
from bench.data.folders import check_pairs, natural_key, pair_folders
from bench.data.index import PairIndex, PairSample


class PlacedLayout(DatasetOptions):
    """How the folders lie. In a text, {name} stands for an option, {outer} for one of `outer`, {number} for what folder
    names count, and {pair} for the number of a pair.

    Attributes:
        outer: name of an outer folder -> the value of `column` for all below it.
        column: what these values are.
        chosen_by: the option that names some of `outer`; without it, or where it is None, all that are there are read.
        below: path to an outer folder.
        views: the optical and the SAR folder below it; of several such pairs the first that is there. One that ends in
            "NAME*" means the files of that folder whose names begin so.
        id: of a pair. scene: the leakage group, "" where it is unknown.
        begin: how file names begin, for sets that name files after folders, with {inner} for the folder; a file named
            after another folder shows another place, and has no partner.
    """

    outer: Mapping[str, str]
    column: str
    chosen_by: str = ""
    below: str = "{outer}"
    views: tuple[tuple[str, str], ...]
    id: str
    scene: str = ""
    begin: str = ""


class PlacedFolders(PairDataset):
    """Reader of such a set; it has the column that `layout` names."""

    layout: ClassVar[PlacedLayout]

    def __init__(self, root: Path, options: Any, cache: Path | None = None) -> None:
        super().__init__(root, options, cache)
        self._fields: dict[str, dict[str, Any]] = {}

    @classmethod
    def lacks(cls, folder: Path, options: Any) -> list[str]:
        texts = (*cls.layout.outer, f"{{{','.join(cls.layout.outer)}}}")
        *paths, shown = (cls.layout.below.format(**options.model_dump(), outer=text) for text in texts)
        return [] if any((folder / path).is_dir() for path in paths) else [shown]

    def whole(self) -> bool:
        return set(self._chosen() or self.layout.outer) == set(self.layout.outer)

    def _chosen(self) -> tuple[str, ...] | None:
        return getattr(self.options, self.layout.chosen_by, None)

    def _scan(self) -> Scan:
        pairs: list[FilePair] = []
        unpaired: list[str] = []
        problems: list[str] = []
        for fields, optical, sar in self._places():
            for side, other in ((optical, sar), (sar, optical)):
                if not (self.root / side).is_dir() and not side.endswith("*"):
                    unpaired.append(f"{other}/ has no partner {side}/")
                    break
            else:
                found = pair_folders(self.root, optical, sar, by="number")
                for pair in found.pairs:
                    name = self.layout.id.format(**fields, pair=pair.id)
                    self._fields[name] = fields
                    pairs.append(FilePair(name, pair.optical, pair.sar))
                unpaired += found.unpaired
                problems += found.problems
        strays = [path for pair in pairs for path in (pair.optical, pair.sar) if self._strays(path, pair.id)]
        named = (f"{path} is named for another scene than its folder" for path in strays)
        return Scan(tuple(pairs), (*unpaired, *named), tuple(problems))

    def _strays(self, path: str, pair: str) -> bool:
        _, inner, name = path.rsplit("/", 2)
        return not name.startswith(self.layout.begin.format(**self._fields[pair], inner=inner))

    def _places(self) -> Iterator[tuple[dict[str, Any], str, str]]:
        """Yield (what the texts of the layout stand for, optical folder, SAR folder) of all places."""
        for outer in self._outer():
            fields = {**self.options.model_dump(), "outer": outer}
            below = self.layout.below.format(**fields)
            views = next((pair for pair in self.layout.views if (self.root / below / pair[0]).is_dir()), None)
            views = views or self.layout.views[-1]
            for number in self._numbers(below, views):
                optical, sar = (f"{below}/{view.format(number=number)}" for view in views)
                yield {**fields, "number": number}, optical, sar

    def _outer(self) -> list[str]:
        """Return the outer folders that are read.

        Raises:
            BenchError: the option names one that the set does not know, or that is not there.
        """
        name, what, chosen = self.facts.name, self.layout.column, self._chosen()
        for outer in chosen or ():
            if outer not in self.layout.outer:
                raise BenchError(f"data set {name} has no {what} {outer!r}{nearest(outer, self.layout.outer)}")
        paths = {
            outer: self.root / self.layout.below.format(**self.options.model_dump(), outer=outer)
            for outer in chosen or self.layout.outer
        }
        absent = [outer for outer, path in paths.items() if not path.is_dir()]
        if chosen and absent:
            raise BenchError(
                f"data set {name}: {what} {absent[0]} is not in {self.root}; place it there or leave it out"
            )
        return [outer for outer in paths if outer not in absent]

    def _numbers(self, below: str, views: tuple[str, str]) -> list[str]:
        """Return what {number} stands for below an outer folder, in natural order, each once."""
        starts = [view.partition("{number}")[0] for view in views if "{number}" in view]
        names = [entry.name for entry in sorted((self.root / below).iterdir()) if entry.is_dir()] if starts else []
        found = {name.removeprefix(start) for name in names for start in starts if name.startswith(start)}
        return sorted(found, key=natural_key) if starts else [""]

    def index(self) -> PairIndex:
        scan = self.scan()
        check_pairs(scan, self.root, ("optical", "SAR"))
        samples = []
        for pair in scan.pairs:
            fields = self._fields[pair.id]
            column = {self.layout.column: self.layout.outer[fields["outer"]]}
            scene = self.layout.scene.format(**fields) or None
            samples.append(PairSample(pair.id, pair.optical, pair.sar, None, scene, None, column))
        return PairIndex(tuple(samples), None, f"{self.facts.name} at {self.root}", self.reading)
