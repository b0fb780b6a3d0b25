"""How long things take, shown while they run: a bar with time left on a terminal, plain lines elsewhere.

Owns what a person sees of a loop's progress, on stderr and in the log. Does not own the log file itself (`log` is
handed in) and times nothing for the record.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, TextIO

from bench.core.escaping import printable

OnCount = Callable[[int, int], None]
"""Called with (samples done, samples in all)."""
OnStage = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


class Progress:
    """Opens progress bars.

    Args:
        log: takes one line at a time (a cell's log file); None for no log.
        stream: where a person looks; stderr when None. A terminal gets a tqdm bar, anything else plain lines.
        interval_s: least time in seconds between two plain lines of one loop.
    """

    def __init__(
        self, log: Callable[[str], None] | None = None, stream: TextIO | None = None, interval_s: float = 10.0
    ) -> None:
        self.log = log
        stream = sys.stderr or io.StringIO() if stream is None else stream  # a process may have no stderr
        self.stream: TextIO = getattr(stream, "inner", stream)  # a bar draws by control characters
        self.interval_s = interval_s

    def bar(self, title: str, total: int, unit: str = "it", done: int = 0) -> Bar:
        """Return a bar over `total` steps of which `done` were finished earlier; use it in a `with` statement."""
        return Bar(self, title, total, unit, done)

    @contextmanager
    def whole(self, title: str, unit: str = "it") -> Iterator[Callable[[int, int], None]]:
        """Give out report(done, total); a bar opens with the first report, so that work found done already shows
        none.
        """
        bars: list[Bar] = []

        def report(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(self.bar(title, total, unit)))
            bars[0].advance(done - bars[0].done)

        with ExitStack() as stack:
            yield report

    def say(self, text: str) -> None:
        """Write one line to the stream (above an open bar) and to the log."""
        text = printable(text)
        if self.stream.isatty():
            from tqdm import tqdm

            tqdm.write(text, file=self.stream)
        else:
            self.stream.write(text + "\n")
            self.stream.flush()
        if self.log is not None:
            self.log(text)


class Bar:
    """One running loop. Made by `Progress.bar`; call `advance` after each step."""

    def __init__(self, owner: Progress, title: str, total: int, unit: str, done: int) -> None:
        self.title, self.total, self.unit, self.done = printable(title), total, unit, done
        self._owner = owner
        self._first = done
        self._start = self._last = time.monotonic()
        self._note = ""
        self._tqdm: Any = None

    def __enter__(self) -> Bar:
        if self._owner.stream.isatty():
            from tqdm import tqdm

            self._tqdm = tqdm(
                total=self.total, initial=self.done, desc=self.title, unit=self.unit, file=self._owner.stream,
                dynamic_ncols=True, leave=False,
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tqdm is not None:
            self._tqdm.close()
            self._tqdm = None
        if kind is None:
            self._line(f"{self.title}: {self.done}/{self.total} {self.unit} in {clock(self._elapsed())}{self._note}")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more as done; `note` (a loss, a name) is shown beside the count."""
        self.done += steps
        if note:
            note = printable(note)
            self._note = f", {note}"
        if self._tqdm is not None:
            if note:
                self._tqdm.set_postfix_str(note, refresh=False)
            self._tqdm.update(steps)
        now = time.monotonic()
        if now - self._last >= self._owner.interval_s and self.done < self.total:
            self._last = now
            self._line(self._status())

    def _elapsed(self) -> float:
        return time.monotonic() - self._start

    def _status(self) -> str:
        share = self.done / self.total if self.total else 1.0
        steps = self.done - self._first
        left = self._elapsed() / steps * (self.total - self.done) if steps else None
        tail = f", {clock(left)} left" if left is not None else ""
        return f"{self.title}: {self.done}/{self.total} {self.unit} ({share:.0%}){tail}{self._note}"

    def _line(self, text: str) -> None:
        if not self._owner.stream.isatty():
            self._owner.stream.write(text + "\n")
            self._owner.stream.flush()
        if self._owner.log is not None:
            self._owner.log(text)


def clock(seconds: float) -> str:
    """Return a duration in seconds as `m:ss`, or `h:mm:ss` from an hour on."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
