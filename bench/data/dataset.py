"""The contract of a data set reader, and the way from a name and options to an opened data set.

Owns where a data set's root is looked for, how options are validated, and the message of a missing set. Families of
layouts live in `folders.py`, `scene_pairs.py` and, for scenes with ships, `ships/`; the facts of each set in
`datasets/`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.core.errors import BenchError, nearest
from bench.core.registries import DATASETS
from bench.core.validation import mistaken
from bench.core.workspace import user_path
from bench.data.facts import DatasetFacts, SetFacts
from bench.data.index import PairIndex, Sampled
from bench.data.manifest import Manifest, build_manifest
from bench.data.nearby import Nearby
from bench.data.reading import PairReading, pair_reading
from bench.data.scaling import SarScale


class DatasetOptions(BaseModel):
    """Base of every data set's options: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OwnTable(DatasetOptions):
    """The option of sets that state too little of their samples.

    Attributes:
        table: CSV of your own (below the root, or an absolute path) with a row for each sample (`id`), for columns such
            as `scene` or `shore`.
    """

    table: str | None = None


@dataclass(frozen=True)
class FilePair:
    """Two files that belong together: pair or scene id, paths relative to the root with "/" between parts."""

    id: str
    optical: str
    sar: str


@dataclass(frozen=True)
class Scan:
    """What lies on disk: complete pairs in order, a line for every file whose partner is missing, and a line for every
    file that is passed over because its name states no pair, or one that another file states.
    """

    pairs: tuple[FilePair, ...]
    unpaired: tuple[str, ...]
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)


class Dataset(ABC):
    """Base class of every data set reader, whatever it holds.

    Class attributes:
        kind: "pairs" (SAR-optical pairs) or "ships" (SAR scenes with ship boxes).
        facts: what is declared of the set.
        version: raise it when the same files give other samples; it belongs into the train key.
        Options: pydantic model of the options (frozen, extra keys refused).
        generated: whether the set makes itself when no root is given (see `prepare`).
        layout: how its files lie: the settings of its family, of which those that are options too are the user's.
        inside: path from the set's folder to its files, in which {name} stands for an option.
        choosing: options that choose a part of the set; declared counts hold while they have their defaults.

    Args:
        root: the set's folder, as `locate` returned it.
        options: validated options.
        cache: folder for results that can be made again, None for none.
    """

    kind: ClassVar[str]
    facts: ClassVar[SetFacts]
    version: ClassVar[int] = 1
    Options: ClassVar[type[DatasetOptions]] = DatasetOptions
    generated: ClassVar[bool] = False
    layout: ClassVar[DatasetOptions] = DatasetOptions()
    inside: ClassVar[str] = ""
    choosing: ClassVar[tuple[str, ...]] = ()

    def __init__(self, root: Path, options: Any, cache: Path | None = None) -> None:
        self.root = Path(root)
        self.options = options
        self.cache = cache

    @classmethod
    def settings_of(cls, options: Any) -> Any:
        """Return the layout of a copy of the set under `options`."""
        return settled(cls.layout, options)

    def whole(self) -> bool:
        """Return whether the options choose the whole set."""
        fields = type(self.options).model_fields
        pairs = ((getattr(self.options, name), fields[name].default) for name in self.choosing)
        return all(_unordered(chosen) == _unordered(default) for chosen, default in pairs)

    @property
    def sar_scale(self) -> SarScale:
        """What the stored SAR values are: the facts' declaration, unless the options declare it.

        Raises:
            BenchError: neither declares it.
        """
        declared = getattr(self.options, "sar_scale", None) or self.facts.sar_scale
        if declared is None:
            raise BenchError(
                f"data set {self.facts.name} needs the option sar_scale ({', '.join(SarScale)}): what SAR values are is"
                " never guessed"
            )
        return SarScale(declared)

    @property
    def gsd_m(self) -> float | None:
        """Ground sample distance in metres per pixel: the options', else the facts'; None where it varies or is
        unknown.
        """
        declared: float | None = getattr(self.options, "gsd_m", None)
        return self.facts.gsd_m if declared is None else declared

    @abstractmethod
    def index(self) -> Sampled:
        """Return all samples in a fixed order.

        Raises:
            BenchError: no samples, a file without its partner, an inconsistent table or annotation.
        """

    def left_out(self) -> Mapping[str, tuple[int, int]]:
        """Return scene -> (samples that the options leave out, all), of scenes that lose any, once it is indexed."""
        return {}

    def left_out_by(self) -> Mapping[str, int]:
        """Return rule -> how many samples in `left_out` it is the first to take."""
        return {}

    @abstractmethod
    def _file_names(self) -> list[str]:
        """Return the paths of every file that the index reads; called by `files` and `manifest`."""

    def files(self) -> list[Path]:
        """Return every image, table and annotation file that the index reads: what the manifest is made of."""
        return [Path(name) for name in self._file_names()]

    def manifest(self) -> Manifest:
        """Return the manifest of `files`, through the cache folder if there is one.

        Raises:
            BenchError: a file is unreadable, or the cache cannot be written.
        """
        return build_manifest(self.root, self._file_names(), self.cache, self.declared())

    def declared(self) -> str:
        """Return how the user declares that three unequal channels are read, "" for the set's own way: other images."""
        for name in ("channels", "sar_channels"):
            field = type(self.options).model_fields.get(name)
            if field is not None and getattr(self.options, name) != field.default:
                return f"{name}: {getattr(self.options, name)}"
        return ""

    @classmethod
    def locate(cls, root: Path, options: Any) -> Path:
        """Return the folder that really holds the set, given the folder the user named: that folder, or the one of the
        set's own name inside it, single or doubled (some archives double it), or any on the path to the files.

        Raises:
            BenchError: the layout is not found below `root`.
        """
        inside = Path(cls.inside.format(**options.model_dump()))
        outer = (root, root / cls.facts.folder, root / cls.facts.folder / cls.facts.folder)
        tails = [root.joinpath(*inside.parts[k:]) for k in range(1, len(inside.parts) + 1)]
        for folder in (*(each / inside for each in outer), *tails):
            if not cls.lacks(folder, options):
                return folder
        near = Nearby(root)
        names = [str(inside / name) for name in cls.lacks(root / inside, options)]
        raise missing(cls.facts, [f"{root}/{name}{near.tail(name)}" for name in names])

    @classmethod
    def lacks(cls, folder: Path, options: Any) -> list[str]:
        """Return what `folder` lacks to be the root: files and folders without which nothing can be read."""
        return []

    @classmethod
    def prepare(cls, root: Path | None, options: Any, cache: Path) -> Path:
        """Return `root`; a generated set makes itself below `cache` when `root` is None.

        Raises:
            BenchError: no root for a set that cannot make itself.
        """
        if root is None:
            raise missing(cls.facts, [])
        return root

    @classmethod
    def at(cls, root: Path, cache: Path | None = None, **options: Any) -> Self:
        """Open the set at `root` with `options` given as keywords."""
        parsed = parse_options(cls.Options, options, f"data set {cls.facts.name}")
        return cls(cls.locate(user_path(root), parsed), parsed, cache)


