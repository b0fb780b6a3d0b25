"""README.md: every command in it is run, in the order of the page, on small stand-ins of the sets that it names.

`DIR` and `DIR2` become the folders that the page's own `bench data simulate` lines write, at a smaller size; what would
train for hours is narrowed or run as a smoke run, and what another test runs is named here. A command that is in none
of the three lists fails the test.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from command_line import REPOSITORY, Bench

PAGE = (REPOSITORY / "README.md").read_text(encoding="utf-8")
_FENCE = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NARROW = ["--method", "random", "histogram", "cfar", "--seeds", "0", "--no-figures"]
_ROOTS = "--root qxs-saropt=DIR --root air-sarship-1.0=DIR2"

# command -> (words added or replacing others, exit code)
RUN: dict[str, tuple[list[str], int]] = {
    "bench list": ([], 0),
    "bench selftest": ([], 0),
    "bench doctor": (["--quick"], 0),
    "bench plan --config NAME": ([], 0),
    "bench run --config NAME": (_NARROW, 0),
    "bench run matching --config quickstart --set seeds=[0] --matcher cfog random": (["--no-figures"], 0),
    "bench run --config NAME --smoke": (_NARROW, 0),
    "bench leaderboard": ([], 0),
    "bench explain FINGERPRINT": ([], 0),
    "bench compare hrsid:faster-rcnn/osm hrsid:faster-rcnn/none": (["--boards", str(REPOSITORY / "leaderboards")], 0),
    "bench score --all": ([], 0),
    "bench merge OTHER/runs": ([], 0),
    "bench clean": ([], 0),
    "bench docs statistics": ([], 0),
    "bench data info qxs-saropt": ([], 0),
    "bench data info NAME": ([], 0),
    "bench data simulate --like qxs-saropt --pairs 20000 --out DIR": (["--pairs", "60"], 0),
    "bench data simulate --like air-sarship-1.0 --out DIR2": (["--images", "6"], 0),
    "bench data verify qxs-saropt --root DIR": ([], 1),  # 60 pairs where 20,000 are declared
    "bench data audit qxs-saropt --root DIR --out audit": ([], 1),  # the random split leaks
    f"bench plan --config paper {_ROOTS}": ([], 2),  # the ImageNet files are not there, and the plan says so
    f"bench run --config paper {_ROOTS}": (_NARROW, 0),
    "bench data weights resnet50": ([], 2),
}
SLOW: dict[str, tuple[list[str], int]] = {
    f"bench run --config paper --smoke {_ROOTS}": (["--seeds", "0"], 0),
    "bench run matching --backbone darknet53 --root DIR": (["--smoke", "--seeds", "0"], 0),
    f"bench run detection --pretrain osm {_ROOTS}": (["--smoke", "--seeds", "0", "--detector", "faster-rcnn"], 0),
}
ELSEWHERE = {
    "bench run --config docs/examples/my_suite.yaml": "tests/docs/test_docs_examples.py",
    "bench run --config docs/examples/my_ships.yaml": "tests/docs/test_docs_detector.py",
    "bench submit boxes.json --task detection --config quickstart --name my-detector": (
        "tests/docs/test_docs_submitting.py"
    ),
    "bench submit FILE --task T --config NAME --name ROW": "tests/docs/test_docs_submitting.py",
    "bench data weights resnet50 --download": "tests/models/test_weight_files.py",
    "bench run --config NAME --processes 2": "tests/cli/test_many_processes.py",
    "bench run --config NAME --executor slurm": "tests/cluster/test_one_node_slurm.py",
    "bench predict CELL SCENE --out FOLDER": "tests/cli/test_predict.py",
    "bench export CELL --to mmdet --out FILE": "tests/cli/test_export.py",
    "make setup PYTHON=python3.12": "Makefile",
    "make demo": "Makefile",
    "make test": ".ci/run",
    "make check": "Makefile",
}


def commands() -> list[str]:
    """Return every command of the page once, without comments, in order; mentions of a verb alone are none."""
    lines = [line for block in _FENCE.findall(PAGE) for line in block.splitlines()]
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", _FENCE.sub("", PAGE))]
    found = [" ".join(shlex.split(line, comments=True)) for line in lines + inline if re.match(r"(bench|make) ", line)]
    mentions = {"bench run matching", "bench run detection"}
    return [line for line in dict.fromkeys(found) if line not in mentions]


def filled(command: str, bench: Bench) -> list[str]:
    """Return the words of a command with the page's placeholders filled in."""
    values = {"NAME": "qxs-saropt" if command.startswith("bench data") else "quickstart", "OTHER/runs": "other/runs"}
    if "FINGERPRINT" in command:
        values["FINGERPRINT"] = bench.cell("histogram").name.rpartition("-")[2]
    return [values.get(word, word) for word in shlex.split(command)[1:]]


def with_changes(words: list[str], changes: list[str]) -> list[str]:
    """Return words with the value of an option replaced where it stands already, else added."""
    if changes and changes[0] in words:
        place = words.index(changes[0])
        return [*words[: place + 1], changes[1], *words[place + 2 :], *changes[2:]]
    return [*words, *changes]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, shared_cache: dict[str, str]) -> Bench:
    """A folder in which what makes data has been run, as the page says, and another machine's runs lie beside."""
    bench = Bench(tmp_path_factory.mktemp("readme"))
    bench.env |= shared_cache
    for command in commands():
        if command.startswith("bench data simulate"):
            bench(*with_changes(filled(command, bench), RUN[command][0]))
    bench(*with_changes(filled("bench run --config NAME", bench), _NARROW))
    shutil.copytree(bench.folder / "runs", bench.folder / "other" / "runs")
    return bench


def test_every_command_of_the_page_is_run_here_or_elsewhere() -> None:
    assert set(commands()) == {*RUN, *SLOW, *ELSEWHERE}
    for command, place in ELSEWHERE.items():
        text = (REPOSITORY / place).read_text(encoding="utf-8")
        assert any(word in text for word in (Path(command.split()[-1]).name, *command.split()[1:2])), (
            f"{command}: not in {place}"
        )


@pytest.mark.parametrize("command", [command for command in RUN if not command.startswith("bench data simulate")])
def test_command(command: str, followed: Bench) -> None:
    changes, code = RUN[command]
    followed(*with_changes(filled(command, followed), changes), code=code)


@pytest.mark.slow
@pytest.mark.parametrize("command", SLOW)
def test_slow_command(command: str, followed: Bench) -> None:
    changes, code = SLOW[command]
    # each detector looks at 9 MP of scene
    followed(*with_changes(filled(command, followed), changes), code=code, timeout_s=1800)


def test_the_demo_is_the_run_that_the_page_describes() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert re.search(
        r"^demo: setup\n\t\$\(BIN\)/bench run --config quickstart --boards runs/boards$", makefile, re.MULTILINE
    )
