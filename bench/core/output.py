"""What is printed, and what happens when it cannot be: a closed pipe, a full disk, an encoding without our characters.

A command never ends over its own output: its work goes on to the end, and only then does the exit code say that
something was not shown. Owns standard output and standard error of a process while it runs.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from bench.core.escaping import printable

# what stands for our characters where an encoding lacks them; others are written out ("\u4e2d")
_PLAIN = {
    "±": "+-", "↑": "^", "↓": "v", "→": "->", "←": "<-", "Δ": "d", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...",
    "“": '"', "”": '"', "‘": "'", "’": "'", "≈": "~", "≤": "<=", "≥": ">=", "†": "(+)", "‡": "(++)", "§": "(s)",
    "¶": "(p)",
}  # fmt: skip


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Replace one run of characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(each) or ascii(each)[1:-1] for each in text), error.end


codecs.register_error("bench-plain", _plain)


class OutputStream:
    """A text stream that writes to another one what that can show, is like it otherwise, and never raises.

    Attributes:
        inner: the other one.
        lost: why something could not be written; None where all was. What follows is dropped.
    """

    def __init__(self, inner: TextIO) -> None:
        self.inner = inner
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write the text; return its length."""
        encoding = getattr(self.inner, "encoding", None) or "utf-8"
        shown = text.encode(encoding, "bench-plain").decode(encoding, "replace")
        self._try(lambda: self.inner.write(shown))
        return len(text)

    def flush(self) -> None:
        """Hand on what is buffered."""
        self._try(self.inner.flush)

    def _try(self, action: Any) -> None:
        if self.lost is not None:
            return
        try:
            action()
        except OSError as error:
            self.lost = error
            with suppress(OSError, ValueError, AttributeError):  # what is buffered would fail again when Python ends
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.inner.fileno())
                os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class PrintableStream:
    """A text stream that writes `printable` text to another one, and is like that one otherwise.

    Attributes:
        inner: the other one; for what draws on a terminal itself, such as a progress bar.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def write(self, text: str) -> int:
        """Write the text; return its length."""
        self.inner.write(printable(text))
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Output:
    """Standard output and standard error of a command."""

    def __init__(self, out: OutputStream, err: OutputStream) -> None:
        self.out, self.err = out, err

    def unwritten(self) -> str:
        """Return why not all of standard output was written, "" where all was, or where its reader has seen enough and
        closed it.
        """
        self.out.flush()
        lost = self.out.lost
        return "" if lost is None or lost.errno == errno.EPIPE else lost.strerror or str(lost)


@contextmanager
def printable_output() -> Iterator[Output]:
    """Have everything that is printed meanwhile, to standard output and to standard error, printable; what cannot be
    written is dropped.
    """
    before = sys.stdout, sys.stderr
    _open_standard_files()
    out, err = (OutputStream(io.StringIO() if stream is None else stream) for stream in before)
    streams: list[Any] = [PrintableStream(out), PrintableStream(err)]
    sys.stdout, sys.stderr = streams
    try:
        yield Output(out, err)
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def _open_standard_files() -> None:
    """Open what the caller closed (`>&-`): else the next file that is opened would be taken for standard output."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
