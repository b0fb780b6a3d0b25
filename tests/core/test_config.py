"""Suites: extending, settings, and messages that name file, key and the nearest legal key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.core.validation import MAX_SEED, check_seeds
from bench.core.workspace import shipped_configs
from bench.suite.config import Suite, _merge, find_config, load_suite

BASE = """\
name: base
seeds: [0, 1]
matching:
  datasets:
    toy: {dataset: toy-pairs, splits: {random: {kind: random}}}
  methods:
    a: {matcher: cfog}
    b: {matcher: random, options: {dimensions: 4}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def load(folder: Path, text: str, *settings: str, name: str = "own.yaml") -> Suite:
    (folder / name).write_text(text)
    return load_suite(str(folder / name), settings)


def complaint(folder: Path, text: str, *settings: str) -> str:
    with pytest.raises(BenchError) as error:
        load(folder, text, *settings)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_shipped_configs_load_by_name_and_their_name_is_their_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"paper", "quickstart", "s1s2"} <= set(shipped_configs())
    for name, path in shipped_configs().items():
        assert load_suite(name).name == name == path.stem
        assert find_config(f"configs/{name}.yaml") == find_config(name) == find_config(f"{name}.yaml")


def test_extending_merges_mappings_replaces_lists_and_null_removes(folder: Path) -> None:
    text = (
        "extends: base.yaml\nname: own\nseeds: [5]\nmatching: {methods: {a: null, b: {options: {dimensions: 8}}, c:"
        " {matcher: histogram}}}"
    )
    suite = load(folder, text)
    methods = suite.tasks["matching"]["methods"]
    assert (suite.name, suite.seeds) == ("own", (5,))
    assert methods == {"b": {"matcher": "random", "options": {"dimensions": 8}}, "c": {"matcher": "histogram"}}
    assert set(suite.tasks["matching"]["datasets"]) == {"toy"}


def test_several_parents_the_later_wins_and_a_shipped_one_goes_by_name(folder: Path) -> None:
    (folder / "over.yaml").write_text("title: over\nseeds: [9]\n")
    assert load(folder, "extends: [base.yaml, over.yaml]\n").seeds == (9,)
    assert load(folder, "extends: [over.yaml, base.yaml]\n").seeds == (0, 1)
    assert load(folder, "extends: quickstart\nname: own\n").tasks["matching"]["methods"]["cfog"]
    assert load(folder, "extends: []\n" + BASE).name == "base"


@given(
    st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3), max_leaves=8)
)
def test_merging_with_nothing_or_itself_changes_nothing(value: Any) -> None:
    if isinstance(value, dict):
        assert _merge(value, {}) == _merge({}, value) == _merge(value, value) == value


def test_settings(folder: Path) -> None:
    text = "extends: base.yaml"
    assert load(folder, text, "seeds=[3, 4]", "title=a = b").seeds == (3, 4)
    assert load(folder, text, "title=a = b").title == "a = b"
    methods = load(folder, text, "matching.methods.b.options.dimensions=2", "matching.methods.a=null").tasks[
        "matching"
    ]["methods"]
    assert methods == {"b": {"matcher": "random", "options": {"dimensions": 2}}}
    assert load(folder, text, "matching.methods.c.matcher=random").tasks["matching"]["methods"]["c"] == {
        "matcher": "random"
    }


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("sedes=[1]", "unknown key 'sedes'; nearest: seeds"),
        ("matchin.methods.a.matcher=random", "no section 'matchin'; nearest: matching"),
        ("seeds.first=1", "no section 'seeds'"),
        ("seeds", "expected key=value"),
        ("=3", "expected key=value"),
        ("seeds=[1", "not valid YAML"),
        ("seeds=null", "seeds"),
        ("name=Not This", "name"),
        ("seeds=[010]", "010 is one number in YAML 1.1"),
        ("seeds=[true]", "true is no number"),
        ("title=x\udcff", "not valid YAML"),
        ("matching.methods.\udcff.matcher=random", "no key of a config"),
        ("matching" + ".a" * 3000 + "=1", "no key of a config"),
    ],
)
def test_settings_that_cannot_be(folder: Path, setting: str, wanted: str) -> None:
    if setting == "seeds=null":  # back to the default
        assert load(folder, "extends: base.yaml", setting).seeds == (0,)
    else:
        assert wanted in complaint(folder, "extends: base.yaml", setting)


