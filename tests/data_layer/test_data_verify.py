"""`verify`: it finds every planted fault, in one go, and calls a clean set clean."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bench.core.errors import BenchError
from bench.data.datasets.qxs_saropt import QxsSaropt
from bench.data.datasets.s1s2_scenes import S1S2Scenes
from bench.data.datasets.two_folders import TwoFolders
from bench.data.images import write_image
from bench.data.verify import verify

MakePairs = Callable[..., Path]


def test_clean_set(make_pairs: MakePairs, tmp_path: Path) -> None:
    root, seen = make_pairs(5), []
    report = verify(TwoFolders.at(root), progress=lambda done, total: seen.append((done, total)))
    assert report.ok and report.problems == []
    assert (report.pairs, report.checked, report.sizes) == (5, 5, {"16 x 16": 5})
    assert report.sar_dtypes == report.optical_dtypes == {"uint8": 5}
    assert seen[-1] == (5, 5)
    report.write_manifest(tmp_path / "m.sha256")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", tmp_path / "m.sha256"], cwd=root, check=True)
    assert report.manifest.sha256 == TwoFolders.at(root).manifest().sha256


def test_every_planted_fault_is_found(make_pairs: MakePairs) -> None:
    root = make_pairs(9)
    (root / "sar" / "1.png").unlink()
    (root / "optical" / "2.png").write_text("text")
    broken = root / "sar" / "3.png"
    broken.write_bytes(broken.read_bytes()[:80])
    write_image(root / "sar" / "4", np.ones((16, 15), np.uint8))
    write_image(root / "optical" / "5", np.full((16, 16, 3), 7, np.uint8))
    (root / "sar" / "6.png").unlink()
    tifffile.imwrite(root / "sar" / "6.tif", np.full((16, 16), np.nan, np.float32))
    (root / "sar" / "8.png").write_bytes((root / "sar" / "7.png").read_bytes())
    write_image(root / "sar" / "9", np.arange(256, dtype=np.uint16).reshape(16, 16))
    report = verify(TwoFolders.at(root))
    assert not report.ok and report.pairs == 8
    assert report.unpaired == ("optical/1.png has no SAR partner in sar/",)
    assert [name in line for name, line in zip(("2.png", "3.png", "6.tif"), report.unreadable, strict=True)] == [
        True
    ] * 3
    assert (
        len(report.mismatched) == 1
        and "optical/4.png is 16 x 16 px and sar/4.png is 16 x 15 px" in report.mismatched[0]
    )
    assert report.constant == ("sar/4.png is 1 everywhere", "optical/5.png is 7 everywhere")
    assert report.duplicates == (("sar/7.png", "sar/8.png"),)
    text = "\n".join(report.problems)
    assert "several pixel types: uint16, uint8" in text and "declared uint8" in text
    assert len(report.problems) == 2 + 1 + 3 + 1 + 2 + 1


def test_counts_against_declared_facts(make_pairs: MakePairs) -> None:
    root = make_pairs(3, name="QXSLAB_SAROPT", folders=("opt_256_oc_0.2", "sar_256_oc_0.2"))
    problems = verify(QxsSaropt.at(root)).problems
    assert "3 pairs found, 20000 declared" in problems
    assert "3 pairs are not 256 px square: 16 x 16" in problems


def test_limit_and_long_lists(make_pairs: MakePairs) -> None:
    root = make_pairs(30)
    for number in range(1, 26):
        write_image(root / "sar" / str(number), np.full((16, 16), number, np.uint8))
    report = verify(TwoFolders.at(root), limit=3)
    assert report.checked == 3 and len(report.constant) == 3 and len(report.manifest.files) == 60
    assert "constant image: 5 more" in verify(TwoFolders.at(root)).problems


def test_scenes_and_tables(make_scenes: MakePairs, make_pairs: MakePairs) -> None:
    report = verify(S1S2Scenes.at(make_scenes(), patch_px=16))
    assert report.problems == ["2 pairs found, 48 declared"] and report.sizes == {"40 x 50": 2}
    root = make_pairs(2)
    (root / "t.csv").write_text("id\n1\n")
    assert any("no row for pair '2'" in line for line in verify(TwoFolders.at(root, table="t.csv")).problems)
    assert verify(TwoFolders.at(make_pairs(0, name="empty"))).problems[0].startswith("no pairs found")


def test_manifest_to_a_bad_place(make_pairs: MakePairs, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="cannot write"):
        verify(TwoFolders.at(make_pairs(1))).write_manifest(tmp_path / "file" / "m.txt")
