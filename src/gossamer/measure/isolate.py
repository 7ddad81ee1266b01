"""Runtimes in clean processes of their own: memory, threads and crashes are theirs alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Self

from gossamer import errors
from gossamer.errors import BuildError, GossamerError, MeasureError
from gossamer.frames import Channel
from gossamer.measure.environment import usable_cpus
from gossamer.source import TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from gossamer.runtime import Feed, Precision

DEFAULT_TIMEOUT = 600.0
LAST_BREATH = 10.0  # seconds from the end of its pipe to the end of a process
DEEDS = {"build": "build", "open": "load", "run": "run", "time": "run"}
TAIL_LINES = 5
TAIL_BYTES = 4096
# libraries beside the runtime must neither start threads that add to the memory nor go online
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class _Child:
    """A process that knows one runtime and one file, from `with` to the end of the block.

    It has a process group of its own, so that Ctrl-C reaches the parent alone, which ends it; it
    also ends by itself when the parent dies. One that crashed or timed out is not started again.
    """

    def __init__(self, runtime: str, path: Path, timeout: float) -> None:
        self.runtime = runtime
        self.path = path
        self.timeout = timeout
        self._scope = contextlib.ExitStack()
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return self._child.pid if self._child else None

    def close(self) -> None:
        """End the child; nothing happens if there is none."""
        child, self._child = self._child, None
        if child is not None:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        self._scope.close()

    def _start(self) -> None:
        self._told = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the scope
        self._scope.callback(self._told.close)
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "gossamer.measure.child"],  # -P: nothing from here
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
            bufsize=0,
            process_group=0,
            env={**os.environ, **ENVIRONMENT},
        )
        assert self._child.stdin is not None  # for the type checker: both are PIPE
        assert self._child.stdout is not None
        self._scope.callback(self._child.stdout.close)
        self._scope.callback(self._child.stdin.close)
        self._channel = Channel(self._child.stdout.fileno(), self._child.stdin.fileno())

    def ask(
        self, request: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]] | None = None
    ) -> tuple[dict[str, Any], Feed]:
        """Header and arrays of the reply; the child's errors are raised here."""
        operation = str(request["op"])
        child = self._child
        if child is None:
            raise MeasureError(
                f"an open session of {self.path.name}",
                "one that is closed, or whose process has ended",
                "Open it again.",
            )
        timeout = self.timeout + float(request.get("seconds", 0.0))
        try:
            self._channel.send(request, arrays or {}, timeout)
            reply, outputs = self._channel.receive(timeout)
        except EOFError:
            error = self._ended(operation, child)
            self.close()
            raise error from None
        except TimeoutError:
            error = self._failed(operation, f"no answer within {timeout:g} s")
            self.close()
            raise error from None
        except GossamerError:
            raise  # the arrays cannot be sent; nothing was
        except BaseException:
            self.close()  # half a frame may be under way
            raise
        if "error" in reply:
            raise self._rebuilt(reply["error"])
        return reply, outputs

    def _ended(self, operation: str, child: subprocess.Popen[bytes]) -> GossamerError:
        """The error for a child that is no more."""
        try:
            code = child.wait(timeout=LAST_BREATH)
        except subprocess.TimeoutExpired:
            return self._failed(operation, "its process closed the connection and hangs")
        if code >= 0:
            return self._failed(operation, f"its process ended with exit code {code}")
        name = signal.Signals(-code).name
        hint = "The system does that when memory runs out. " if name == "SIGKILL" else ""
        return self._failed(operation, f"its process was ended by {name}", hint)

    def _failed(self, operation: str, reason: str, hint: str = "") -> GossamerError:
        kind = BuildError if operation in ("build", "open") else MeasureError
        deed = DEEDS.get(operation, "answer")
        return kind(f"{self.path.name} to {deed} on {self.runtime}", reason, hint + self._tail())

    def _rebuilt(self, raised: Mapping[str, str]) -> GossamerError:
        """The error that was raised in the child."""
        known = getattr(errors, raised["kind"], MeasureError)
        kind = known if isinstance(known, type) and issubclass(known, GossamerError) else None
        error = (kind or MeasureError).__new__(kind or MeasureError)
        # the base's own __init__: members of the tree may take other arguments
        GossamerError.__init__(
            error, raised["needed"], raised["received"], raised["hint"] + self._tail()
        )
        return error

    def _tail(self) -> str:
        """The last lines that the child wrote to stderr, as a sentence."""
        size = os.fstat(self._told.fileno()).st_size
        # pread: the child shares this file's position
        raw = os.pread(self._told.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES))
        lines = [line.strip() for line in raw.decode(errors="replace").splitlines()]
        last = " | ".join([line for line in lines if line][-TAIL_LINES:])
        return f" It wrote: {last}" if last else ""


class Isolated(_Child):
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
        except BaseException:
            self.close()
            raise
        self.inputs = _tensor_types(reply["inputs"])
        self.outputs = _tensor_types(reply["outputs"])
        self.load_seconds = float(reply["load_seconds"])
        return self

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


class Together(_Child):
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
    with _Child(runtime, model, timeout) as child:
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
