"""`bench plan`: the graph of a suite, its shared cells, the cost that past records tell; and the options that select
cells of two tasks.
"""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import TINY, Bench
from ship_files import write_air_sarship

from bench.boards.leaderboard import write_suite
from bench.cli.main import main
from bench.core.errors import BenchError
from bench.data.datasets.toy_pairs import ToyPairs
from bench.data.images import write_image
from bench.execution.cell import Cell, Identity, Keys, Origin, Selection
from bench.execution.costs import PastCosts
from bench.execution.plan import PlanItem
from bench.execution.records import Record
from bench.suite.config import load_suite
from bench.suite.expansion import board_order, expand


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A folder with both sets of the paper in miniature and files that bear the names of the published weights: enough
    to plan with.
    """
    bench = Bench(tmp_path_factory.mktemp("papers"))
    data = bench.folder / "data"
    write_air_sarship(data / "AIR-SARShip-1.0", {number: [[2, 2, 9, 9]] for number in range(1, 32)})
    for number in range(1, 41):
        image = np.full((16, 16, 3), number, dtype=np.uint8)
        for folder, values in (("opt_256_oc_0.2", image), ("sar_256_oc_0.2", image[:, :, 0])):
            path = data / "QXSLAB_SAROPT" / folder / str(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, values)
    for name in ("resnet50-0676ba61.pth", "darknet53-a628ea1b.pth"):
        bench.write(f"weights/{name}", "planning hashes it and looks no further")
    rows = "".join(f"{n},g{n % 8},{n * 100},0,{n * 100 + 16},16\n" for n in range(1, 41))
    bench.write("data/QXSLAB_SAROPT/audit/layout.csv", "id,scene,x_min_m,y_min_m,x_max_m,y_max_m\n" + rows)
    parts = ["test" if n % 8 < 2 else "validation" if n % 8 == 2 else "train" for n in range(41)]
    split = "".join(f"{n},{parts[n]},g{n % 8}\n" for n in range(1, 41))
    bench.write("data/QXSLAB_SAROPT/audit/split.csv", "id,part,group\n" + split)
    bench.env |= {"BENCH_DATA": str(data), "HOME": str(bench.folder)}
    bench.env.pop("TORCH_HOME", None)
    return bench


def lines(bench: Bench, *words: str) -> list[str]:
    return bench("plan", *words).stdout.splitlines()


def test_the_papers_suite_is_one_screen_and_its_tables_share_cells(papers: Bench) -> None:
    shown = lines(papers, "--config", "paper")
    assert shown[0] == "paper: 42 cells" and len(shown) < 30
    for backbone, detector in (("resnet50", "faster-rcnn"), ("darknet53", "yolov3")):
        row = next(k for k, line in enumerate(shown) if f"bnn-{backbone} on qxs-saropt/random, seeds 0-4" in line)
        assert re.search(r"[0-9a-f]{12} \+4  train, predict, score$", shown[row])
        assert shown[row + 1].strip() == f"-> also the pretraining behind 5 detection cells: {detector}/osm"
        osm = next(
            k for k, line in enumerate(shown) if f"{detector}/osm on air-sarship-1.0/circulating, seeds 0-4" in line
        )
        assert shown[osm + 1].strip() == f"<- matching bnn-{backbone} on qxs-saropt/random, seed by seed"
        assert any(f"{detector}/imagenet on air-sarship-1.0/circulating, seeds 0-4" in line for line in shown)
    assert "10 cells are shared: their trainings are the pretraining behind 10 cells of another table" in shown
    assert any(line.startswith("0 finished, 42 to run, 35 of them with training; cost unknown") for line in shown)
    assert {
        "  matching: 0 finished, 21 to run, 15 of them with training",
        "  detection: 0 finished, 21 to run, 20 of them with training",
    } <= {*shown}


def test_a_plan_asks_nothing_of_the_network_and_says_before_it_makes_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("a plan asked the network")

    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, asked)
    monkeypatch.setattr(socket.socket, "connect", asked)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    assert main(["plan", "--config", "paper"]) == 2 and "missing:" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists(), "nothing is made where all data are somebody's"
    made: list[str] = []
    monkeypatch.setattr(ToyPairs, "write", staticmethod(lambda root, options: made.append(capsys.readouterr().err)))
    (tmp_path / "tiny.yaml").write_text(TINY)
    main(["plan", "--config", "tiny.yaml"])
    assert made and "making the data of toy-pairs, once, in" in made[0]


def test_one_line_a_cell_names_the_cell_that_each_starts_from(papers: Bench) -> None:
    shown = lines(papers, "--config", "paper", "--cells")
    prints = [found[1] for line in shown if (found := re.search(r"  ([0-9a-f]{12})  (?:train|predict)", line))]
    assert len(prints) == len(set(prints)) == 42
    for seed in range(5):
        osm = next(
            k for k, line in enumerate(shown) if f"yolov3/osm on air-sarship-1.0/circulating, seed {seed} " in line
        )
        assert shown[osm + 1].strip() == f"<- matching bnn-darknet53 on qxs-saropt/random, seed {seed}"


def test_the_clean_suite_leaks_no_place_and_has_its_controls(papers: Bench) -> None:
    shown = lines(papers, "--config", "clean")
    text = "\n".join(shown)
    assert "qxs-saropt/random" not in text and "air-sarship-1.0/circulating" not in text
    for row in (
        "bnn-resnet50",
        "bnn-resnet50-shuffled",
        "bnn-darknet53-shuffled",
        "infonce-resnet50",
        "histogram",
        "random",
    ):
        assert f"  {row} on qxs-saropt/audited, seeds 0-4" in text, row
    for fold in ("cv-1of3", "cv-2of3", "cv-3of3"):
        for arm in ("none", "imagenet", "imagenet+compute", "osm", "osm-shuffled"):
            assert f"faster-rcnn/{arm} on air-sarship-1.0/{fold}, seeds 0-4" in text
    assert "<- matching bnn-darknet53-shuffled on qxs-saropt/audited, seed by seed" in text


def test_the_clean_suite_without_an_audit_says_what_to_do(papers: Bench, tmp_path: Path) -> None:
    root = tmp_path / "QXSLAB_SAROPT"
    root.mkdir()
    for folder in ("opt_256_oc_0.2", "sar_256_oc_0.2"):
        (root / folder).symlink_to(papers.folder / "data/QXSLAB_SAROPT" / folder)
    words = ("plan", "matching", "--config", "clean", "--method", "random", "--root", f"qxs-saropt={root}")
    assert f"bench data audit qxs-saropt --out {root}/audit" in papers(*words, code=2).stdout
    (root / "audit").mkdir()
    (root / "audit/layout.csv").symlink_to(papers.folder / "data/QXSLAB_SAROPT/audit/layout.csv")
    assert "no split file audit/split.csv" in papers(*words, code=2).stdout


def test_seeds_in_different_states_stand_on_lines_of_their_own(tiny: Bench) -> None:
    assert any(
        "  random on toy/grouped, seeds 0, 1" in line and line.endswith("+1  finished")
        for line in lines(tiny, "--config", "tiny.yaml")
    )
    more = lines(tiny, "--config", "tiny.yaml", "--method", "random", "--seeds", "0", "1", "5", "6", "7")
    assert [line.split("  ")[1] for line in more if line.startswith("  random")] == [
        "random on toy/grouped, seeds 0, 1",
        "random on toy/grouped, seeds 5-7",
    ]
    assert re.search(r"about \d+ s each$", next(line for line in more if "seeds 5-7" in line))
    assert re.fullmatch(
        r"estimates are those of past records on: cpu, 1 thread \(3 cells\); another machine takes another time",
        more[-1],
    )
    assert "2 finished, 3 to run" in more[-2]


# -- cost --------------------------------------------------------------------------------------------------------------
SPEC: dict[str, Any] = {
    "method": {"matcher": "bnn", "init": "none", "options": {"epochs": 3}},
    "dataset": {"name": "toy", "options": {}, "split": {"kind": "random"}},
}


def past(fingerprint: str, train_s: float = 100.0, threads: int = 2, **changed: Any) -> Record:
    values: dict[str, Any] = {
        "status": "finished", "task": "matching", "suite": "s", "dataset": "d", "method": "m", "seed": 0, "limit": None, "names": {},
        "spec": SPEC, "fingerprint": fingerprint, "keys": {}, "row_key": "r", "requires": [], "outputs": {}, "metrics": {}, "command": "",
        "inputs": {"split_counts": {"train": 80, "test": 20}}, "facts": {"samples_total": 1000},
        "cost": {"train": {"seconds": train_s}, "predict": {"seconds": 10.0}, "score": {"seconds": 2.0}},
        "provenance": {"trained_by": {"hardware": {"device": "cpu", "threads": threads, "accelerator": None}}},
    }  # fmt: skip
    return Record.model_validate({**values, **changed})


def item(state: str = "train", spec: dict[str, Any] = SPEC, samples: int = 1000, test: int = 20) -> PlanItem:
    cell = Cell("matching", "s", "d", "m", 1, spec)
    identity = Identity(Keys("a", "b", "c"), {"split_counts": {"test": test}}, samples)
    return PlanItem(cell, identity, Path(), state)


def seconds(costs: PastCosts, wanted: PlanItem) -> float | None:
    found = costs.estimate(wanted)
    return None if found is None else found.seconds


def test_only_what_is_left_to_do_costs() -> None:
    costs = PastCosts([past("x")])
    assert {state: seconds(costs, item(state)) for state in ("train", "predict", "score", "done")} == {
        "train": 112.0, "predict": 12.0, "score": 2.0, "done": 0.0,
    }  # fmt: skip
    assert seconds(costs, item(samples=2000)) == 212.0 and seconds(costs, item("predict", test=40)) == 24.0


def test_smoke_limited_and_failed_records_never_count() -> None:
    silent: list[dict[str, Any]] = [{"smoke": True}, {"limit": 8}, {"status": "failed"}, {"cost": {}}, {"facts": {}}]
    for changed in silent:
        assert seconds(PastCosts([past("x", **changed)]), item()) is None
    assert seconds(PastCosts([past("x"), past("y", 9e9, smoke=True)]), item()) == 112.0


def test_other_methods_and_data_say_nothing_and_other_starts_do() -> None:
    costs = PastCosts([past("x")])
    assert seconds(costs, item(spec={**SPEC, "method": {**SPEC["method"], "init": "imagenet"}})) == 112.0
    assert seconds(costs, item(spec={**SPEC, "method": {**SPEC["method"], "options": {"epochs": 4}}})) is None
    assert seconds(costs, item(spec={**SPEC, "dataset": {**SPEC["dataset"], "name": "other"}})) is None
    assert seconds(costs, item(spec={**SPEC, "method": {**SPEC["method"], "pretrain": "osm+compute"}})) is None


def test_the_machine_with_most_records_is_named_and_a_record_counts_once() -> None:
    one, two = past("x", 100.0, threads=1), past("y", 50.0, threads=2)
    assert PastCosts([one, two, past("z", 52.0, threads=2)]).estimate(item()).machine == "cpu, 2 threads"  # type: ignore[union-attr]
    assert seconds(PastCosts([one, one, one, two, past("z", 52.0)]), item()) == pytest.approx(63.0), (
        "the median of two, not of the copies"
    )
    gpu = {"trained_by": {"hardware": {"device": "cuda", "threads": 4, "accelerator": "A card"}}}
    assert PastCosts([past("x", provenance=gpu)]).estimate(item()).machine == "A card"  # type: ignore[union-attr]


# -- filters over two tasks, reference ---------------------------------------------------------------------------------
def chosen(*tasks: str, **filters: tuple[str, ...]) -> set[str]:
    selection = Selection(filters, (0,))
    cells = expand(
        load_suite("quickstart"), selection, tasks or ["matching", "detection"], Origin("--config quickstart", Path())
    )
    return {f"{cell.task} {cell.method}" for cell in cells}


def test_a_value_that_one_task_knows_is_fine() -> None:
    assert chosen(method=("cfog", "cfar")) == {"matching cfog", "detection cfar"}
    assert chosen(dataset=("port", "port-ships"), method=("cfog", "cfar", "random")) == {
        "matching cfog",
        "matching random",
        "detection cfar",
    }
    assert chosen(dataset=("port",), method=("cfog", "cfar")) == {"matching cfog"}


def test_a_value_that_no_task_knows_is_an_error_with_the_nearest_of_all() -> None:
    with pytest.raises(BenchError, match="^method 'cfgo' is not in this suite; nearest: cfog"):
        chosen(method=("cfar", "cfgo"))
    with pytest.raises(BenchError, match="^method 'cfa' is not in this suite; nearest: cfar"):
        chosen(method=("cfog", "cfa"))
    with pytest.raises(BenchError, match="^method 'cfa' is not in this suite"):
        chosen(dataset=("port",), method=("cfog", "cfa"))
    with pytest.raises(BenchError, match="^dataset 'prt'.*nearest: port"):
        chosen(dataset=("prt", "port-ships"), method=("cfar",))
    with pytest.raises(BenchError, match="^method 'cfar' is not in this suite"):
        chosen("matching", method=("cfog", "cfar"))
    with pytest.raises(BenchError, match="^method 'cfar'.*dataset 'port'"):
        chosen(dataset=("port",), method=("cfar",))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("matching.reference=cfgo", r"matching\.reference: the section has no row 'cfgo'; nearest: cfog"),
        ("detection.reference=faster-rcnn/osn", r"detection\.reference: .*'faster-rcnn/osn'; nearest: faster-rcnn/osm"),
        ("detection.reference=faster-rcnn", r"detection\.reference: .*nearest: faster-rcnn/"),
    ],
)
def test_a_reference_is_a_row_of_the_section(setting: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        expand(load_suite("quickstart", [setting]), Selection(), ["matching", "detection"], Origin("", Path()))


def test_a_reference_enters_no_spec() -> None:
    plain, named = (
        expand(
            load_suite("quickstart", settings),
            Selection({"method": ("cfog", "cfar")}),
            ["matching", "detection"],
            Origin("", Path()),
        )
        for settings in ([], ["matching.reference=random", "detection.reference=faster-rcnn/none"])
    )
    assert [cell.row_key for cell in plain] == [cell.row_key for cell in named]


def test_a_reference_may_be_named_as_rows_are_named_everywhere(tmp_path: Path) -> None:
    suite = load_suite("quickstart")
    rows = board_order(suite, suite.origin)
    block = next(row[1] for row in rows if row[2] == "cfog")
    for name in ("cfog", f"{block}/cfog", "quickstart:cfog", f"quickstart:{block}/cfog", "matching/cfog"):
        suite = load_suite("quickstart", [f"matching.reference={name}"])
        cells = expand(suite, Selection({"method": ("cfog",)}), ["matching"], suite.origin)
        write_suite(tmp_path, suite, cells, rows)
        assert json.loads((tmp_path / "suite.json").read_text())["references"]["matching"] == "cfog", name


def test_a_suite_of_another_folder_is_called_by_its_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands stand on the board, which has the same bytes wherever the suite lies."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "my.yaml").write_text("extends: quickstart\n")
    told = set()
    for folder, config in (
        (".", "sub/my.yaml"),
        ("sub", "my.yaml"),
        ("sub", "../sub/my.yaml"),
        (".", tmp_path / "sub/my.yaml"),
    ):
        monkeypatch.chdir(tmp_path / folder)
        suite = load_suite(config)
        told |= {cell.command for cell in expand(suite, Selection(), ["matching"], suite.origin)}
        assert suite.origin.folder.resolve() == (tmp_path / "sub").resolve()
        monkeypatch.chdir(tmp_path)
    assert all("--config my.yaml " in command for command in told) and str(tmp_path) not in " ".join(told)
