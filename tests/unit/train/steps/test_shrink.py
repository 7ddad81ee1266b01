"""The step `shrink` on convolutional networks, its options, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from gossamer import plugins
from gossamer.errors import RecipeError, TrainingError
from gossamer.export.to_graph import check_graph, to_graph
from gossamer.source import ModuleExample
from gossamer.step import ModuleContext
from gossamer.train.prune import saved
from gossamer.train.prune.cost import cost
from gossamer.train.prune.criteria.snip import Snip
from gossamer.train.steps.shrink import Shrink
from zoo import convnets, encoders

pytestmark = pytest.mark.torch
LABELS = torch.tensor([0, 1, 2, 3])


class Noise:
    """Three batches of noise in each round."""

    def __len__(self) -> int:
        return 12

    def batches(self, size: int, seed: int, start: int = 0) -> Iterator[Mapping[str, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(start, 3):
            yield {"x": torch.randn(convnets.INPUTS, generator=generator), "labels": LABELS}


def context(folder: Path, *, has_data: bool = True) -> ModuleContext:
    training = Noise() if has_data else None
    return ModuleContext(training=training, teacher=nn.Identity, seed=0, folder=folder)


def macs(model: nn.Module) -> int:
    return cost(model, {"x": convnets.images()}).macs


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("criterion", ["magnitude", "snip"])
def test_a_budget_of_macs_is_met(uniform: bool, criterion: str, tmp_path: Path) -> None:
    model = convnets.trained(convnets.Residual())
    options = {"max-macs": 0.6, "uniform": uniform, "criterion": criterion}
    step = plugins.parse("module-steps", {"shrink": options})

    slim = step.apply(copy.deepcopy(model), context(tmp_path))

    assert 0.35 * macs(model) <= macs(slim) <= 0.6 * macs(model)
    assert not any(module.training for module in slim.modules())


def test_channels_of_residual_connections_stay_unless_asked_for(tmp_path: Path) -> None:
    model = convnets.trained(convnets.Residual())

    inner = Shrink(channels=0.5).apply(copy.deepcopy(model), context(tmp_path))
    every = Shrink(channels=0.5, residual=True).apply(copy.deepcopy(model), context(tmp_path))

    assert inner.get_parameter("stem.weight").shape[0] == 16
    assert every.get_parameter("stem.weight").shape[0] == 8
    assert every.get_parameter("d.weight").shape[0] == 24  # 8 go, 16 are zeros of the shortcut


@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_widths_stay_multiples(multiple: int, tmp_path: Path) -> None:
    step = Shrink(channels=0.3, channel_multiple=multiple)

    slim = step.apply(convnets.trained(convnets.Plain()), context(tmp_path))

    for name, before in (("conv1.weight", 16), ("conv2.weight", 24)):
        width = len(slim.get_parameter(name))
        assert width % multiple == 0
        assert abs(width - 0.7 * before) <= multiple / 2 + 0.5


def test_the_least_important_channels_go(tmp_path: Path) -> None:
    model = convnets.trained(convnets.Plain())
    with torch.no_grad():
        for path in ("conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"):
            model.get_parameter(path)[3:11] *= 1e-3
        model.get_parameter("conv2.weight")[:, 3:11] *= 1e-3
    before = model.get_parameter("conv1.weight").clone()

    slim = Shrink(channels=0.5).apply(model, context(tmp_path))

    stay = [0, 1, 2, *range(11, 16)]
    assert torch.equal(slim.get_parameter("conv1.weight"), before[stay])


def test_snip_keeps_what_the_loss_depends_on(tmp_path: Path) -> None:
    model = convnets.trained(convnets.Plain())
    with torch.no_grad():  # large weights that nothing reads
        model.get_parameter("conv1.weight")[:8] *= 3
        model.get_parameter("conv2.weight")[:, :8] *= 1e-6
    before = model.get_parameter("conv1.weight").clone()

    slim = Shrink(channels=0.5, criterion=Snip()).apply(model, context(tmp_path))

    assert torch.equal(slim.get_parameter("conv1.weight"), before[8:])


def test_statistics_of_normalizations_are_those_of_the_slim_model(tmp_path: Path) -> None:
    slim = Shrink(channels=0.5).apply(convnets.trained(convnets.Plain()), context(tmp_path))

    seen = torch.cat([b["x"] for seed in range(22) for b in Noise().batches(4, seed)][:64])
    with torch.no_grad():
        mean = slim.get_submodule("conv1")(seen).mean((0, 2, 3))
    torch.testing.assert_close(slim.get_buffer("bn1.running_mean"), mean, atol=1e-4, rtol=1e-3)


def test_a_slim_network_goes_through_files_and_export(tmp_path: Path) -> None:
    step = Shrink(channels=0.5, residual=True)
    slim = step.apply(convnets.trained(convnets.Residual()), context(tmp_path))

    assert saved.save(slim, tmp_path) == "Residual is no model of transformers"
    again = saved.load(convnets.Residual, tmp_path)

    with torch.no_grad():
        assert torch.equal(again(convnets.images()), slim(convnets.images()))
    example = ModuleExample(inputs={"x": convnets.images()})
    ir.save(to_graph(again, example), tmp_path / "slim.onnx")
    check_graph(again, example, tmp_path / "slim.onnx")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_encoder_with_fewer_heads_exports(tmp_path: Path) -> None:
    slim = Shrink(heads=0.5, ffn=0.5).apply(encoders.make("Bert"), encoders.context(tmp_path))
    example = ModuleExample(inputs=inputs(), sequence=tuple(inputs()), longest=40)

    ir.save(to_graph(slim, example), tmp_path / "slim.onnx")

    check_graph(slim, example, tmp_path / "slim.onnx")


def test_a_budget_of_parameters_is_kept(tmp_path: Path) -> None:
    model = convnets.trained(convnets.Residual())

    slim = Shrink(max_parameters=0.5).apply(copy.deepcopy(model), context(tmp_path))

    assert 0.25 * numbers(model) <= numbers(slim) <= 0.5 * numbers(model)


def numbers(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_a_budget_of_time_is_kept_as_it_is_measured(tmp_path: Path) -> None:
    model = convnets.trained(convnets.Plain())
    asked = []

    def latency(now: nn.Module) -> float:
        asked.append(now)
        return numbers(now) / numbers(model)

    given = dataclasses.replace(context(tmp_path), latency=latency)
    slim = Shrink(max_latency=0.6).apply(copy.deepcopy(model), given)
    before_the_kill = len(asked)
    again = Shrink(max_latency=0.6).apply(copy.deepcopy(model), given)

    assert len(asked) == before_the_kill <= 7
    Shrink(max_latency=0.8).apply(copy.deepcopy(model), given)
    assert len(asked) > before_the_kill  # another step in this folder measures for itself
    assert 0.3 * numbers(model) <= numbers(slim) <= 0.6 * numbers(model)
    for a, b in zip(slim.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_time_out_of_reach_says_what_was_reached(tmp_path: Path) -> None:
    given = dataclasses.replace(context(tmp_path), latency=lambda _: 0.9)

    with pytest.raises(TrainingError, match="takes 10% of the time; received 90%"):
        Shrink(max_latency=0.1).apply(convnets.trained(convnets.Plain()), given)
    with pytest.raises(TrainingError, match="a way to measure"):
        Shrink(max_latency=0.1).apply(convnets.trained(convnets.Plain()), context(tmp_path))


def test_budgets_are_shares_of_the_model_with_all_layers(tmp_path: Path) -> None:
    model = encoders.make("Bert")
    whole = cost(model, inputs()).macs

    step = Shrink(layers=(0,), max_macs=0.9)
    slim = step.apply(copy.deepcopy(model), encoders.context(tmp_path))

    assert slim.config.intermediate_size == model.config.intermediate_size
    assert cost(slim, inputs()).macs < 0.9 * whole


def inputs() -> dict[str, Tensor]:
    return {name: x for name, x in encoders.batch().items() if name != "labels"}


def test_nothing_goes_where_nothing_is_asked_for(tmp_path: Path) -> None:
    model = convnets.trained(convnets.Plain())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    same = Shrink().apply(model, context(tmp_path))

    assert all(torch.equal(tensor, before[name]) for name, tensor in same.state_dict().items())


def test_it_needs_a_batch(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="needed training data"):
        Shrink(channels=0.5).apply(convnets.Plain(), context(tmp_path, has_data=False))


def test_gradients_need_weights_that_are_trained(tmp_path: Path) -> None:
    model = convnets.Plain().requires_grad_(False)

    with pytest.raises(TrainingError, match="weights that are trained"):
        Shrink(channels=0.5, criterion=Snip()).apply(model, context(tmp_path))


def test_a_model_without_what_should_go_says_why(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"needed heads that can be removed.*output"):
        Shrink(heads=0.5).apply(convnets.Plain(), context(tmp_path))


@pytest.mark.parametrize(
    "options",
    [
        {"ffn": 1.0},
        {"heads": -0.1},
        {"max-macs": 0.0},
        {"max-latency": 1.5},
        {"max-parameters": 0.0},
        {"channel-multiple": 0},
        {"batches": 0},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="needed"):
        plugins.parse("module-steps", {"shrink": options})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_minilm_loses_half_of_its_neurons_and_stays_a_plain_folder(
    real: Path, tmp_path: Path
) -> None:
    import transformers

    kind = transformers.AutoModelForSequenceClassification
    model = kind.from_pretrained(real / "minilm_sst2", dtype=torch.float32)
    model.eval()

    slim = Shrink(ffn=0.5).apply(model, encoders.context(tmp_path))

    assert saved.save(slim, tmp_path) is None
    plain = kind.from_pretrained(tmp_path).eval()
    assert plain.config.intermediate_size == 768
    torch.testing.assert_close(encoders.logits(plain), encoders.logits(slim), atol=1e-5, rtol=0)


def test_resnet56_loses_half_of_its_macs(
    real: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    nets = importlib.import_module("resnet_cifar")
    model, inputs = nets.resnet56()
    nets.load(model, real / "cifar10" / "resnet56.safetensors")
    monkeypatch.setattr(convnets, "INPUTS", (4, 3, 32, 32))

    slim = Shrink(max_macs=0.5, batches=1).apply(copy.deepcopy(model), context(tmp_path))

    before, after = cost(model, inputs), cost(slim, inputs)
    assert before.macs == 125_485_696
    assert after.macs <= 0.5 * before.macs
    assert after.parameters <= 0.5 * before.parameters
