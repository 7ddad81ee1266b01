"""Masks in somebody's own training loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional

from gossamer import plugins
from gossamer.train.prune.patterns.block import Block
from gossamer.train.prune.patterns.channel import Channel
from gossamer.train.prune.patterns.n_of_m import NOfM
from gossamer.train.prune.schedules.one_shot import OneShot
from gossamer.train.techniques.sparsify import Sparsify
from zoo.nets import batch, net

pytestmark = pytest.mark.torch

STEPS = 12
PRUNED = ("conv", "wide", "deep")
OPTIMIZERS: dict[str, Callable[[Iterable[Any]], torch.optim.Optimizer]] = {
    "sgd": lambda w: torch.optim.SGD(w, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adamw": lambda w: torch.optim.AdamW(w, lr=0.01),
    "rmsprop": lambda w: torch.optim.RMSprop(w, lr=0.01, momentum=0.9, centered=True),
}


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    images, labels = batch(number)
    optimizer.zero_grad()
    functional.cross_entropy(model(images), labels).backward()
    optimizer.step()


def batches() -> Iterator[Mapping[str, Tensor]]:
    return ({"images": batch(i)[0]} for i in range(3))


def batch_loss(model: nn.Module, given: Mapping[str, Tensor]) -> Tensor:
    return functional.cross_entropy(model(given["images"]), batch(0)[1])


def zeros(model: nn.Module, paths: Iterable[str] = PRUNED) -> tuple[int, int]:
    weights = [model.get_submodule(path).get_parameter("weight") for path in paths]
    return sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)


def criterion(name: str) -> Any:
    return plugins.parse("criteria", name)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", plugins.names("criteria"))
def test_the_last_quota_is_exact_and_holds_with_gradients_and_moments(kind: str, name: str) -> None:
    model = net()
    optimizer = OPTIMIZERS[kind](model.parameters())
    sparsify = Sparsify(sparsity=0.8, criterion=criterion(name), interval=2)

    with sparsify.attach(
        model, optimizer, steps=STEPS, batches=batches, batch_loss=batch_loss
    ) as masks:
        for i in range(STEPS):
            step(model, optimizer, i)
        reports = [report for report in masks.report() if not report.reason]
        hidden = {path: ~model.get_buffer(f"{path}.weight_mask") for path in PRUNED}
        shares = masks.sparsity()

    found, count = zeros(model)
    is_local = sparsify.criterion.compares != "layers"
    assert found == (
        sum(int(0.8 * r.weights + 1e-6) for r in reports) if is_local else int(0.8 * count)
    )
    assert shares == pytest.approx(found / count)
    assert [r.zeros for r in reports] == [r.quota for r in reports]
    for path, own in hidden.items():
        weight = model.get_submodule(path).get_parameter("weight")
        assert own.any()
        assert not weight.grad[own].any()
        for state in optimizer.state[weight].values():
            if state.shape == weight.shape:
                assert not state[own].any()


def test_sparsity_grows_and_zeros_stay_where_they_are() -> None:
    model = net()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    masks = Sparsify(sparsity=0.9, interval=1).attach(model, optimizer, steps=STEPS)
    before = {path: model.get_buffer(f"{path}.weight_mask").clone() for path in PRUNED}
    shares = [0.0]

    for i in range(STEPS):
        step(model, optimizer, i)
        shares.append(masks.sparsity())
        for path, mask in before.items():
            now = model.get_buffer(f"{path}.weight_mask")
            assert (now <= mask).all()
            mask.copy_(now)

    assert shares == sorted(shares)
    assert 0 < shares[1] < shares[4] < shares[-1]
    assert zeros(model)[0] == int(0.9 * zeros(model)[1])
    assert shares[8] == shares[-1]  # end = 0.7 of 12 steps


@pytest.mark.parametrize("name", ["magnitude", "snip-momentum", "movement", "gradient"])
@pytest.mark.parametrize("stop", [3, 10])
def test_an_interrupted_training_goes_on_to_the_same_weights(name: str, stop: int) -> None:
    def begin() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = net()
        optimizer = OPTIMIZERS["adamw"](model.parameters())
        sparsify = Sparsify(sparsity=0.7, criterion=criterion(name), pattern=Block(rows=2))
        sparsify.attach(model, optimizer, steps=STEPS)
        return model, optimizer

    whole, optimizer = begin()
    for i in range(STEPS):
        if i == stop:
            saved = copy.deepcopy((whole.state_dict(), optimizer.state_dict()))
        step(whole, optimizer, i)
    rest, optimizer = begin()
    rest.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    for i in range(stop, STEPS):
        step(rest, optimizer, i)

    assert list(rest.state_dict()) == list(whole.state_dict())
    for (key, a), b in zip(whole.state_dict().items(), rest.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


def test_after_detaching_it_is_an_ordinary_module_that_computes_the_same() -> None:
    model, plain = net(), net()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    masks = Sparsify(criterion=criterion("fisher")).attach(model, optimizer, steps=STEPS)
    for i in range(5):
        step(model, optimizer, i)
    images, held = batch(0)[0], zeros(model, ["deep"])[0]
    before = model(images)

    masks.detach()
    masks.detach()

    assert torch.equal(model(images), before)
    assert list(model.state_dict()) == list(plain.state_dict())
    step(model, optimizer, 6)
    assert zeros(model, ["deep"])[0] < held  # nobody holds them any more


def test_the_state_dict_has_plain_weights_and_their_masks() -> None:
    model = net()
    with Sparsify(schedule=OneShot()).attach(model):
        added = set(model.state_dict()) - set(net().state_dict())

    assert added == {"sparsify_steps", *(f"{path}.weight_mask" for path in PRUNED)}


def test_every_layer_is_reported_and_those_that_stay_have_a_reason() -> None:
    model = net()
    with Sparsify(schedule=OneShot(), pattern=Block(rows=16), exclude=()).attach(model) as masks:
        told = {report.path: report for report in masks.report()}

    assert list(told) == ["wide", "deep", "first", "conv", "last"]
    assert told["wide"].pattern == "block rows=16 columns=1"
    assert told["last"].reason == "its 4 x 16 weights are less than a block of 16 x 1"
    assert told["wide"].blocks == 2 * 12 * 9  # 30 outputs in blocks of 16
    assert told["wide"].quota + told["deep"].quota == (2 * 12 * 9 + 30) // 2


def test_the_first_conv_and_the_last_layer_stay_unless_they_are_asked_for() -> None:
    model = net()
    with Sparsify(schedule=OneShot()).attach(model) as masks:
        reasons = {r.path: r.reason for r in masks.report() if r.reason}
    with Sparsify(schedule=OneShot(), exclude=()).attach(model) as masks:
        every = {r.path for r in masks.report() if not r.reason}
    with Sparsify(schedule=OneShot(), layers=("w*", "deep")).attach(model) as masks:
        some = [r.path for r in masks.report() if not r.reason]

    assert reasons == {"first": "the first Conv", "last": "the last layer"}
    assert every == {"first", "conv", "wide", "deep", "last"}
    assert some == ["wide", "deep"]


@pytest.mark.parametrize("pattern", [Block(rows=4), Block(rows=1, columns=4), NOfM(), Channel()])
@pytest.mark.parametrize("scope", ["global", "local"])
def test_patterns_are_kept_in_convs_and_linears(pattern: Any, scope: Any) -> None:
    model = net()
    Sparsify(pattern=pattern, schedule=OneShot(), scope=scope).attach(model).detach()

    for path in ("conv", "deep"):
        weight = model.get_submodule(path).get_parameter("weight").detach()
        if weight.ndim > 2:
            weight = weight.permute(0, 2, 3, 1)  # channels innermost
        matrix = weight.reshape(len(weight), -1)
        blocks = pattern.blocks(matrix.ne(0).float())
        if isinstance(pattern, NOfM):
            assert not blocks.any()  # two zeros in every four
        else:
            assert set(blocks.flatten().tolist()) <= {0.0, 1.0}


def test_local_scope_takes_the_same_share_of_each_layer_and_bounds_hold() -> None:
    model = net()
    with Sparsify(sparsity=0.37, scope="local", schedule=OneShot()).attach(model) as masks:
        local = [(r.zeros, int(0.37 * r.weights)) for r in masks.report() if not r.reason]
    model = net()
    bounded = Sparsify(sparsity=0.5, min_sparsity=0.4, max_sparsity=0.55, schedule=OneShot())
    with bounded.attach(model) as masks:
        shares = [r.zeros / r.weights for r in masks.report() if not r.reason]

    assert all(found == wanted for found, wanted in local)
    assert min(shares) >= 0.4 - 1 / 400  # rounded down to whole weights
    assert max(shares) <= 0.55


def test_locked_zeros_stay_and_nothing_else_is_pruned() -> None:
    model = net()
    Sparsify(pattern=NOfM(), schedule=OneShot()).attach(model).detach()
    before = {path: model.get_submodule(path).get_parameter("weight") == 0 for path in PRUNED}
    optimizer = OPTIMIZERS["adamw"](model.parameters())

    with Sparsify(lock=True).attach(model, optimizer):
        for i in range(4):
            step(model, optimizer, i)

    for path, own in before.items():
        assert torch.equal(model.get_submodule(path).get_parameter("weight") == 0, own)


def test_shared_weights_get_one_mask_and_tables_none() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 8)
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
            self.b.weight = self.a.weight
            self.scores = nn.Linear(8, 10, bias=False)
            self.scores.weight = self.table.weight

    model = Tied()
    with Sparsify(schedule=OneShot(), exclude=()).attach(model) as masks:
        told = {r.path: r.reason for r in masks.report()}

    assert told == {
        "a": "",
        "b": "its weight is that of a",
        "table": "Embedding, no Linear or Conv",
        "scores": "its weight is that of table, which does not multiply",
    }
    assert int((model.b.weight == 0).sum()) == 32
    assert not (model.table.weight == 0).any()


def test_frozen_weights_are_pruned_where_that_needs_no_gradient() -> None:
    model = net()
    model.deep.weight.requires_grad_(False)
    optimizer = OPTIMIZERS["sgd"](w for w in model.parameters() if w.requires_grad)
    masks = Sparsify(scope="local").attach(model, optimizer, steps=STEPS)
    for i in range(STEPS):
        step(model, optimizer, i)
    masks.detach()
    other = Sparsify(criterion=criterion("snip")).attach(model, optimizer, steps=STEPS)

    assert zeros(model, ["deep"])[0] == 240
    assert {r.path: r.reason for r in other.report()}["deep"] == "frozen: it has no gradient"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", plugins.names("criteria"))
def test_weights_of_sixteen_bits_are_pruned_to_the_same_quota(
    dtype: torch.dtype, name: str
) -> None:
    model = nn.Sequential(nn.Linear(16, 12), nn.Linear(12, 4)).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    rows = torch.ones(5, 16, dtype=dtype)
    known: Any = {
        "steps": 4,
        "batches": lambda: [{"input": rows}],
        "batch_loss": lambda module, given: module(**given).square().sum(),
    }
    sparsify = Sparsify(criterion=criterion(name), end=0.75, interval=1, scope="local")
    with sparsify.attach(model, optimizer, **known):
        for _ in range(4):
            optimizer.zero_grad()
            model(rows).square().sum().backward()
            optimizer.step()

    weight = model.get_submodule("0").get_parameter("weight")
    assert int((weight == 0).sum()) == 96
    assert weight.dtype == dtype


def test_optimizers_and_groups_are_all_held() -> None:
    model = net()
    one = torch.optim.AdamW([{"params": [model.conv.weight]}, {"params": [model.wide.weight]}])
    two = torch.optim.SGD([model.deep.weight], lr=0.1, momentum=0.9)
    masks = Sparsify(sparsity=0.6, interval=1).attach(model, one, steps=STEPS)
    masks.follow(two)
    for i in range(STEPS):
        images, labels = batch(i)
        model.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        one.step()
        two.step()

    assert zeros(model)[0] == int(0.6 * zeros(model)[1])
    assert zeros(model, ["deep"])[0] > 0
    moment = two.state[model.deep.weight]["momentum_buffer"]
    assert not moment[model.deep.weight == 0].any()


def test_a_step_with_a_closure_and_a_wrapped_optimizer_train_to_the_same_weights() -> None:
    def train(*, closes: bool, is_wrapped: bool) -> dict[str, Tensor]:
        model = net()
        optimizer = OPTIMIZERS["adamw"](model.parameters())
        used = Accelerator(cpu=True).prepare(optimizer) if is_wrapped else optimizer
        sparsify = Sparsify(criterion=criterion("snip-momentum"), interval=2)
        with sparsify.attach(model, used, steps=STEPS):
            for i in range(STEPS):
                images, labels = batch(i)

                def closure() -> Tensor:
                    used.zero_grad()
                    loss = functional.cross_entropy(model(images), labels)  # noqa: B023 - used now
                    loss.backward()
                    return loss

                if closes:
                    used.step(closure)
                else:
                    closure()
                    used.step()
        return model.state_dict()

    plain = train(closes=False, is_wrapped=False)
    for other in (train(closes=True, is_wrapped=False), train(closes=False, is_wrapped=True)):
        assert all(torch.equal(plain[key], other[key]) for key in plain)


def test_one_shot_before_training_leaves_gradients_and_modes_alone() -> None:
    model = net().train()
    model.conv.eval()
    Sparsify(criterion=criterion("snip"), schedule=OneShot()).attach(
        model, batches=batches, batch_loss=batch_loss
    ).detach()

    assert zeros(model)[0] == zeros(model)[1] // 2
    assert all(weight.grad is None for weight in model.parameters())
    assert model.training
    assert not model.conv.training
