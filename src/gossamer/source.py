"""Where a model comes from, and what it opens to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gossamer.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from gossamer.quant import QParams

Dimension = int | str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorType:
    """Name, numpy dtype name and shape of a model input or output.

    Attributes:
        shape: A dimension is a number, a symbolic name, or None when nothing is known; the whole
            shape is None when even the rank is unknown.
    """

    name: str
    dtype: str
    shape: tuple[Dimension, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatModel:
    """An opened source: a float32 ONNX file of opset >= 18 that every candidate starts from.

    Attributes:
        path: The ONNX file. External data, if any, lies in the same folder.
        inputs: What a caller must feed: graph inputs without the weights listed among them.
        outputs: What it gets.
        digest: sha256 over the source's own files.
        folder: Hugging Face folder with tokenizer or processor, if the source is one.
        companions: Files to be shipped beside the compressed model.
        task: Task that the source's own configuration names, if it does.
        description: What the report says of the source (kind, origin, opset, parameters …).
    """

    path: Path
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    digest: str
    folder: Path | None = None
    companions: tuple[Path, ...] = ()
    task: str | None = None
    description: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class ModuleExample:
    """What a module is called with while it is exported.

    Attributes:
        inputs: Tensors by the parameter names of `forward`, in its order. Axis 0 is the batch and
            at least 2 long: torch takes an axis of length 1 for a constant.
        sequence: Names of the inputs whose axis 1 is the sequence.
        longest: The longest sequence that the module can take.
    """

    inputs: Mapping[str, Tensor]
    sequence: tuple[str, ...] = ()
    longest: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainableModel:
    """An opened source as a torch module, for what is done before the export.

    Attributes:
        module: In eval mode, float32; the caller's own.
        example: What to export it with.
        digest: That of the `FloatModel` that the source opens to.
        ranges: Numbers that its values and weights were trained to be stored with, by their names
            in its simplified graph.
    """

    module: nn.Module
    example: ModuleExample
    digest: str
    ranges: Mapping[str, QParams] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source(ABC):
    """One input format. `matches` decides from the user's text alone, without opening anything.

    Attributes:
        text: What the user typed.
    """

    text: str

    @classmethod
    @abstractmethod
    def matches(cls, text: str) -> bool:
        """Whether `text` names a model of this format."""

    @abstractmethod
    def open(self, cache: Path) -> FloatModel:
        """The model as float32 ONNX, written under `cache`; opened again at no cost if it is there.

        Raises:
            SourceError: Not a model, truncated, external data missing or outside its folder,
                unsupported opset, NaN or Inf in the weights.
            ExportError: The exported graph and the module give different numbers.
            MissingDependency: The format needs an extra.
        """

    def trainable(self) -> TrainableModel:
        """The model as a torch module.

        Raises:
            SourceError: The format holds no torch module, or as `open` does.
            MissingDependency: The format needs an extra.
        """
        raise SourceError(
            "a model that torch can train: a Hugging Face folder or package.module:factory",
            self.text,
            "Steps on the module need it as it was before its export.",
        )
