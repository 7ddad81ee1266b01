"""Runtimes in clean processes of their own: memory, threads and crashes are theirs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from gossamer.measure.environment import usable_cpus
from gossamer.measure.process import DEFAULT_TIMEOUT, Child
from gossamer.source import TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from gossamer.runtime import Feed, Precision


class Isolated(Child):
    """A Session whose model runs in a child process, from `with` to the end of the block.

    The child is pinned to the first `threads` usable CPUs (one for each core first).

    Args:
        runtime: Name of the runtime.
        path: The file to open.
        threads: Threads of the runtime.
        precision: Lowest float type that the runtime may choose.
        timeout: Seconds to wait for any one answer.

    Attributes:
        inputs: What to feed.
        outputs: What comes back.
        load_seconds: Time to open the file in the child, importing the runtime included.
    """

    inputs: tuple[TensorType, ...] = ()
    outputs: tuple[TensorType, ...] = ()
    load_seconds: float = 0.0

    def __init__(
        self,
        runtime: str,
        path: Path,
        *,
        threads: int,
        precision: Precision = "default",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        super().__init__(runtime, path, timeout)
        self.threads = threads
        self.precision = precision

    def __enter__(self) -> Self:
        """The opened session.

        Raises:
            BuildError: The runtime refuses the file, crashes on it, or takes too long.
            MissingDependency: The runtime is not installed.
        """
        super().__enter__()
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def reopen(self, path: Path, precision: Precision = "default") -> None:
        """Another file in the same process, in which the one before is closed.

        For outputs alone: what was loaded before counts in times and memory.

        Raises:
            BuildError: The runtime refuses the file, or takes too long.
        """
        self.path, self.precision = path, precision
        self._open()

    def _open(self) -> None:
        reply, _ = self.ask(
            {
                "op": "open",
                "runtime": self.runtime,
                "path": str(self.path.absolute()),
                "threads": self.threads,
                "precision": self.precision,
                "cpus": usable_cpus()[: self.threads],
            }
        )
        self.inputs = _tensor_types(reply["inputs"])
        self.outputs = _tensor_types(reply["outputs"])
        self.load_seconds = float(reply["load_seconds"])

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Feed:
        """All outputs by name.

        Raises:
            MeasureError: The runtime refuses the inputs, crashes, or takes too long.
        """
        return self.ask({"op": "run"}, feed)[1]

    def time(
        self, feed: Mapping[str, NDArray[np.generic]], *, calls: int = 1, seconds: float = 0.0
    ) -> NDArray[np.float64]:
        """Seconds of each call: at least `calls` calls, for at least `seconds`.

        Raises:
            MeasureError: As for `run`.
        """
        request = {"op": "time", "calls": calls, "seconds": seconds}
        return self.ask(request, feed)[1]["seconds"]  # type: ignore[return-value]

    def peak_rss(self) -> int:
        """Largest resident memory that the child has had so far, in bytes."""
        return int(self.ask({"op": "rss"})[0]["bytes"])


class Successive:
    """One process that opens one file after the other, for their outputs alone.

    To start a process takes longer than a few rows take a small model. A file that brings the
    process down costs no other: the next one is opened in a new process.

    Args:
        runtime: Name of the runtime.
        threads: Threads of the runtime; the process is pinned to as many CPUs.
    """

    def __init__(self, runtime: str, *, threads: int) -> None:
        self.runtime = runtime
        self.threads = threads
        self._session: Isolated | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.close()

    def open(self, path: Path, precision: Precision = "default") -> Isolated:
        """A session over a file, until the next one is opened.

        Raises:
            BuildError: The runtime refuses the file, crashes on it, or takes too long.
            MissingDependency: The runtime is not installed.
        """
        if self._session is None or self._session.pid is None:
            fresh = Isolated(self.runtime, path, threads=self.threads, precision=precision)
            self._session = fresh.__enter__()
        else:
            self._session.reopen(path, precision)
        return self._session


class Together(Child):
    """Sessions of many small models in one child process, which take turns.

    Args:
        runtime: Name of their runtime.
        folder: Where their files lie.
        threads: Threads of each; the child is pinned to as many CPUs.
        timeout: Seconds to wait for any one answer.
    """

    def __init__(
        self, runtime: str, folder: Path, *, threads: int, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        super().__init__(runtime, folder, timeout)
        self.threads = threads

    def open(self, name: str, precision: Precision = "default") -> tuple[TensorType, ...]:
        """What to feed the file of that name, which is a session from now on.

        Raises:
            BuildError: The runtime refuses the file, crashes on it, or takes too long.
        """
        reply, _ = self.ask(
            {
                "op": "open",
                "name": name,
                "runtime": self.runtime,
                "path": str((self.path / name).absolute()),
                "threads": self.threads,
                "precision": precision,
                "cpus": usable_cpus()[: self.threads],
            }
        )
        return _tensor_types(reply["inputs"])

    def time(
        self, name: str, feed: Mapping[str, NDArray[np.generic]], calls: int
    ) -> NDArray[np.float64]:
        """Seconds of each call of one session.

        Raises:
            MeasureError: The runtime refuses the inputs, crashes, or takes too long.
        """
        request = {"op": "time", "name": name, "calls": calls, "seconds": 0.0}
        return self.ask(request, feed)[1]["seconds"]  # type: ignore[return-value]


class Instance(Child):
    """One of several processes that answer requests at the same time, on CPUs of its own.

    Args:
        runtime: Name of the runtime.
        path: The file to open.
        cpus: What the process is pinned to; the runtime gets as many threads.
        is_parallel: Whether several sessions run at once (`Runtime.open_parallel`), not one.
        timeout: Seconds to wait for any one answer.
    """

    def __init__(
        self,
        runtime: str,
        path: Path,
        *,
        cpus: Sequence[int],
        is_parallel: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        super().__init__(runtime, path, timeout)
        self.cpus = tuple(cpus)
        self.is_parallel = is_parallel

    def open(self, precision: Precision = "default") -> None:
        """Open the file.

        Raises:
            BuildError: The runtime refuses the file, crashes on it, or takes too long.
            MissingDependency: The runtime is not installed.
        """
        self.ask(
            {
                "op": "open",
                "runtime": self.runtime,
                "path": str(self.path.absolute()),
                "threads": len(self.cpus),
                "precision": precision,
                "cpus": self.cpus,
                "is_parallel": self.is_parallel,
            }
        )

    def peak_rss(self) -> int:
        """Largest resident memory that the child has had so far, in bytes."""
        return int(self.ask({"op": "rss"})[0]["bytes"])


def build(
    runtime: str, model: Path, folder: Path, timeout: float = DEFAULT_TIMEOUT
) -> tuple[Path, ...]:
    """`Runtime.build` in a child process: OpenVINO crashes on some graphs.

    Args:
        runtime: Name of the runtime.
        model: The ONNX file.
        folder: Where the runtime's own files go.
        timeout: Seconds to wait.

    Raises:
        BuildError: The runtime refuses the graph, crashes on it, or takes too long.
        MissingDependency: The runtime is not installed.
        StorageError: The disk is full or the folder cannot be written.
    """
    with Child(runtime, model, timeout) as child:
        reply, _ = child.ask(
            {
                "op": "build",
                "runtime": runtime,
                "path": str(model.absolute()),
                "folder": str(folder.absolute()),
            }
        )
    return tuple(folder / name for name in reply["files"])


def _tensor_types(raw: list[list[Any]]) -> tuple[TensorType, ...]:
    return tuple(
        TensorType(name=name, dtype=dtype, shape=None if shape is None else tuple(shape))
        for name, dtype, shape in raw
    )
