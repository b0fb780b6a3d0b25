"""The learned matchers: losses by hand, batches as pure functions, state round trips, initial weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_toys import context, decoded_pairs, scalings_of
from torch.nn import functional as F

from bench.core.errors import BenchError
from bench.data.cache import PairView
from bench.matching.matchers.base import FitData, Scalings, Setup
from bench.matching.matchers.batches import PairBatches, derangement
from bench.matching.matchers.bnn import Bnn, BnnOptions
from bench.matching.matchers.distances import PAIRWISE, paired, pairwise
from bench.matching.matchers.infonce import InfoNce, InfoNceOptions
from bench.matching.matchers.networks import BnnHead, BnnNetwork, InfoNceNetwork
from bench.models.backbones import RESNET18
from bench.models.states import load_state, save_state


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> PairView:
    return decoded_pairs(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def scaling(toy: PairView) -> Scalings:
    return scalings_of(toy)


def batches(
    toy: PairView, scaling: Scalings, negatives: str = "uniform", augment: str = "none", seed: int = 0
) -> PairBatches:
    return PairBatches(toy, np.arange(len(toy)), scaling, seed, 8, negatives, augment)  # type: ignore[arg-type]


def fitted(matcher: Bnn, toy: PairView, scaling: Scalings, folder: Path) -> Bnn:
    matcher.prepare(Setup("resnet18", scaling, context(folder)))
    parts = toy.subset(np.arange(16)), toy.subset(np.arange(16, 24))
    matcher.fit(FitData(*parts, np.arange(16), 0, scaling, context(folder)))
    return matcher


SMALL = {"epochs": 1, "batch_size": 8, "input_px": 32}


# -- distances ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted(PAIRWISE))
@given(seed=st.integers(0, 1000), n=st.integers(1, 6), m=st.integers(1, 6), d=st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_pairwise_equals_brute_force(name: str, seed: int, n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(m, d)).astype(np.float32)
    brute = {
        "rms": lambda x, y: np.sqrt(np.mean((x - y) ** 2)),
        "cosine": lambda x, y: 1 - x @ y / (np.linalg.norm(x) * np.linalg.norm(y)),
        "sigmoid-dot": lambda x, y: 1 / (1 + np.exp(x @ y)),
    }[name]
    expected = [[brute(x.astype(np.float64), y.astype(np.float64)) for y in b] for x in a]
    np.testing.assert_allclose(pairwise(name, a, b), expected, atol=2e-6)
    k = min(n, m)
    np.testing.assert_allclose(paired(name, a[:k], b[:k]), np.diag(np.asarray(expected)[:k, :k]), atol=2e-6)


def test_an_unknown_distance_names_the_nearest() -> None:
    with pytest.raises(BenchError, match="nearest: cosine"):
        pairwise("cosin", np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(BenchError, match="cannot be compared"):
        pairwise("rms", np.zeros((1, 2)), np.zeros((1, 3)))


def test_rms_distance_of_sigmoid_embeddings_is_in_the_unit_interval() -> None:
    assert pairwise("rms", np.zeros((1, 20)), np.ones((1, 20)))[0, 0] == 1.0
    assert pairwise("rms", np.ones((1, 20)), np.ones((1, 20)))[0, 0] == 0.0


# -- losses ------------------------------------------------------------------------------------------------------------
def test_bnn_loss_is_the_papers_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    network = BnnNetwork("resnet18", 4, None, alpha=2.0, in_batch=False)
    sar, optical = torch.rand(5, 4), torch.rand(5, 4)
    monkeypatch.setattr(network, "embed", lambda view, images: sar if view == "sar" else optical)
    label = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    loss = network.loss({"sar": sar, "optical": optical, "label": label})["loss"]
    distance = np.sqrt(((sar - optical).numpy() ** 2).mean(1))
    expected = ((distance[:2] ** 2).mean() + 2.0 * ((1 - distance[2:]) ** 2).mean()) / 3.0
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_bnn_in_batch_negatives_use_the_other_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    network = BnnNetwork("resnet18", 4, None, alpha=1.0, in_batch=True)
    sar, optical = torch.rand(3, 4), torch.rand(3, 4)
    monkeypatch.setattr(network, "embed", lambda view, images: sar if view == "sar" else optical)
    loss = network.loss({"sar": sar, "optical": optical, "other": torch.tensor([2, 0, 1])})["loss"]
    near = ((sar - optical) ** 2).mean(1)
    far = (1 - ((sar - optical[[2, 0, 1]]) ** 2).mean(1).sqrt()) ** 2
    assert float(loss) == pytest.approx(float((near.mean() + far.mean()) / 2), abs=1e-5)


def test_a_batch_without_a_class_has_a_finite_loss_and_gradient() -> None:
    network = BnnNetwork("resnet18", 4, None, alpha=1.0, in_batch=False)
    batch = {"sar": torch.rand(2, 32, 32), "optical": torch.rand(2, 32, 32, 3), "label": torch.ones(2)}
    loss = network.loss(batch)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_a_training_step_moves_both_branches_by_one_gradient(toy: PairView, scaling: Scalings, tmp_path: Path) -> None:
    """The released code runs backward twice before its second branch steps, which doubles that branch's gradient."""
    from bench.training.api import train
    from bench.training.spec import TrainSpec

    torch.manual_seed(0)
    network = BnnNetwork("resnet18", 4, None, alpha=1.0, in_batch=False)
    before = {name: value.clone() for name, value in network.named_parameters()}
    these = PairBatches(toy, np.arange(len(toy)), scaling, 0, 2 * len(toy), "uniform", "none")
    batch = {
        key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in these.fetch(0, these.indices(0)[0]).items()
    }
    network.loss(batch)["loss"].backward()
    gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    spec = TrainSpec(epochs=1, batch_size=2 * len(toy), optimizer={"type": "SGD", "lr": 0.1}, seed=0)
    train(network, these, spec, context(tmp_path))
    for name in (
        "sar.head.out.weight",
        "optical.head.out.weight",
        "sar.backbone.conv1.weight",
        "optical.backbone.conv1.weight",
    ):
        moved = dict(network.named_parameters())[name].detach() - before[name]
        torch.testing.assert_close(moved, -0.1 * gradients[name], atol=1e-6, rtol=1e-3)


