"""Progress: a bar on a terminal, sparse lines elsewhere, both into the log."""

from __future__ import annotations

import io

import pytest

from bench.core.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_are_sparse_and_carry_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("bench.core.progress.time.monotonic", lambda: now[0])
    stream, lines = io.StringIO(), []  # type: ignore[var-annotated]
    with Progress(lines.append, stream, interval_s=10).bar("training", 100, "batches") as bar:
        for step in range(100):
            now[0] += 1
            bar.advance(1, f"loss {step}")
    assert stream.getvalue().splitlines() == lines
    assert len(lines) == 10
    assert lines[0] == "training: 10/100 batches (10%), 1:30 left, loss 9"
    assert lines[-1] == "training: 100/100 batches in 1:40, loss 99"


def test_terminal_gets_a_bar_and_the_log_gets_lines() -> None:
    stream, lines = Terminal(), []  # type: ignore[var-annotated]
    progress = Progress(lines.append, stream, interval_s=1000)
    with progress.bar("reading", 3, "images", done=1) as bar:
        progress.say("a word")
        bar.advance(2, "x.png")
    assert "reading" in stream.getvalue() and "a word" in stream.getvalue()
    assert lines == ["a word", "reading: 3/3 images in 0:00, x.png"]


def test_failed_loop_reports_no_success_and_empty_one_divides_by_nothing() -> None:
    stream = io.StringIO()
    progress = Progress(None, stream, interval_s=0)
    with pytest.raises(ValueError, match="stop"), progress.bar("reading", 2):
        raise ValueError("stop")
    assert stream.getvalue() == ""
    with progress.bar("nothing", 0):
        pass
    progress.say("done")
    assert stream.getvalue().splitlines() == ["nothing: 0/0 it in 0:00", "done"]


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.6, 61, 3661)] == ["0:00", "1:00", "1:01", "1:01:01"]
