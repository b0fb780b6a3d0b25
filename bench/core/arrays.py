"""Reading .npz files that anyone may have written: only the arrays that are expected, each of a type and shape that its
header states before its content is read, all together within a limit.

`save_arrays` in `store.py` writes them; which arrays a file holds is the business of the task packages.
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError, first_line
from bench.core.untrusted import MIB, open_regular, size_text

if TYPE_CHECKING:
    import numpy as np

LARGEST = 4096 * MIB  # of all arrays of a file together, where its kind states no limit of its own
SAMPLES = 256 * MIB  # of the per-sample scores of one record; the committed ones take less than 1 MiB each
_MEMBERS, _HEADER = 256, 10_000  # arrays in one file; bytes of a header, NumPy's own limit
# what NumPy and zipfile let through when bytes are wrong; MemoryError: more than this machine has
_DAMAGE = (
    OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, OverflowError, MemoryError, RuntimeError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, SyntaxError,
)  # fmt: skip


@dataclass(frozen=True)
class ArraySpec:
    """One array that a file may hold.

    Attributes:
        kinds: letters of NumPy's kinds of data type, "iu" for whole numbers; an empty array may have any of "biufU".
        shape: a number, or the name of a length that all arrays of the file share ("n"), for each dimension.
        low, high: smallest value, and first value that is too large: a number, or the name of a length; None for none.
        needed: a file without it is refused.
        finite: neither NaN nor infinite.
    """

    kinds: str
    shape: tuple[int | str, ...]
    low: int | None = None
    high: int | str | None = None
    needed: bool = True
    finite: bool = False


Schema = Mapping[str, ArraySpec]


def load_arrays(
    path: Path, what: str, advice: str = "run the cell again", schema: Schema | None = None, at_most: int = LARGEST
) -> dict[str, Any]:
    """Return the named arrays of an .npz file, each read to its end, so that its checksum has been compared.

    Args:
        what, advice: for the message: the file in words ("predictions file"), and what makes it again.
        schema: the arrays to read; others are left alone. None reads all.
        at_most: bytes of all arrays together, and of the file.

    Raises:
        FileNotFoundError: there is none; the caller knows what that means.
        BenchError: damaged, unreadable, no regular file, too large, or other arrays than the schema says.
    """
    try:
        with open_regular(path, at_most) as stream, zipfile.ZipFile(stream) as archive:
            names = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if len(archive.infolist()) > _MEMBERS:
                raise ValueError(f"{len(archive.infolist())} arrays; at most {_MEMBERS} are read")
            wanted = {name: info for name, info in names.items() if schema is None or name in schema}
            missing = [name for name, spec in (schema or {}).items() if spec.needed and name not in names]
            if missing:
                raise ValueError(f"array {missing[0]} is missing")
            heads = {name: _head(archive, info) for name, info in wanted.items()}
            total = sum(max(head.size, wanted[name].file_size) for name, head in heads.items())
            if total > at_most:
                raise ValueError(f"its arrays take {size_text(total)}; at most {size_text(at_most)} are read")
            arrays = {name: _read(archive, wanted[name], head) for name, head in heads.items()}
        for name, array in arrays.items():
            _check_text(name, array)
        if schema is not None:
            check_arrays(arrays, schema)
        return arrays
    except FileNotFoundError:
        raise
    except BenchError as error:
        raise BenchError(f"{error}; then {advice}") from error
    except _DAMAGE as error:
        raise BenchError(f"{path}: damaged {what} ({first_line(error)}); delete it and {advice}") from error


def check_arrays(arrays: Mapping[str, np.ndarray], schema: Schema) -> None:
    """Raise ValueError unless the arrays have types, shapes and values as the schema says."""
    lengths: dict[str, int] = {}
    for name, array in arrays.items():
        spec = schema[name]
        if array.size and array.dtype.kind not in spec.kinds or array.dtype.kind not in "biufU":
            raise ValueError(f"array {name} is of {array.dtype}, not of kind {spec.kinds!r}")
        if array.ndim != len(spec.shape):
            raise ValueError(f"array {name} has {array.ndim} dimensions, not {len(spec.shape)}")
        for found, expected in zip(array.shape, spec.shape, strict=True):
            wanted = lengths.setdefault(expected, found) if isinstance(expected, str) else expected
            if found != wanted:
                shape = ", ".join(map(str, spec.shape))
                raise ValueError(f"array {name} has shape {array.shape}, not ({shape}) with {expected} = {wanted}")
    for name, array in arrays.items():
        _check_values(name, array, schema[name], lengths)


def _check_values(name: str, array: np.ndarray, spec: ArraySpec, lengths: Mapping[str, int]) -> None:
    import numpy as np

    if not array.size:
        return
    if spec.finite and not np.isfinite(array).all():
        raise ValueError(f"array {name} holds a value that is not finite")
    high = lengths.get(spec.high, 0) if isinstance(spec.high, str) else spec.high
    if spec.low is not None and array.min() < spec.low or high is not None and array.max() >= high:
        raise ValueError(f"array {name} holds a value below {spec.low} or from {high} on")


def _check_text(name: str, array: np.ndarray) -> None:
    """Raise ValueError where a text array holds what is no Unicode text: no file could be written with it."""
    import numpy as np

    if array.dtype.kind != "U" or not array.size or not array.dtype.itemsize:
        return
    letters = np.atleast_1d(array).astype(array.dtype.newbyteorder("="), order="C").view(np.uint32)
    if ((letters > 0x10FFFF) | ((letters >= 0xD800) & (letters < 0xE000))).any():
        raise ValueError(f"array {name} holds what is no text")


@dataclass(frozen=True)
class _Head:
    """What the header of a .npy file states; `start` is its own length in bytes."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def size(self) -> int:
        """Bytes of the array's content."""
        return math.prod(self.shape) * int(self.dtype.itemsize)


