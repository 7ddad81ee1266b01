"""The technique `quantize-aware`: train with the numbers that int8 will hold."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from torch.nn.utils import parametrize

from gossamer.errors import RecipeError, TrainingError
from gossamer.quant import QParams, QuantSpec
from gossamer.train import stepping
from gossamer.train.attachment import Attachment, Known, Technique, needed
from gossamer.train.fake_quantize import FakeActivation, FakeBias, FakeWeight, fake_weight, parts

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from gossamer.spot import Spot, Spots

PAIR_BITS = 7  # two such weights are below 128 together, as kernels with sums of 16 bits need
STEPS = "quantize_aware_steps"


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeAware(Technique):
    """Weights and activations as the int8 file will store them, while training goes on.

    Forward passes compute with rounded numbers just where the plan of the target stores them;
    gradients pass straight through the rounding (`gossamer.train.fake_quantize`). It needs
    `spots=`, which `gossamer.qat.prepare` finds, and `fit` in a recipe by itself.

    Attributes:
        learn_ranges: Whether steps are learned with the weights (LSQ, Esser et al. 2020), from
            those that calibration chose; otherwise they follow moving averages of the extremes of
            activations, and the largest weights.
        weight_bits: Of weights, 2 to 8, where the plan has no fewer; they are stored in a byte.
            Where kernels add two products in 16 bits, 8 become 7, which never overflow.
        share: Of a new extreme in a moving average.
        freeze_after: Optimizer steps after which ranges of activations, and learned ones of
            weights, stay; 0 never stops.
    """

    learn_ranges: bool = True
    weight_bits: int = 8
    share: float = 0.01
    freeze_after: int = 0

    def __post_init__(self) -> None:
        QuantSpec(dtype="s8", symmetric=True, bits=self.weight_bits)  # which refuses others
        if not 0 < self.share <= 1 or self.freeze_after < 0:
            raise RecipeError(
                "a share above 0 and up to 1, and freeze-after of 0 or more",
                f"{self.share} and {self.freeze_after}",
                "0.01 and 0 are the defaults.",
            )

    @property
    def needs(self) -> frozenset[str]:
        """Where the int8 file will store what."""
        return frozenset({"spots"})

    def attach(
        self, model: nn.Module, optimizer: Optimizer | None = None, **known: Unpack[Known]
    ) -> FakeQuantization:
        """Put it to work; learned ranges become a group of `optimizer` without weight decay.

        Raises:
            TrainingError: `spots=` was not given, one of them is not in the model, or the model
                is fake-quantized already.
        """
        spots: Spots = needed(self, known, "spots")
        return FakeQuantization(self, model, optimizer, spots.spots)

    def stored(self, spec: QuantSpec) -> QuantSpec:
        """How a weight is stored, given what the plan says."""
        bits = min(spec.bits, self.weight_bits)
        return replace(spec, bits=min(bits, PAIR_BITS) if spec.accumulator == "s16" else bits)


class FakeQuantization(Attachment):
    """Fake quantization at work on a model.

    Args:
        technique: Its options.
        model: The model.
        optimizer: What trains it, or None; then who makes one takes the model's parameters.
        spots: Where.
    """

    def __init__(
        self,
        technique: QuantizeAware,
        model: nn.Module,
        optimizer: Optimizer | None,
        spots: tuple[Spot, ...],
    ) -> None:
        super().__init__(model)
        self._technique = technique
        self._weights = [spot for spot in spots if spot.part == "weight"]
        self._biases = [spot for spot in spots if spot.part == "bias"]
        self._activations: dict[tuple[str, ...], FakeActivation] = {}
        self._ranges: dict[str, QParams] | None = None
        for spot in spots:
            _check(model, spot)
        try:
            for spot in spots:
                layer = model.get_submodule(spot.module)
                if spot.part == "weight":
                    self._attach_weight(layer, spot)
                elif spot.part != "bias":
                    self._attach_activation(layer, spot)
            for spot in self._biases:
                self._attach_bias(model.get_submodule(spot.module), spot)
            self._join(optimizer)
        except BaseException:
            self.detach()
            raise

    def ranges(self) -> dict[str, QParams]:
        """The numbers of values and weights by their names in the graph, now or when detached."""
        if self._ranges is not None:
            return dict(self._ranges)
        found = {name: x.numbers() for names, x in self._activations.items() for name in names}
        for spot in self._weights:
            layer = self.model.get_submodule(spot.module)
            weight, fake = parts(layer, spot.parameter)
            numbers = replace(fake.numbers(weight), axis=spot.stored_axis)
            numbers = replace(numbers, scale=numbers.scale * np.float32(spot.factor))
            found |= dict.fromkeys(spot.values, numbers)
        return found

    def detach(self) -> None:
        """Leave the model as an ordinary module with the float weights that were trained.

        Not with rounded ones: more training, or another number of bits, starts from the float
        weights, and the float model is what the int8 file is compared with. `rounded` gives the
        others. `ranges` goes on telling what they were.
        """
        if self._ranges is None:
            self._ranges = self.ranges() if self._is_whole() else {}
            for spot in (*self._weights, *self._biases):  # the order of parameters
                _leave(self.model.get_submodule(spot.module), spot.parameter)
            for activation in self._activations.values():
                activation.end()
            if hasattr(self.model, STEPS):
                delattr(self.model, STEPS)
        super().detach()

    def rounded(self) -> nn.Module:
        """A copy whose weights are those that int8 stores, in float: what is exported.

        Raises:
            TrainingError: It is still attached.
        """
        if self._ranges is None:
            raise TrainingError(
                "a detached model", "one that is being trained", "Call detach() first."
            )
        module = copy.deepcopy(self.model)
        for spot in self._weights:
            weight = module.get_submodule(spot.module).get_parameter(spot.parameter)
            numbers = replace(self._ranges[spot.values[0]], axis=spot.axis)
            numbers = replace(numbers, scale=numbers.scale / np.float32(spot.factor))
            spec = replace(self._technique.stored(spot.spec), symmetric=True)
            array = weight.detach().float().cpu().numpy()
            stored = numbers.dequantize(numbers.quantize(array, spec))
            with torch.no_grad():
                weight.copy_(torch.from_numpy(stored))
        return module

    def _attach_weight(self, layer: nn.Module, spot: Spot) -> None:
        technique = self._technique
        fake = FakeWeight(
            layer.get_parameter(spot.parameter),
            technique.stored(spot.spec),
            spot.axis,
            learns=technique.learn_ranges,
        )
        parametrize.register_parametrization(layer, spot.parameter, fake)

    def _attach_activation(self, layer: nn.Module, spot: Spot) -> None:
        technique, found = self._technique, self._activations.get(spot.values)
        if found is None:
            if spot.start is None:
                raise TrainingError(f"a range of the {spot.where}", "none")
            share = None if technique.learn_ranges else technique.share
            found = FakeActivation(layer, f"{spot.part}_", spot.spec, share)
            found.begin(spot.start, _device(self.model))
            self._activations[spot.values] = found
        if spot.part == "input":
            self._hooks.append(layer.register_forward_pre_hook(_Input(found, spot.where)))
        else:
            self._hooks.append(layer.register_forward_hook(_Output(found)))

    def _attach_bias(self, layer: nn.Module, spot: Spot) -> None:
        value = spot.values[0]
        data = next((x for names, x in self._activations.items() if value in names), None)
        if data is not None:
            fake = FakeBias((layer, spot.beside), data)
            parametrize.register_parametrization(layer, spot.parameter, fake)

    def _join(self, optimizer: Optimizer | None) -> None:
        """Give the optimizer what is learned, and count its steps if ranges freeze."""
        last = self._technique.freeze_after
        if optimizer is None:
            if last:
                raise TrainingError(
                    "an optimizer, to count its steps for freeze-after",
                    "none",
                    "Give it: attach(model, optimizer, spots=...), or leave freeze-after 0.",
                )
            return
        real = stepping.real(optimizer)
        learned = [x.parameter for x in self._activations.values()]
        if self._technique.learn_ranges:
            layers = [(self.model.get_submodule(s.module), s.parameter) for s in self._weights]
            learned += [parts(*each)[1].log_step for each in layers]
        parameters = [x for x in learned if x is not None]
        if parameters:
            rate = real.param_groups[0]["lr"]
            real.add_param_group({"params": parameters, "lr": rate, "weight_decay": 0.0})
        if last:
            steps = torch.zeros((), dtype=torch.long, device=_device(self.model))
            self.model.register_buffer(STEPS, steps)
            freezer = _Freezer(tuple(self._activations.values()), tuple(parameters), last)
            self._hooks.append(self.model.register_forward_pre_hook(freezer.look))
            self._hooks.append(real.register_step_pre_hook(lambda *_: freezer.hold(self.model)))
            self._hooks.append(real.register_step_post_hook(lambda *_: freezer.count(self.model)))

    def _is_whole(self) -> bool:
        """Whether every weight was reached; not if an attachment failed half-way."""
        layers = [(self.model.get_submodule(s.module), s.parameter) for s in self._weights]
        return all(fake_weight(*each) for each in layers)


@dataclass(frozen=True, slots=True)
class _Freezer:
    """Keeps ranges as they are when steps enough are done; the model counts, in its state dict."""

    activations: tuple[FakeActivation, ...]
    parameters: tuple[nn.Parameter, ...]
    last: int

    def look(self, model: nn.Module, _: object) -> None:
        is_over = int(model.get_buffer(STEPS)) >= self.last
        for activation in self.activations:
            activation.is_frozen = is_over

    def hold(self, model: nn.Module) -> None:
        if int(model.get_buffer(STEPS)) >= self.last:
            for parameter in self.parameters:
                parameter.grad = None  # which no optimizer steps on

    def count(self, model: nn.Module) -> None:
        model.get_buffer(STEPS).add_(1)


@dataclass(frozen=True, slots=True)
class _Input:
    """Stores the first positional argument of a layer."""

    fake: FakeActivation
    where: str

    def __call__(self, _: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if not given or not isinstance(given[0], torch.Tensor):
            raise TrainingError(
                f"a tensor as first positional argument, the {self.where}",
                f"{type(given[0]).__name__}" if given else "none",
                "Call the model as the example did that the spots were found with.",
            )
        return (self.fake(given[0]), *given[1:])


@dataclass(frozen=True, slots=True)
class _Output:
    """Stores what a layer returns."""

    fake: FakeActivation

    def __call__(self, _: nn.Module, __: object, output: Tensor) -> Tensor:
        return self.fake(output)


def _check(model: nn.Module, spot: Spot) -> None:
    try:
        layer = model.get_submodule(spot.module)
        if spot.parameter:
            layer.get_parameter(spot.parameter)
    except AttributeError as error:
        raise TrainingError(
            f"a model with the {spot.where}",
            f"{type(model).__name__} without it",
            "Give the model that the spots were found in, without fake quantization, and not "
            "wrapped for several processes.",
        ) from error


def _leave(layer: nn.Module, parameter: str) -> None:
    """Take our parametrization off a weight, and leave those of others."""
    if not parametrize.is_parametrized(layer, parameter):
        return
    chain: Any = layer.get_submodule(f"parametrizations.{parameter}")
    ours = [i for i, part in enumerate(chain) if isinstance(part, FakeWeight | FakeBias)]
    if len(chain) == len(ours):
        parametrize.remove_parametrizations(layer, parameter, leave_parametrized=False)
        return
    for index in reversed(ours):
        del chain[index]


def _device(model: nn.Module) -> torch.device:
    return next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
