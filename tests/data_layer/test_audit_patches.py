"""The audit of patches against the truth of generated sets: overlaps, groups, positions, leaks, and the split that
leaks nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_toys import FOLDERS, PatchSet, found_pairs, grid, groups, opened, scene, stretched, true_pairs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cli.main import main
from bench.core.errors import BenchError
from bench.data.audit.patches import audit_pairs
from bench.data.audit.report import PatchReport
from bench.data.images import write_image
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split
from bench.matching.scoring.retrieval import overlap_mask
from bench.simulator.port_pairs import PortPairs

SIDE, STRIDE = 64, 44


def three_cities(keep: float = 0.43, rows: int = 11) -> PatchSet:
    """Three scenes of which 43 % of the patches are left, sea, and two patches that are there twice."""
    made = PatchSet(SIDE)
    for number in range(3):
        made.cut(number, grid(rows, rows, STRIDE, keep, number), scene(number, STRIDE * (rows - 1) + SIDE))
    made.patches += made.patches[:2]
    return made


def with_sea(made: PatchSet) -> PatchSet:
    """Add constant patches, and nearly constant ones with the same few ships at the same place."""
    sea = np.zeros((SIDE, SIDE), dtype=np.uint8)
    ships = sea.copy()
    ships[10:14, 20:26] = ships[40:43, 3:9] = 255
    for image in (sea, sea, sea + 255, sea + 255, ships, ships):
        made.add(image)
    return made


def audited(root: Path, spec: SplitSpec | None = None, match: str = "both") -> PatchReport:
    return audit_pairs(opened(root), SplitSpec() if spec is None else spec, match)  # type: ignore[arg-type]


def test_everything_is_recovered_from_the_pixels(tmp_path: Path) -> None:
    truth = with_sea(three_cities()).write(tmp_path / "set", seed=3)
    report = audited(tmp_path / "set")
    ids = report.index.ids
    wanted = true_pairs(truth, SIDE)
    assert len(wanted) > 150 and found_pairs(report.overlaps, ids) == wanted
    assert report.overlaps.exact.all() and not report.layout.contradictory.any()
    assert report.steps("x").keys() == {STRIDE} and report.steps("y").keys() == {STRIDE}
    found = {
        frozenset(name for name, group in zip(ids, report.layout.component, strict=True) if group == g)
        for g in range(len(ids))
    }
    assert found - {frozenset()} == groups(ids, wanted)
    assert report.layout.sizes.tolist() == sorted((len(group) for group in groups(ids, wanted)), reverse=True)
    position = {name: (int(y), int(x)) for name, y, x in zip(ids, report.layout.y, report.layout.x, strict=True)}
    for one, two, dy, dx in wanted:
        assert (position[two][0] - position[one][0], position[two][1] - position[one][1]) == (dy, dx)
    # the added copies lie among them
    assert report.optical is not None and report.optical.equal >= report.optical.pairs - 4
    assert report.to_json()["overlaps"]["same_place"] == 2


def test_the_leak_is_counted_as_by_hand(tmp_path: Path) -> None:
    truth = with_sea(three_cities()).write(tmp_path / "set", seed=3)
    report = audited(tmp_path / "set", SplitSpec(seed=4))
    part = {
        report.index.ids[i]: name
        for name in ("train", "validation", "test")
        for i in getattr(report.split, name).tolist()
    }
    pairs = true_pairs(truth, SIDE)
    both_ways = [(one, two) for one, two, _, _ in pairs] + [(two, one) for one, two, _, _ in pairs]
    touching = {
        kind: {one for one, two in both_ways if part[one] == "test" and part[two] in kind}
        for kind in (("train",), ("train", "validation"))
    }
    assert report.leak.train == len(touching["train",]) > 20
    assert report.leak.either == len(touching["train", "validation"])
    assert report.leak.test == len(report.split.test) and not report.ok
    seen = []
    for one in touching["train",]:
        mask = np.zeros((SIDE, SIDE), dtype=bool)
        for two in (two for left, two in both_ways if left == one and part[two] == "train"):
            (_, y1, x1), (_, y2, x2) = truth[one], truth[two]
            ys, xs = np.mgrid[y1 : y1 + SIDE, x1 : x1 + SIDE]
            mask |= (ys >= y2) & (ys < y2 + SIDE) & (xs >= x2) & (xs < x2 + SIDE)
        seen.append(mask.mean())
    assert report.leak.seen == pytest.approx(np.median(seen))


def test_a_contrast_stretch_of_each_patch_hides_nothing(tmp_path: Path) -> None:
    made, rng = three_cities(rows=7, keep=0.6), np.random.default_rng(0)
    made.patches = [(place, stretched(sar, rng), optical) for place, sar, optical in made.patches]
    truth = made.write(tmp_path / "set", seed=1)
    wanted = true_pairs(truth, SIDE)
    alone = audited(tmp_path / "set", match="exact")
    assert len(alone.overlaps) < 0.1 * len(wanted)  # bit by bit, nearly everything is lost
    report = audited(tmp_path / "set")
    found = found_pairs(report.overlaps, report.index.ids)
    assert found <= wanted and len(found) > 0.97 * len(wanted)
    strips = {pair for pair in wanted if 0 in pair[2:]}
    assert strips <= found


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 136), st.integers(0, 136)), min_size=2, max_size=12, unique=True))
def test_any_offset_is_found_not_only_those_of_a_grid(
    tmp_path_factory: pytest.TempPathFactory, windows: list[tuple[int, int]]
) -> None:
    root = tmp_path_factory.mktemp("any") / "set"
    made = PatchSet(SIDE)
    made.cut(0, windows, scene(0, 200))
    truth = made.write(root, seed=0)
    report = audited(root, SplitSpec(test=0.5, validation=0), "exact")
    found = found_pairs(report.overlaps, report.index.ids)
    wanted = true_pairs(truth, SIDE)
    assert found <= wanted
    assert {pair for pair in wanted if max(map(abs, pair[2:])) <= SIDE - 24} <= found


def test_unrelated_patches_make_no_overlap(tmp_path: Path) -> None:
    made, rng = PatchSet(SIDE), np.random.default_rng(2)
    for number in range(40):  # half of each is blank, with one border: equal radiometry, nothing in common
        sar = np.clip(60 * np.sqrt(rng.gamma(2.0, 0.5, (SIDE, SIDE))), 0, 255).astype(np.uint8)
        sar[: SIDE // 2] = 255 * (number % 2)
        made.add(sar)
    made.write(tmp_path / "set", seed=0)
    report = audited(tmp_path / "set")
    assert len(report.overlaps) == 0 and report.ok and report.optical is None
    assert report.leak.seen is None and report.to_json()["split"]["median_pixels_seen"] is None
    assert report.lines()[-1] == "no test patch shares ground with what is trained on"


@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_one_huge_group_is_cut_into_blocks_with_a_guard_band(tmp_path: Path, keep: float) -> None:
    made = PatchSet(SIDE)
    made.cut(0, grid(20, 14, STRIDE, keep), scene(0, 20 * STRIDE + SIDE))
    truth = made.write(tmp_path / "set", seed=5)
    report = audited(tmp_path / "set")
    assert report.layout.sizes[0] > 0.75 * len(truth)
    assert report.leak.train > 0.8 * report.leak.test
    assert report.grouped is not None and report.grouped_leak is not None and report.grouped_leak.ok
    split, ids = report.grouped.split, report.index.ids
    part = {ids[i]: name for name in ("train", "validation", "test", "dropped") for i in getattr(split, name).tolist()}
    for one, two, _, _ in true_pairs(truth, SIDE):  # the proof: true places, not the found ones
        kept = {part[one], part[two]} - {"dropped"}
        assert len(kept) < 2, (one, two)
    assert 0.2 < len(split.test) / len(ids) < 0.4 and len(split.dropped) < 0.35 * len(ids) and len(split.validation) > 0


def test_the_tables_serve_the_readers_and_the_masks(tmp_path: Path) -> None:
    truth = with_sea(three_cities(keep=0.7, rows=6)).write(tmp_path / "set", seed=3)
    report = audited(tmp_path / "set")
    assert report.write_tables(tmp_path / "audit") == ["layout.csv", "split.csv", "pairs.csv"]
    index = opened(tmp_path / "set", table=str(tmp_path / "audit" / "layout.csv")).index()
    mask = overlap_mask(index.places)
    assert mask is not None
    one, two = np.nonzero(np.triu(mask(slice(0, len(index)), slice(0, len(index))), k=1))
    assert {(index.ids[i], index.ids[j]) for i, j in zip(one.tolist(), two.tolist(), strict=True)} == {
        pair[:2] for pair in true_pairs(truth, SIDE)
    }
    split = make_split(index, SplitSpec(kind="file", path=str(tmp_path / "audit" / "split.csv")))
    assert report.grouped is not None and split.sha256 == report.grouped.split.sha256
    assert split.summary["sharing_ground_with_test"] == {"train": 0, "validation": 0}
    by_scene = make_split(index, SplitSpec(kind="grouped", by="scene", guard_m=500))
    assert by_scene.summary["sharing_ground_with_test"] == {"train": 0, "validation": 0} and len(by_scene.dropped) == 0
    assert {"block", "group_size", "x0_px", "y0_px"} <= set(index.columns)
    again = audit_pairs(
        opened(tmp_path / "set", table=str(tmp_path / "audit" / "layout.csv")),
        SplitSpec(kind="grouped", by="block", guard_m=1),
    )
    assert again.ok


def test_the_result_does_not_depend_on_the_numbering(tmp_path: Path) -> None:
    figures = []
    for seed in (1, 2):
        root = tmp_path / f"set{seed}"
        three_cities(rows=6).write(root, seed)
        found = audited(root).to_json()
        figures.append((found["overlaps"], found["groups"]))
    assert figures[0] == figures[1]


def test_bad_sets_end_in_one_line(tmp_path: Path) -> None:
    made = PatchSet(16)
    made.cut(0, [(0, 0), (0, 3), (3, 0), (3, 3), (2, 2)], scene(0, 40))
    made.write(tmp_path / "set", seed=0)
    report = audited(tmp_path / "set", SplitSpec(test=0.4, validation=0.4), "exact")
    assert report.grouped is None and report.why_not.startswith("no grouped split can be made of 5 patches")
    assert (
        report.write_tables(tmp_path / "audit") == ["layout.csv", "pairs.csv"]
        and report.to_json()["grouped_split"] is None
    )
    with pytest.raises(BenchError, match="at least 20 px a side"):
        audited(tmp_path / "set", SplitSpec(validation=0))
    write_image(tmp_path / "set" / FOLDERS[1] / "4", np.zeros((20, 20), dtype=np.uint8))
    with pytest.raises(BenchError, match=r"4.png is 20 x 20 px of uint8, while sar_256_oc_0.2/1.png is 16 x 16 px"):
        audited(tmp_path / "set", SplitSpec(validation=0))
    for name in sorted((tmp_path / "set" / FOLDERS[1]).iterdir()):
        name.write_bytes(b"no image")
    with pytest.raises(BenchError, match=r"no SAR image can be read: .*1.png is not an image"):
        audited(tmp_path / "set", SplitSpec(validation=0))


def test_damaged_files_are_named_and_the_others_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    three_cities().write(tmp_path / "set", seed=0)
    spec = SplitSpec(validation=0, test=0.5)
    whole = audited(tmp_path / "set", spec)
    assert whole.damaged == {} and whole.to_json()["damaged"] == {}
    optical, sar = (tmp_path / "set" / folder for folder in FOLDERS)
    for path in [*sorted(sar.iterdir())[:2], *sorted(optical.iterdir())]:  # the first of all too
        path.write_bytes(path.read_bytes()[:60])
    report = audited(tmp_path / "set", spec)
    lost = {str(path.relative_to(tmp_path / "set")) for path in sorted(sar.iterdir())[:2]}
    assert lost < set(report.damaged) and all(" cannot be decoded" in why for why in report.damaged.values())
    gone = [i for i, sample in enumerate(report.index.samples) if sample.sar in lost]

    def pairs(of: PatchReport) -> set[tuple[int, int]]:
        return set(zip(of.overlaps.a.tolist(), of.overlaps.b.tolist(), strict=True))

    assert pairs(report) == {pair for pair in pairs(whole) if not set(gone) & set(pair)} < pairs(whole)
    monkeypatch.chdir(tmp_path)
    words = ["data", "audit", "qxs-saropt", "--root", str(tmp_path / "set"), "--spec", "validation: 0"]
    assert main(words) == 1
    assert capsys.readouterr().out.count("PROBLEM not compared: ") >= 2


def test_the_option_gsd_m_gives_the_metres_of_an_audit(tmp_path: Path) -> None:
    """port-pairs declares its resolution in the options alone; the audit took every pixel for a metre."""
    patches = PatchSet(32)
    patches.cut(0, grid(3, 3, 20), scene(0, 72))
    truth = patches.write(tmp_path / "set", seed=1)
    rows = [f"{name},{place[0]},{place[1]},{place[2]}" for name, place in truth.items() if place is not None]
    (tmp_path / "set/patches.csv").write_text("\n".join(["id,scene,y0_px,x0_px", *rows]) + "\n")
    options: dict[str, Any] = {"patch_px": 256, "overlap_px": 51, "scenes": 1, "patches_per_scene": 9}
    reports = {
        gsd_m: audit_pairs(PortPairs.at(tmp_path / "set", gsd_m=gsd_m, **options), SplitSpec(), "exact")
        for gsd_m in (1.0, 2.5)
    }
    places = {gsd_m: report.plain.places for gsd_m, report in reports.items()}
    assert reports[2.5].gsd_m == 2.5 and np.ptp(places[1.0][:, 0]) == 40
    np.testing.assert_allclose(np.ptp(places[2.5], axis=0), 2.5 * np.ptp(places[1.0], axis=0))
    np.testing.assert_allclose(places[2.5][:, 2] - places[2.5][:, 0], 2.5 * 32)
