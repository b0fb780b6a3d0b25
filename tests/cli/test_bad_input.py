"""Bad input: one clear line that says what, where and what to do; exit code 2 (1 for a failing cell); nothing
half-written.
"""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import NET, TINY, Bench, failed_cells

from bench.core.store import atomic_write
from bench.data.images import write_image

PAIRS = """\
name: pairs
matching:
  protocol: {gallery: 8, hard: none}
  datasets:
    mine:
      dataset: two-folders
      root: pairs
      splits:
        random: {kind: random, test: 0.4, validation: 0.3}
  methods:
    random: {matcher: random}
    histogram: {matcher: histogram}
"""


@pytest.fixture
def pairs(bench: Bench) -> Bench:
    """A folder with `pairs.yaml` over 24 readable pairs in pairs/{optical,sar}/<n>.png."""
    rng = np.random.default_rng(0)
    for number in range(24):
        for view, shape in (("optical", (16, 16, 3)), ("sar", (16, 16))):
            (bench.folder / "pairs" / view).mkdir(parents=True, exist_ok=True)
            write_image(bench.folder / "pairs" / view / str(number), rng.integers(0, 256, shape, dtype=np.uint8))
    bench.write("pairs.yaml", PAIRS)
    return bench


# -- names and keys ----------------------------------------------------------------------------------------------------
NAMES = {
    "verb": (["rnu"], "unknown verb 'rnu'; nearest: run"),
    "kind": (["list", "matcher5"], "unknown kind 'matcher5'; nearest: matchers"),
    "task": (["run", "matchin"], "unknown task 'matchin'; nearest: matching"),
    "config": (["run", "--config", "quikstart"], "unknown config 'quikstart'"),
    "config file": (
        ["run", "--config", "quickstar.yaml"],
        "config file quickstar.yaml does not exist; nearest: quickstart",
    ),
    "option": (["run", "--config", "quickstart", "--sedes", "1"], "no option '--sedes'; nearest: --seeds"),
    "matcher": (["run", "--config", "quickstart", "--matcher", "bn"], "unknown matcher 'bn'; nearest: bnn"),
    "backbone": (
        ["run", "--config", "quickstart", "--backbone", "resnet19"],
        "unknown backbone 'resnet19'; nearest: resnet18",
    ),
    "dataset": (
        ["run", "--config", "quickstart", "--dataset", "prt"],
        "--dataset 'prt' is not in this suite; nearest: port",
    ),
    "split": (
        ["run", "--config", "quickstart", "--split", "citis"],
        "--split 'citis' is not in this suite; nearest: cities",
    ),
    "method": (
        ["run", "--config", "quickstart", "--method", "cfg"],
        "--method 'cfg' is not in this suite; nearest: cfog",
    ),
    "board": (["leaderboard", "nosuch"], "no board 'nosuch'"),
    "kind to clean": (["clean", "cach"], "unknown kind 'cach'; nearest: cache"),
    "data set": (["data", "info", "qxs-saropd"], "unknown dataset 'qxs-saropd'; nearest: qxs-saropt"),
    "weights": (["data", "weights", "resnet19"], "unknown backbone 'resnet19'"),
    "action": (["data", "verfy"], "invalid choice: 'verfy'"),
    "reader option": (
        ["data", "verify", "toy-pairs", "--option", "scens: 3"],
        "has no option 'scens'; nearest: scenes",
    ),
    "set key": (["run", "--config", "quickstart", "--set", "sedes=[1]"], "unknown key 'sedes'; nearest: seeds"),
    "set section": (
        ["run", "--config", "quickstart", "--set", "matchng.x=1"],
        "no section 'matchng'; nearest: matching",
    ),
    "set method option": (
        ["run", "--config", "quickstart", "--set", "matching.methods.cfog.options.max_shft=1"],
        "unknown key 'max_shft'; nearest: max_shift_px",
    ),
    "set nothing": (["run", "--config", "quickstart", "--set", "seeds"], "expected key=value"),
    "zero seeds": (["run", "--config", "quickstart", "--set", "seeds=[]"], "at least one seed is needed"),
    "repeated seeds": (
        ["run", "--config", "quickstart", "--seeds", "1", "1"],
        "--seeds: seed 1 is given more than once",
    ),
    "negative seed": (["run", "--config", "quickstart", "--seeds", "-1"], "seed -1 is negative"),
    "no number": (["run", "--config", "quickstart", "--seeds", "x"], "argument --seeds: invalid int value: 'x'"),
    "threads": (["run", "--config", "quickstart", "--threads", "0"], "--threads 0"),
    "workers": (["run", "--config", "quickstart", "--workers", "-1"], "threads from 1, workers from 0"),
    "nothing said": (["run"], "say what to run"),
    "root": (["run", "--config", "quickstart", "--root", "nowhere"], "--root nowhere: nowhere is not a folder"),
    "root of no set": (
        ["plan", "--config", "quickstart", "--root", "port-ship=."],
        "--root port-ship=.: suite quickstart has no such data set; nearest: port-ships",
    ),
    "root of no reader": (["doctor", "--quick", "--root", "hrsidd=."], "unknown dataset 'hrsidd'; nearest: hrsid"),
    "home of nobody": (["plan", "--config", "quickstart", "--runs=~nobody-at-all/x"], "'~nobody-at-all' means is not"),
    "nothing to score": (["score"], "no finished cell under runs"),
    "no such cell": (["score", "runs/matching/x"], "no record.json there"),
    "no boards": (["leaderboard"], "no boards under leaderboards"),
    "deleting what": (["clean", "--yes"], "say what to delete"),
}


