"""Where a number comes from: git state, versions, hardware, and nothing that names the machine or its user."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.provenance import PACKAGES, git_state, hardware, installed, peak_memory_bytes, serving, versions
from bench.execution.worker import without_paths


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout that holds a package and a board; returns the package's folder."""
    package = tmp_path / "project" / "bench"
    (package.parent / "leaderboards" / "s").mkdir(parents=True)
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package.parent / "leaderboards" / "s" / "matching.md").write_text("old")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        git(package.parent, *words)
    return package


def git(folder: Path, *words: str) -> str:
    settings = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *settings, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_commit_and_whether_anything_changed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the folder that counts is the package's, not the current one
    monkeypatch.chdir(os.path.dirname(os.path.dirname(checkout)))
    assert git_state(checkout) == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}
    (checkout.parent / "leaderboards/s/matching.md").write_text("new")
    (checkout / "notes.txt").write_text("untracked")
    assert git_state(checkout) == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}
    (checkout / "__init__.py").write_text("x = 1\n")
    state = git_state(checkout)
    assert state is not None and state["dirty"] is True


def test_an_installed_package_has_no_git_state(checkout: Path, tmp_path: Path) -> None:
    (checkout / "site").mkdir()
    (checkout / "site" / "__init__.py").write_text("")
    assert git_state(checkout / "site") is None  # inside a checkout, but not part of it
    (tmp_path / "plain").mkdir()
    assert git_state(tmp_path / "plain") is None


def test_versions_and_hardware_name_neither_machine_nor_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)  # nothing is asked of a device that was not used
    told = versions()
    assert (
        told["python"] == platform.python_version()
        and told["torch"]
        and told["mmdet"] is None
        or isinstance(told["mmdet"], str)
    )
    machine = hardware("cpu", 3)
    assert (
        machine["device"] == "cpu"
        and machine["threads"] == 3
        and machine["cores"] >= 1
        and machine["accelerator"] is None
    )
    assert hardware("cuda:1", 1)["device"] == "cuda" and peak_memory_bytes() > 1e6
    text = json.dumps([told, machine])
    for word in (platform.node(), getpass.getuser(), str(Path.home())):
        assert len(word) < 4 or f'"{word}' not in text


def test_the_folders_of_a_message_are_replaced_longest_first() -> None:
    private = {"/home/a": "~", "/home/a/data": "<data>", "/": ".", "": "<cache>"}
    assert without_paths("/home/a/data/7.png and /home/a/x and /other", private) == "<data>/7.png and ~/x and /other"


def test_the_peak_memory_is_that_of_the_process_not_of_its_parent() -> None:
    ballast = bytearray(700 * 2**20)
    ballast[:: 2**12] = b"x" * len(ballast[:: 2**12])
    code = "from bench.core.provenance import peak_memory_bytes; print(peak_memory_bytes())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert 2**20 < int(done.stdout) < 400 * 2**20 and peak_memory_bytes() > len(ballast)


def test_what_stands_in_for_a_package_is_recorded_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records keep their keys whichever build of OpenCV or mmcv is installed; a distribution that only carries the name
    of another has no say.
    """
    site = tmp_path / "site"
    for name, version, file in (
        ("opencv_python", "9.0+headless", ""),
        ("opencv_python_headless", "9.1", "cv2/__init__.py,,\n"),
        ("mmcv", "2.1.7", "mmcv/__init__.py,,\n"),
    ):
        folder = site / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        folder.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        )
        folder.joinpath("RECORD").write_text(f"{folder.name}/METADATA,,\n{file}")
    monkeypatch.setattr(sys, "path", [str(site)])  # nothing else is installed
    found = versions()
    assert found["opencv-python"] == "9.1" and found["mmcv-lite"] == "2.1.7" and found["torch"] is None
    assert set(found) == {"python", "saropt-bench", *PACKAGES}
    assert installed("opencv-python") is None and serving("opencv-python") == "opencv-python-headless"
