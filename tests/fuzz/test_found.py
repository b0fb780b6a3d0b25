"""What the fuzz harness found once, each as the smallest case of its kind."""

from __future__ import annotations

import io
import json
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from ship_files import coco, write_coco

from bench.cli.main import main
from bench.core.errors import BenchError
from bench.core.progress import Progress
from bench.data.dataset import open_dataset
from bench.data.images import read_image
from bench.data.ships.verify import verify_ships

ROWS, HUGE = 24, 2**26 + 24


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"rowsperstrip": 5},
        {"tile": (16, 16)},
        {"compression": "zlib"},
        {"compression": "zlib", "tile": (16, 16)},
    ],
    ids=str,
)
@pytest.mark.parametrize("side", [256, 257], ids=["width", "length"])
def test_a_tiff_whose_sides_its_file_cannot_hold_is_refused_at_once(
    form: dict[str, Any], side: int, tmp_path: Path
) -> None:
    path, pixels = tmp_path / "a.tif", np.arange(ROWS * ROWS, dtype=np.uint8).reshape(ROWS, ROWS)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None, **form)
    assert np.array_equal(read_image(path), pixels)
    entry = struct.pack("<HHI", side, 4, 1)  # tag, LONG, one value
    short = struct.pack("<HHI", side, 3, 1)
    whole = path.read_bytes()
    at = max(whole.find(entry), whole.find(short))
    assert at > 0
    path.write_bytes(whole[:at] + entry + struct.pack("<I", HUGE) + whole[at + 12 :])
    started = time.monotonic()
    with pytest.raises(BenchError, match=r"a\.tif .*(cannot hold|cannot be decoded)"):
        read_image(path)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("form", [{}, {"rowsperstrip": 7}, {"tile": (64, 64)}], ids=str)
def test_a_plain_image_of_one_value_is_read(
    compression: str | None, form: dict[str, Any], tmp_path: Path
) -> None:  # packed as tightly as can be
    for dtype in (np.uint8, np.uint16, np.float32):
        for shape in ((1, 1), (1500, 999), (200, 300, 3)):
            pixels = np.zeros(shape, dtype)
            photometric = "rgb" if len(shape) == 3 else "minisblack"
            tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=photometric, compression=compression, **form)
            assert read_image(tmp_path / "a.tif").shape == shape


def test_a_line_break_in_an_entry_of_a_label_file_breaks_no_message(tmp_path: Path) -> None:
    content = coco({"a.png": [[2, 3, 9, 9]]})
    content["categories"].append("a\nb")
    write_coco(tmp_path, {"annotations.json": json.loads(json.dumps(content))})
    report = verify_ships(open_dataset("coco-folder", {"sar_scale": "uint8"}, tmp_path, tmp_path / "cache"))
    assert report.problems and all("\n" not in line for line in report.problems)
    assert any("'a\\nb'" in line for line in report.problems)


def test_a_name_that_no_file_can_have_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", "x" * 300]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("bench: error: ") and "\n" not in said and "File name too long" in said


def test_progress_of_a_process_without_an_error_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    progress = Progress()
    with progress.bar("files", 2) as bar:
        bar.advance(2)
    assert isinstance(progress.stream, io.StringIO)
