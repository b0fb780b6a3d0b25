"""Classes that only one process knows: they run in it, and a run with worker processes refuses them before it starts."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from command_line import TINY, Bench

import bench
from bench.core.plugins import session_sha256
from bench.execution.cell import Cell, Origin
from bench.execution.components import for_workers

SESSION = '''
import sys
import bench

{helper}
@bench.MATCHERS.register("mine")
class Mine(bench.Matcher):
    """Distance by brightness."""

    def _score_pairs(self, sar, optical, pairs):
        return abs(sar.mean((1, 2))[pairs[:, 0]] - {factor} * optical.mean((1, 2, 3))[pairs[:, 1]])


refused = bench.plan("tiny.yaml", matcher="mine")
print(refused)
try:
    bench.run("tiny.yaml", matcher="mine", say=print)
except bench.BenchError as error:
    print("REFUSED", error)
for _ in range(2):
    result = bench.run("tiny.yaml", matcher="mine", in_process=True, figures=False, threads=1, say=print)
    print(result.records[0].fingerprint, result.failures)
'''


def session(bench: Bench, **parts: str) -> str:
    """Run a script that defines a matcher; return what it printed."""
    import subprocess
    import sys

    bench.write("tiny.yaml", TINY)
    bench.write("session.py", SESSION.format(**{"helper": "", "factor": "1", **parts}))
    done = subprocess.run(
        [sys.executable, "session.py"], cwd=bench.folder, env=bench.env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_class_of_the_session_runs_in_this_process_and_is_refused_elsewhere(bench: Bench) -> None:
    out = session(bench)
    assert "1 miss something" in out and "missing: matcher 'mine' is defined in this session" in out
    told = next(line for line in out.splitlines() if line.startswith("REFUSED"))
    assert "no worker process sees" in told and "in_process=True" in told and "`plugins:`" in told
    assert "tiny: 1 cell, 0 finished already, 1 to run" in out and "tiny: 1 cell, 1 finished already, 0 to run" in out
    first, second = [line for line in out.splitlines() if line.endswith(" ()")]
    assert first == second
    # another text of the class is another method; a name in it that changes nothing is one as well
    changed = [line for line in session(bench, factor="2").splitlines() if line.endswith(" ()")]
    assert changed[0] != first


def test_a_class_that_is_defined_again_takes_the_place_of_the_first() -> None:
    def define(module: str) -> type:
        return type("Again", (bench.Matcher,), {"__module__": module, "__qualname__": "Again"})

    one, two = define("__main__"), define("__main__")
    bench.MATCHERS.register("again", "text")(one)
    try:
        assert bench.MATCHERS.get("again") is one
        bench.MATCHERS.register("again", "text")(two)
        assert bench.MATCHERS.get("again") is two
        with pytest.raises(bench.BenchError, match="two matchers are called 'again'"):
            bench.MATCHERS.register("again", "text")(define("other"))
    finally:
        with bench.MATCHERS._lock:
            del bench.MATCHERS._entries["again"]
            bench.MATCHERS._loaded.pop("again")


def cell(name: str, plugins: tuple[str, ...] = ()) -> Cell:
    spec = {"dataset": {"name": "toy-pairs"}, "method": {"matcher": name, "backbone": "resnet18"}}
    return Cell("matching", "s", "d", "m", 0, spec, Origin(plugins=plugins))


def lent(name: str, module: str) -> type:
    return type(name, (bench.Matcher,), {"__module__": module})


def test_which_modules_a_worker_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert for_workers(cell("bnn")).origin.plugins == ()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("")
    for module, plugins, found in (
        ("beside", (), ("beside",)),  # a worker starts in the same folder, and imports it first
        ("beside", ("beside",), ("beside",)),
        ("bench_plugin_own", ("folder/own.py",), ("folder/own.py",)),
    ):
        with bench.MATCHERS.lend("lent", lent("Lent", module)):
            assert for_workers(cell("lent", plugins)).origin.plugins == found
    for module in ("__main__", "nowhere_to_be_found", "bench_plugin_own"):
        with (
            bench.MATCHERS.lend("lent", lent("Lent", module)),
            pytest.raises(bench.BenchError, match="matcher 'lent' is defined in .*in_process=True.*plugins"),
        ):
            for_workers(cell("lent"))


def test_the_text_of_a_class_without_source_cannot_be_known() -> None:
    space: dict[str, object] = {"__name__": "__main__"}
    exec("class Bare:\n    def f(self): pass\n", space)
    bare = space["Bare"]
    assert isinstance(bare, type)
    with pytest.raises(bench.BenchError, match="the source of Bare cannot be read"):
        session_sha256(bare)


def test_what_a_run_changes_of_this_process_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for name, value in Bench(tmp_path).env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    expected = [random.random(), np.random.random(), float(torch.rand(1))]
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    monkeypatch.setenv("BENCH_CACHE", "elsewhere")
    threads = torch.get_num_threads()
    before = {name: value for name, value in os.environ.items() if name.startswith("BENCH_")}
    settings = [
        "matching.methods.random={matcher: infonce, backbone: resnet18, options: {epochs: 1, batch_size: 8, input_px: 32, dim: 8}}"
    ]
    suite = bench.load_suite("tiny.yaml", settings)
    result = bench.run(
        suite, method="random", seeds=[0], figures=False, in_process=True, threads=1, say=lambda line: None
    )
    assert result.whole
    assert [random.random(), np.random.random(), float(torch.rand(1))] == expected
    after = {name: value for name, value in os.environ.items() if name.startswith("BENCH_")}
    assert after == before and torch.get_num_threads() == threads


def test_a_plug_in_that_was_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    plugin = tmp_path / "changing.py"
    plugin.write_text("VALUE = 1\n")
    (tmp_path / "s.yaml").write_text(TINY.replace("name: tiny", "name: s\nplugins: [changing.py]"))
    bench.load_suite(tmp_path / "s.yaml")
    bench.load_suite(tmp_path / "s.yaml")
    plugin.write_text("VALUE = 2\n")
    with pytest.raises(bench.BenchError, match="changing.py was changed after this process imported it"):
        bench.load_suite(tmp_path / "s.yaml")
