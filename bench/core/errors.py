"""The one exception for bad input, and the "did you mean" helper that its messages use.

A `BenchError` is something the user can correct: a wrong name, a missing file, a broken image. The command line prints
its one line and exits with code 2. Anything else that escapes is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable


class BenchError(Exception):
    """Bad input, reported in one line: what is wrong, where, and what to do about it.

    Attributes:
        parameter: name of the parameter that has to be changed, "" where none has. A message about the value of the
            parameter begins with its name; the command line names the option that sets it.
    """

    def __init__(self, message: str = "", parameter: str = "") -> None:
        super().__init__(message)
        self.parameter = parameter


class NotSelected(BenchError):
    """A filter of the command line leaves nothing of one task's section, or names what that section does not have.

    Attributes:
        option: the filter with unknown values, "" where all are known and nothing is left.
        unknown, known: its values that the section does not have, and all that it has.
    """

    def __init__(self, message: str, option: str = "", unknown: Iterable[str] = (), known: Iterable[str] = ()) -> None:
        super().__init__(message, option)
        self.option, self.unknown, self.known = option, tuple(unknown), tuple(known)


class MissingInputs(BenchError):
    """Several things are missing on disk, one message each; a plan lists each message once, however many cells miss
    it.
    """

    def __init__(self, messages: list[str]) -> None:
        super().__init__("\n\n".join(messages))
        self.messages = messages


def nearest(name: str, options: Iterable[str]) -> str:
    """Return the tail of an error message that lists the options nearest to `name` (all of them when none is near)."""
    known = sorted(set(options))
    if not known:
        return "; none are known"
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "; nearest: " + ", ".join(close)
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return "; known: " + shown


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text (its class name when it has none): what fits into a one-line
    message.
    """
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


# what NumPy, torch, the C library and the dynamic loader say when a limit or the machine gives no more memory
_NO_MEMORY = re.compile(
    r"out of memory|can(?:'t|not) allocate|unable to allocate|bad_alloc|failed to map segment|failed to create thread"
    r"|can't start new thread|resource temporarily unavailable",
    re.IGNORECASE,
)


def memory_lack(error: BaseException) -> str | None:
    """Return the sentence that says that an operation wanted more memory than there is, None for another error."""
    known = isinstance(error, MemoryError) or isinstance(error, OSError) and error.errno == errno.ENOMEM
    if not known and not (isinstance(error, RuntimeError | ImportError | OSError) and _NO_MEMORY.search(str(error))):
        return None
    where = " on the accelerator" if "CUDA out of memory" in str(error) else ""
    size = re.search(r"\d[\d.]* (?:[KMGT]i?B|bytes)", str(error))
    wanted = f" ({size[0]} more were wanted)" if size else ""
    return f"not enough memory{where}{wanted}; raise the limit of this shell or job, or give the work smaller parts"


def reason_line(error: BaseException) -> str:
    """Return the one line that a failure is reported by."""
    return memory_lack(error) or first_line(error)
