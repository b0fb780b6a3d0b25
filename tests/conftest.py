"""Fixtures of the command line's tests: an empty folder to run in, and two finished runs that tests may read or
copy.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

# as `bench` sets it, and before NumPy and torch are imported: two test processes with two threads each wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from command_line import NET, TINY, Bench
from filelock import FileLock
from hypothesis import settings

# no time limit for one example: a first import, or another process of the machine, is no finding
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """The command line in an empty folder."""
    return Bench(tmp_path)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Bench], None]) -> Bench:
    """Return a folder that `make` fills for all test processes of this session: the first that asks makes it, the others
    wait.
    """
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    base = factory.getbasetemp() if alone else factory.getbasetemp().parent
    bench, made = Bench(base / f"shared-{name}"), base / f"shared-{name}.made"
    with FileLock(base / f"shared-{name}.lock"):
        if not made.exists():
            shutil.rmtree(bench.folder, ignore_errors=True)  # of a process that failed half-way
            bench.folder.mkdir()
            make(bench)
            made.touch()
    return bench


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment under which runs of all test processes share the data that they generate: those of the quickstart
    take half a minute.
    """
    return {"BENCH_CACHE": str(made_once(tmp_path_factory, "cache", lambda bench: None).folder)}


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A finished run of TINY (`tiny.yaml`), pictures included, no network in it. Read only: copy it with `tiny` to
    change it.
    """

    def make(bench: Bench) -> None:
        bench.write("tiny.yaml", TINY)
        bench("run", "--config", "tiny.yaml", "--threads", "1")

    return made_once(tmp_path_factory, "tiny", make)


@pytest.fixture
def tiny(tiny_run: Bench, tmp_path: Path) -> Bench:
    """A copy of the finished run of TINY, to be changed."""
    shutil.copytree(tiny_run.folder, tmp_path / "tiny")
    return Bench(tmp_path / "tiny")


@pytest.fixture(scope="session")
def net_run(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A finished, never interrupted run of NET (`net.yaml`): one ResNet-18 trained for 4 epochs. Read only."""

    def make(bench: Bench) -> None:
        bench.write("net.yaml", NET)
        bench("run", "--config", "net.yaml", "--threads", "1", "--workers", "0")

    return made_once(tmp_path_factory, "net", make)
