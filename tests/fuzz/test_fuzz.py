"""Mutated inputs and command lines: no uncaught exception, no case without an end, no half-written file. What a case is
stands in `fuzz_harness.py`, which also repeats a single one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import TINY, Bench
from fuzz_commands import take_finished
from fuzz_harness import Kind, Run, Tally, run_kind, shown
from fuzz_kinds import KINDS

from bench.core.errors import BenchError


@pytest.mark.parametrize("name", KINDS)
def test_some_cases_of_each_kind(name: str, tmp_path: Path, tiny_run: Bench) -> None:
    take_finished({"tiny.yaml": TINY}, ("tiny.yaml",), tiny_run.folder)
    tally = run_kind(KINDS[name], tmp_path)
    assert not tally.findings, "\n\n".join(tally.findings[:3])
    assert tally.refused > 0, "a kind of which everything passes changes nothing that is looked at"


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_all_cases_of_each_kind(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = run_kind(KINDS[name], tmp_path, count=KINDS[name].slow)
    with capsys.disabled():
        print("\n" + shown(name, tally), end="")
    assert not tally.findings, f"{len(tally.findings)} findings\n" + "\n\n".join(tally.findings[:10])
    assert 0.02 * tally.cases < tally.refused


def test_the_slow_part_has_ten_thousand_cases() -> None:
    assert sum(kind.slow for kind in KINDS.values()) >= 10_000


def test_the_harness_finds_what_it_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(number: int) -> None:
        if number == 1:
            raise ZeroDivisionError
        if number == 2:
            (tmp_path / "faulty" / "board.json").write_text('{"half')
        if number == 3:
            while True:
                pass
        if number == 4:
            raise BenchError("two\nlines")
        if number == 5:
            raise BenchError("one line")
        if number == 6:
            (tmp_path / "faulty" / ".x.tmp.json").write_text("{}")

    def make(folder: Path) -> Run:
        numbers = iter(range(1000))

        def run(rng: object, where: Path) -> None:
            for left in where.iterdir():
                left.unlink()
            fault(next(numbers))

        return run

    monkeypatch.setattr("fuzz_harness.PATIENCE_S", 0.2)
    found: Tally = run_kind(Kind("faulty", 0, 8, make), tmp_path)
    assert (found.cases, found.refused, len(found.findings)) == (8, 1, 5)
    for wanted in ("ZeroDivisionError", "half-written", "no end", "several lines", "temporary file"):
        assert sum(wanted in each for each in found.findings) == 1, wanted