@pytest.mark.parametrize("case", NAMES)
def test_unknown_names_and_values_are_told_with_the_nearest(bench: Bench, case: str) -> None:
    words, wanted = NAMES[case]
    message = bench.error(*words)
    assert wanted in message and "\n" not in message
    assert bench.files() == []


KEYS = {
    "suite key": ("sedes: [1]", "unknown key 'sedes'; nearest: seeds"),
    "task": ("detecton: {x: 1}", "unknown key or task 'detecton'"),
    "number as a key": ("5: x", "key '5' is no text"),
    "section key": ("matching: {protocl: {gallery: 4}}", "unknown key 'protocl'; nearest: protocol"),
    "protocol key": ("matching: {protocol: {galery: 4}}", "unknown key 'protocol.galery'; nearest: gallery"),
    "gallery": (
        "matching: {protocol: {gallery: every}}",
        "protocol.gallery: a number of test samples from 2 on, or all; got 'every'",
    ),
    "gallery of one": (
        "matching: {protocol: {gallery: 1}}",
        "protocol.gallery: a number of test samples from 2 on, or all; got 1",
    ),
    "data set": ("matching: {datasets: {toy: {dataset: toy-pair}}}", "unknown dataset 'toy-pair'; nearest: toy-pairs"),
    "data set option": ("matching: {datasets: {toy: {options: {scens: 3}}}}", "unknown key 'scens'; nearest: scenes"),
    "split key": (
        "matching: {datasets: {toy: {splits: {grouped: {bi: scene}}}}}",
        "unknown key 'datasets.toy.splits.grouped.bi'",
    ),
    "split kind": ("matching: {datasets: {toy: {splits: {grouped: {kind: radnom}}}}}", "got 'radnom'"),
    "matcher": ("matching: {methods: {x: {matcher: inofnce}}}", "unknown matcher 'inofnce'; nearest: infonce"),
    "no matcher": ("matching: {methods: {x: {options: {epochs: 1}}}}", "key 'methods.x.matcher' is missing"),
    "no backbone": ("matching: {methods: {x: {matcher: bnn}}}", "matcher 'bnn' needs a backbone: one of darknet53"),
    "backbone": (
        "matching: {methods: {x: {matcher: bnn, backbone: resnet}}}",
        "unknown backbone 'resnet'; nearest: resnet",
    ),
    "needless backbone": (
        "matching: {methods: {x: {matcher: cfog, backbone: resnet18}}}",
        "takes neither backbone nor init",
    ),
    "control": ("matching: {methods: {x: {matcher: cfog, control: shuffled}}}", "needs a matcher that trains"),
    "data set of a method": ("matching: {methods: {cfog: {datasets: [toi]}}}", "unknown data set 'toi'; nearest: toy"),
    "seeds of a method": ("matching: {methods: {random: {seeds: [3, 3]}}}", "seed 3 is given more than once"),
    "empty part": (
        "matching: {datasets: {toy: {splits: {grouped: {kind: random, test: 0.34, validation: 0.001, by: null}}}}}",
        "leaves validation empty",
    ),
    "shares": ("matching: {datasets: {toy: {splits: {grouped: {train: 0.9, test: 0.4}}}}}", "must add up to 1"),
    "column": ("matching: {datasets: {toy: {splits: {grouped: {by: scen}}}}}", "scene"),
    "missing checkpoint": (
        "matching: {methods: {x: {matcher: bnn, backbone: resnet18, init: no/such.pth}}}",
        "no/such.pth does not exist",
    ),
    "plug-in": ("plugins: [nosuch.py]", "plug-in nosuch.py: no such file"),
    "plug-in module": ("plugins: [no_such_module]", "plug-in no_such_module cannot be imported"),
    "itself": ("extends: case.yaml", "extends itself"),
    "bad YAML": ("matching: [", "line 3"),
    "a key twice": ("plugins: []\nplugins: []", "key 'plugins' stands twice"),
}


