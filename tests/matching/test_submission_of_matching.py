"""Distances of another tool: what it is requested, and that an answer is taken only when it is complete, finite and meant
for this drawing.
"""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.data.index import PairIndex, PairSample
from bench.execution.cell import Origin
from bench.matching.matchers.distances import paired, pairwise
from bench.matching.scoring.pairs import sample_gallery, sample_pairs
from bench.matching.scoring.predictions import PartPredictions, Predictions, save_predictions
from bench.matching.scoring.sampling import PARTS, SampledPairs
from bench.matching.submission.handout import handout, handout_of_originals
from bench.matching.submission.submission import RequestedPairs, Submitted, read_submission, requested_pairs

IDENTITY = {"manifest": "m" * 64, "split": "s" * 64}
PLAN: Any = SimpleNamespace(identity=lambda: IDENTITY)


def drawn_of(validation: int = 9, test: int = 12, gallery: int = 5, seed: int = 0) -> SampledPairs:
    """Two scenes a part, so that uniform and hard negatives sometimes coincide."""
    ids = {part: tuple(f"{part[0]}{i}" for i in range(n)) for part, n in (("validation", validation), ("test", test))}
    pairs = {
        part: sample_pairs(len(ids[part]), seed, "scene", [i % 2 for i in range(len(ids[part]))]) for part in PARTS
    }
    return SampledPairs(ids, pairs, sample_gallery(test, gallery, seed))


DRAWN = drawn_of()
REQUESTED = requested_pairs(IDENTITY, DRAWN)
Row = dict[str, Any]


def answer(requested: RequestedPairs = REQUESTED, seed: int = 0) -> list[Row]:
    """A complete answer: every row that was requested, with a distance drawn at random."""
    value = np.random.default_rng(seed).normal(size=len(requested)).astype(np.float32)
    named = zip(range(len(requested)), requested.parts, requested.sar, requested.optical, value.tolist(), strict=True)
    return [dict(zip(("pair", "part", "sar", "optical", "distance"), row, strict=True)) for row in named]


def written(folder: Path, rows: list[Row], name: str = "mine.csv") -> Path:
    path = folder / name
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
        return path
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path: Path, threshold: float | None = None, drawn: SampledPairs = DRAWN) -> Submitted:
    cell: Any = SimpleNamespace(
        origin=Origin(places={"results": str(path)}), spec={"method": {"options": {"threshold": threshold}}}
    )
    return read_submission(cell, PLAN, drawn)


def expected(rows: list[Row], drawn: SampledPairs = DRAWN) -> dict[str, np.ndarray]:
    """The distances of the drawn pairs, looked up one by one."""
    known = {(row["part"], row["sar"], row["optical"]): row["distance"] for row in rows}
    out = {}
    for part, pairs in drawn.pairs.items():
        ids = drawn.ids[part]
        found = [known[part, ids[s], ids[o]] for s, o in zip(pairs.sar.tolist(), pairs.optical.tolist(), strict=True)]
        out[part] = np.array(found, dtype=np.float32)
    ids, at = drawn.ids["test"], drawn.gallery.tolist()
    out["gallery"] = np.array([[known["gallery", ids[s], ids[o]] for o in at] for s in at], dtype=np.float32)
    return out


def same(found: Submitted, wanted: dict[str, np.ndarray]) -> bool:
    parts = all(np.array_equal(found.distance[part], wanted[part], equal_nan=True) for part in PARTS)
    return parts and found.gallery is not None and np.array_equal(found.gallery, wanted["gallery"], equal_nan=True)


