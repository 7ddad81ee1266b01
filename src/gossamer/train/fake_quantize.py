"""Numbers as int8 stores them, in float and with gradients.

What comes out is bit for bit what QuantizeLinear and DequantizeLinear of ONNX Runtime make of it:
x / step, rounded half to even, cut off at the ends of the stored type, times step. (torch's own
fake_quantize_* multiply by 1 / step, which now and then rounds to the next number.)

Gradients are those of learned step size quantization (Esser et al. 2020, equations 3 and 5), with a
zero point: for x that is stored as q steps, of which there may be from `low` to `high`,

    d out / d x    = 1 where low < x / step < high, else 0
    d out / d step = q - x / step there, else q

Steps are learned as their logarithms, so that they stay positive, and a step of Adam changes every
one of them by the same share. The gradient of the logarithm is the paper's, d loss / d step times
1 / sqrt(n * max(-low, high)), divided by step: so SGD moves steps just as in the paper.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gossamer.errors import TrainingError
from gossamer.quant import NUMPY, QParams, QuantSpec

SMALLEST_STEP = 1e-12
SHRINKS = 36  # tried for the steps of weights
SMALLEST_SHRINK = 0.3


class _FakeQuantize(torch.autograd.Function):
    """(x, log step, low, high) -> x in whole steps; low and high in steps from zero.

    Comparing tensors takes many times as long as arithmetic, so nothing here makes a mask.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, log_step: Tensor, low: float, high: float) -> Tensor:
        step = log_step.exp()
        ctx.save_for_backward(x, step)
        ctx.ends = low, high
        return (x / step).clamp_(low, high).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        (gradient,) = gradients
        x, step = ctx.saved_tensors
        low, high = ctx.ends
        steps = x / step
        of_x = torch.ops.aten.hardtanh_backward(gradient, steps, low, high)  # 0 at the ends
        if not ctx.needs_input_grad[1]:
            return of_x, None, None, None
        steps.clamp_(low, high)
        of_step = gradient * steps.round()
        of_step.sub_(steps.mul_(of_x))
        per = x.numel() // step.numel() if step.ndim else x[0].numel() if x.ndim > 1 else x.numel()
        gain = 1 / math.sqrt(max(per, 1) * max(-low, high))
        shared = [i for i, size in enumerate(step.shape) if size == 1]
        summed = of_step.sum(shared, keepdim=True) if step.ndim else of_step.sum()
        return of_x, gain * summed / step, None, None


def fake_quantize(x: Tensor, log_step: Tensor, low: float, high: float) -> Tensor:
    """`x` in whole steps between `low` and `high`, with the gradients of the paper (see above).

    Here n is the number of elements of one channel of a weight, where each has a step, or of one
    sample of an activation (axis 0 counts samples).

    Args:
        x: Of any float type; computed in float32.
        log_step: Logarithms of steps: a scalar, or of x's rank with 1 at the axes that share them.
        low: Smallest stored number less the zero point.
        high: Largest stored number less the zero point.
    """
    found: Tensor = _FakeQuantize.apply(x.float(), log_step, low, high)  # type: ignore[no-untyped-call]
    return found.to(x.dtype)


class FakeWeight(nn.Module):
    """A parametrization: a weight as the file stores it, zero point 0.

    Args:
        weight: The parameter.
        spec: Bits, and whether each channel has a step.
        axis: Of the channels; None where they share one.
        learns: Whether steps are learned; otherwise the largest weight says them in every pass.
    """

    log_step: nn.Parameter

    def __init__(self, weight: Tensor, spec: QuantSpec, axis: int | None, *, learns: bool) -> None:
        super().__init__()
        self._most, self._axis, self._learns = spec.qmax, axis, learns
        if learns:
            self.log_step = nn.Parameter(_fitting(weight.detach().float(), spec.qmax, axis).log())

    def forward(self, weight: Tensor) -> Tensor:
        """The weight in whole steps."""
        return fake_quantize(weight, self._log_step(weight), -self._most, self._most)

    def numbers(self, weight: Tensor) -> QParams:
        """What its steps are, as they are stored."""
        step = self.step(weight).cpu()
        scale = (step if self._axis is None else step.flatten()).numpy().astype(np.float32)
        zeros = np.zeros(scale.shape, np.int8)
        return QParams(scale=scale.copy(), zero_point=zeros, axis=self._axis)

    def step(self, weight: Tensor) -> Tensor:
        """Its steps, without gradients, in a shape that fits the weight."""
        return self._log_step(weight).detach().exp()

    def _log_step(self, weight: Tensor) -> Tensor:
        if self._learns:
            return self.log_step
        return _usable(_largest(weight.detach().float(), self._axis) / self._most).log()


class FakeBias(nn.Module):
    """A parametrization: a bias in int32, in steps of its data's times those of its weight.

    With few bits for weights, these are a good part of what an activation is stored in. Gradients
    pass straight through.

    Args:
        weight: Gives the weight beside it, and how that is stored.
        data: How what the weight is multiplied with is stored.
    """

    def __init__(self, weight: tuple[nn.Module, str], data: FakeActivation) -> None:
        super().__init__()
        self._others = (*weight, data)  # in a tuple, so that they are no parts of this module

    def forward(self, bias: Tensor) -> Tensor:
        """The bias in whole steps."""
        layer, parameter, data = self._others
        weight, fake = parts(layer, parameter)
        step = fake.step(weight).flatten().double() * data.step().double()
        step = step.float().double()  # as the file has it
        stored = ((bias.detach().double() / step).round() * step).to(bias.dtype)
        return stored + (bias - bias.detach())  # exactly what is stored


