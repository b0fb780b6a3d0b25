"""What cannot be printed ends no command, and never one whose work is done; too little memory is one line; and every
exit code is one that docs/python-api.md or the README states.
"""

from __future__ import annotations

import errno
import io
import subprocess
from pathlib import Path

import pytest
from command_line import TINY, Bench

from bench.cli.main import main
from bench.core.errors import memory_lack, reason_line
from bench.core.output import OutputStream, printable_output

FINISHED = ("run", "--config", "tiny.yaml", "--no-figures")


def shell(bench: Bench, line: str, **env: str) -> tuple[int, str, str]:
    """Run a line of bash in which `bench` is ours; return exit code (of the last command that failed), stdout, stderr."""
    words = " ".join(f"'{word}'" for word in bench.words())
    text = f'set -o pipefail; bench() {{ {words} "$@"; }}; {line}'
    done = subprocess.run(
        ["bash", "-c", text], cwd=bench.folder, env={**bench.env, **env}, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        ("> /dev/full", 2, "bench: error: cannot write to standard output: No space left on device; the work itself"),
        ("2>&1 | head -0", 0, ""),
        pytest.param("2> /dev/full | cat", 0, "", marks=pytest.mark.slow),
        pytest.param(">&- 2>&- <&-", 0, "", marks=pytest.mark.slow),
    ],
)
def test_a_run_whose_output_goes_nowhere_is_whole(tiny: Bench, where: str, code: int, said: str) -> None:
    """The cell's worker and the run print progress meanwhile, and a table after the work."""
    for place in [*tiny.folder.glob("leaderboards/tiny/*.*"), *tiny.folder.glob("runs/matching/*histogram*/*.json")]:
        place.unlink()
    ended, _, stderr = shell(tiny, f"bench {' '.join(FINISHED)} {where}")
    assert ended == code and said in stderr, stderr
    assert (tiny.cell("histogram") / "record.json").is_file() and (
        tiny.folder / "leaderboards/tiny/matching.md"
    ).is_file()


def test_an_encoding_without_arrows_gets_plain_text(tiny: Bench) -> None:
    lines = f"bench {' '.join(FINISHED)}"
    for env in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}):
        code, out, _ = shell(tiny, lines, **env)
        assert code == 0 and "accuracy ^" in out and "R@1 S->O" in out and out.isascii()


def test_help_and_version_fail_where_they_cannot_be_written_and_not_where_nobody_reads(bench: Bench) -> None:
    assert shell(bench, "bench --version > /dev/full")[0] == 2
    assert shell(bench, "bench run --help | true")[::2] == (0, "")


def test_nothing_is_raised_and_nothing_follows_what_was_lost(capfd: pytest.CaptureFixture[str]) -> None:
    class Full(io.StringIO):
        encoding = "latin-1"
        room = 2

        def write(self, text: str) -> int:
            if self.room == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.room -= 1
            return super().write(text)

    inner = Full()
    stream = OutputStream(inner)
    assert [stream.write(text) for text in ("± ↑", "中\ud800", "lost", "lost")] == [3, 2, 4, 4]
    stream.flush()
    assert inner.getvalue() == "± ^\\u4e2d\\ud800" and stream.lost is not None and stream.lost.errno == errno.ENOSPC
    with printable_output() as output:
        print("seen")
        assert output.unwritten() == ""
    assert capfd.readouterr().out == "seen\n"


def limited(bench: Bench, kib: int, words: str) -> tuple[int, str, str]:
    return shell(bench, f"ulimit -v {kib}; bench {words}")


def test_under_a_memory_limit_there_is_one_line(tiny: Bench) -> None:
    code, _, stderr = limited(tiny, 100_000, "plan --config tiny.yaml")
    assert code == 2 and stderr == (
        "bench: error: a memory limit of 97 MiB (ulimit -v): the least that can do anything is 128 MiB\n"
    )
    code, _, stderr = limited(tiny, 133_000, "leaderboard tiny")
    assert code in (0, 2) and len(stderr.splitlines()) <= 1, stderr


@pytest.mark.slow
@pytest.mark.parametrize("kib", range(150_000, 4_000_000, 350_000))
def test_a_training_under_any_memory_limit_fails_in_one_line(bench: Bench, kib: int) -> None:
    bench.write("net.yaml", TINY.replace("cfog: {matcher: cfog, options: {max_shift_px: 2}}", NETWORK))
    code, out, stderr = limited(bench, kib, "run --config net.yaml --seeds 0 --no-figures --device cpu")
    assert code in (0, 1, 2), stderr
    lines = [line for line in stderr.splitlines() if "not enough memory" in line or "FAILED" in line or "error" in line]
    assert code == 0 or lines and all(len(line) < 400 for line in lines), stderr
    record = next(bench.folder.glob("runs/matching/*infonce*/record.json"), None)
    assert code == 2 or record is not None


NETWORK = "infonce: {matcher: infonce, backbone: resnet18, options: {entries: 8, batch_size: 4, input_px: 32}}"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "not enough memory; "),
        (MemoryError("Unable to allocate 3.5 GiB for an array with shape (9, 9)"), "(3.5 GiB more were wanted)"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to"
                         " allocate 4096 bytes. Error code 12"),
            "(4096 bytes more were wanted)",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), "on the accelerator (2.00 GiB more"),
        (ImportError("libtorch_cuda.so: failed to map segment from shared object"), "not enough memory; "),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory; "),
    ],
)  # fmt: skip
def test_what_says_that_memory_is_lacking(error: Exception, sentence: str) -> None:
    assert sentence in (memory_lack(error) or "") and reason_line(error) == memory_lack(error)


def test_other_errors_keep_their_own_first_line() -> None:
    for error in (ValueError("out of memory"), RuntimeError("shape\nmismatch"), OSError(errno.ENOSPC, "full")):
        assert memory_lack(error) is None
    assert reason_line(RuntimeError("shape\nmismatch")) == "shape"


def test_too_little_memory_within_a_command_is_bad_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(path: Path) -> None:
        raise MemoryError

    monkeypatch.setattr("bench.cli.options.load_suite", lambda *words: lacking(Path()))
    assert main(["plan", "matching"]) == 2
    assert capsys.readouterr().err.startswith("bench: error: not enough memory; ")