class PairDataset(Dataset):
    """Base class of every reader of SAR-optical pairs; see `Dataset`."""

    kind = "pairs"
    facts: ClassVar[DatasetFacts]

    def __init__(self, root: Path, options: Any, cache: Path | None = None) -> None:
        super().__init__(root, options, cache)
        self._found: Scan | None = None

    @property
    def reading(self) -> PairReading:
        """How files are read: as stored, unless the options `sar_band`, `sar_nodata` and `optical_bands` say
        otherwise.
        """
        return pair_reading(self.options, self.sar_scale)

    def expected_pairs(self) -> int | None:
        """Return the number of pairs that this copy should have under these options, None where nothing is declared."""
        expected = self.facts.sizes[self.options.size_px] if self.facts.sizes else self.facts.expected_pairs
        return expected if self.whole() else None

    def patch_px(self) -> int | None:
        """Return the edge length in pixels that all patches should have under these options, None where nothing is
        declared.
        """
        return int(self.options.size_px) if self.facts.sizes else self.facts.patch_px

    def scan(self) -> Scan:
        """Return the files on disk, paired, without opening an image. Looks once; open the set anew to look again.

        Raises:
            BenchError: a folder or table is missing, or two files claim the same id.
        """
        if self._found is None:
            self._found = self._scan()
        return self._found

    @abstractmethod
    def _scan(self) -> Scan:
        """Look at the folders; called once by `scan`."""

    @abstractmethod
    def index(self) -> PairIndex:
        """Return all pairs in a fixed order.

        Raises:
            BenchError: no pairs, a missing partner, an inconsistent table.
        """

    def tables(self) -> list[Path]:
        """Return the CSV files that the index reads."""
        return []

    def _file_names(self) -> list[str]:
        prefix = os.fspath(self.root)
        names = [f"{prefix}/{name}" for pair in self.scan().pairs for name in (pair.optical, pair.sar)]
        return [os.fspath(table) for table in self.tables()] + names


def root_variable(name: str) -> str:
    """Return the environment variable that may hold the root of data set `name`: BENCH_ROOT_QXS_SAROPT for
    qxs-saropt.
    """
    return "BENCH_ROOT_" + "".join(char if char.isalnum() else "_" for char in name).upper()


