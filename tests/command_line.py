"""What the tests of the command line share: `bench` as a user types it, in a folder of its own, and the two suites they
run.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from bench.cli.main import main

REPOSITORY = Path(__file__).resolve().parents[1]
TOY = """
  protocol: {name: match/test-v1, hard: scene, gallery: 8}
  datasets:
    toy:
      dataset: toy-pairs
      options: {scenes: 3, patches_per_scene: 12, patch_px: 32}
      splits:
        grouped: {kind: grouped, by: scene, test: 0.34, validation: 0.4}
"""
TINY = f"""\
name: tiny
title: "Tiny: generated pairs"
description: The smallest suite that a board can be made of.
seeds: [0, 1]
matching:{TOY}\
  methods:
    cfog: {{matcher: cfog, options: {{max_shift_px: 2}}}}
    histogram: {{matcher: histogram, seeds: [0]}}
    random: {{matcher: random}}
"""
NET = f"""\
name: net
matching:{TOY}\
  methods:
    infonce-resnet18:
      matcher: infonce
      backbone: resnet18
      options: {{epochs: 4, batch_size: 8, lr: 0.001, schedule: cosine, augment: dihedral, input_px: 32, dim: 8, select: best}}
"""


class Bench:
    """The command line in a folder of its own.

    Attributes:
        folder: current folder of every command.
        env: the environment: ours without anything that names data, weights or caches.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
        self.env["PYTHONPATH"] = str(REPOSITORY)
        self.env["PYTHONDONTWRITEBYTECODE"] = "1"
        # records of two runs must not differ because somebody edits the checkout meanwhile
        self.env["GIT_DIR"] = str(folder / "no-git")

    def __call__(
        self, *words: str, code: int = 0, env: Mapping[str, str] | None = None, timeout_s: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run `bench WORDS` to its end; the exit code must be `code`, and no traceback may show."""
        environment = {**self.env, **(env or {})}
        done = subprocess.run(
            self.words(*words),
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `bench WORDS` in a process group of its own, to be killed."""
        return subprocess.Popen(
            self.words(*words), cwd=self.folder, env=self.env, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def error(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        """Run `bench WORDS`, which must end in exit code 2 and one message `bench: error: ...`; return the message."""
        stderr = self(*words, code=2, env=env).stderr
        assert stderr.count("bench: error: ") == 1, stderr
        return stderr.split("bench: error: ")[1].strip()

    def refused(self, *words: str) -> str:
        """Like `error`, but in this process, for many wrong commands in a row: they must load no plug-in and start no
        worker.
        """
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.folder),
            mock.patch.dict(os.environ, self.env, clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main(words)
        assert code == 2, f"exit code {code}\n{out.getvalue()}\n{err.getvalue()}"
        assert err.getvalue().count("bench: error: ") == 1, err.getvalue()
        return err.getvalue().split("bench: error: ")[1].strip()

    def printed(self, *words: str, code: int = 0) -> str:
        """Run `bench WORDS` in this process, for many commands in a row; the exit code must be `code`. Return what it
        printed.
        """
        out = io.StringIO()
        with (
            contextlib.chdir(self.folder),
            mock.patch.dict(os.environ, self.env, clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
        ):
            assert main(words) == code, out.getvalue()
        return out.getvalue()

    @staticmethod
    def words(*words: str) -> list[str]:
        return [sys.executable, "-m", "bench.cli.main", *words]

    def write(self, name: str, text: str) -> str:
        """Write a file below the folder; return its name."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return name

    def cell(self, part: str) -> Path:
        """Return the one cell folder whose name contains `part`."""
        (found,) = [path for path in (self.folder / "runs" / "matching").iterdir() if part in path.name]
        return found

    def files(self, *folders: str) -> list[str]:
        """Return the files below `folders` (all by default), without locks, as sorted relative paths."""
        roots = [self.folder / folder for folder in folders] or [self.folder]
        found = [path for root in roots for path in root.rglob("*") if path.is_file() and path.name != ".lock"]
        return sorted(path.relative_to(self.folder).as_posix() for path in found)


def failed_cells(bench: Bench, *words: str) -> str:
    """Run, expecting failed cells (exit code 1) recorded as such; return what was told on stderr."""
    stderr = bench("run", *words, code=1).stderr
    records = [json.loads(path.read_text()) for path in (bench.folder / "runs/matching").glob("*/record.json")]
    assert any(record["status"] == "failed" and record["failure"]["message"] for record in records)
    assert str(bench.folder) not in "".join(json.dumps(record) for record in records)
    return stderr
