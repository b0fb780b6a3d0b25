"""`dense-cfog`: its start equals `cfog`, surfaces against plain loops, the loss by hand, crops, training, other sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matching_toys import ToyView, context, toy_scene

from bench.core.errors import BenchError
from bench.data.scaling import fit_scaling
from bench.data.symmetries import all_turned
from bench.matching.matchers.base import FitData, Scalings, Setup
from bench.matching.matchers.cfog import Cfog, CfogOptions
from bench.matching.matchers.crop_batches import CropBatches, PatchSource, Tones, turned_shift
from bench.matching.matchers.dense_cfog import DenseCfog, DenseCfogOptions, DensePyramid, ResidualOptions
from bench.matching.matchers.dense_cfog_network import (
    MARGIN,
    Branch,
    CfogChannels,
    DenseCfogNetwork,
    margin_of,
    surface_loss,
    threshold_loss,
)
from bench.matching.matchers.overlap import as_map, paired_surfaces, surfaces

SIDE = 64


def pairs_of(count: int, side: int = SIDE, first: int = 0) -> ToyView:
    scenes = [toy_scene(first + seed, side=side, fields=40) for seed in range(count)]
    return ToyView(np.stack([scene[0] for scene in scenes]), np.stack([scene[1] for scene in scenes]))


def scaling(view: ToyView) -> Scalings:
    return Scalings(fit_scaling("uint8", [view.sar_images]), fit_scaling("uint8", [view.optical_images]))


def prepared(view: ToyView, folder: Path, **options: object) -> DenseCfog:
    matcher = DenseCfog(DenseCfogOptions.model_validate(options))
    matcher.prepare(Setup(None, scaling(view), context(folder)))
    return matcher


def untrained(view: ToyView, folder: Path, **options: object) -> DenseCfog:
    matcher = prepared(view, folder, **options)
    torch.manual_seed(0)
    matcher._network = matcher._made()
    return matcher


def fitted(
    matcher: DenseCfog | DensePyramid, view: ToyView, folder: Path, pairing: np.ndarray | None = None
) -> dict[str, Any]:
    pairing = np.arange(len(view)) if pairing is None else pairing
    return matcher.fit(FitData(view, view, pairing, 0, scaling(view), context(folder)))  # type: ignore[arg-type]


SMALL = {"entries": 48, "epoch_crops": 24, "batch_size": 8, "crop_px": (32, 48), "width": 8}


# -- correlation and loss ----------------------------------------------------------------------------------------------
def test_surfaces_equal_plain_loops_over_what_both_maps_share() -> None:
    generator = torch.Generator().manual_seed(0)
    areas, others = torch.randn(2, 3, 9, 11, generator=generator), torch.randn(3, 3, 9, 11, generator=generator)
    sar, optical = as_map(areas, (2, 3), False), as_map(others, (2, 3), True)
    found = surfaces(sar, optical, (2, 3))
    assert found.shape == (2, 3, 5, 7)
    for n in range(2):
        for m in range(3):
            for y in range(-2, 3):
                for x in range(-3, 4):
                    a = areas[n, :, max(0, y) : 9 + min(0, y), max(0, x) : 11 + min(0, x)].double()
                    b = others[m, :, max(0, -y) : 9 - max(0, y), max(0, -x) : 11 - max(0, x)].double()
                    a, b = a - a.mean((1, 2), keepdim=True), b - b.mean((1, 2), keepdim=True)
                    expected = float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())
                    assert float(found[n, m, y + 2, x + 3]) == pytest.approx(expected, abs=1e-5)
    i, j = torch.tensor([1, 0, 1]), torch.tensor([2, 0, 1])
    assert torch.allclose(paired_surfaces(sar, i, optical, j, (2, 3)), found[i, j], atol=1e-6)


def test_empty_features_correlate_with_nothing() -> None:
    flat, other = torch.full((1, 3, 8, 8), 0.3), torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert not surfaces(as_map(flat, (1, 1), False), as_map(other, (1, 1), True), (1, 1)).any()
    assert not surfaces(as_map(other, (1, 1), False), as_map(flat, (1, 1), True), (1, 1)).any()


def test_losses_by_hand() -> None:
    logits = torch.zeros(2, 2, 3, 3)
    logits[0, 0, 2, 1] = np.log(10.0)
    shift = torch.tensor([[1, 0], [0, 0]])
    rows = [10 + 17.0, 18.0]
    expected = -np.log(10.0) + 0.5 * (np.log(rows[0]) + np.log(rows[1]) + np.log(rows[0]) + np.log(rows[1]))
    assert float(surface_loss(logits, shift, 0)) == pytest.approx(expected / 2, abs=1e-5)
    near = float(surface_loss(logits, shift, 1))  # at a tolerance of 1 the true rectangle of pair 0 has 2 x 3 shifts
    expected = 0.5 * 2 * (np.log(rows[0]) + np.log(rows[1])) - np.log(10 + 5) - np.log(9)
    assert near == pytest.approx(expected / 2, abs=1e-5)
    expected = np.log(rows[0]) + np.log(rows[1]) - np.log(rows[0] - 9) - np.log(9)
    assert float(surface_loss(logits, shift, None)) == pytest.approx(expected / 2, abs=1e-5)
    decided = threshold_loss(torch.tensor([[0.0, -30.0], [30.0, 0.0]]))
    assert float(decided) == pytest.approx(np.log(2) + 15.0, abs=1e-4)


# -- the start ---------------------------------------------------------------------------------------------------------
def test_channels_are_those_of_cfog_on_the_continued_patch() -> None:
    grey = pairs_of(1, 48).sar_images[0].astype(np.float32) / 255
    whole = Cfog(CfogOptions(**_valid_border())).descriptor(np.pad(grey, MARGIN, mode="edge"))
    found = CfogChannels()(torch.from_numpy(grey)[None, None])[0].numpy()
    assert found.shape == (9, 24, 24)
    assert np.abs(found - whole[:, ::2, ::2]).max() < 1e-4


def _valid_border() -> dict[str, Any]:
    return {"border": "crop"} if "border" in CfogOptions.model_fields else {}


def test_the_start_compares_as_cfog_does(tmp_path: Path) -> None:
    view = pairs_of(4)
    matcher = untrained(view, tmp_path)
    for branch in (matcher._network.sar, matcher._network.optical):
        torch.nn.init.zeros_(branch.body[-1].weight)
    pairs = np.array([[i, j] for i in range(4) for j in range(4)])
    found, shifts = matcher.distances_and_shifts(view.sar_images, view.optical_images, pairs)
    channels, weights = CfogChannels(), torch.tensor([0.299, 0.587, 0.114])
    sar = channels(torch.from_numpy(view.sar_images / np.float32(255))[:, None])
    optical = channels((torch.from_numpy(view.optical_images / np.float32(255)) @ weights)[:, None])
    peaks = surfaces(as_map(sar, (3, 3), False), as_map(optical, (3, 3), True), (3, 3)).flatten(2).amax(2)
    assert np.abs(1 - peaks.flatten().numpy() - found).max() < 1e-5
    assert (shifts[::5] == 0).all()
    near = untrained(view, tmp_path).distances_and_shifts(view.sar_images, view.optical_images, pairs)[0]
    assert 0 < np.abs(near - found).max() < 0.15


# -- nothing but content -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("shift", "shift_range"), [((0, 0), 0.75), ((4, -2), 0.75), ((-6, 6), 0.75), ((2, -12), (0.25, 1.2))]
)
def test_displaced_content_is_found_where_it_stands(tmp_path: Path, shift: tuple[int, int], shift_range: Any) -> None:
    big = pairs_of(3, 160)
    at = slice(16, 144)
    moved = (slice(16 - shift[0], 144 - shift[0]), slice(16 - shift[1], 144 - shift[1]))
    matcher = untrained(big, tmp_path, shift_range=shift_range)
    distance, found = matcher.distances_and_shifts(
        big.sar_images[:, moved[0], moved[1]], big.optical_images[:, at, at], np.array([[i, i] for i in range(3)])
    )
    assert (found == shift).all()
    assert (distance < 0.7).all()


def test_with_border_crop_no_pixel_beyond_the_border_counts() -> None:
    torch.manual_seed(0)
    dilations = (1, 2, 4)
    network = DenseCfogNetwork(
        lambda bands: Branch(bands, 16, 8, dilations, False, True), 16, margin_of(dilations), {}, 1, 0.0
    ).eval()
    images = torch.rand(1, 96, 96)
    assert margin_of((1, 2, 4)) == 13
    # the standardised pixels differ by the crop's mean and spread, so only CFOG's part is compared
    assert isinstance(network.sar, Branch)
    torch.nn.init.zeros_(list(network.sar.body.parameters())[-2])
    with torch.no_grad():
        whole, part = network.features("sar", images), network.features("sar", images[:, 8:88, 8:88])
    assert part.shape[-1] == 40 - 26
    assert torch.allclose(whole[:, :, 4:-4, 4:-4], part, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"border": "crop", "shift_range": 0.25}])
def test_a_blank_patch_is_at_distance_one(tmp_path: Path, options: dict[str, Any]) -> None:
    view = pairs_of(2, 96)
    view.sar_images[1] = 7
    view.optical_images[0] = 90
    distance = untrained(view, tmp_path, **options).score_pairs(
        view.sar_images, view.optical_images, np.array([[1, 1], [0, 0], [0, 1]])
    )
    assert distance[:2].tolist() == [1.0, 1.0] and distance[2] < 1


# -- crops -------------------------------------------------------------------------------------------------------------
def batches_of(view: ToyView, **more: Any) -> CropBatches:
    settings: dict[str, Any] = {
        "seed": 3,
        "batch_size": 6,
        "reaches": {32: 4, 48: 6},
        "epoch_crops": 30,
        "step": 2,
        "turn": True,
        "tones": Tones(0.0, 0.0),
    }
    return CropBatches(PatchSource(view, SIDE), scaling(view), **{**settings, **more})  # type: ignore[arg-type]


def test_a_turned_displacement_moves_with_its_image() -> None:
    image = np.zeros((8, 7, 7), np.uint8)
    image[:, 4, 2] = 1  # (1, -1) from the middle
    turns = np.arange(8)
    expected = np.argwhere(all_turned(image, turns))[:, 1:] - 3
    assert turned_shift(np.tile([1, -1], (8, 1)), turns).tolist() == expected.tolist()


def test_batches_hold_what_they_say() -> None:
    view = pairs_of(5)
    view.optical_images[..., 0] = view.sar_images  # so that crops can be told
    batches = batches_of(view)
    assert batches.counts() == {32: 6, 48: 3} and batches.entries == 27 and len(batches) == 6
    seen = set()
    for epoch in (0, 1):
        indices = batches.indices(epoch)
        assert np.array_equal(np.concatenate(indices), np.arange(27))
        for entries in indices:
            batch = batches.fetch(epoch, entries)
            side = batch["sar"].shape[1]
            seen.add((side, len(entries)))
            assert batch["optical"].shape == (len(entries), side, side, 3)
            for sar, optical, (dy, dx) in zip(
                batch["sar"], batch["optical"][..., 0], (2 * batch["shift"]).tolist(), strict=True
            ):
                h, w = side - abs(dy), side - abs(dx)
                a = sar[max(0, dy) : max(0, dy) + h, max(0, dx) : max(0, dx) + w]
                b = optical[max(0, -dy) : max(0, -dy) + h, max(0, -dx) : max(0, -dx) + w]
                assert np.array_equal(a, b)
            half = batches.fetch(epoch, entries[1:])  # a rank's share
            assert all(np.array_equal(half[name], batch[name][1:]) for name in batch)
    assert seen == {(32, 6), (48, 3)}


def test_tones_change_values_and_the_control_breaks_pairs() -> None:
    view = pairs_of(5)
    plain, toned = batches_of(view), batches_of(view, tones=Tones(0.3, 0.4))
    entries = plain.indices(0)[0]
    a, b = plain.fetch(0, entries), toned.fetch(0, entries)
    assert np.array_equal(a["shift"], b["shift"])
    assert np.abs(a["sar"] - b["sar"]).max() > 0.01 and np.abs(a["optical"] - b["optical"]).max() > 0.01
    assert b["sar"].min() >= 0 and b["sar"].max() <= 1
    control = batches_of(view, shuffled=True).fetch(0, entries)
    assert np.array_equal(control["sar"], a["sar"]) and not np.array_equal(control["optical"], a["optical"])


def test_crops_must_fit(tmp_path: Path) -> None:
    view = pairs_of(3)
    with pytest.raises(BenchError, match="crops of 64 px displaced by up to 6 px need patches of 70 px"):
        fitted(prepared(view, tmp_path, crop_px=(64,), entries=8), view, tmp_path)
    with pytest.raises(BenchError, match="needs a data set of scenes"):
        fitted(prepared(view, tmp_path, sampling="scenes"), view, tmp_path)
    with pytest.raises(BenchError, match="dense-cfog needs 68 px a side"):
        untrained(view, tmp_path, border="crop").score_pairs(view.sar_images, view.optical_images, np.array([[0, 0]]))
    with pytest.raises(ValueError, match="select: last"):
        DenseCfogOptions.model_validate({"sampling": "scenes", "select": "best"})
    with pytest.raises(ValueError, match="sides are even"):
        DenseCfogOptions.model_validate({"crop_px": (33,)})
    assert prepared(view, tmp_path)._fitting(64) == (60,) and prepared(view, tmp_path)._fitting(256) == (64, 96, 128)


# -- training ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"start": "random", "input": "linear", "threshold_loss": 0.0, "speckle": 0.2, "tolerance_px": 2},
        {"shift_range": (0.5, 1.0), "border": "crop", "crop_px": (80, 96), "batch_size": 3},
    ],
    ids=["all", "bare", "crop"],
)
def test_training_repeats_and_its_state_carries_over(tmp_path: Path, options: dict[str, Any]) -> None:
    options = {**SMALL, **options}
    sides = list(options["crop_px"])
    view, other = pairs_of(6, 2 * sides[0]), pairs_of(2, 90, first=50)
    pairs = np.array([[0, 0], [0, 1], [1, 1]])
    found = []
    for name in ("a", "b"):
        matcher = prepared(view, tmp_path / name, **options)
        facts = fitted(matcher, view, tmp_path / name)
        found.append(matcher.state())
    assert facts["training_entries"] >= 48 and facts["sampling"] == {"from": "patches", "crop_px": sides}
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])
    loaded = prepared(view, tmp_path, **options)
    loaded.load_state(found[0])
    # 90 px was not trained, and has an odd number of features
    again = loaded.score_pairs(other.sar_images, other.optical_images, pairs)
    assert np.array_equal(again, matcher.score_pairs(other.sar_images, other.optical_images, pairs))
    assert ((again >= 0) & (again <= 1)).all()
    assert (loaded.fixed_threshold() is None) == (options.get("threshold_loss") == 0.0)


def pyramid(view: ToyView, folder: Path, **options: object) -> DensePyramid:
    matcher = DensePyramid(ResidualOptions.model_validate(options))
    matcher.prepare(Setup("resnet18", scaling(view), context(folder)))
    return matcher


def test_all_of_a_backbone_is_trained_and_serves_other_sizes(tmp_path: Path) -> None:
    options = {"entries": 8, "epoch_crops": 8, "batch_size": 4, "crop_px": (32,)}
    view, other = pairs_of(4), pairs_of(2, 90, first=50)
    pairs = np.array([[0, 0], [0, 1], [1, 1]])
    matcher, start = pyramid(view, tmp_path, **options), pyramid(view, tmp_path, **options)
    torch.manual_seed(0)
    start._network = start._made()
    before = start.state()
    fitted(matcher, view, tmp_path)
    after = matcher.state()
    unchanged = [name for name in after if "running" not in name and np.array_equal(before[name], after[name])]
    assert unchanged == ["isometry"] and {name.split(".")[0] for name in after} >= {"sar", "optical", "threshold"}
    loaded = pyramid(view, tmp_path, **options)
    loaded.load_state(after)
    again = loaded.score_pairs(other.sar_images, other.optical_images, pairs)
    assert np.array_equal(again, matcher.score_pairs(other.sar_images, other.optical_images, pairs))


def test_a_backbone_that_adds_nothing_compares_as_cfog_does(tmp_path: Path) -> None:
    view = pairs_of(3, 96)
    pairs = np.array([[i, j] for i in range(3) for j in range(3)])
    found = []
    for matcher in (pyramid(view, tmp_path), prepared(view, tmp_path)):
        torch.manual_seed(0)
        network = matcher._network = matcher._made()
        with torch.no_grad():
            for branch in (network.sar, network.optical):
                if isinstance(branch, Branch):
                    torch.nn.init.zeros_(list(branch.body.parameters())[-2])
                else:
                    branch.scale.zero_()
        found.append(matcher.score_pairs(view.sar_images, view.optical_images, pairs))
    assert np.allclose(found[0], found[1], atol=1e-5)


def test_an_interrupted_training_ends_in_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = pairs_of(6)
    whole, broken = prepared(view, tmp_path / "a", **SMALL), prepared(view, tmp_path / "b", **SMALL)
    fitted(whole, view, tmp_path / "a")
    seen: list[int] = []

    def stop(data: FitData) -> float:
        seen.append(1)
        if len(seen) == 2:
            raise RuntimeError("stopped")
        return 0.5

    monkeypatch.setattr(broken, "_validation_auc", stop)
    with pytest.raises(RuntimeError, match="stopped"):
        fitted(broken, view, tmp_path / "b")
    again = prepared(view, tmp_path / "b", **SMALL)
    assert fitted(again, view, tmp_path / "b")["resumed_from_epoch"] == 1
    first, second = whole.state(), again.state()
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_training_helps_and_the_control_does_not(tmp_path: Path) -> None:
    view, test = pairs_of(10, 96), pairs_of(12, 48, first=100)
    rng = np.random.default_rng(0)
    for images in (view.sar_images, test.sar_images):  # as much noise as CFOG cannot stand
        images[:] = np.clip(images * rng.gamma(0.6, 1 / 0.6, images.shape), 0, 255)
    options = {"entries": 4800, "epoch_crops": 800, "batch_size": 16, "crop_px": (48,), "width": 16, "lr": 0.005}

    def lead(matcher: DenseCfog) -> float:
        pairs = np.array([[i, j] for i in range(12) for j in range(12)])
        distance = matcher.score_pairs(test.sar_images, test.optical_images, pairs).reshape(12, 12)
        true, wrong = np.diag(distance), distance[~np.eye(12, dtype=bool)]
        return float((true[:, None] < wrong[None]).mean())

    start = lead(untrained(view, tmp_path, **options))
    trained, control = prepared(view, tmp_path / "t", **options), prepared(view, tmp_path / "c", **options)
    fitted(trained, view, tmp_path / "t")
    fitted(control, view, tmp_path / "c", np.roll(np.arange(10), 1))
    assert lead(trained) > start + 0.05 and lead(control) < lead(trained) - 0.05
