"""Fixtures of the command line's tests: an empty folder to run in, and two finished runs that tests may read or
copy.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# as `bench` sets it, and before NumPy and torch are imported: two test processes with two threads each wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from command_line import NET, TINY, Bench
from hypothesis import settings

# no time limit for one example: a first import, or another process of the machine, is no finding
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """The command line in an empty folder."""
    return Bench(tmp_path)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A finished run of TINY (`tiny.yaml`), pictures included, no network in it. Read only: copy it with `tiny` to
    change it.
    """
    bench = Bench(tmp_path_factory.mktemp("tiny"))
    bench.write("tiny.yaml", TINY)
    bench("run", "--config", "tiny.yaml", "--threads", "1")
    return bench


@pytest.fixture
def tiny(tiny_run: Bench, tmp_path: Path) -> Bench:
    """A copy of the finished run of TINY, to be changed."""
    shutil.copytree(tiny_run.folder, tmp_path / "tiny")
    return Bench(tmp_path / "tiny")


@pytest.fixture(scope="session")
def net_run(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A finished, never interrupted run of NET (`net.yaml`): one ResNet-18 trained for 4 epochs. Read only."""
    bench = Bench(tmp_path_factory.mktemp("net"))
    bench.write("net.yaml", NET)
    bench("run", "--config", "net.yaml", "--threads", "1", "--workers", "0")
    return bench
