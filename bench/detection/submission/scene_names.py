"""How a results file names our test scenes: by number, by text, by file name beside a number.

Tools number images in their own way (ultralytics takes the digits of the file name), and such numbers may be others of
ours. So a file name decides wherever one stands, for its box or in the file's list of images, and the number beside it
is the tool's own; that such numbers and file names go together one to one is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from bench.core.errors import BenchError, nearest
from bench.data.ships.fields import whole_number
from bench.data.ships.files import tails
from bench.data.ships.index import ShipScene
from bench.submissions.sheets import as_number, short


@dataclass(frozen=True)
class Called:
    """What a file calls an image.

    Attributes:
        by: its number, or a text; None where there is only a file name.
        file_name: beside the number, None for none.
    """

    by: Any
    file_name: str | None = None

    def __str__(self) -> str:
        if self.file_name is None:
            return f"image_id {short(self.by)}"
        return f"file_name {self.file_name!r}" + ("" if self.by is None else f" of image_id {short(self.by)}")

    @property
    def number(self) -> Hashable:
        """What tells one `by` from another where it is a number: 1, 1.0 and "1" are one."""
        number = whole_number(self.by)
        return repr(self.by) if number is None else number

    @property
    def key(self) -> Hashable:
        """What tells one from another; a scene may have the id "1", and another the number 1."""
        return isinstance(self.by, str), self.number, self.file_name


class SceneFinder:
    """Finds the scene that a results file means.

    A number is a scene's `image_id`. A text is its id, else its image file (path, name, or name without suffix; an
    absolute path by its last parts), else the digits of its `image_id`.
    """

    def __init__(self, scenes: Sequence[ShipScene]) -> None:
        self.numbers = {scene.image_id: i for i, scene in enumerate(scenes)}
        self.digits = {str(number): i for number, i in self.numbers.items()}
        self.ids = {scene.id: i for i, scene in enumerate(scenes)}
        self.names: dict[str, set[int]] = {}
        for i, scene in enumerate(scenes):
            file = PurePosixPath(scene.image)
            for name in (scene.id, scene.image, file.name, file.stem):
                self.names.setdefault(name, set()).add(i)

    def find(self, wanted: Any, where: str) -> int:
        """Return the position of the scene called `wanted`. Raises BenchError where there is none, or several."""
        found: int | None = None
        if isinstance(wanted, str):
            several = self._called(wanted)
            found = self.ids.get(
                wanted, next(iter(several)) if len(several) == 1 else self.digits.get(wanted.removesuffix(".0"))
            )
            if found is None and several:
                raise BenchError(f"{where}: {len(several)} test scenes are called {wanted!r}; use their ids")
        else:
            number = as_number(wanted)
            found = self.numbers.get(int(number)) if number is not None and number == int(number) else None
        if found is None:
            known = (*self.names, *self.digits) if isinstance(wanted, str) else tuple(self.digits)
            among = f"among the {len(self.ids)} test scenes{nearest(str(wanted), known)}"
            raise BenchError(f"{where}: unknown image_id {short(wanted)} {among}")
        return found

    def find_file(self, called: Called, where: str) -> int:
        """Return the position of the scene with that file name; of several with it, the one that has the number too.

        Raises:
            BenchError: no scene, or several.
        """
        name = str(called.file_name)
        several = self._called(name)
        if not several:
            known = nearest(name, self.names)
            raise BenchError(f"{where}: unknown {called} among the {len(self.ids)} test scenes{known}")
        if len(several) > 1:
            number = whole_number(called.by)
            several = several & ({self.numbers[number]} if number in self.numbers else set())
        if not several:
            raise BenchError(f"{where}: {called}: several test scenes have this name; write the path of the file")
        return next(iter(several))

    def _called(self, name: str) -> set[int]:
        found = self.names.get(name)
        if found is None and (name[:1] in ("/", "\\") or name[1:2] == ":"):
            try:
                found = next((self.names[tail] for tail in tails(name) if tail in self.names), None)
            except BenchError:
                return set()
        return found or set()


@dataclass
class _Numbering:
    """The numbers that a file gives to file names, and the positions of their scenes."""

    scenes: dict[Hashable, tuple[int, Called]] = field(default_factory=dict)
    numbers: dict[int, Called] = field(default_factory=dict)
    foreign: Called | None = None

    def add(self, called: Called, position: int, where: str) -> None:
        """Raises BenchError where the number has stood beside another scene's file name, or the scene's beside
        another number.
        """
        if called.by is None:
            return
        before = self.scenes.setdefault(called.number, (position, called))
        if before[0] != position:
            raise BenchError(f"{where}: {called}, and elsewhere {before[1]}: which image is meant?")
        other = self.numbers.setdefault(position, called)
        if other.number != called.number:
            raise BenchError(f"{where}: {called}, and elsewhere {other}: an image has one number")


def find_scenes(
    called: Sequence[Called], where: Callable[[int], str], scenes: Sequence[ShipScene], agreeing: bool = False
) -> tuple[np.ndarray, bool]:
    """Return the position of the scene that each entry of a file means, (n,) int64, and whether the file has numbers of
    its own, others than ours.

    Args:
        where: entry -> the beginning of a message about it.
        agreeing: a number and the file name beside it must mean one scene.

    Raises:
        BenchError: an unknown or ambiguous image, a number that means another scene where it must not, a number with
            two file names or a file name with two numbers, a number alone in a file whose numbers are its own.
    """
    finder, own = SceneFinder(scenes), _Numbering()
    first: dict[Hashable, int] = {}
    keys = [each.key for each in called]
    for i, key in enumerate(keys):
        first.setdefault(key, i)
    found: dict[Hashable, int] = {}
    for key, i in first.items():
        if called[i].file_name is not None:
            found[key] = finder.find_file(called[i], where(i))
            own.add(called[i], found[key], where(i))
            if called[i].by is not None and not _agrees(finder, called[i], found[key]):
                if agreeing:
                    number = scenes[found[key]].image_id
                    raise BenchError(
                        f"{where(i)}: {called[i]}, but that file is image_id {number}; correct one of them"
                    )
                own.foreign = own.foreign or called[i]
    for key, i in first.items():
        one = called[i]
        if one.file_name is not None:
            continue
        if one.number in own.scenes and not (isinstance(one.by, str) and one.by in finder.ids):
            found[key] = own.scenes[one.number][0]
        elif own.foreign is not None and whole_number(one.by) is not None:
            raise BenchError(
                f"{where(i)}: {one} has no file_name, and the file's numbers are not ours ({own.foreign}); add"
                " file_name to every entry, or a list of images with id and file_name"
            )
        else:
            found[key] = finder.find(one.by, where(i))
    positions = np.array([found[key] for key in keys], dtype=np.int64)
    return positions, own.foreign is not None


def _agrees(finder: SceneFinder, called: Called, position: int) -> bool:
    try:
        return finder.find(called.by, "") == position
    except BenchError:
        return False
