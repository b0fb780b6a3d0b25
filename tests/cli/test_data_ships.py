"""`bench data` on sets of scenes with ships: facts, verification with its exit code, splits, and sets of the wrong
kind.
"""

from __future__ import annotations

import csv

from command_line import Bench
from ship_files import coco, write_air_sarship, write_coco, write_voc_folder

from bench.data.datasets.air_sarship import SCENES


def test_info_tells_the_facts_and_the_disputed_count(bench: Bench) -> None:
    out = " ".join(bench("data", "info", "air-sarship-1.0").stdout.split())
    for part in (
        "expected scenes 31",
        "expected ships 461",
        "487",
        "AIR-SARShip-1.0-xml/<n>-label.xml",
        "BENCH_ROOT_AIR_SARSHIP_1_0",
    ):
        assert part in out
    assert "sar_scale not declared" in " ".join(bench("data", "info", "voc-folder").stdout.split())
    listed = bench("list", "datasets").stdout
    assert all(
        f"  {name} " in listed
        for name in ("air-sarship-1.0", "hrsid", "ssdd", "voc-folder", "coco-folder", "qxs-saropt")
    )


def test_verify_lists_problems_and_says_so_by_its_exit_code(bench: Bench) -> None:
    root = write_voc_folder(bench.folder / "set", {"1": [[1, 2, 10, 20]], "2": []})
    verify = ("data", "verify", "voc-folder", "--root", "set", "--option", "sar_scale: uint8")
    out = bench(*verify, "--manifest", "m.sha256").stdout
    assert "2 images (expected: not declared), 1 ships and 0 to ignore" in out and "no problem found" in out
    assert len((bench.folder / "m.sha256").read_text().splitlines()) == 4
    write_voc_folder(root, {"1": [[10, 2, 1, 20], [5, 5, 500, 9]]})
    out = bench(*verify, code=1).stdout
    assert (
        "PROBLEM Annotations/1.xml: box 1" in out and "PROBLEM Annotations/1.xml: box 2" in out and "2 problems" in out
    )
    assert "option sar_scale" in bench.error(*verify[:5])


def test_notes_are_told_but_are_no_fault(bench: Bench) -> None:
    root = write_coco(bench.folder / "set", {"annotations.json": coco({"a.png": [[1, 1, 5, 5]], "b.png": []})})
    write_coco(root, {"annotations.json": coco({"a.png": [[1, 1, 5, 5]]})})
    out = bench("data", "verify", "coco-folder", "--root", "set", "--option", "sar_scale: uint8").stdout
    assert "1 images of images/ are in no list" in out and "no problem found" in out


def test_folds_over_the_scenes_of_a_detection_set(bench: Bench) -> None:
    write_air_sarship(bench.folder / "air", {number: [] for number in SCENES}, size=(6, 5))
    tested = []
    for fold in range(3):
        spec = f"{{kind: folds, folds: 3, fold: {fold}, stratify: [shore, resolution_m], validation: 0}}"
        out = bench("data", "split", "air-sarship-1.0", "--root", "air", "--spec", spec, "--out", f"{fold}.csv").stdout
        assert "0 validation" in out
        with (bench.folder / f"{fold}.csv").open() as stream:
            tested += [row["id"] for row in csv.DictReader(stream) if row["part"] == "test"]
    assert sorted(map(int, tested)) == list(SCENES)
    again = bench(
        "data", "split", "air-sarship-1.0", "--root", "air", "--spec", "{kind: file, path: 0.csv}", "--out", "again.csv"
    )
    assert (bench.folder / "again.csv").read_bytes() == (bench.folder / "0.csv").read_bytes(), again.stdout


def test_the_wrong_kind_of_set_ends_in_one_line(bench: Bench) -> None:
    assert "scenes without optical partners" in bench.error("data", "cut", "hrsid", "--out", "c")
    bench.write(
        "m.yaml",
        "name: m\nmatching:\n  datasets: {x: {dataset: hrsid, splits: {s: {}}}}\n  methods: {r: {matcher: random}}\n",
    )
    done = bench("plan", "--config", "m.yaml", code=2)
    assert "data set hrsid holds SAR scenes with ship boxes" in done.stdout + done.stderr