# -- what is requested -----------------------------------------------------------------------------------------------------
def test_every_distinct_pair_is_asked_once_and_its_kind_is_not_told() -> None:
    keys = list(zip(REQUESTED.parts, REQUESTED.sar, REQUESTED.optical, strict=True))
    assert len(set(keys)) == len(keys)
    for part in PARTS:
        ids, pairs = DRAWN.ids[part], DRAWN.pairs[part]
        drawn = {(part, ids[s], ids[o]) for s, o in zip(pairs.sar.tolist(), pairs.optical.tolist(), strict=True)}
        assert drawn == {key for key in keys if key[0] == part}
        assert len(drawn) < len(pairs), (
            "uniform and hard negatives coincide somewhere: a pair that is in both is requested once"
        )
    assert sum(key[0] == "gallery" for key in keys) == len(DRAWN.gallery) ** 2
    index = PairIndex(
        tuple(PairSample(name, f"opt/{name}.png", f"sar/{name}.png") for part in PARTS for name in DRAWN.ids[part])
    )
    table = handout_of_originals(REQUESTED, index)
    header, rows = list(table), table.to_numpy().tolist()
    assert header == ["pair", "part", "sar", "optical", "sar_file", "optical_file", "made_for"]
    assert [row[:4] for row in rows] == [[i, *key] for i, key in enumerate(keys)]
    assert rows[0][4] == f"sar/{rows[0][2]}.png" and {row[-1] for row in rows} == {REQUESTED.hashes["made_for"]}
    for part in PARTS:  # the order is that of positions: kinds, which the drawing lists one after the other, are mixed
        order = [(DRAWN.ids[part].index(row[2]), DRAWN.ids[part].index(row[3])) for row in rows if row[1] == part]
        assert order == sorted(order)


def test_opaque_ids_tell_nothing_of_true_pairs_and_lead_back() -> None:
    blinded = REQUESTED.blinded
    real = {
        (view, REQUESTED.code(view, name)): name for view in ("sar", "optical") for name in getattr(REQUESTED, view)
    }
    back = [
        (part, real["sar", sar], real["optical", optical])
        for part, sar, optical in zip(blinded.parts, blinded.sar, blinded.optical, strict=True)
    ]
    assert set(back) == set(REQUESTED.number) and len(back) == len(REQUESTED)
    assert not set(blinded.sar) & set(blinded.optical) and len(real) == len(set(REQUESTED.sar)) + len(
        set(REQUESTED.optical)
    ), "a patch has another id in each view, and no two share one"
    table = handout(blinded, {code: f"{code[0]}/{code}.png" for code in blinded.sar + blinded.optical})
    assert not set(table.astype(str).to_numpy().ravel()) & set(REQUESTED.sar)
    for part in ("validation", "test", "gallery"):
        own = table[table["part"] == part]
        rows = list(zip(own["sar"], own["optical"], strict=True))
        assert rows == sorted(rows) and list(own["pair"]) == list(range(own["pair"].min(), own["pair"].max() + 1))
    assert blinded.hashes["made_for"] != REQUESTED.hashes["made_for"]
    assert requested_pairs(IDENTITY, drawn_of(seed=1)).code("sar", "t0") != REQUESTED.code("sar", "t0")


@pytest.mark.parametrize(
    "columns", [("pair", "made_for"), ("part", "sar", "optical"), ("part", "sar", "optical", "pair")]
)
@pytest.mark.parametrize("blind", [True, False])
def test_answers_in_opaque_and_in_old_ids_score_alike(tmp_path: Path, columns: tuple[str, ...], blind: bool) -> None:
    rows = answer()
    wanted = expected(rows)
    asked = REQUESTED.blinded if blind else REQUESTED
    value = {key: row["distance"] for key, row in zip(REQUESTED.number, rows, strict=True)}
    real = {REQUESTED.code(view, name): name for view in ("sar", "optical") for name in getattr(REQUESTED, view)}
    told = []
    for number, (part, sar, optical) in enumerate(zip(asked.parts, asked.sar, asked.optical, strict=True)):
        row = {"pair": number, "part": part, "sar": sar, "optical": optical, "made_for": asked.hashes["made_for"]}
        distance = value[part, real.get(sar, sar), real.get(optical, optical)]
        told.append({**{name: row[name] for name in columns}, "distance": distance})
    assert same(read(written(tmp_path, told)), wanted)