def _head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Head:
    """Return what an array's header states.

    Raises:
        ValueError: it does not fit what the archive states, or the array holds objects.
    """
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"array {info.filename} is encrypted, or packed as no file of ours is")
    with archive.open(info) as stream:
        try:
            first = stream.read(12)
            width = 2 if first[6:7] == b"\x01" else 4
            length = int.from_bytes(first[8 : 8 + width], "little")
            if length > _HEADER:
                raise ValueError("its header is too long")
            head = _parsed(first + stream.read(8 + width + length - len(first)))
        except (ValueError, TypeError, SyntaxError) as error:
            raise ValueError(f"{info.filename.removesuffix('.npy')} is no array") from error
    if head.dtype.hasobject or head.dtype.names is not None or head.dtype.subdtype is not None:
        raise ValueError(f"array {info.filename} is of {head.dtype}, which no file of ours holds")
    if min(head.shape, default=0) < 0 or head.start + head.size != info.file_size:
        raise ValueError(f"array {info.filename} states shape {head.shape}, which its length does not fit")
    return head


@lru_cache(maxsize=4096)
def _parsed(text: bytes) -> _Head:
    """Return what a header states; a table reads thousands of files whose arrays have few headers between them."""
    from numpy.lib import format as npy

    stream = io.BytesIO(text)
    version = npy.read_magic(stream)
    reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if reader is None:
        raise ValueError(f"version {version} of the .npy format is not read")
    shape, fortran, dtype = reader(stream)
    return _Head(shape, fortran, dtype, stream.tell())


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, head: _Head) -> Any:
    import numpy as np

    content = archive.read(info)  # at the end the checksum is compared
    if not head.size:
        return np.zeros(head.shape, head.dtype)
    array = np.frombuffer(content, head.dtype, offset=head.start).reshape(
        head.shape, order="F" if head.fortran else "C"
    )
    return array.copy(order="K")