def fake_weight(layer: nn.Module, parameter: str) -> FakeWeight | None:
    """How a parameter is stored, None where it is not."""
    if not parametrize.is_parametrized(layer, parameter):
        return None
    chain = layer.get_submodule(f"parametrizations.{parameter}")
    return next((part for part in chain.children() if isinstance(part, FakeWeight)), None)


def parts(layer: nn.Module, parameter: str) -> tuple[Tensor, FakeWeight]:
    """What a stored weight is made of: the float weight, and how it is stored.

    Raises:
        TrainingError: It is not.
    """
    fake = fake_weight(layer, parameter)
    if fake is None:
        raise TrainingError("fake quantization of weights", f"none at {type(layer).__name__}")
    return layer.get_parameter(f"parametrizations.{parameter}.original"), fake


class FakeActivation:
    """An activation as the file stores it, for hooks; its range is the state of a layer.

    Args:
        holder: The layer that buffers and parameters are registered on, for its state dict.
        prefix: That their names begin with.
        spec: How it is stored.
        share: Of a new extreme in the moving average; None learns the step instead, and the zero
            point stays.
    """

    def __init__(
        self, holder: nn.Module, prefix: str, spec: QuantSpec, share: float | None
    ) -> None:
        self._holder, self._prefix, self._spec, self._share = holder, prefix, spec, share
        whole = replace(spec, symmetric=False)  # a file cuts off at the ends of the type
        self._ends = whole.qmin, whole.qmax
        self.is_frozen = False

    def begin(self, start: QParams, device: torch.device) -> None:
        """Register the state, with these numbers.

        Raises:
            TrainingError: The layer has such a state already.
        """
        if hasattr(self._holder, f"{self._prefix}zero") or hasattr(self._holder, self._low):
            raise TrainingError(
                "a model without fake quantization",
                f"one that has some at {type(self._holder).__name__}",
                "Detach the first attachment.",
            )
        step, zero = float(start.scale), float(start.zero_point)
        if self._share is None:
            log_step = torch.tensor(step, device=device).log()
            self._holder.register_parameter(f"{self._prefix}log_step", nn.Parameter(log_step))
            known = {f"{self._prefix}zero": zero}
        else:
            least, most = self._ends
            known = {self._low: step * (least - zero), self._high: step * (most - zero)}
        for name, number in known.items():
            self._holder.register_buffer(name, torch.tensor(number, device=device))

    def end(self) -> None:
        """Take the state off the layer."""
        for name in (f"{self._prefix}log_step", f"{self._prefix}zero", self._low, self._high):
            if hasattr(self._holder, name):
                delattr(self._holder, name)

    @property
    def parameter(self) -> nn.Parameter | None:
        """What is learned, if anything."""
        found = getattr(self._holder, f"{self._prefix}log_step", None)
        return found if isinstance(found, nn.Parameter) else None

    def __call__(self, x: Tensor) -> Tensor:
        """The tensor in whole steps; in training, moving averages take its extremes up first."""
        if self._share is not None and self._holder.training and not self.is_frozen:
            self._observe(x.detach())
        log_step, zero = self._state()
        least, most = self._ends
        return fake_quantize(x, log_step, least - zero.item(), most - zero.item())

    def step(self) -> Tensor:
        """Its step, without a gradient."""
        return self._state()[0].detach().exp()

    def numbers(self) -> QParams:
        """The range, as it is stored."""
        log_step, zero = self._state()
        return QParams(
            scale=log_step.detach().exp().cpu().numpy().astype(np.float32),
            zero_point=np.array(int(zero), NUMPY[self._spec.dtype]),
        )

    @property
    def _low(self) -> str:
        return f"{self._prefix}low"

    @property
    def _high(self) -> str:
        return f"{self._prefix}high"

    def _state(self) -> tuple[Tensor, Tensor]:
        """Logarithm of the step, and the zero point."""
        if self._share is None:
            log_step: Tensor = getattr(self._holder, f"{self._prefix}log_step")
            return log_step, getattr(self._holder, f"{self._prefix}zero")
        low, high = getattr(self._holder, self._low), getattr(self._holder, self._high)
        least, most = self._ends
        if self._spec.symmetric:
            zero = torch.full_like(low, 0 if self._spec.is_signed else (most + 1) // 2)
            return _usable(torch.maximum(-low, high) / (most - zero)).log(), zero
        step = _usable((high - low) / (most - least))
        return step.log(), (least - low / step).round().clamp(least, most)

    def _observe(self, x: Tensor) -> None:
        if not x.numel():
            return
        low, high = getattr(self._holder, self._low), getattr(self._holder, self._high)
        least, most = x.float().aminmax()
        low.lerp_(least.clamp_max(0), self._share)
        high.lerp_(most.clamp_min(0), self._share)


def _largest(weight: Tensor, axis: int | None) -> Tensor:
    """Of each channel, in a shape that fits the weight."""
    if axis is None:
        return weight.abs().max()
    rest = [i for i in range(weight.ndim) if i != axis]
    return weight.abs().amax(rest, keepdim=True)


def _usable(step: Tensor) -> Tensor:
    return torch.where(step > SMALLEST_STEP, step, torch.ones_like(step))


def _fitting(weight: Tensor, most: int, axis: int | None) -> Tensor:
    """The steps with the least squared error of rounding, between 0.3 and 1 of the largest."""
    widest = _usable(_largest(weight, axis) / most)
    best, least = widest, torch.full_like(widest, torch.inf)
    rest = [i for i in range(weight.ndim) if i != axis]
    for share in torch.linspace(1, SMALLEST_SHRINK, SHRINKS).tolist():
        step = widest * share
        error = ((weight / step).round().clamp(-most, most) * step - weight).square()
        total = error.sum() if axis is None else error.sum(rest, keepdim=True)
        best, least = torch.where(total < least, step, best), torch.minimum(total, least)
    return best
