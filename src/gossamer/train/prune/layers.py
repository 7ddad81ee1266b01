"""Which layers of a model are pruned, and their weights as matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.utils import parametrize

from gossamer.errors import TrainingError
from gossamer.plugins import near

if TYPE_CHECKING:
    from torch import Tensor

MULTIPLIES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """A module whose weight multiplies its input.

    Attributes:
        path: Of the module in the model.
        module: Which may be moved, loaded and parametrized: its weight is looked up every time.
    """

    path: str
    module: nn.Module

    @property
    def weight(self) -> nn.Parameter:
        """What the optimizer trains; under a parametrization that is its original."""
        if parametrize.is_parametrized(self.module, "weight"):
            found = self.module.parametrizations.weight.original  # type: ignore[union-attr]
        else:
            found = self.module.weight
        assert isinstance(found, nn.Parameter)
        return found

    def matrix(self, weight: Tensor) -> Tensor:
        """`[outputs, inputs]`, a view where it can be; inputs have their channels innermost."""
        return weight.movedim(1, -1).reshape(len(weight), -1) if weight.ndim > 2 else weight

    def shaped(self, matrix: Tensor) -> Tensor:
        """A matrix in the shape of the weight."""
        shape = self.weight.shape
        if len(shape) == 2:
            return matrix
        return matrix.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


@dataclass(frozen=True, kw_only=True)
class Choosing:
    """Which layers to take.

    Attributes:
        layers: Module paths, with the wildcards of fnmatch.
        exclude: Likewise; None for the first Conv and the last layer.
    """

    layers: Sequence[str]
    exclude: Sequence[str] | None

    def among(self, model: nn.Module) -> tuple[list[Layer], dict[str, str]]:
        """The layers in the model's order, a shared weight once, and why not of the others.

        Raises:
            TrainingError: A pattern matches no layer, or none is left.
        """
        every = dict(_with_weights(model))
        self._check(every)
        excluded = _ends(every) if self.exclude is None else self._named(every)
        taken: list[Layer] = []
        reasons: dict[str, str] = {}
        for path, module in every.items():
            layer = Layer(path=path, module=module)
            reason = self._reason(layer, excluded, taken, every)
            if reason:
                reasons[path] = reason
            else:
                taken.append(layer)
        if not taken:
            told = "; ".join(f"{path}: {reason}" for path, reason in reasons.items())
            raise TrainingError("a layer to prune", told or "a model without weights")
        return taken, reasons

    def _reason(
        self,
        layer: Layer,
        excluded: dict[str, str],
        taken: list[Layer],
        every: dict[str, nn.Module],
    ) -> str:
        if not isinstance(layer.module, MULTIPLIES):
            return f"{type(layer.module).__name__}, no Linear or Conv"
        if not _is_named(layer.path, self.layers):
            return "not among layers"
        if layer.path in excluded:
            return excluded[layer.path]
        for path, module in every.items():
            is_table = not isinstance(module, MULTIPLIES)
            if is_table and getattr(module, "weight", None) is layer.weight:
                return f"its weight is that of {path}, which does not multiply"
        for other in taken:
            if other.weight is layer.weight:
                return f"its weight is that of {other.path}"
        return ""

    def _named(self, every: dict[str, nn.Module]) -> dict[str, str]:
        assert self.exclude is not None
        return dict.fromkeys((p for p in every if _is_named(p, self.exclude)), "excluded")

    def _check(self, every: dict[str, nn.Module]) -> None:
        able = [path for path, module in every.items() if isinstance(module, MULTIPLIES)]
        for pattern in (*self.layers, *(self.exclude or ())):
            if not any(fnmatchcase(path, pattern) for path in able):
                raise TrainingError(
                    f"the path of a Linear or Conv that {pattern!r} matches",
                    f"a model with {', '.join(able[:8]) or 'none'}"
                    + (f" and {len(able) - 8} more" if len(able) > 8 else ""),
                    near(pattern, able).strip(),
                )


def _with_weights(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for path, module in model.named_modules():
        is_parametrized = parametrize.is_parametrized(module, "weight")
        weight = None if is_parametrized else getattr(module, "weight", None)
        if is_parametrized or (isinstance(weight, nn.Parameter) and weight.ndim > 1):
            yield path, module


def _ends(every: dict[str, nn.Module]) -> dict[str, str]:
    """The first Conv and the last layer, in the order in which the model has them.

    Both have few weights and take little time, and what they lose no other layer makes up for: all
    see the image through the first, and the last makes the scores.
    """
    able = [(path, module) for path, module in every.items() if isinstance(module, MULTIPLIES)]
    convs = [path for path, module in able if isinstance(module, CONVS)]
    found = dict.fromkeys(convs[:1], "the first Conv")
    return found | ({able[-1][0]: "the last layer"} if len(able) > 1 else {})


def _is_named(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
