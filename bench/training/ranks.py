"""The processes of a data-parallel cell: who is who, how they wait for one another, and how all of them end when one
does.

A launcher (torchrun, srun, mpirun) starts `bench.worker` N times and gives each its rank by RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT. Rank 0 is the worker that a cell has always had: it alone holds the folder's lock and
writes. The others wait until rank 0 trains, take part (`parallel.py`), and leave. They talk through torch's
key-value store, never through a collective, wherever one may be busy for minutes with something else (decoding,
validation, a checkpoint). No rank hangs: a thread of each looks every half second whether another one has failed or the
store is gone, and ends its process then.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError, first_line

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]  # public, though not in its __all__

ANNOUNCED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PRIVATE = (*ANNOUNCED, "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_JOIN_S = 300.0  # until every process has reached the store
_LOOK_S = 0.5
_POLL_S = 0.05
_GRACE_S = 30.0  # for rank 0 to record a failure, or for the others to leave
_FAREWELL_S = 1.0  # for the others to leave after a failure; one that was killed never does
_FAILURE, _RECORDED, _LEAVE, _LEFT = "failure", "recorded", "leave", "left"


@dataclass(frozen=True)
class RankFailure:
    """What ended one rank: a message of one line, and the traceback."""

    rank: int
    message: str
    traceback: str


class ReleasedError(BaseException):
    """Raised in a rank other than 0 when it has taken part in all trainings of the cell: there is nothing left for it
    to do.
    """


class World:
    """One process among the N of a data-parallel cell.

    Attributes:
        rank, size: this process, from 0, of how many.
        local_rank: its number on its machine: its CUDA device.
        trainings: how many trainings the ranks have begun together.
    """

    def __init__(self, rank: int, size: int, local_rank: int, store: Any, hosts_store: bool) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank
        self.store, self._hosts_store = store, hosts_store
        self.trainings = 0
        self._on_failure: Callable[[RankFailure], None] = lambda failure: None
        self._ending = threading.Event()
        threading.Thread(target=self._look, args=(store.clone(),), daemon=True, name="other-ranks").start()

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    # -- what rank 0 does ----------------------------------------------------------------------------------------------
    def on_failure(self, act: Callable[[RankFailure], None]) -> None:
        """Have `act` called, in another thread and right before this process ends, when another rank fails."""
        self._on_failure = act

    def dismiss(self) -> None:
        """Let the other ranks go: this cell trains nothing (more)."""
        if not self._ending.is_set():
            self.store.set(_LEAVE, "1")

    def close(self) -> None:
        """Rank 0, last of all: dismiss the others; where the store lives in this process, keep it until they have
        gone.
        """
        with suppress(RuntimeError):  # the launcher took the store away
            self.dismiss()
            self._ending.set()
            if self._hosts_store:
                _until(
                    lambda: int(self.store.add(_LEFT, 0)) >= self.size - 1,
                    _FAREWELL_S if self._has(_FAILURE) else _GRACE_S,
                )

    # -- what the others do --------------------------------------------------------------------------------------------
    def awaits_training(self) -> bool:
        """Wait for rank 0 to begin the next training; return False when there will be none."""
        wanted = f"train/{self.trainings + 1}"
        _until(lambda: self._has(wanted) or self._has(_LEAVE))
        return self._has(wanted)

    def leave(self) -> None:
        """A rank other than 0, last of all."""
        self._ending.set()
        with suppress(RuntimeError):  # the store has gone with rank 0
            self.store.add(_LEFT, 1)

    # -- both ----------------------------------------------------------------------------------------------------------
    def begin_training(self) -> str:
        """Meet the other ranks for a training; return a name for it, the same in all. A rank other than 0 has awaited
        it.
        """
        self.trainings += 1
        name = f"train/{self.trainings}"
        if self.leads:
            self.store.set(name, "1")
        self.store.add(f"{name}/here", 1)
        _until(lambda: int(self.store.add(f"{name}/here", 0)) >= self.size)
        return name

    def after_rank_0(self, step: str) -> None:
        """Rank 0: say that it has finished `step`; the others: wait for that."""
        if self.leads:
            self.store.set(step, "1")
        else:
            _until(lambda: self._has(step))

    def fail(self, message: str, traceback: str) -> bool:
        """Tell the other ranks that this one has failed; return whether rank 0 has recorded it, which another one waits
        for.
        """
        report = json.dumps([self.rank, message, traceback])
        self._ending.set()
        with suppress(RuntimeError):  # the store is gone: so are the others, or they will notice
            self.store.compare_set(_FAILURE, "", report)
            if self.leads:
                self.store.set(_RECORDED, "1")
            return _until(lambda: self._has(_RECORDED), _GRACE_S)
        return False

    def failure_of_another(self, patience_s: float = 2.0) -> RankFailure | None:
        """Return what another rank has failed of, waiting a moment for it to say so: a lost connection is most often
        only what follows.
        """
        try:
            _until(lambda: self._has(_FAILURE), patience_s)
            found = _read_failure(self.store) if self._has(_FAILURE) else None
        except RuntimeError:
            return None
        return found if found is not None and found.rank != self.rank else None

    def lost_message(self) -> str:
        """Return the message where a connection broke and no rank reported why."""
        return (
            f"another of the {self.size} processes is gone (killed? out of memory?); the same command goes on from the"
            " last checkpoint"
        )

    def handles_failure(self) -> None:
        """Rank 0 has caught an exception and records it itself."""
        self._ending.set()

    def _has(self, key: str) -> bool:
        return bool(self.store.check([key]))

    def _look(self, store: Any) -> None:
        """Run in a thread of its own, with a connection of its own: end this process once another has failed or the
        store is gone.
        """
        while not self._ending.wait(_LOOK_S):
            try:
                failure = _read_failure(store) if store.check([_FAILURE]) else None
            except RuntimeError as error:
                print(
                    f"bench.worker: rank {self.rank} ends: its connection is lost ({first_line(error)})",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(1)
            if failure is None or failure.rank == self.rank or self._ending.is_set():
                continue
            if self.leads:
                self._on_failure(failure)
                store.set(_RECORDED, "1")
                time.sleep(1.0 if self._hosts_store else 0.0)  # for the others to see it
            os._exit(1)


def world_from_environment(environment: dict[str, str] | None = None) -> World | None:
    """Meet the processes that a launcher started with this one; None where it is alone.

    What the launcher announced is taken out of `environment` (os.environ by default): nothing that a method starts must
    take itself for a rank.

    Raises:
        BenchError: the announcement is incomplete or damaged, or not every process arrives within five minutes.
    """
    environ = os.environ if environment is None else environment
    announced = {name: environ.pop(name) for name in _PRIVATE if name in environ}
    if announced.get("WORLD_SIZE", "1") == "1":
        return None
    lacking = [name for name in ANNOUNCED if name not in announced]
    if lacking:
        raise BenchError(
            f"WORLD_SIZE is {announced['WORLD_SIZE']}, but {', '.join(lacking)} is not set; start the worker with"
            " torchrun"
        )
    rank, size, port = (_whole(announced, name) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    if not 0 <= rank < size:
        raise BenchError(f"RANK is {rank} and WORLD_SIZE {size}; ranks go from 0 to WORLD_SIZE - 1")
    local_rank = _whole(announced, "LOCAL_RANK") if "LOCAL_RANK" in announced else rank
    hosts_store = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    return World(rank, size, local_rank, _store(announced["MASTER_ADDR"], port, rank, size, hosts_store), hosts_store)


def _store(host: str, port: int, rank: int, size: int, hosts_store: bool) -> Any:
    """Return the connection to the store: torchrun's own, or one that rank 0 hosts."""
    # else each rank warns of a network that uses all its parameters
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, though not in its __all__

    try:
        server = TCPStore(
            host, port, size, hosts_store, timedelta(seconds=_JOIN_S), wait_for_workers=False, multi_tenant=True
        )
        store = prefixed(f"saropt/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", server)
        store.add("joined", 1)
        arrived = _until(lambda: int(store.add("joined", 0)) >= size, _JOIN_S)
    except (RuntimeError, ValueError) as error:
        raise BenchError(
            f"rank {rank} cannot reach {host}:{port} (MASTER_ADDR, MASTER_PORT): {first_line(error)}"
        ) from error
    if not arrived:
        raise BenchError(
            f"of {size} processes (WORLD_SIZE) only {store.add('joined', 0)} reached {host}:{port} within"
            f" {_JOIN_S:.0f} s"
        )
    return store


def prefixed(name: str, store: Store) -> Store:
    """Return `store` with `name` before each of its keys."""
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # public, though not in its __all__

    under: Store = PrefixStore(name, store)
    return under


def is_lost_connection(error: Exception) -> bool:
    """Return whether torch raised `error` because another rank did not answer; gloo has no type of its own for that."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "Connection" in str(error))
    )


def _read_failure(store: Any) -> RankFailure:
    rank, message, traceback = json.loads(store.get(_FAILURE))
    return RankFailure(int(rank), str(message), str(traceback))


def _whole(announced: Mapping[str, str], name: str) -> int:
    if not announced[name].isdigit():
        raise BenchError(f"{name} is {announced[name]!r}; a whole number from 0")
    return int(announced[name])


def _until(what: Callable[[], bool], patience_s: float | None = None) -> bool:
    """Look until `what()` is true, or for so long; return whether it is. A blocking call of the store would hold its
    connection.
    """
    end = None if patience_s is None else time.monotonic() + patience_s
    pause = _POLL_S / 10
    while not what():
        if end is not None and time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, _LOOK_S)
    return True