def missing(facts: SetFacts, tried: list[str]) -> BenchError:
    """Return the one error of a missing data set: what to place where, from where, and what to run meanwhile."""
    where = f" (looked at {', '.join(tried)})" if tried else ""
    return BenchError(
        f"data set {facts.name} is not here{where}. Place it like this:\n{facts.place_what.rstrip()}\n"
        f"Source: {facts.homepage} ({facts.licence}). Then give its folder with --root, or set "
        f"{root_variable(facts.name)} to it, or set BENCH_DATA to the folder that holds {facts.folder}/. "
        "Meanwhile, try `bench run --config quickstart`."
    )


def resolve_root(facts: SetFacts, explicit: Path | None, env: Mapping[str, str]) -> Path:
    """Return the data set's root folder: `explicit`, else $BENCH_ROOT_<NAME>, else $BENCH_DATA/<folder>. The first
    one given must exist.

    Raises:
        BenchError: none is given, or the folder does not exist; the message says what to place where.
    """
    variable = root_variable(facts.name)
    if explicit is not None:
        candidate, origin = explicit, "--root"
    elif env.get(variable):
        candidate, origin = user_path(env[variable]), variable
    elif env.get("BENCH_DATA"):
        candidate, origin = user_path(env["BENCH_DATA"]) / facts.folder, "BENCH_DATA"
    else:
        raise missing(facts, [])
    candidate = user_path(candidate)
    if not candidate.is_dir():
        raise missing(facts, [f"{candidate} from {origin}{Nearby(candidate.parent).tail(candidate.name)}"])
    return candidate


def parse_options(model: type[BaseModel], options: Mapping[str, Any], what: str) -> Any:
    """Validate `options` against a pydantic model.

    Raises:
        BenchError: one line for the first problem; an unknown key names the nearest ones. `what` says whose options
            they are.
    """
    try:
        parsed = model.model_validate(dict(options))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known: Any = model
            for part in problem["loc"][:-1]:
                known = _inner_model(known, str(part))
            names = known.model_fields if known is not None else []
            raise BenchError(f"{what} has no option {place!r}{nearest(str(problem['loc'][-1]), names)}") from error
        message = problem["msg"].removeprefix("Value error, ")
        raise BenchError(f"{what}, option {place}: {message}" if place else f"{what}: {message}") from error
    wrong = mistaken(options, parsed)
    if wrong is not None:
        raise BenchError(f"{what}, option {'.'.join(wrong[0])}: {wrong[1]}")
    return parsed


def _inner_model(model: Any, name: str) -> Any:
    """Return the pydantic model of field `name`, None where the field is no model."""
    field = model.model_fields.get(name) if model is not None else None
    annotation = field.annotation if field is not None else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def settled(layout: Any, options: Any) -> Any:
    """Return `layout` with the values of those of its settings that are options."""
    names = type(layout).model_fields.keys() & type(options).model_fields.keys()
    return layout.model_copy(update={name: getattr(options, name) for name in names})


def lacking(folder: Path, *needed: str | tuple[str, ...]) -> list[str]:
    """Return which of the needed files and folders are not in `folder`; of several names in a tuple one is enough."""
    alternatives = [(names,) if isinstance(names, str) else names for names in needed]
    return [names[0] for names in alternatives if not any((folder / name).exists() for name in names)]


def _unordered(value: Any) -> Any:
    return set(value) if isinstance(value, tuple) else value


KINDS = {"pairs": "SAR-optical pairs, for matching", "ships": "SAR scenes with ship boxes, for detection"}


def open_dataset(
    name: str,
    options: Mapping[str, Any],
    root: Path | None,
    cache: Path,
    env: Mapping[str, str] | None = None,
    *,
    kind: Literal["pairs", "ships"] | None = None,
) -> Any:
    """Open the data set called `name`: a `PairDataset`, or a `bench.data.ships.dataset.ShipDataset`.

    Args:
        options: as written in the config.
        root: folder given by the user, None to look into `env` (default: the process environment), or to generate a
            generated set.
        cache: folder for results that can be made again.
        kind: "pairs" or "ships" where the caller can use no other.

    Raises:
        BenchError: unknown name or option, a set of the other kind, missing set, unexpected layout.
    """
    cls: type[Dataset] = DATASETS.get(name)
    if kind is not None and cls.kind != kind:
        known = ", ".join(each for each in DATASETS.names() if DATASETS.get(each).kind == kind)
        raise BenchError(f"data set {name} holds {KINDS[cls.kind]}; {KINDS[kind]} are needed here; known: {known}")
    parsed = parse_options(cls.Options, options, f"data set {name}")
    if cls.generated and root is None:
        return cls(cls.prepare(None, parsed, cache), parsed, cache)
    found = cls.locate(resolve_root(cls.facts, root, os.environ if env is None else env), parsed)
    return cls(cls.prepare(found, parsed, cache), parsed, cache)
