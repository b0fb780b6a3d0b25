"""Options of `infonce` beyond its base: gradients in chunks, changes of a sample that keep its views registered,
batches of one scene.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_toys import context, decoded_pairs, scalings_of
from pydantic import ValidationError
from torch.nn import functional as F

from bench.core.errors import BenchError
from bench.core.options import option_values
from bench.data.cache import PairView
from bench.matching.matchers.augment import Augmentation
from bench.matching.matchers.base import FitData, Scalings, Setup
from bench.matching.matchers.batch_order import by_scene
from bench.matching.matchers.batches import PairBatches
from bench.matching.matchers.chunked import in_chunks
from bench.matching.matchers.infonce import InfoNce, InfoNceOptions
from bench.matching.matchers.networks import InfoNceNetwork

ALL = Augmentation(crop=0.7, zoom=True, jitter=0.3, grey=0.5, speckle=0.4)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> PairView:
    return decoded_pairs(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def scaling(toy: PairView) -> Scalings:
    return scalings_of(toy)


def batches(
    toy: PairView, scaling: Scalings, changes: Augmentation | None = None, group: int | None = None
) -> PairBatches:
    return PairBatches(toy, np.arange(len(toy)), scaling, 0, 8, "none", "none", changes or Augmentation(), group)


# -- order -------------------------------------------------------------------------------------------------------------
@given(counts=st.lists(st.integers(1, 20), min_size=1, max_size=5), group=st.integers(2, 9), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_an_order_by_scene_is_made_of_whole_runs_of_one_scene(counts: list[int], group: int, seed: int) -> None:
    scenes = [f"s{k}" for k, count in enumerate(counts) for _ in range(count)]
    scenes = [scenes[i] for i in np.random.default_rng(seed).permutation(len(scenes))]
    order = by_scene(scenes, len(scenes), group, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(scenes)))
    seen = [scenes[i] for i in order]
    left, at = {f"s{k}": count for k, count in enumerate(counts)}, 0
    while at < len(seen):  # each run is `group` long, or what is left of its scene
        remaining = left[seen[at]]
        size = next(
            size
            for size in (group, remaining % group)
            if 0 < size <= remaining and set(seen[at : at + size]) == {seen[at]}
        )
        left[seen[at]] -= size
        at += size
    assert not any(left.values())


def test_batches_by_scene_have_negatives_of_the_scene_and_follow_from_seed_and_epoch(
    toy: PairView, scaling: Scalings
) -> None:
    grouped, scenes = batches(toy, scaling, group=4), np.array(toy.scenes)
    for batch in grouped.indices(1):
        assert all(len(set(scenes[run])) == 1 for run in batch.reshape(-1, 4))
    again = [b.tolist() for b in batches(toy, scaling, group=4).indices(1)]
    assert [b.tolist() for b in grouped.indices(1)] == again != [b.tolist() for b in grouped.indices(2)]


# -- changes of a sample -----------------------------------------------------------------------------------------------
def test_crops_keep_the_views_registered(toy: PairView, scaling: Scalings) -> None:
    entries = np.array([3, 11, 7])
    full, part = (
        batches(toy, scaling).fetch(2, entries),
        batches(toy, scaling, Augmentation(crop=0.75)).fetch(2, entries),
    )
    assert part["sar"].shape == (3, 24, 24) and part["optical"].shape == (3, 24, 24, 3)
    for i in range(3):
        found = [
            (y, x) for y in range(9) for x in range(9)
            if np.array_equal(full["sar"][i, y : y + 24, x : x + 24], part["sar"][i])
            and np.array_equal(full["optical"][i, y : y + 24, x : x + 24], part["optical"][i])
        ]  # fmt: skip
        assert len(found) == 1


def test_a_zoom_shows_one_window_of_both_views_as_torch_would_enlarge_it() -> None:
    rows, columns = np.meshgrid(np.arange(64.0), np.arange(64.0), indexing="ij")
    # a pixel's value tells its place
    ramps = np.stack([rows, columns, rows + columns], axis=-1).astype(np.float32) / 128
    views: dict[Any, np.ndarray] = {"sar": np.stack([ramps[..., 0]] * 20), "optical": np.stack([ramps] * 20)}
    zoomed = Augmentation(crop=0.5, zoom=True).changed(views, 0, 0, np.arange(20), 20)
    np.testing.assert_allclose(zoomed["sar"], zoomed["optical"][..., 0], atol=1e-6)
    places = zoomed["optical"][..., :2] * 128
    share = (places[:, -2, -2] - places[:, 1, 1]) / 61  # of a ramp, one step in the window
    np.testing.assert_allclose(share[:, 0], share[:, 1], atol=1e-4)
    assert share.min() >= 0.5 - 1e-4 and share.max() <= 1 and share.std() > 0.1
    assert places.min() >= 0 and places.max() <= 63 and places[:, 0, 0].std() > 3
    whole = np.random.default_rng(0).random((1, 32, 32, 3)).astype(np.float32)
    from bench.matching.matchers.augment import _enlarging

    middle = np.einsum("ij,njkc,lk->nilc", _enlarging(32, 0.5, 0.5), whole, _enlarging(32, 0.5, 0.5))
    window = torch.from_numpy(whole[:, 8:24, 8:24]).permute(0, 3, 1, 2)
    expected = F.interpolate(window, size=(32, 32), mode="bilinear", align_corners=False).permute(0, 2, 3, 1).numpy()
    # at the border ours sees what lies outside
    np.testing.assert_allclose(middle[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-6)
    np.testing.assert_array_equal(_enlarging(32, 1.0, 0.3), np.eye(32, dtype=np.float32))


def test_jitter_changes_tones_of_each_view_apart_and_keeps_their_order(toy: PairView, scaling: Scalings) -> None:
    plain, toned = (
        batches(toy, scaling, changes).fetch(0, np.arange(8)) for changes in (None, Augmentation(jitter=0.3))
    )
    for view in ("sar", "optical"):
        assert toned[view].dtype == np.float32 and toned[view].min() >= 0 and toned[view].max() <= 1
        assert not np.allclose(toned[view], plain[view], atol=0.01)
    order = np.argsort(plain["sar"][0], axis=None)
    assert (np.diff(toned["sar"][0].ravel()[order]) >= 0).all()


def test_grey_takes_the_colour_of_so_many_samples_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    views: dict[Any, np.ndarray] = {
        "sar": rng.random((400, 2, 2)),
        "optical": rng.random((400, 2, 2, 3)).astype(np.float32),
    }
    out = Augmentation(grey=0.25).changed(views, 0, 0, np.arange(400), 400)
    bare = (np.ptp(out["optical"], axis=3) == 0).all((1, 2))
    assert 70 <= bare.sum() <= 130  # 100, and 3.5 times its deviation
    np.testing.assert_allclose(out["optical"][bare][..., 0], views["optical"][bare] @ [0.299, 0.587, 0.114], atol=1e-6)
    np.testing.assert_array_equal(out["optical"][~bare], views["optical"][~bare])
    assert out["sar"] is views["sar"]


def test_speckle_multiplies_the_radar_view_with_noise_of_mean_one() -> None:
    views: dict[Any, np.ndarray] = {
        "sar": np.full((4, 64, 64), 0.25, np.float32),
        "optical": np.ones((4, 2, 2, 3), np.float32),
    }
    out = Augmentation(speckle=0.5).changed(views, 3, 1, np.array([0, 5, 6, 5]), 9)
    noise = out["sar"] / 0.25  # at most 4 before it is clipped: beyond 6 deviations
    assert noise.mean() == pytest.approx(1, abs=0.02) and noise.std() == pytest.approx(0.5, abs=0.02)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1
    np.testing.assert_array_equal(out["sar"][1], out["sar"][3])
    assert out["optical"] is views["optical"]


def test_a_sample_looks_alike_in_any_batch_and_any_process_and_anew_in_each_epoch(
    toy: PairView, scaling: Scalings
) -> None:
    changed = batches(toy, scaling, ALL)
    together = changed.fetch(2, np.array([3, 11, 7]))
    alone = pickle.loads(pickle.dumps(changed)).fetch(2, np.array([11]))
    for view, shape in (("sar", (3, 32, 32)), ("optical", (3, 32, 32, 3))):
        assert together[view].shape == shape and together[view].dtype == np.float32
        assert together[view].min() >= 0 and together[view].max() <= 1
        np.testing.assert_array_equal(alone[view][0], together[view][1])
        assert not np.array_equal(changed.fetch(3, np.array([11]))[view], alone[view])


# -- gradients in chunks -----------------------------------------------------------------------------------------------
def small_network() -> InfoNceNetwork:
    torch.manual_seed(0)
    return InfoNceNetwork("shallow", 8, None, 0.1)


@pytest.mark.parametrize("chunk", [2, 3, 4])
def test_chunks_change_neither_loss_nor_gradient_where_rows_are_independent(chunk: int) -> None:
    """In float64, batch norm with its running statistics, which makes each row a function of its image alone."""
    branch = small_network().sar.double().eval()
    generator = torch.Generator().manual_seed(1)
    images, other = (torch.rand(shape, dtype=torch.float64, generator=generator) for shape in ((7, 3, 24, 24), (7, 8)))

    def gradients(chunk: int | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
        rows = branch(images) if chunk is None else in_chunks(branch, images, chunk, branch)
        loss = F.cross_entropy(rows @ other.T / 0.1, torch.arange(7))
        return loss, list(torch.autograd.grad(loss, list(branch.parameters())))

    (plain, expected), (chunked, found) = gradients(None), gradients(chunk)
    torch.testing.assert_close(chunked, plain, rtol=1e-12, atol=1e-13)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_in_training_a_chunk_is_a_batch_to_batch_norm_once() -> None:
    batch = {"sar": torch.rand(7, 24, 24), "optical": torch.rand(7, 24, 24, 3)}
    chunked, plain = small_network(), small_network()
    chunked.chunk = 4
    chunked.loss(batch)["loss"].backward()
    rows = [torch.cat([plain.embed(view, part) for part in batch[view].tensor_split(2)]) for view in ("sar", "optical")]
    logits = rows[0] @ rows[1].T / 0.1
    (0.5 * (F.cross_entropy(logits, torch.arange(7)) + F.cross_entropy(logits.T, torch.arange(7)))).backward()
    for (name, a), b in zip(chunked.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6, msg=name)
    for (name, mine), expected in zip(chunked.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, expected, msg=name)
    norm = chunked.sar.backbone.units[0][1]
    assert norm.momentum == 0.1 and int(norm.num_batches_tracked) == 2


def test_between_the_passes_no_more_than_embeddings_and_images_are_held() -> None:
    batch = {"sar": torch.rand(12, 32, 32), "optical": torch.rand(12, 32, 32, 3)}

    def held(chunk: int | None) -> int:
        network, kept = small_network(), {}
        network.chunk = chunk

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = network.loss(batch)["loss"]
        assert loss.requires_grad
        return sum(kept.values())

    assert held(4) < held(None) / 10


@pytest.mark.parametrize(
    ("n", "chunk", "sizes"), [(9, 4, [3, 3, 3]), (5, 4, [3, 2]), (3, 2, [3]), (1, 2, [1]), (4, 8, [4])]
)
def test_chunks_are_of_one_size_and_never_of_one_image(n: int, chunk: int, sizes: list[int]) -> None:
    seen: list[int] = []

    def embed(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return images

    with torch.no_grad():
        rows = in_chunks(embed, torch.arange(n), chunk, torch.nn.Identity())
    assert rows.tolist() == list(range(n)) and seen == sizes


# -- the matcher -------------------------------------------------------------------------------------------------------
def test_a_training_with_every_option_is_the_same_twice(toy: PairView, scaling: Scalings, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 2, "batch_size": 8, "input_px": 32, "augment": "dihedral"}
    options |= {
        "crop": 0.8,
        "zoom": True,
        "jitter": 0.2,
        "grey": 0.3,
        "speckle": 0.3,
        "scene_batches": True,
        "scene_group": 4,
        "chunk": 4,
    }
    states = []
    for k in range(2):
        own = context(tmp_path / f"{k}")
        matcher = InfoNce(InfoNceOptions.model_validate(options))
        matcher.prepare(Setup("shallow", scaling, own))
        matcher.fit(FitData(toy.subset(np.arange(16)), toy.subset(np.arange(16, 24)), np.arange(16), 0, scaling, own))
        states.append(matcher.state())
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    assert states[0]["sar.backbone.units.0.1.num_batches_tracked"] == 2 * 2 * 2  # epochs, batches, chunks


def test_unused_options_leave_the_keys_of_finished_cells_alone() -> None:
    more = {"chunk", "crop", "zoom", "jitter", "grey", "speckle", "scene_batches", "scene_group"}
    assert not more & set(option_values(InfoNceOptions.model_validate({})))
    assert more & set(option_values(InfoNceOptions.model_validate({"jitter": 0.2, "chunk": 8}))) == {"jitter", "chunk"}


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        ({"zoom": True}, "give a crop below 1"),
        ({"scene_group": 16}, "set scene_batches: true"),
        ({"chunk": 32}, "set it below batch_size"),
        ({"chunk": 1}, "greater than or equal to 2"),
        ({"speckle": -0.1}, "greater than or equal to 0"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(given_options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InfoNceOptions.model_validate(given_options)


def test_batches_of_scenes_need_scenes(
    toy: PairView, scaling: Scalings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = toy.subset(np.arange(8))
    monkeypatch.setitem(vars(bare), "scenes", (None,) * 8)
    matcher = InfoNce(InfoNceOptions.model_validate({"scene_batches": True}))
    with pytest.raises(BenchError, match="scene_batches needs scenes"):
        matcher._pairs(FitData(bare, bare, np.arange(8), 0, scaling, context(tmp_path)))