@pytest.mark.parametrize(
    ("seeds", "wanted"),
    [("[]", "at least one seed"), ("[2, 1, 2]", "seed 2 is given more than once"), ("[-1]", "seed -1 is negative"),
     (f"[{MAX_SEED + 1}]", "too large"), ("[1.5]", "seeds.0"), ("three", "seeds")],
)  # fmt: skip
def test_seeds_are_distinct_whole_numbers(folder: Path, seeds: str, wanted: str) -> None:
    assert wanted in complaint(folder, f"extends: base.yaml\nseeds: {seeds}\n")


@given(st.lists(st.integers(-3, 6), max_size=6))
def test_seeds_pass_exactly_when_distinct_and_not_negative(seeds: list[int]) -> None:
    if seeds and len(set(seeds)) == len(seeds) and min(seeds) >= 0:
        assert check_seeds(seeds) == tuple(seeds)
    else:
        with pytest.raises(ValueError, match="seed"):
            check_seeds(seeds)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("name: x\nseeds: [", "own.yaml line 2, column 9: not valid YAML"),
        ("name: a\n\tx: 1", "own.yaml line 2"),
        ("name: a\nname: b", "own.yaml line 2, column 1: key 'name' stands twice"),
        ("a: 2024-13-01", "unknown key 'a'"),  # a text, not a date that cannot be
        ("- a\n- b", "a config is a mapping of keys"),
        ("", "found NoneType"),
        ("? [1]\n: x", "a key is a text"),
        ("name: \x00", "not valid YAML"),
        ("extends: 5", "extends names one config or a list"),
        ("extends: [base.yaml, 5]", "extends names one config or a list"),
        ("extends: nowhere.yaml", "config file nowhere.yaml does not exist"),
        ("extends: quikstart", "unknown config 'quikstart'"),
        ("name: x", "no task section; add one of: detection, matching"),
        ("extends: base.yaml\n7: x", "key '7' is no text"),
        ("extends: base.yaml\ndetecton: {}", "unknown key or task 'detecton'"),
        ("extends: base.yaml\nplugins: 5", "plugins"),
        ("extends: base.yaml\nplugins: [nosuch.py]", "plug-in nosuch.py: no such file"),
        ("extends: base.yaml\nplugins: [os.nosuch]", "plug-in os.nosuch cannot be imported"),
        ("extends: base.yaml\nname: ../evil", "name"),
        ("extends: base.yaml\nseeds: [yes]", "seeds.0: input should be a valid integer"),
        ("extends: base.yaml\nseeds: [true]", "seeds.0: true is no number"),
        ("extends: base.yaml\nseeds: [1:30]", "line 2, column 9: 1:30 is one number in YAML 1.1"),
        ("extends: base.yaml\nmatching: {methods: {null: {matcher: random}}}", "key 'null' is no text"),
    ],
)
def test_messages_name_the_file_and_what_is_wrong(folder: Path, text: str, wanted: str) -> None:
    assert wanted in complaint(folder, text)


def test_circles_are_told_with_their_way(folder: Path) -> None:
    (folder / "other.yaml").write_text("extends: own.yaml\n")
    assert "own.yaml -> other.yaml -> own.yaml" in complaint(folder, "extends: other.yaml")


def test_undecodable_and_unreadable_files(folder: Path) -> None:
    (folder / "latin.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(BenchError, match="cannot read config"):
        load_suite(str(folder / "latin.yaml"))
    with pytest.raises(BenchError, match="neither a .yaml file nor a shipped name"):
        load_suite(str(folder))


def test_a_plug_in_that_fails_half_way_is_not_taken_for_imported(folder: Path) -> None:
    (folder / "plug_half.py").write_text("import no_such_module\n")
    text = "extends: base.yaml\nplugins: [plug_half.py]\n"
    assert "cannot be imported: No module named 'no_such_module'" in complaint(folder, text)
    assert "cannot be imported" in complaint(folder, text)
    (folder / "plug_half.py").write_text("def (:\n")
    assert "cannot be imported" in complaint(folder, text)
    (folder / "plug_half.py").write_text("LOADED = True\n")
    load(folder, text)


def test_a_plug_in_may_bring_the_task_of_a_section(folder: Path) -> None:
    (folder / "plug_task.py").write_text(
        "from bench.core.registries import TASKS\nTASKS.add('counting', 'plug_task:Counting', 'counts')\n"
    )
    from bench.core.registries import TASKS

    try:
        assert set(load(folder, BASE + "counting: {x: 1}\nplugins: [plug_task.py]\n").tasks) == {"matching", "counting"}
    finally:
        TASKS._entries.pop("counting", None)