@pytest.mark.parametrize("case", KEYS)
def test_unknown_keys_and_impossible_values_in_a_config(bench: Bench, case: str) -> None:
    text, wanted = KEYS[case]
    bench.write("tiny.yaml", TINY)
    bench.write("case.yaml", ("" if "extends" in text else "extends: tiny.yaml\n") + text + "\n")
    message = bench.error("run", "--config", "case.yaml")
    assert wanted in message and "\n" not in message
    assert not [name for name in bench.files() if not name.endswith(".yaml") and not name.startswith("runs/cache/")]


def test_a_missing_data_set_ends_in_one_message_that_says_what_to_place_where(bench: Bench) -> None:
    message = bench.error("run", "matching")
    assert "data set qxs-saropt is not here" in message and "opt_256_oc_0.2" in message
    assert "--root" in message and "BENCH_ROOT_QXS_SAROPT" in message and "bench run --config quickstart" in message
    assert message.count("is not here") == 1
    assert bench.files() == []
    elsewhere = bench.error("run", "matching", "--dataset", "qxs-saropt", env={"BENCH_DATA": str(bench.folder)})
    assert "QXSLAB_SAROPT from BENCH_DATA" in elsewhere


# -- data --------------------------------------------------------------------------------------------------------------
def test_a_partner_that_is_missing(pairs: Bench) -> None:
    (pairs.folder / "pairs/sar/7.png").unlink()
    message = pairs.error("run", "--config", "pairs.yaml")
    assert "optical/7.png has no SAR partner" in message and "bench data verify" in message
    assert not (pairs.folder / "runs/matching").exists() and not (pairs.folder / "leaderboards").exists()
    assert "PROBLEM" in pairs("data", "verify", "two-folders", "--root", "pairs", code=1).stdout


def test_an_empty_folder(pairs: Bench) -> None:
    for path in (pairs.folder / "pairs").glob("*/*.png"):
        path.unlink()
    assert "no pairs found under" in pairs.error("run", "--config", "pairs.yaml")


def test_a_root_that_is_the_current_folder(pairs: Bench) -> None:
    (pairs.folder / "pairs.yaml").rename(pairs.folder / "pairs/pairs.yaml")
    inside = Bench(pairs.folder / "pairs")
    inside("run", "--config", "pairs.yaml", "--root", ".", "--method", "random", "--no-figures")
    assert inside("plan", "--config", "pairs.yaml", "--root", str(inside.folder)).stdout.count("  finished") == 1


