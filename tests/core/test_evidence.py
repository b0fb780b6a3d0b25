"""From committed entries to statistics: what is recomputed is what was recorded, and what does not agree is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.boards.comparisons import comparison_note
from bench.boards.entries import Entries, entry_path, entry_samples, load_entries
from bench.boards.evidence import Evidence, RowComparison
from bench.core.errors import BenchError
from bench.execution.records import Record, load_record
from bench.execution.task import get_task
from bench.matching.scoring.resampled import threshold_cost
from bench.statistics.resampling import Ratio

BOARDS = Path(__file__).parents[2] / "leaderboards"
FOLDERS = sorted(path.parent for path in BOARDS.glob("*/suite.json"))
PAIRS = [f"uniform.{name}" for name in ("accuracy", "precision", "recall", "f1", "roc_auc", "fpr95")]


def recomputed(record: Record, samples: Mapping[str, Any]) -> dict[str, float | None]:
    task = get_task(record.task)
    found = {name: task.resampled(name, record, samples) for name in record.metrics}
    return {name: result.value for name, result in found.items() if result is not None}


@pytest.fixture(scope="module")
def boards() -> dict[Path, Entries]:
    return {folder: load_entries(folder) for folder in FOLDERS}


def test_every_committed_entry_gives_its_recorded_numbers_again(boards: dict[Path, Entries]) -> None:
    assert boards and not any(entries.damaged for entries in boards.values())
    for folder, entries in boards.items():
        for record in entries.records:
            samples = entry_samples(folder, record)
            assert samples is not None, entry_path(record)
            values = recomputed(record, samples)
            assert values == pytest.approx({name: record.metrics[name] for name in values}, abs=1e-12), entry_path(
                record
            )
            known = [name for name in PAIRS if record.metrics.get(name) is not None]
            expected = (
                known + ["gallery.sar_to_optical.mrr"]
                if record.task == "matching"
                else ["scene.ap_area", "scene.inshore.ap_area"]
            )
            assert set(expected) <= set(values), entry_path(record)


def test_the_clusters_are_scenes_and_hold_every_sample_once(boards: dict[Path, Entries]) -> None:
    for folder, entries in boards.items():
        for record in entries.records:
            samples = entry_samples(folder, record)
            assert samples is not None
            found = get_task(record.task).resampled(get_task(record.task).headline, record, samples)
            assert found is not None and len(found.clusters) > 10, entry_path(record)
            size = found.clusters.size.sum()
            if record.task == "matching":
                assert size == record.facts["uniform.positives"] + record.facts["uniform.negatives"]
            else:
                assert size == record.facts["scene.ships"]


def test_a_cluster_drawn_twice_counts_as_if_its_pairs_stood_twice(boards: dict[Path, Entries]) -> None:
    folder = BOARDS / "s1s2"
    record = next(r for r in boards[folder].records if r.method == "infonce-resnet18" and r.dataset == "s1s2-256/place")
    samples = entry_samples(folder, record)
    assert samples is not None
    found = get_task("matching").resampled("uniform.accuracy", record, samples)
    assert found is not None
    weights = np.arange(len(found.clusters)) % 3
    scene = dict(zip(found.clusters.names, weights, strict=True))
    uniform = samples["kind"] != 2
    times = np.array([scene[name] for name in samples["scene"][samples["pair_sar"][uniform]]])
    right = (samples["distance"][uniform] <= record.facts["uniform.threshold"]) == (samples["kind"][uniform] == 0)
    assert found.values(weights[None])[0] == pytest.approx((times * right).sum() / times.sum(), abs=1e-12)


def test_numbers_that_contradict_their_samples_are_told_and_get_no_statistics(boards: dict[Path, Entries]) -> None:
    folder = BOARDS / "s1s2"
    rows = [r for r in boards[folder].records if r.dataset == "s1s2-256/place" and r.method in ("cfog", "histogram")]
    forged = [
        r.model_copy(update={"metrics": {**r.metrics, "uniform.accuracy": 0.999}}) if r.method == "cfog" else r
        for r in rows
    ]
    evidence = Evidence(get_task("matching").resampled, lambda record: entry_samples(folder, record))
    groups = [(method, [r for r in forged if r.method == method]) for method in ("cfog", "histogram")]
    comparison = evidence.compare("uniform.accuracy", groups)
    assert list(comparison.rows) == ["histogram"] and comparison.reference == "", (
        "the reference row has no statistics, so there is no difference"
    )
    assert (
        len(evidence.problems) == 1 and "0.999 in the record" in evidence.problems[0] and "cfog" in evidence.problems[0]
    )
    honest = Evidence(get_task("matching").resampled, lambda record: entry_samples(folder, record))
    both = honest.compare("uniform.accuracy", [(m, [r for r in rows if r.method == m]) for m in ("cfog", "histogram")])
    assert (
        not honest.problems
        and both.rows["cfog"].rank == 1
        and both.rows["histogram"].rank == 2
        and both.rows["histogram"].marked
    )


def test_what_the_transfer_of_a_threshold_costs() -> None:
    """True pairs at 1, 2, 3, wrong ones at 2.5, 4, 5: the best threshold errs once in six. Hard ones are not asked."""
    group, sar = np.array(["a", "b", "c"]), np.array([0, 1, 2, 0, 1, 2, 0])
    pairs = {"group": group, "pair_sar": sar, "kind": np.array([0, 0, 0, 1, 1, 1, 2])}
    samples = {**pairs, "distance": np.array([1, 2, 3, 2.5, 4, 5, 0.0])}
    record = load_record(Path(__file__).parent / "records_v1" / "finished.json")
    reached = record.model_copy(update={"metrics": {**record.metrics, "uniform.accuracy": 4 / 6}})
    assert threshold_cost(reached, samples) == pytest.approx(1 / 6)
    assert threshold_cost(record.model_copy(update={"metrics": {}}), samples) is None
    failed = {**samples, "distance": np.full(7, np.nan)}
    assert threshold_cost(reached, failed) is None and threshold_cost(reached, {**samples, "kind": np.ones(7)}) is None
    with pytest.raises(BenchError, match="lack 'distance'; score the cell again"):
        threshold_cost(reached, pairs)


def test_committed_thresholds_cost_what_the_best_of_the_test_pairs_gains(boards: dict[Path, Entries]) -> None:
    for folder, entries in boards.items():
        for record in entries.records:
            if record.task != "matching":
                continue
            samples = entry_samples(folder, record)
            assert samples is not None
            cost = threshold_cost(record, samples)
            assert cost is not None and 0 <= cost < 0.5


def test_a_row_without_samples_or_with_an_undefined_value_is_in_no_comparison(boards: dict[Path, Entries]) -> None:
    folder = BOARDS / "s1s2"
    record = next(r for r in boards[folder].records if r.method == "cfog")
    assert Evidence().compare("uniform.accuracy", [("cfog", [record])]).rows == {}
    evidence = Evidence(get_task("matching").resampled, lambda _: entry_samples(folder, record))
    assert evidence.compare("uniform.average_precision", [("cfog", [record])]).rows == {}, (
        "not recomputable from clusters"
    )
    failed = record.model_copy(update={"status": "failed", "metrics": {}})
    assert evidence.compare("uniform.accuracy", [("cfog", [record, failed])]).rows == {}


def test_damaged_samples_are_told(tmp_path: Path, boards: dict[Path, Entries]) -> None:
    record = boards[BOARDS / "s1s2"].records[0]
    path = (tmp_path / entry_path(record)).with_suffix(".npz")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04 nothing")
    evidence = Evidence(get_task("matching").resampled, lambda r: entry_samples(tmp_path, r))
    assert evidence.compare("uniform.accuracy", [("a", [record])]).rows == {}
    assert "damaged per-sample scores" in evidence.problems[0] and path.name in evidence.problems[0]


def test_ratios_are_what_the_matching_task_gives_for_decisions(boards: dict[Path, Entries]) -> None:
    folder = BOARDS / "s1s2"
    record = boards[folder].records[0]
    samples = entry_samples(folder, record)
    assert samples is not None
    assert isinstance(get_task("matching").resampled("uniform.recall", record, samples), Ratio)
    assert get_task("matching").resampled("full.sar_to_optical.mrr", record, samples) is None


def test_a_board_says_what_its_clusters_cannot_tell(boards: dict[Path, Entries]) -> None:
    folder = BOARDS / "s1s2"
    rows = [r for r in boards[folder].records if r.dataset == "s1s2-256/place" and r.method in ("cfog", "histogram")]
    groups = [(method, [r for r in rows if r.method == method]) for method in ("histogram", "cfog")]

    def comparison(scenes: int) -> RowComparison:
        def few(record: Record) -> dict[str, Any]:
            samples = dict(entry_samples(folder, record) or {})
            names, number = np.unique(samples["scene"], return_inverse=True)
            return {**samples, "scene": names[number % scenes]}

        return Evidence(get_task("matching").resampled, few).compare("uniform.accuracy", groups)

    told = comparison_note(comparison(4), "accuracy", "scene")
    assert "With 4 of them no difference can be significant" in told and not comparison(4).rows["cfog"].marked
    assert comparison(8).rows["cfog"].marked and "can be significant" not in comparison_note(
        comparison(8), "accuracy", "scene"
    )
    assert "Only one scene, so neither intervals nor tests" in comparison_note(comparison(1), "accuracy", "scene")
    once = Evidence(get_task("matching").resampled, lambda r: entry_samples(folder, r)).compare(
        "uniform.accuracy", [(label, group[:1]) for label, group in groups]
    )
    told = comparison_note(once, "accuracy", "scene")
    assert "One seed, so neither marked nor ranked: histogram. Compared by one seed, so not marked: cfog." in told
    assert not once.ranked and not comparison(4).ranked and comparison(8).ranked


def test_no_committed_board_says_what_its_ranks_contradict() -> None:
    """The text above a table, its marks and its ranks are one rule, on every committed board."""
    ranked = 0
    for path in BOARDS.glob("*/*.md"):
        for section in path.read_text(encoding="utf-8").split("\n## "):
            lines = [line for line in section.splitlines() if line.startswith("| ")]
            if not lines or " rank " not in lines[0]:
                continue
            at = [cell.strip() for cell in lines[0].split("|")].index("rank")
            rows = {(cells := line.split("|"))[1].strip(" ◊?†‡§¶≈‼"): cells for line in lines[1:]}
            ranks = {label: int(cells[at]) for label, cells in rows.items() if cells[at].strip() != "–"}
            ranked += bool(ranks)
            assert not ranks or len(set(ranks.values())) > 1, (path, section[:40])
            assert not (ranks and "none is ranked" in section)
            for _, names in re.findall(r"(neither marked nor ranked): ([^.]*)\.", section):
                assert not set(names.split(", ")) & set(ranks), (path, names)
            reference = next((label for label, cells in rows.items() if cells[at - 1].strip() == "reference"), "")
            for label in ranks if reference in ranks else ():
                assert ("*" in rows[label][at - 1]) <= (ranks[label] != ranks[reference]), (path, label)
    assert ranked > 5