def test_infonce_loss_is_the_symmetric_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    network = InfoNceNetwork("resnet18", 4, None, temperature=0.1)
    sar, optical = F.normalize(torch.rand(3, 4)), F.normalize(torch.rand(3, 4))
    monkeypatch.setattr(network, "embed", lambda view, images: sar if view == "sar" else optical)
    logits = (sar @ optical.T).numpy() / 0.1
    rows = -np.mean([logits[i, i] - np.log(np.exp(logits[i]).sum()) for i in range(3)])
    columns = -np.mean([logits[i, i] - np.log(np.exp(logits[:, i]).sum()) for i in range(3)])
    assert float(network.loss({"sar": sar, "optical": optical})["loss"]) == pytest.approx(
        (rows + columns) / 2, rel=1e-5
    )


def test_bnn_head_has_no_activation_between_its_linear_layers() -> None:
    head = BnnHead(8, 5)
    features = torch.rand(2, 8, 7, 7)
    pooled = F.adaptive_avg_pool2d(F.relu(head.reduce(features)), 4).flatten(1)
    expected = torch.sigmoid(
        pooled @ (head.out.weight @ head.hidden.weight).T + head.out.weight @ head.hidden.bias + head.out.bias
    )
    torch.testing.assert_close(head(features), expected, atol=1e-5, rtol=1e-5)


# -- batches -----------------------------------------------------------------------------------------------------------
def test_fetch_is_a_pure_function_of_epoch_and_entries(toy: PairView, scaling: Scalings) -> None:
    first, second = batches(toy, scaling, augment="dihedral"), batches(toy, scaling, augment="dihedral")
    second.fetch(3, second.indices(3)[1])  # what was fetched before must not matter
    for a, b in zip(first.indices(1), second.indices(1), strict=True):
        one, two = first.fetch(1, a), second.fetch(1, b)
        assert all(np.array_equal(one[key], two[key]) for key in one)


def test_every_epoch_visits_every_entry_once_in_another_order(toy: PairView, scaling: Scalings) -> None:
    these = batches(toy, scaling)
    orders = [np.concatenate(these.indices(epoch)) for epoch in (0, 1)]
    assert all(sorted(order.tolist()) == list(range(2 * len(toy))) for order in orders)
    assert not np.array_equal(orders[0], orders[1])


def test_negatives_are_never_the_partner_and_are_redrawn(toy: PairView, scaling: Scalings) -> None:
    these = batches(toy, scaling)
    drawn = [these._negatives(epoch) for epoch in range(50)]
    assert all((draw != np.arange(len(toy))).all() for draw in drawn)
    assert not np.array_equal(drawn[0], drawn[1])
    counts = np.bincount(np.concatenate(drawn), minlength=len(toy))
    assert counts.min() > 0  # uniform over the part: nobody is left out in 50 epochs


def test_augmentation_turns_both_views_alike(toy: PairView, scaling: Scalings) -> None:
    plain, turned = batches(toy, scaling, "none"), batches(toy, scaling, "none", "dihedral")
    entries = np.arange(len(toy))
    a, b = plain.fetch(0, entries), turned.fetch(0, entries)
    different = 0
    for i in range(len(toy)):
        views = [(a["sar"][i], b["sar"][i]), (a["optical"][i], b["optical"][i])]
        found = [[k for k in range(8) if np.array_equal(_symmetry(x, k), y)] for x, y in views]
        assert set(found[0]) & set(found[1])
        different += found[0] != [0]
    assert different > len(toy) // 2


