"""Examines an installation: what is there, what works by doing it, which data are found, and what to do about the rest.

Owns what a finding is and the order in which things are examined. Nothing here needs the network, and whatever may
crash runs in a process of its own (`backends.py`). Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bench.core.workspace import Workspace

FindingState = Literal["ok", "warn", "missing", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: "missing" is a failure only where `needed`; "warn" works, but not as it should.
        text: what was found; no path of this machine.
        advice: what to do about it, "" where nothing has to be done.
        needed: whether the core works without it.
        place: a path of this machine that belongs to the text, for the terminal only.
    """

    section: str
    name: str
    state: FindingState
    text: str
    advice: str = ""
    needed: bool = True
    place: str = ""

    @property
    def fails(self) -> bool:
        """Whether something that is installed or needed does not work."""
        return self.state == "broken" or self.state == "missing" and self.needed


class ProbeError(Exception):
    """A backend ran, and did not give what it must."""


def require(condition: object, message: str) -> None:
    """Raise ProbeError unless the condition holds."""
    if not condition:
        raise ProbeError(message)


def examine(workspace: Workspace, quick: bool, announce: Callable[[str], None]) -> Iterator[Finding]:
    """Yield all findings, section by section.

    Args:
        quick: leave out everything that computes.
        announce: called with what is examined next, before anything that takes long.
    """
    from bench.tools.doctor.backends import examine_backends, examine_plugins
    from bench.tools.doctor.data import examine_data, examine_weights
    from bench.tools.doctor.packages import examine_packages
    from bench.tools.doctor.places import examine_machine, examine_places

    yield from examine_packages()
    yield from examine_machine()
    yield from examine_backends(quick, announce)
    yield from examine_plugins(announce)
    yield from examine_data(workspace)
    yield from examine_weights(workspace, quick)
    yield from examine_places(workspace)
