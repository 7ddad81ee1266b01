"""Training computes with what the int8 file stores, and leaves an ordinary module."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gossamer.errors import RecipeError, TrainingError
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.plan import Reason
from gossamer.qat import Aim, Prepared, prepare, save
from gossamer.train.techniques.quantize_aware import FakeQuantization, QuantizeAware
from zoo import trained
from zoo.trained import EXAMPLE, batches, fit, labelled, pictures

pytestmark = pytest.mark.torch


@functools.cache
def made(target: str) -> tuple[nn.Module, Prepared]:
    model = pictures()
    return model, prepare(model, EXAMPLE, batches, Aim(target=target, samples=32))


def prepared(target: str = "ort-cpu") -> tuple[nn.Module, Prepared]:
    """The network without its BatchNorms, a new one each time, and where it is quantized."""
    model, found = made(target)
    return copy.deepcopy(model), found


def accuracy(scores: np.ndarray, labels: torch.Tensor) -> float:
    return float((scores.argmax(1) == labels.numpy()).mean())


@pytest.mark.parametrize("technique", [QuantizeAware(), QuantizeAware(learn_ranges=False)])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("target", ["ort-cpu", "openvino-cpu"])
def test_the_int8_file_computes_what_training_did(
    technique: QuantizeAware, bits: int, target: str, tmp_path: Path
) -> None:
    """Outputs to 35 dB: float sums in another order carry a few numbers over to the next step."""
    (model, found), (x, _) = prepared(target), labelled(7, 256)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    technique = QuantizeAware(learn_ranges=technique.learn_ranges, weight_bits=bits)
    attachment = technique.attach(model, optimizer, spots=found.spots)
    fit(model, optimizer, range(4))
    with torch.no_grad():
        fake = model(x).numpy()
    attachment.detach()
    save(attachment, EXAMPLE, tmp_path / "trained.onnx")

    feeds = trained.samples(labelled(1)[0])
    graph, plan = trained.quantized(tmp_path / "trained.onnx", target, feeds)

    assert trained.sqnr(fake, trained.outputs(graph, x, tmp_path)) > 35
    assert not [d.detail for d in plan.decisions if "not adopted" in d.detail]
    assert not [d.detail for d in plan.decisions if "other steps" in d.detail]
    assert all("adopted" in d.detail for d in plan.decisions if d.reason is Reason.QUANTIZED)


def test_it_takes_back_what_few_bits_cost(tmp_path: Path) -> None:
    """3-bit weights: PTQ loses more than five points, training comes within two of float."""
    model, (x, labels) = pictures(), labelled(9, 1000)
    fit(model, torch.optim.Adam(model.parameters(), lr=1e-2), range(100))
    found = prepare(model, EXAMPLE, batches, Aim(samples=32))
    feeds = trained.samples(labelled(1)[0])
    whole = accuracy(model(x).detach().numpy(), labels)

    save_float(model, tmp_path / "float.onnx")
    graph, _ = trained.quantized(
        tmp_path / "float.onnx", "ort-cpu", feeds, QuantizeStatic(weight_bits=3)
    )
    after_training = accuracy(trained.outputs(graph, x, tmp_path), labels)

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    attachment = QuantizeAware(weight_bits=3).attach(model, optimizer, spots=found.spots)
    fit(model, optimizer, range(100, 170))
    attachment.detach()
    save(attachment, EXAMPLE, tmp_path / "trained.onnx")
    graph, _ = trained.quantized(tmp_path / "trained.onnx", "ort-cpu", feeds)

    assert after_training < whole - 0.05
    assert accuracy(trained.outputs(graph, x, tmp_path), labels) > whole - 0.02


def save_float(model: nn.Module, path: Path) -> None:
    import onnx_ir as ir

    from gossamer.export.to_graph import to_graph

    ir.save(to_graph(model, EXAMPLE), path)


@pytest.mark.parametrize("technique", [QuantizeAware(freeze_after=3), QuantizeAware(share=0.1)])
@pytest.mark.parametrize("learns", [True, False])
def test_training_goes_on_exactly_from_a_state_dict(technique: QuantizeAware, learns: bool) -> None:
    options = {"freeze_after": technique.freeze_after, "share": technique.share}
    technique = QuantizeAware(learn_ranges=learns, **options)  # type: ignore[arg-type]
    model, found = prepared()
    start = copy.deepcopy(model)

    def attached(model: nn.Module) -> tuple[FakeQuantization, torch.optim.Optimizer]:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        return technique.attach(model, optimizer, spots=found.spots), optimizer

    whole, optimizer = attached(model)
    fit(model, optimizer, range(6))
    first, second = copy.deepcopy(start), copy.deepcopy(start)
    _, optimizer = attached(first)
    fit(first, optimizer, range(4))
    saved = copy.deepcopy((first.state_dict(), optimizer.state_dict()))
    resumed, optimizer = attached(second)
    second.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    fit(second, optimizer, range(4, 6))

    assert all(map(torch.equal, model.state_dict().values(), second.state_dict().values()))
    assert all(
        np.array_equal(x.scale, y.scale)
        for x, y in zip(whole.ranges().values(), resumed.ranges().values(), strict=True)
    )


def test_detaching_leaves_an_ordinary_module_with_the_float_weights() -> None:
    (model, found), x = prepared(), labelled(3)[0]
    keys, before, types = list(model.state_dict()), model(x), [type(m) for m in model.modules()]

    with QuantizeAware(freeze_after=1).attach(
        model, torch.optim.SGD(model.parameters(), lr=0.1), spots=found.spots
    ) as attachment:
        assert not torch.equal(model(x), before)
        inside = attachment.ranges()
    attachment.detach()

    assert list(model.state_dict()) == keys
    assert [type(m) for m in model.modules()] == types
    assert torch.equal(model(x), before)
    assert inside.keys() == attachment.ranges().keys()
    assert not torch.equal(attachment.rounded()(x), before)


def test_learned_steps_are_a_group_of_the_optimizer_without_decay() -> None:
    model, found = prepared()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.5)

    attachment = QuantizeAware().attach(model, optimizer, spots=found.spots)
    before = attachment.ranges()
    fit(model, optimizer, range(2))

    names = [name for name, _ in model.named_parameters() if name.endswith("log_step")]
    assert [len(group["params"]) for group in optimizer.param_groups][1:] == [len(names)]
    assert optimizer.param_groups[1]["weight_decay"] == 0
    assert any((before[n].scale != x.scale).any() for n, x in attachment.ranges().items())


@pytest.mark.parametrize("learns", [True, False])
def test_frozen_ranges_of_activations_stay(learns: bool) -> None:
    model, found = prepared()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    technique = QuantizeAware(learn_ranges=learns, share=0.5, freeze_after=2)
    attachment = technique.attach(model, optimizer, spots=found.spots)
    fit(model, optimizer, range(2))
    frozen = attachment.ranges()

    fit(model, optimizer, range(2, 5))

    after = attachment.ranges()
    assert all(np.array_equal(frozen[v].scale, after[v].scale) for v in found.plan.values)


def test_moving_averages_follow_the_data_and_only_in_training() -> None:
    (model, found), x = prepared(), labelled(3)[0]
    attachment = QuantizeAware(learn_ranges=False, share=0.5).attach(model, spots=found.spots)
    before = attachment.ranges()["x"]

    model(x * 10)
    assert attachment.ranges()["x"].scale == before.scale
    model.train()
    model(x * 10)

    low, high = float((x * 10).min()), float((x * 10).max())
    width = (high - low + float(before.scale) * 255) / 2
    assert attachment.ranges()["x"].scale == pytest.approx(width / 255, rel=1e-5)


def test_sums_of_16_bits_cannot_overflow() -> None:
    model, found = prepared()
    attachment = QuantizeAware().attach(model, spots=found.spots)
    ranges = attachment.ranges()
    attachment.detach()
    rounded = attachment.rounded()

    for spot in found.spots.spots:
        if spot.part == "weight":
            weight = rounded.get_submodule(spot.module).get_parameter(spot.parameter)
            steps = np.moveaxis(weight.detach().numpy(), spot.axis or 0, 0).reshape(len(weight), -1)
            most = np.abs(steps / ranges[spot.values[0]].scale[:, None]).max()
            assert most < 63.01


def test_a_copy_of_the_model_goes_its_own_way() -> None:
    (model, found), x = prepared(), labelled(3)[0]
    QuantizeAware().attach(model, spots=found.spots)
    copied, before = copy.deepcopy(model), model(x)

    fit(model, torch.optim.SGD(model.parameters(), lr=0.1), range(1))

    assert not torch.equal(model(x), before)
    assert torch.equal(copied(x), before)


def test_what_it_needs_is_asked_for() -> None:
    model, found = prepared()

    with pytest.raises(TrainingError, match="spots= for QuantizeAware"):
        QuantizeAware().attach(model)
    with pytest.raises(TrainingError, match="Linear without it"):
        QuantizeAware().attach(nn.Linear(2, 2), spots=found.spots)
    with pytest.raises(TrainingError, match="to count its steps"):
        QuantizeAware(freeze_after=5).attach(model, spots=found.spots)
    attachment = QuantizeAware().attach(model, spots=found.spots)
    keys = list(model.state_dict())
    with pytest.raises(TrainingError, match="Give the model that the spots were found in"):
        QuantizeAware().attach(model, spots=found.spots)
    assert list(model.state_dict()) == keys
    with pytest.raises(TrainingError, match="Call detach"):
        attachment.rounded()


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(RecipeError, match="2 to 8 bits"):
        QuantizeAware(weight_bits=1)
    with pytest.raises(RecipeError, match="a share above 0"):
        QuantizeAware(share=0)


def test_batches_without_the_inputs_are_refused() -> None:
    with pytest.raises(TrainingError, match="batches of training data with x"):
        prepare(pictures(), EXAMPLE, lambda: iter([{"y": torch.zeros(2)}]))
    with pytest.raises(TrainingError, match="no batch"):
        prepare(pictures(), EXAMPLE, lambda: iter(()))