def test_windows_of_scenes_are_handed_out() -> None:
    samples = [
        PairSample(name, "o.tif", "s.tif", (8 * i, 0, 8, 8))
        for i, name in enumerate(DRAWN.ids["validation"] + DRAWN.ids["test"])
    ]
    table = handout_of_originals(REQUESTED, PairIndex(tuple(samples)))
    header, rows = list(table), table.to_numpy().tolist()
    at = header.index("sar_window")
    assert header[at : at + 2] == ["sar_window", "optical_window"] and rows[0][at] == "0 0 8 8"


def test_another_drawing_split_or_data_set_is_another_hash() -> None:
    others = [requested_pairs(IDENTITY, drawn_of(seed=1)), requested_pairs(IDENTITY, drawn_of(gallery=4))]
    others += [requested_pairs({**IDENTITY, key: "x"}, DRAWN) for key in IDENTITY]
    hashes = {requested.hashes["made_for"] for requested in (REQUESTED, *others)}
    assert len(hashes) == 5 and requested_pairs(IDENTITY, drawn_of()).hashes == REQUESTED.hashes


# -- answers that are taken --------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_order_and_any_naming_gives_the_same_distances(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rows = data.draw(st.permutations(answer()))
    keep = data.draw(
        st.sampled_from([("pair", "part", "sar", "optical"), ("part", "sar", "optical"), ("pair", "made_for")])
    )
    name = data.draw(st.sampled_from(["mine.csv", "mine.json"]))
    shown = [{key: row[key] for key in keep if key in row} | {"distance": row["distance"]} for row in rows]
    if "made_for" in keep:
        shown = [row | {"made_for": REQUESTED.hashes["made_for"]} for row in shown]
    found = read(written(tmp_path_factory.getbasetemp(), shown, name))
    assert same(found, expected(rows))
    assert found.facts["submitted_for"] == ({"made_for": REQUESTED.hashes["made_for"]} if "made_for" in keep else None)


def test_a_similarity_is_a_distance_the_other_way_round(tmp_path: Path) -> None:
    rows = answer()
    turned = [{**{k: v for k, v in row.items() if k != "distance"}, "similarity": -row["distance"]} for row in rows]
    found = read(written(tmp_path, turned), threshold=0.25)
    assert same(found, expected(rows)) and found.fixed_threshold == -0.25
    # rounded as the distances are
    assert read(written(tmp_path, rows), threshold=0.1).fixed_threshold == float(np.float32(0.1))


def test_an_empty_field_is_a_failure_and_stays_one(tmp_path: Path) -> None:
    rows = answer()
    for i in (0, 20, 60):
        rows[i]["distance"] = None
    for name in ("mine.csv", "mine.json"):
        found = read(written(tmp_path, rows, name))
        assert same(found, expected(rows)) and sum(int(np.isnan(found.distance[part]).sum()) for part in PARTS) >= 2


def test_without_gallery_or_validation(tmp_path: Path) -> None:
    rows = answer()
    found = read(written(tmp_path, [row for row in rows if row["part"] != "gallery"]))
    assert found.gallery is None and found.facts["gallery_sha256"] is None
    alone = written(tmp_path, [row for row in rows if row["part"] == "test"])
    with pytest.raises(
        BenchError, match="none of the [0-9]+ validation pairs, on which the threshold is chosen; .* --threshold"
    ):
        read(alone)
    found = read(alone, threshold=0.5)
    assert np.isnan(found.distance["validation"]).all() and np.isfinite(found.distance["test"]).all()


def test_20000_pairs_and_a_gallery_are_read_quickly(tmp_path: Path) -> None:
    drawn = drawn_of(2000, 6000, 120)
    requested = requested_pairs(IDENTITY, drawn)
    rows = answer(requested)
    assert len(rows) > 36_000
    path = written(tmp_path, rows)
    started = time.process_time()
    found = read(path, drawn=drawn)
    assert time.process_time() - started < 8 and same(found, expected(rows, drawn))


def test_parquet_gives_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = answer()
    rows[3]["distance"] = None
    table = pytest.importorskip("pyarrow").table({key: [row[key] for row in rows] for key in rows[0]})
    parquet.write_table(table, tmp_path / "mine.parquet")
    assert same(read(tmp_path / "mine.parquet"), expected(rows))