def test_a_tilde_is_the_home_folder_wherever_a_path_may_stand(pairs: Bench) -> None:
    pairs.env["HOME"] = str(pairs.folder / "home")
    (pairs.folder / "home").mkdir()
    (pairs.folder / "pairs").rename(pairs.folder / "home/pairs")
    (pairs.folder / "home/base.yaml").write_text(PAIRS.replace("root: pairs", "root: ~/pairs"))
    (pairs.folder / "home/table.csv").write_text("id,scene\n" + "".join(f"{i},s{i}\n" for i in range(24)))
    (pairs.folder / "home/plug.py").write_text("print('imported')")
    pairs.write("pairs.yaml", "extends: ~/base.yaml\n")
    option = "--set=matching.datasets.mine.options={table: ~/table.csv}"
    plan = ("plan", "--config", "pairs.yaml", "--method", "random", "--cells")
    assert "imported" in pairs.printed(*plan, "--set=plugins=[~/plug.py]")
    whole = option.replace("~", str(pairs.folder / "home"))
    calls = ((option,), (option, "--root", "mine=~/pairs", "--runs=~/runs"), (whole,))
    printed = [re.findall(r"\b[0-9a-f]{12}\b", pairs.printed(*plan, *words)) for words in calls]
    assert printed[0] and printed.count(printed[0]) == 3  # where the files lie is in no key
    verify = ("data", "verify", "two-folders", "--option", "table: ~/table.csv")
    assert "no problem" in pairs.printed(*verify, "--root=~/pairs", "--manifest=~/m.sha256", "--runs=~/runs")
    assert (pairs.folder / "home/m.sha256").is_file() and not (pairs.folder / "~").exists()
    for name, value in (("BENCH_ROOT_TWO_FOLDERS", "~/pairs"), ("BENCH_DATA", "~")):
        pairs.env[name] = value
        assert "no problem" in pairs.printed(*verify)
        del pairs.env[name]


def test_folders_of_other_names(pairs: Bench) -> None:
    (pairs.folder / "pairs/sar").rename(pairs.folder / "pairs/radar")
    assert "data set two-folders is not here (looked at" in pairs.error("run", "--config", "pairs.yaml")


def truncate(root: Path) -> None:
    path = root / "sar/7.png"
    path.write_bytes(path.read_bytes()[:90])


def text(root: Path) -> None:
    (root / "sar/7.png").write_text("no image")


def unequal(root: Path) -> None:
    write_image(root / "sar/7", np.ones((16, 17), dtype=np.uint8))


def other_size(root: Path) -> None:
    for view, shape in (("optical", (20, 20, 3)), ("sar", (20, 20))):
        write_image(root / view / "7", np.ones(shape, dtype=np.uint8))


def nan_tiff(root: Path) -> None:
    import tifffile

    (root / "sar/7.png").unlink()
    image = np.ones((16, 16), dtype=np.float32)
    image[3, 4] = np.nan
    tifffile.imwrite(root / "sar/7.tif", image)


@pytest.mark.parametrize("spoil", [truncate, text, unequal, other_size, nan_tiff], ids=lambda spoil: spoil.__name__)
def test_an_image_that_cannot_be_used_is_told_once_and_fails_every_cell(pairs: Bench, spoil: Any) -> None:
    spoil(pairs.folder / "pairs")
    stderr = failed_cells(pairs, "--config", "pairs.yaml", "--seeds", "0", "1", "2", "--no-figures")
    told = [line for line in stderr.splitlines() if "7.png" in line or "7.tif" in line]
    assert len(told) == 2, stderr  # when it happens, and in the summary
    assert "FAILED in data: " in told[0] and told[1].startswith("FAILED mine-random--random--seed0 and 5 more: ")
    assert stderr.count("not run, its data cannot be read (see above)") == 5
    assert not list((pairs.folder / "runs/cache/patches").glob("[0-9a-f]*"))
    assert "6 failed" in (pairs.folder / "leaderboards/pairs/matching.md").read_text().replace("3/3", "6")
    verify = pairs("data", "verify", "two-folders", "--root", "pairs", code=1)
    assert "PROBLEM" in verify.stdout and "7." in verify.stdout


