"""Shapes that a TensorRT engine is built for, where those of a model are open."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gossamer.source import TensorType

BATCH = (1, 1, 64)  # smallest, best and largest size of an open first axis
OTHER = (1, 128, 512)  # and of every other open axis: lengths of sequences, mostly


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """The shapes of one input: the engine takes any between the ends and is fastest at `best`."""

    name: str
    smallest: tuple[int, ...]
    best: tuple[int, ...]
    largest: tuple[int, ...]


def profiles(inputs: Sequence[TensorType]) -> tuple[Profile, ...]:
    """One profile for each input with an open axis."""
    found = []
    for tensor in inputs:
        shape = tensor.shape or ()
        if all(isinstance(size, int) for size in shape):
            continue
        smallest, best, largest = (
            tuple(
                size if isinstance(size, int) else (BATCH if axis == 0 else OTHER)[k]
                for axis, size in enumerate(shape)
            )
            for k in range(3)
        )
        found.append(Profile(name=tensor.name, smallest=smallest, best=best, largest=largest))
    return tuple(found)


def trtexec(inputs: Sequence[TensorType], model: str, engine: str) -> str:
    """The command that builds an engine of the ONNX file `model`, for TensorRT 10.12 to 11.

    Types are those of the file: networks are strongly typed, which TensorRT 11 always does.
    """
    parts = ["trtexec", f"--onnx={model}", f"--saveEngine={engine}", "--stronglyTyped"]
    found = profiles(inputs)
    for option, part in (("min", "smallest"), ("opt", "best"), ("max", "largest")):
        shapes = (f"{p.name}:{'x'.join(map(str, getattr(p, part)))}" for p in found)
        parts += [f"--{option}Shapes={','.join(shapes)}"] if found else []
    return shlex.join(parts)
