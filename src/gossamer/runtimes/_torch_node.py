"""One ONNX node as torch sees it, and what turns it into a function of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gossamer.errors import BuildError

Kernel = Callable[..., Any]
DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32,
    7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node and what is known of it before anything runs.

    Attributes:
        op: Operator type, with the domain in front where it is not the standard's.
        name: Of the node, for messages.
        attributes: Numbers, texts, lists and tensors by name.
        constants: One entry for each input: its tensor if it is the same in every run.
        inputs: Names; an optional input that is left out is "".
        outputs: Names.
    """

    op: str
    name: str
    attributes: Mapping[str, Any]
    constants: tuple[Tensor | None, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default`."""
        return self.attributes.get(name, default)

    def has(self, index: int) -> bool:
        """Whether an input is there."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def constant(self, index: int) -> Tensor | None:
        """An input that is the same in every run, None if it is not, or not there."""
        return self.constants[index] if self.has(index) else None

    def refused(self, received: str) -> BuildError:
        """The error for a node that cannot be run as it stands."""
        return BuildError(
            "operators that the reader for torch-cpu knows",
            f"{self.op} (node {self.name!r}){received and ', ' + received}",
            "Another runtime may run it.",
        )


def whole(value: Tensor | None) -> list[int] | None:
    """The numbers of an integer tensor, None for none."""
    return None if value is None else value.reshape(-1).tolist()


def from_numpy(array: np.ndarray[Any, np.dtype[Any]]) -> Tensor:
    """A tensor of the same numbers; it shares memory where numpy lets it be written."""
    if array.dtype.name == "bfloat16":  # numpy has none of its own, so torch takes the bits
        return from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