def test_mended_data_run_through(pairs: Bench) -> None:
    whole = (pairs.folder / "pairs/sar/7.png").read_bytes()
    truncate(pairs.folder / "pairs")
    failed_cells(pairs, "--config", "pairs.yaml", "--method", "random", "--no-figures")
    (pairs.folder / "pairs/sar/7.png").write_bytes(whole)
    pairs("run", "--config", "pairs.yaml", "--method", "random", "--no-figures")
    board = (pairs.folder / "leaderboards/pairs/matching.md").read_text()
    assert "failed" not in board


def test_constant_images_are_legal_and_counted(pairs: Bench) -> None:
    write_image(pairs.folder / "pairs/sar/7", np.full((16, 16), 9, dtype=np.uint8))
    pairs("run", "--config", "pairs.yaml", "--method", "random", "--no-figures")
    record = json.loads((pairs.cell("random") / "record.json").read_text())
    assert record["facts"]["constant_images"]["sar"] <= 1 and record["metrics"]["uniform.accuracy"] is not None


# -- devices, checkpoints ----------------------------------------------------------------------------------------------
def test_more_gpus_than_there_are(tiny: Bench) -> None:
    message = tiny.error("run", "--config", "tiny.yaml", "--seeds", "5", "--device", "cuda:7")
    assert "device 'cuda:7' does not exist: this machine has" in message
    assert "unknown device 'gpu'" in tiny.error("run", "--config", "tiny.yaml", "--seeds", "5", "--device", "gpu")


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def test_a_checkpoint_of_another_network_and_a_pickle_bomb(bench: Bench) -> None:
    marker = bench.folder / "executed"
    (bench.folder / "bomb.pth").write_bytes(pickle.dumps({"state_dict": Bomb(marker)}))
    with atomic_write(bench.folder / "histogram.safetensors") as temporary:
        from safetensors.numpy import save_file

        save_file({"weights": np.ones((3, 3), dtype=np.float32)}, str(temporary))
    bench.write(
        "init.yaml",
        NET.split("  methods:")[0].replace("name: net", "name: init")
        + """
  methods:
    bomb: {matcher: infonce, backbone: resnet18, init: bomb.pth, options: {epochs: 1, input_px: 32, dim: 8}}
    other: {matcher: infonce, backbone: resnet18, init: histogram.safetensors, options: {epochs: 1, input_px: 32, dim: 8}}
""",
    )
    stderr = failed_cells(bench, "--config", "init.yaml", "--no-figures", "--threads", "1")
    assert "bomb.pth is no plain tensor checkpoint and was not opened further" in stderr
    assert "histogram.safetensors holds no resnet18" in stderr and "checkpoint of another network?" in stderr
    assert not marker.exists()
    assert not [name for name in bench.files("runs/matching") if name.endswith((".safetensors", ".npz"))]


# -- code of others ----------------------------------------------------------------------------------------------------
def test_plugins_are_named_before_they_run_and_can_be_refused(bench: Bench, shared_cache: dict[str, str]) -> None:
    bench.env |= shared_cache
    (bench.folder / "mine.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    bench.write("p.yaml", "plugins: [mine.py]\n" + TINY)
    for words in (["plan"], ["run"], ["submit", "x.csv", "--name", "x"], ["data", "pairs", "--out", "pairs.csv"]):
        refused = bench(*words, "--config", "p.yaml", "--no-plugins", code=2).stderr
        assert "plug-ins are refused" in refused and "mine.py" in refused, words
        assert not (bench.folder / "ran").exists(), words
    told = bench("plan", "--config", "p.yaml").stderr
    assert "plug-ins, whose code runs now" in told and "mine.py" in told and (bench.folder / "ran").exists()
    assert "plug-ins" not in bench("plan", "--config", "quickstart", "--no-plugins").stderr