# -- answers that are refused ------------------------------------------------------------------------------------------
def changed(i: int, **values: Any) -> list[Row]:
    return [{**row, **values} if k == i else row for k, row in enumerate(answer())]


def without(*columns: str) -> list[Row]:
    return [{key: value for key, value in row.items() if key not in columns} for row in answer()]


FIRST_TEST = REQUESTED.start["test"]
BAD: dict[str, tuple[Any, str]] = {
    "a pair twice": (lambda: [*answer(), answer()[7]], "pair 7 (v2 and v4 of validation) stands twice"),
    "a pair lacks": (lambda: answer()[1:], "lacks 1 of 26 validation pairs, first pair 0 (v0 and v0)"),
    "a test pair lacks": (lambda: answer()[:FIRST_TEST] + answer()[FIRST_TEST + 2 :], "lacks 2 of"),
    "a gallery pair lacks": (lambda: answer()[:-1], "lacks 1 of 25 gallery pairs"),
    "test lacks": (lambda: [row for row in answer() if row["part"] != "test"], "test pairs, first pair"),
    "unknown pair": (lambda: changed(3, pair=9999), "unknown pair '9999'; the pairs are numbered 0 to"),
    "negative pair": (lambda: changed(3, pair=-1), "unknown pair '-1'"),
    "half a pair": (lambda: changed(3, pair=1.5), "unknown pair '1.5'"),
    "another pair": (lambda: changed(3, pair=4), "row 5: pair 4 is v1 and v3 of validation here, not what the row names"),
    "unknown sar": (lambda: changed(3, sar="v99"), "unknown SAR patch 'v99' in validation; known: v0"),
    "unknown optical": (lambda: changed(3, optical="t0"), "unknown optical patch 't0' in validation"),
    "unknown part": (lambda: changed(3, part="tests"), "unknown part 'tests'; nearest: test"),
    "not requested": (lambda: changed(3, sar="v0", optical="v3"), "the pair v0 and v3 is not requested in validation; predict what"),
    "no name": (lambda: changed(3, sar=""), "row 5: sar is empty"),
    "numbers alone": (lambda: without("part", "sar", "optical"), "does not say which pairs it means"),
    "no pairs": (lambda: without("pair", "sar"), "does not say which pairs it means"),
    "no distance": (lambda: without("distance"), "none of distance / similarity"),
    "both": (lambda: [{**row, "similarity": 0} for row in answer()], "more than one of distance / similarity"),
    "misspelt": (lambda: [{**row, "distence": 0} for row in answer()], "unknown column 'distence'; nearest: distance"),
    "a label": (lambda: [{**row, "label": 1} for row in answer()], "unknown column 'label'"),
    "NaN": (lambda: changed(3, distance="nan"), "row 5: distance is 'nan'; expected a finite distance within single precision"),
    "infinite": (lambda: changed(3, distance="-inf"), "row 5: distance is '-inf'"),
    "giant": (lambda: changed(3, distance=1e39), "row 5: distance is 1e+39; expected a finite distance within single precision"),
    "text": (lambda: changed(3, distance="near"), "row 5: distance is 'near'"),
    "all empty": (lambda: [{**row, "distance": None} for row in answer()], "every distance of the test pairs is empty"),
    "too fine": (lambda: [{**row, "distance": 1e6 + i * 1e-6} for i, row in enumerate(answer())], "become equal in single precision"),
    "another sampling": (lambda: [{**row, "made_for": "0" * 16} for row in answer()], "was made for another data, split or sampling"),
    "two drawings": (
        lambda: [{**row, "made_for": REQUESTED.hashes["made_for"] if i else "0"} for i, row in enumerate(answer())], "one file, one sampling",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_answer_the_question_is_refused(tmp_path: Path, case: str) -> None:
    make, wanted = BAD[case]
    with pytest.raises(BenchError) as error:
        read(written(tmp_path, make()))
    message = str(error.value)
    assert wanted in message and "mine.csv" in message and "\n" not in message and len(message) < 600


@pytest.mark.parametrize("seed", [1, 2])
def test_an_answer_to_another_drawing_is_noticed_by_its_ids_alone(tmp_path: Path, seed: int) -> None:
    other = answer(requested_pairs(IDENTITY, drawn_of(seed=seed)))
    with pytest.raises(BenchError, match="is not requested|here, not what the row names|unknown (SAR|optical) patch"):
        read(written(tmp_path, other))


# -- our own predictions file ------------------------------------------------------------------------------------------
def predictions(embeddings: bool = True, order: np.ndarray | None = None) -> Predictions:
    """A predictions file of DRAWN, by embeddings; `order` deals the test samples into other positions."""
    rng = np.random.default_rng(3)
    place = np.arange(12) if order is None else order  # sample i of the file is sample place[i] of the test part
    back = np.argsort(place)
    sar, optical = (rng.normal(size=(12, 4)).astype(np.float32) for _ in range(2))
    parts = {}
    for part, pairs in DRAWN.pairs.items():
        n = len(DRAWN.ids[part])
        ids = np.array(DRAWN.ids[part])
        s, o = pairs.sar, pairs.optical
        if part == "test":
            distance = paired("rms", sar[s], optical[o])
            ids, s, o = ids[place], back[s], back[o]
        else:
            distance = s + o / 16
        filler = np.array([""] * n)
        parts[part] = PartPredictions(
            ids,
            filler,
            ids,
            np.full((n, 4), np.nan),
            s,
            o,
            np.zeros(len(pairs), bool),
            pairs.kind,
            distance.astype(np.float32),
        )
    g = DRAWN.gallery
    matrix = pairwise("rms", sar[g], optical[g])
    vectors = (sar[place], optical[place]) if embeddings else (None, None)
    return Predictions(
        parts["validation"], parts["test"], vectors[0], vectors[1], "rms" if embeddings else None, back[g], matrix, 0.5
    )


@pytest.mark.parametrize("embeddings", [True, False])
def test_a_predictions_file_is_taken_whatever_its_order_and_its_labels(tmp_path: Path, embeddings: bool) -> None:
    order = np.random.default_rng(1).permutation(12)
    save_predictions(tmp_path / "one.npz", predictions(embeddings))
    save_predictions(tmp_path / "two.npz", predictions(embeddings, order))
    one, two = read(tmp_path / "one.npz"), read(tmp_path / "two.npz")
    assert one.gallery is not None and np.array_equal(one.distance["test"], predictions().test.distance)
    assert same(two, {**one.distance, "gallery": one.gallery}) and one.fixed_threshold == 0.5
    assert (one.sar_embedding is None) is (not embeddings)
    if one.sar_embedding is not None and two.sar_embedding is not None:
        assert np.array_equal(one.sar_embedding, two.sar_embedding) and two.embedding_distance == "rms"
    assert read(tmp_path / "one.npz", threshold=0.75).fixed_threshold == 0.75


def test_embeddings_that_do_not_give_the_distances_are_refused(tmp_path: Path) -> None:
    found = predictions()
    assert found.sar_embedding is not None
    found.sar_embedding[:] += 1
    save_predictions(tmp_path / "one.npz", found)
    with pytest.raises(BenchError, match="its embeddings do not give its distances by 'rms'"):
        read(tmp_path / "one.npz")


def test_a_predictions_file_of_other_samples_is_refused(tmp_path: Path) -> None:
    found = predictions(embeddings=False)
    found.test.id[0] = "t99"
    save_predictions(tmp_path / "one.npz", found)
    with pytest.raises(BenchError, match="unknown (SAR|optical) patch 't99' in test"):
        read(tmp_path / "one.npz")


@pytest.mark.parametrize("content", [b"", b"x", b"PK", answer().__repr__().encode()])
def test_what_is_no_predictions_file_is_told_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one.npz").write_bytes(content)
    with pytest.raises(BenchError, match="one.npz is no predictions file of the matching task") as error:
        read(tmp_path / "one.npz")
    assert "pickle" not in str(error.value) and "\n" not in str(error.value)