def _symmetry(image: np.ndarray, k: int) -> np.ndarray:
    turned = np.rot90(image, k % 4)
    return turned[:, ::-1] if k >= 4 else turned


@given(n=st.integers(2, 200), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_the_controls_pairing_has_no_fixed_point(n: int, seed: int) -> None:
    pairing = derangement(n, seed)
    assert sorted(pairing.tolist()) == list(range(n))
    assert (pairing != np.arange(n)).all()


def test_a_budget_in_entries_sets_the_epochs() -> None:
    assert BnnOptions.model_validate({"epochs": 7}).epochs_of(100) == 7
    assert BnnOptions.model_validate({"epochs": 7, "entries": 1001}).epochs_of(100) == 11
    assert BnnOptions.model_validate({"entries": 1}).epochs_of(100) == 1


# -- fitting and state -------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def bnn(toy: PairView, scaling: Scalings, tmp_path_factory: pytest.TempPathFactory) -> Bnn:
    return fitted(Bnn(BnnOptions.model_validate(SMALL)), toy, scaling, tmp_path_factory.mktemp("bnn"))


def test_a_reloaded_state_embeds_identically(bnn: Bnn, toy: PairView, scaling: Scalings, tmp_path: Path) -> None:
    """Zero-dimensional counters of batch normalisation must survive the file."""
    save_state(tmp_path / "model.safetensors", bnn.state())
    again = Bnn(BnnOptions.model_validate(SMALL))
    again.prepare(Setup("resnet18", scaling, context(tmp_path)))
    again.load_state(load_state(tmp_path / "model.safetensors"))
    images = toy.sar(np.arange(5))
    np.testing.assert_array_equal(again.embed("sar", images), bnn.embed("sar", images))
    assert bnn.embed("sar", images).shape == (5, 20)
    save_state(tmp_path / "twice.safetensors", again.state())
    assert (tmp_path / "twice.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_another_networks_state_is_refused(bnn: Bnn, scaling: Scalings, tmp_path: Path) -> None:
    other = InfoNce(InfoNceOptions.model_validate(SMALL))
    other.prepare(Setup("resnet18", scaling, context(tmp_path)))
    with pytest.raises(BenchError, match="another network"):
        other.load_state(bnn.state())


def test_a_two_branch_checkpoint_initialises_each_view_with_its_own(
    bnn: Bnn, toy: PairView, scaling: Scalings, tmp_path: Path
) -> None:
    save_state(tmp_path / "model.safetensors", bnn.state())
    matcher = InfoNce(InfoNceOptions.model_validate(SMALL))
    matcher.prepare(Setup("resnet18", scaling, context(tmp_path)))
    data = FitData(
        toy, toy, np.arange(len(toy)), 0, scaling, context(tmp_path), initial_weights=tmp_path / "model.safetensors"
    )
    network = matcher._initial(data)
    state = bnn.state()
    for view in ("sar", "optical"):
        name = f"{view}.backbone.layer4.1.conv2.weight"
        np.testing.assert_array_equal(network.state_dict()[name].numpy(), state[name])
    assert not np.array_equal(state["sar.backbone.conv1.weight"], state["optical.backbone.conv1.weight"])


def test_imagenet_layout_initialises_both_views_alike(toy: PairView, scaling: Scalings, tmp_path: Path) -> None:
    source = tmp_path / "weights.pth"
    torch.save({**RESNET18.build().state_dict(), "fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}, source)
    matcher = Bnn(BnnOptions.model_validate(SMALL))
    matcher.prepare(Setup("resnet18", scaling, context(tmp_path)))
    network = matcher._initial(
        FitData(toy, toy, np.arange(len(toy)), 0, scaling, context(tmp_path), initial_weights=source)
    )
    torch.testing.assert_close(network.sar.backbone.state_dict(), network.optical.backbone.state_dict())
    torch.testing.assert_close(network.sar.backbone.state_dict()["conv1.weight"], torch.load(source)["conv1.weight"])


def test_the_seed_alone_decides_the_initial_weights(toy: PairView, scaling: Scalings, tmp_path: Path) -> None:
    matcher = Bnn(BnnOptions.model_validate(SMALL))
    matcher.prepare(Setup("resnet18", scaling, context(tmp_path)))

    def conv1(seed: int) -> torch.Tensor:
        torch.manual_seed(int(np.random.default_rng().integers(1000)))  # whatever the global generator holds
        data = FitData(toy, toy, np.arange(len(toy)), seed, scaling, context(tmp_path))
        return matcher._initial(data).state_dict()["sar.backbone.conv1.weight"]

    assert torch.equal(conv1(3), conv1(3))
    assert not torch.equal(conv1(3), conv1(4))
