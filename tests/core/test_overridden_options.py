"""An option that another overrides is refused where a user writes it, and never where defaults are written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Bench
from pydantic import BaseModel

from bench.core.errors import BenchError
from bench.core.options import check_overridden, option_values
from bench.core.registries import DETECTORS, MATCHERS
from bench.core.workspace import shipped_configs
from bench.data.windows import RejectCriteria
from bench.execution.cell import Selection
from bench.suite.config import load_suite
from bench.suite.expansion import expand

SPLITS = {"half": {"kind": "random", "test": 0.5}}


def cells_of(folder: Path, task: str, dataset: str, **section: Any) -> list[Any]:
    raw = {"name": "x", task: {"datasets": {"d": {"dataset": dataset, "splits": SPLITS}}, **section}}
    (folder / "x.yaml").write_text(yaml.safe_dump(raw))
    suite = load_suite(str(folder / "x.yaml"))
    return expand(suite, Selection(), [task], suite.origin)


NET = {"matcher": "bnn", "backbone": "resnet18"}
FRCNN = {"detector": "faster-rcnn"}


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        ({**NET, "options": {"epochs": 10, "entries": 600}}, "epochs changes nothing: the budget"),
        ({**NET, "options": {"momentum": 0.9, "optimizer": "adamw"}}, "momentum changes nothing: adamw takes none"),
        ({**FRCNN, "options": {"epochs": 12, "samples": 400}}, "epochs changes nothing: the budget"),
        ({**FRCNN, "options": {"ship_share": 0.5, "sampling": "grid"}}, "ship_share changes nothing"),
        ({**FRCNN, "options": {"empty_share": 0.5}}, "empty_share changes nothing"),
        ({"matcher": "histogram", "options": {"neighbours": 3}}, "neighbours changes nothing"),
        ({"matcher": "histogram", "options": {"model": "knn", "components": 3}}, "components changes nothing"),
        ({"detector": "cfar", "options": {"land": "none", "coast_px": 4}}, "coast_px changes nothing"),
        ({"matcher": "cfog", "precision": "bf16"}, "precision is of trainings"),
        ({"matcher": "cfog", "seeds": [1, 2]}, "seeds change nothing"),
    ],
)
def test_an_option_that_another_overrides_is_refused(tmp_path: Path, method: dict[str, Any], wanted: str) -> None:
    task, dataset = ("matching", "toy-pairs") if "matcher" in method else ("detection", "toy-ships")
    with pytest.raises(BenchError, match=rf"x: {task}.methods.m.*{wanted}"):
        cells_of(tmp_path, task, dataset, methods={"m": method})
    other = {key: value for key, value in method.items() if key in ("matcher", "detector", "backbone")}
    assert cells_of(tmp_path, task, dataset, methods={"m": other})


@pytest.mark.parametrize("registry", [MATCHERS, DETECTORS], ids=["matchers", "detectors"])
def test_defaults_that_are_written_out_pass_as_options_and_are_no_word_of_the_user(registry: Any) -> None:
    """What stands in a spec is validated again by the worker, with every default written."""
    for name in registry.names():
        model: type[BaseModel] = registry.get(name).Options
        if any(field.is_required() for field in model.model_fields.values()):
            continue
        check_overridden(model.model_validate({}), name)
        assert model.model_validate(option_values(model.model_validate({}))) == model.model_validate({})


def test_no_shipped_config_states_what_another_option_overrides() -> None:
    for name in shipped_configs():
        suite = load_suite(name)
        assert expand(suite, Selection(), list(suite.tasks), suite.origin)


@pytest.mark.parametrize("reject", [{"strong_gradient": 9.0, "min_std": 3.0}, {"no_data": 7.0, "min_std": 3.0}])
def test_what_belongs_to_a_criterion_that_is_off_is_refused(reject: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="which is off"):
        RejectCriteria.model_validate(reject)
    assert RejectCriteria.model_validate(RejectCriteria(min_std=3.0).model_dump()).active


def test_clusters_without_cluster_negatives_are_refused(tmp_path: Path) -> None:
    methods = {"m": {"matcher": "cfog"}}
    with pytest.raises(BenchError, match="clusters are of hard: cluster, and hard is scene"):
        cells_of(tmp_path, "matching", "toy-pairs", methods=methods, protocol={"clusters": 4})
    assert cells_of(tmp_path, "matching", "toy-pairs", methods=methods, protocol={"clusters": 4, "hard": "cluster"})


def test_an_option_of_cut_is_given_once(bench: Bench) -> None:
    words = ("data", "cut", "s1s2-scenes", "--root", ".", "--out", "o", "--option", "patch_px: 64")
    assert "--option patch_px: this action has an option of its own" in bench.refused(*words)
