"""From a name to an opened set: roots, options, messages, the registry, and what planning may import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bench.core.errors import BenchError
from bench.core.registries import DATASETS
from bench.data.dataset import Dataset, open_dataset, parse_options, resolve_root, root_variable
from bench.data.datasets.qxs_saropt import QxsSaropt
from bench.data.scaling import SarScale

MakePairs = Callable[..., Path]


def test_root_is_looked_for_in_order(tmp_path: Path) -> None:
    facts = QxsSaropt.facts
    for name in ("explicit", "own", "data/QXSLAB_SAROPT"):
        (tmp_path / name).mkdir(parents=True)
    env = {"BENCH_ROOT_QXS_SAROPT": str(tmp_path / "own"), "BENCH_DATA": str(tmp_path / "data")}
    assert root_variable("qxs-saropt") == "BENCH_ROOT_QXS_SAROPT"
    assert resolve_root(facts, tmp_path / "explicit", env) == tmp_path / "explicit"
    assert resolve_root(facts, None, env) == tmp_path / "own"
    del env["BENCH_ROOT_QXS_SAROPT"]
    assert resolve_root(facts, None, env) == tmp_path / "data" / "QXSLAB_SAROPT"


@pytest.mark.parametrize("env", [{}, {"BENCH_DATA": "/nowhere"}, {"BENCH_ROOT_QXS_SAROPT": "/nowhere/q"}])
def test_missing_set_says_what_to_place_where(env: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(BenchError) as error:
        open_dataset("qxs-saropt", {}, None, tmp_path, env=env)
    text = str(error.value)
    for part in ("opt_256_oc_0.2/1.png ... 20000.png", "github.com/yaoxu008/QXS-SAROPT", "--root", "CC BY"):
        assert part in text
    for part in ("BENCH_ROOT_QXS_SAROPT", "BENCH_DATA", "bench run --config quickstart"):
        assert part in text
    for value in env.values():
        assert value in text


def test_explicit_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="nowhere from --root"):
        open_dataset("two-folders", {}, tmp_path / "nowhere", tmp_path, env={})
    with pytest.raises(BenchError, match="scenes.csv"):
        open_dataset("s1s2-scenes", {}, tmp_path, tmp_path, env={})


def test_unknown_names_and_options(tmp_path: Path, make_pairs: MakePairs) -> None:
    with pytest.raises(BenchError, match="unknown dataset 'qxs-sarop'; nearest: qxs-saropt"):
        open_dataset("qxs-sarop", {}, None, tmp_path)
    with pytest.raises(BenchError, match="data set two-folders has no option 'optcal'; nearest: optical"):
        open_dataset("two-folders", {"optcal": "x"}, make_pairs(1), tmp_path)
    with pytest.raises(BenchError, match="option pair_by: Input should be 'stem' or 'number'"):
        open_dataset("two-folders", {"pair_by": "name"}, make_pairs(1), tmp_path)


def test_options_may_declare_the_sar_scale(tmp_path: Path, make_pairs: MakePairs) -> None:
    root = make_pairs(1)
    assert open_dataset("two-folders", {}, root, tmp_path).sar_scale is SarScale.uint8
    assert open_dataset("two-folders", {"sar_scale": "db"}, root, tmp_path).sar_scale is SarScale.db
    with pytest.raises(BenchError, match="option sar_scale"):
        open_dataset("two-folders", {"sar_scale": "decibel"}, root, tmp_path)


def test_validator_messages_are_one_line() -> None:
    class Model(BaseModel):
        a: int

    with pytest.raises(BenchError, match="^x, option a: Field required$"):
        parse_options(Model, {}, "x")


def test_every_registered_set_declares_its_facts() -> None:
    names = DATASETS.names()
    assert {"qxs-saropt", "s1s2-scenes", "toy-pairs", "two-folders"} <= set(names)
    for name in names:
        cls: Any = DATASETS.get(name)
        assert issubclass(cls, Dataset) and cls.facts.name == name
        assert cls.Options.model_config["frozen"] and cls.Options.model_config["extra"] == "forbid"
        assert cls.facts.licence and cls.facts.citation and cls.facts.place_what.strip()
        cls.Options()  # every option has a default


PLAN = """
import sys
from pathlib import Path
from bench.data.dataset import open_dataset
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split
dataset = open_dataset("two-folders", {}, Path(sys.argv[1]), Path(sys.argv[2]))
dataset.manifest()
index = dataset.index()
index.sha256
make_split(index, SplitSpec(test=0.5, validation=0.5))
heavy = {"torch", "pandas", "scipy", "sklearn", "matplotlib", "mmengine", "tqdm", "cv2", "tifffile"}
print(sorted(heavy & set(sys.modules)))
"""


def test_planning_imports_nothing_heavy_and_opens_no_image(make_pairs: MakePairs, tmp_path: Path) -> None:
    root = make_pairs(8)
    for path in (root / "sar").iterdir():
        path.write_bytes(b"never decoded")
    environment = {"PYTHONPATH": ":".join(p for p in sys.path if p)}
    command = [sys.executable, "-c", PLAN, str(root), str(tmp_path / "cache")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
