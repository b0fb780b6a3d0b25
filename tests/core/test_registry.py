"""The registry: lazy, clashes that name both sides, near names, threads, and the three ways in for third parties."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from command_line import REPOSITORY, TINY, Bench

from bench.core.errors import BenchError
from bench.core.registries import BACKBONES, DATASETS, MATCHERS, TASKS
from bench.core.registry import Registry


@pytest.fixture
def registry() -> Registry:
    made = Registry("gadget", "saropt_bench.no_such_group")
    made.add("wheel", "no_such_module_at_all:Wheel", "turns")
    made.add("lever", "bench.core.errors:nearest", "lifts")
    return made


def test_listing_imports_nothing_and_getting_imports_once(registry: Registry) -> None:
    assert registry.names() == ["lever", "wheel"]
    assert registry.entry("wheel").summary == "turns"
    from bench.core.errors import nearest

    assert registry.get("lever") is nearest is registry.get("lever")


def test_a_target_that_cannot_be_loaded_is_named(registry: Registry) -> None:
    with pytest.raises(
        BenchError,
        match=r"gadget 'wheel' \(from saropt-bench\) cannot be loaded from no_such_module_at_all:Wheel: No module",
    ):
        registry.get("wheel")
    registry.add("rope", "bench.core.errors:no_such", "")
    with pytest.raises(BenchError, match="cannot be loaded from bench.core.errors:no_such"):
        registry.get("rope")


def test_a_miss_lists_the_nearest_or_all(registry: Registry) -> None:
    with pytest.raises(BenchError, match="^unknown gadget 'whel'; nearest: wheel$"):
        registry.get("whel")
    with pytest.raises(BenchError, match="^unknown gadget 'zzz'; known: lever, wheel$"):
        registry.entry("zzz")
    with pytest.raises(BenchError, match="none are known"):
        Registry("thing", "saropt_bench.no_such_group").get("x")


def test_a_clash_names_both_sides_and_the_same_twice_is_none(registry: Registry) -> None:
    registry.add("wheel", "no_such_module_at_all:Wheel", "again")
    assert registry.entry("wheel").summary == "turns"
    with pytest.raises(BenchError) as error:
        registry.add("wheel", "mine:Wheel", "", source="my-package")
    assert "no_such_module_at_all:Wheel (from saropt-bench)" in str(
        error.value
    ) and "mine:Wheel (from my-package)" in str(error.value)

    @registry.register("screw")
    class Screw:
        """Holds things.

        More.
        """

    assert registry.get("screw") is Screw and registry.entry("screw").summary == "Holds things."
    with pytest.raises(BenchError, match="two gadgets are called 'screw'"):
        registry.register("screw")(Registry)


@pytest.mark.parametrize("name", ["", "Wheel", "a b", "-x", "a/b"])
def test_names_are_plain(registry: Registry, name: str) -> None:
    with pytest.raises(BenchError, match="is not usable"):
        registry.add(name, "x:y", "")


def test_everything_that_is_shipped_loads() -> None:
    for kind in (DATASETS, MATCHERS, TASKS, BACKBONES):
        for name in kind.names():
            assert kind.get(name) is not None and kind.entry(name).summary


def test_threads_see_one_component_and_every_name() -> None:
    registry = Registry("gadget", "saropt_bench.no_such_group")
    registry.add("lazy", "wave:Error", "")
    seen: list[object] = []
    problems: list[BaseException] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        try:
            for i in range(200):
                registry.add(f"t{number}-{i}", f"m:{number}.{i}", "")
                registry.names()
            seen.append(registry.get("lazy"))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and len(set(map(id, seen))) == 1 and len(registry.names()) == 8 * 200 + 1


MODULE = '''
import numpy as np
from bench.matching.matchers.base import Matcher


class Mean(Matcher):
    """The mean grey level as an embedding."""

    embeds = True

    def embedding_distance(self):
        return "rms"

    def _embed(self, view, images):
        return images.reshape(len(images), -1).mean(1, keepdims=True).astype(np.float32)
'''


def install(folder: Path, points: str, distribution: str = "third-party") -> None:
    """Lay out what an installed distribution leaves in site-packages."""
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[saropt_bench.matchers]\n{points}\n")
    (folder / "third_party.py").write_text(MODULE)


def test_an_installed_package_adds_a_matcher_through_an_entry_point(bench: Bench) -> None:
    install(bench.folder / "site", "mean-grey = third_party:Mean")
    env = {"PYTHONPATH": f"{REPOSITORY}:{bench.folder / 'site'}"}
    assert re.search(r"mean-grey +from third-party", bench("list", "matchers", env=env).stdout)
    bench.write("tiny.yaml", TINY.split("    cfog:")[0] + "    mean: {matcher: mean-grey}\n")
    bench("run", "--config", "tiny.yaml", "--no-figures", env=env)
    assert "| mean" in (bench.folder / "leaderboards/tiny/matching.md").read_text()
    assert "unknown matcher 'mean-grey'" in bench.error("run", "--config", "tiny.yaml")


def test_an_entry_point_that_clashes_is_told_to_everybody(tmp_path: Path) -> None:
    install(tmp_path, "cfog = third_party:Mean")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from bench.core.errors import BenchError
from bench.core.registries import MATCHERS
for _ in range(2):
    try:
        MATCHERS.names()
    except BenchError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and "(from saropt-bench)" in lines[0] and "third_party:Mean (from third-party)" in lines[0]


def test_plug_ins_by_path_and_by_module_run_in_the_worker_too(bench: Bench) -> None:
    plugin = MODULE.replace(
        "class Mean", "from bench.core.registries import MATCHERS\n\n\n@MATCHERS.register(NAME)\nclass Mean"
    )
    bench.write("parts/by_path.py", plugin.replace("NAME", "'mean-path'"))
    bench.write("modules/by_module.py", plugin.replace("NAME", "'mean-module'"))
    methods = "    a: {matcher: mean-path}\n    b: {matcher: mean-module}\n"
    bench.write("parts/base.yaml", TINY.split("    cfog:")[0] + "    a: {matcher: mean-path}\nplugins: [by_path.py]\n")
    bench.write("own.yaml", TINY.split("    cfog:")[0] + methods + "plugins: [parts/by_path.py, by_module]\n")
    env = {"PYTHONPATH": f"{REPOSITORY}:{bench.folder / 'modules'}"}
    bench("run", "--config", "own.yaml", "--no-figures", env=env)
    assert "  finished" in bench("plan", "--config", "parts/base.yaml", env=env).stdout
    bench.write("child.yaml", "extends: parts/base.yaml\ntitle: a plug-in lies beside the config that names it\n")
    assert "  finished" in bench("plan", "--config", "child.yaml").stdout
    path = bench.folder / "parts/by_path.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert "  predict, score" in bench("plan", "--config", "child.yaml").stdout
