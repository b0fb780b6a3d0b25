"""`dense`: correlation surfaces against plain loops, the loss by hand, crops, training, state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matching_toys import ToyView, context, toy_scene

from bench.core.errors import BenchError
from bench.data.scaling import fit_scaling
from bench.matching.matchers import correlation
from bench.matching.matchers.base import FitData, Scalings, Setup
from bench.matching.matchers.batches import PairBatches
from bench.matching.matchers.dense import CroppedBatches, Dense, DenseOptions
from bench.matching.matchers.dense_network import DenseNetwork, correlation_surfaces, templates_of

SIDE = 64


def pairs_of(count: int, side: int = SIDE) -> ToyView:
    scenes = [toy_scene(seed, side=side, fields=40) for seed in range(count)]
    return ToyView(np.stack([scene[0] for scene in scenes]), np.stack([scene[1] for scene in scenes]))


def scaling(view: ToyView) -> Scalings:
    return Scalings(fit_scaling("uint8", [view.sar_images]), fit_scaling("uint8", [view.optical_images]))


def prepared(view: ToyView, folder: Path, backbone: str = "shallow", **options: object) -> Dense:
    matcher = Dense(DenseOptions.model_validate(options))
    matcher.prepare(Setup(backbone, scaling(view), context(folder)))
    return matcher


def fitted(matcher: Dense, view: ToyView, folder: Path, seed: int = 0) -> Dense:
    part = np.arange(len(view))
    matcher.fit(FitData(view, view, part, seed, scaling(view), context(folder)))  # type: ignore[arg-type]
    return matcher


# -- correlation and loss ----------------------------------------------------------------------------------------------
def test_surfaces_equal_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    areas, others = torch.randn(2, 3, 9, 11, generator=generator), torch.randn(3, 3, 9, 11, generator=generator)
    found = correlation_surfaces(areas, templates_of(others, 2), 2).double().numpy()
    assert found.shape == (2, 3, 5, 5)
    for n in range(2):
        for m in range(3):
            template = others[m, :, 2:-2, 2:-2].double().numpy()
            template = template - template.mean((1, 2), keepdims=True)
            for y in range(5):
                for x in range(5):
                    window = areas[n, :, y : y + 5, x : x + 7].double().numpy()
                    window = window - window.mean((1, 2), keepdims=True)
                    expected = (window * template).sum() / np.sqrt((window**2).sum() * (template**2).sum())
                    assert found[n, m, y, x] == pytest.approx(expected, abs=1e-5)


def test_the_same_map_peaks_at_its_displacement() -> None:
    whole = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(1))
    areas, others = whole[:, :, 2:18, 5:21], whole[:, :, 4:20, 4:20]
    surface = correlation_surfaces(areas, templates_of(others, 3), 3)[0, 0]
    assert divmod(int(surface.argmax()), 7) == (3 + 2, 3 - 1) and float(surface.max()) == pytest.approx(1, abs=1e-4)


def test_the_loss_is_the_share_near_the_true_shift_of_the_true_pair() -> None:
    network = DenseNetwork("shallow", 4, max_shift=1, tolerance=0, temperature=0.5)
    network.eval()
    batch = {
        "sar": torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(2)),
        "optical": torch.rand(3, 40, 40, 3, generator=torch.Generator().manual_seed(3)),
        "shift": torch.tensor([[0, 0], [1, -1], [0, 1]]),
    }
    with torch.no_grad():
        got = float(network.loss(batch)["loss"])
        sar, optical = network.features("sar", batch["sar"]), network.features("optical", batch["optical"])
        logits = (correlation_surfaces(sar, templates_of(optical, 1), 1) / 0.5).exp().double()
    terms = []
    for i, (dy, dx) in enumerate(batch["shift"].tolist()):
        own = logits[i, i, 1 + dy, 1 + dx]
        terms.append(-0.5 * (torch.log(own / logits[i].sum()) + torch.log(own / logits[:, i].sum())))
    assert got == pytest.approx(float(torch.stack(terms).mean()), rel=1e-5)


def test_every_tensor_of_a_backbone_gets_a_gradient() -> None:
    network = DenseNetwork("resnet18", 4, max_shift=1, tolerance=1, temperature=0.1)
    batch = {
        "sar": torch.rand(2, 64, 64),
        "optical": torch.rand(2, 64, 64, 3),
        "shift": torch.zeros(2, 2, dtype=torch.long),
    }
    network.loss(batch)["loss"].backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().max()) > 0, name


# -- crops -------------------------------------------------------------------------------------------------------------
def test_crops_show_what_their_shift_says_and_do_not_depend_on_the_batch() -> None:
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    grid = np.stack([y + 64 * (x % 2), x, y], axis=-1).astype(np.uint8)
    view = ToyView(np.repeat(x[None].astype(np.uint8), 12, axis=0), np.repeat(grid[None], 12, axis=0))
    whole = PairBatches(view, np.arange(12), scaling(view), 0, 4, "none", "none")  # type: ignore[arg-type]
    crops = CroppedBatches(whole, SIDE, 48, 6)
    seen = set()
    for epoch in range(3):
        for entries in crops.indices(epoch):
            batch = crops.fetch(epoch, entries)
            assert batch["sar"].shape == (4, 48, 48) and batch["optical"].shape == (4, 48, 48, 3)
            sar_x = np.rint(batch["sar"][:, 0, 0] * 255)
            optical_x = np.rint(batch["optical"][:, 0, 0, 1] * 255)
            assert (optical_x - sar_x == 2 * batch["shift"][:, 1]).all()
            assert np.abs(batch["shift"]).max() <= 3
            seen |= {tuple(shift) for shift in batch["shift"].tolist()}
            alone = crops.fetch(epoch, entries[2:3])
            assert all(np.array_equal(alone[name][0], batch[name][2]) for name in batch)
    assert len(seen) > 10


# -- the matcher -------------------------------------------------------------------------------------------------------
SMALL: dict[str, Any] = {"epochs": 30, "batch_size": 8, "crop_px": 48, "augment": "none", "lr": 0.005}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dense, ToyView]:
    folder, view = tmp_path_factory.mktemp("dense"), pairs_of(16)
    return fitted(prepared(view, folder, **SMALL), view, folder), view


def test_training_tells_pairs_apart(trained: tuple[Dense, ToyView]) -> None:
    matcher, view = trained
    rows = np.arange(16)
    true = matcher.score_pairs(view.sar_images, view.optical_images, np.stack([rows, rows], axis=1))
    wrong = matcher.score_pairs(view.sar_images, view.optical_images, np.stack([rows, np.roll(rows, 1)], axis=1))
    assert (true >= 0).all() and (wrong <= 1).all()
    assert np.median(true) < wrong.min(), (true, wrong)


def test_shifts_are_found_in_pixels(trained: tuple[Dense, ToyView]) -> None:
    matcher, _ = trained
    sar, optical = toy_scene(3, side=80, fields=40)
    _, shift = matcher.distances_and_shifts(sar[None, 8:72, 8:72], optical[None, 12:76, 6:70], np.array([[0, 0]]))
    assert np.abs(shift[0] - [4, -2]).max() <= 2


def test_blocks_change_nothing_and_state_round_trips(
    trained: tuple[Dense, ToyView], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher, view = trained
    pairs = np.array([[3, 0], [0, 0], [9, 2], [3, 3], [15, 15]])
    whole = matcher.score_pairs(view.sar_images, view.optical_images, pairs)
    again = prepared(view, tmp_path, **SMALL)
    again.load_state(matcher.state())
    assert np.array_equal(again.score_pairs(view.sar_images, view.optical_images, pairs), whole)
    monkeypatch.setattr(correlation, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(correlation, "_PAIR_BLOCK", 2)
    np.testing.assert_allclose(matcher.score_pairs(view.sar_images, view.optical_images, pairs), whole, atol=1e-5)


def test_flat_patches_are_at_distance_one(trained: tuple[Dense, ToyView]) -> None:
    matcher, view = trained
    flat = np.full((1, SIDE, SIDE), 7, dtype=np.uint8)
    assert matcher.score_pairs(flat, view.optical_images[:1], np.array([[0, 0]])).tolist() == [1.0]


def test_what_does_not_fit_is_told(trained: tuple[Dense, ToyView], tmp_path: Path) -> None:
    matcher, view = trained
    small = np.zeros((1, 32, 32), dtype=np.uint8), np.zeros((1, 32, 32, 3), dtype=np.uint8)
    with pytest.raises(BenchError, match="leave 4 x 4|leave 3 x 3|set max_shift_px lower or cut larger patches"):
        matcher.score_pairs(small[0][:, :24, :24], small[1][:, :24, :24], np.array([[0, 0]]))
    with pytest.raises(BenchError, match="crop_px 80 is larger than the patches of 64 px"):
        fitted(prepared(view, tmp_path, crop_px=80), view, tmp_path)
