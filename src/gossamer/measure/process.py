"""A child process that does what it is asked, and every way in which it can end."""

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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from gossamer.runtime import Feed

DEFAULT_TIMEOUT = 600.0
LAST_BREATH = 10.0  # seconds from the end of its pipe to the end of a process
DEEDS = {"build": "build", "open": "load"} | dict.fromkeys(
    ("run", "time", "warm", "load", "operators"), "run"
)
TAIL_LINES = 5
TAIL_BYTES = 4096
# libraries beside the runtime must neither start threads that add to the memory nor go online
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class Child:
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
        self.send(request, arrays)
        return self.receive(request)

    def send(
        self, request: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]] | None = None
    ) -> None:
        """Give the child something to do; `receive` waits for its reply."""
        with self._exchange(request) as timeout:
            self._channel.send(request, arrays or {}, timeout)

    def receive(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], Feed]:
        """Header and arrays of the reply to `request`, which was sent last."""
        with self._exchange(request) as timeout:
            reply, outputs = self._channel.receive(timeout)
        if "error" in reply:
            raise self._rebuilt(reply["error"])
        return reply, outputs

    @contextlib.contextmanager
    def _exchange(self, request: Mapping[str, Any]) -> Iterator[float]:
        """A stretch in which the child is spoken with, and the seconds that it may take."""
        operation, child = str(request["op"]), self._child
        if child is None:
            raise MeasureError(
                f"an open session of {self.path.name}",
                "one that is closed, or whose process has ended",
                "Open it again.",
            )
        timeout = self.timeout + float(request.get("seconds", 0.0))
        try:
            yield timeout
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
