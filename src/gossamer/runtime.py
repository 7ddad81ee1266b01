"""What a runtime is: something that builds files from a graph and runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from gossamer.source import TensorType

Precision = Literal["default", "f32"]
Feed = dict[str, "NDArray[np.generic]"]


class Session(Protocol):
    """An opened model file."""

    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Feed:
        """All outputs by name for one batch of inputs by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorTime:
    """What one node of the graph that a runtime made of a file takes.

    Attributes:
        name: The runtime's name for the node.
        operator: Its type, as the runtime calls it.
        seconds: Per call of the model, the median of several.
        kernel: What computes it, "" if the runtime does not say.
    """

    name: str
    operator: str
    seconds: float
    kernel: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime(ABC):
    """One runtime; heavy imports happen inside its methods.

    Attributes:
        is_default: Whether it, and the targets that it runs, are used where a user names none.
    """

    is_default: ClassVar[bool] = True

    @abstractmethod
    def is_installed(self) -> bool:
        """Whether the runtime's package is there (looked up, not imported)."""

    @abstractmethod
    def version(self) -> str:
        """The installed version."""

    def elsewhere(self, model: Path) -> str:  # noqa: ARG002 - members look at it
        """What makes an ONNX file run where this runtime is, for people who lack it here.

        Empty where the runtime must be here, because it writes files of its own.
        """
        return ""

    @abstractmethod
    def build(self, model: Path, folder: Path) -> tuple[Path, ...]:
        """The runtime's own files for an ONNX file, written into `folder`; the first is opened.

        Raises:
            BuildError: The runtime refuses the graph; the message carries its reason.
        """

    @abstractmethod
    def open(self, path: Path, *, threads: int, precision: Precision = "default") -> Session:
        """A session as a plain load of the file gives it; `f32` forbids lower float types.

        Raises:
            BuildError: The runtime refuses the file.
            MissingDependency: The runtime is not installed.
        """

    def open_parallel(
        self, path: Path, *, threads: int, precision: Precision = "default"
    ) -> tuple[Session, ...]:
        """Sessions to be run at the same time, each by one thread of the caller.

        Together they use `threads` CPUs in the way in which the runtime gives most answers in a
        second; here, as many sessions with one thread each.

        Raises:
            BuildError: The runtime refuses the file.
            MissingDependency: The runtime is not installed.
        """
        return tuple(self.open(path, threads=1, precision=precision) for _ in range(threads))

    def operator_times(
        self,
        path: Path,  # noqa: ARG002 - members look at it
        feed: Feed,  # noqa: ARG002
        *,
        threads: int,  # noqa: ARG002
        calls: int,  # noqa: ARG002
    ) -> tuple[OperatorTime, ...]:
        """What each node takes, by the runtime's own clock, after one call that is not counted.

        Nothing comes back where a runtime does not tell.

        Raises:
            BuildError: The runtime refuses the file.
            MeasureError: It refuses the feed.
        """
        return ()
