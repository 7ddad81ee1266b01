"""The process that runs the float model, seen from the one that asks it: see `calibrate_child`."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import onnx_ir as ir

from gossamer import store
from gossamer.errors import CalibrationError
from gossamer.frames import Channel
from gossamer.graph import taps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossamer.runtime import Feed

TAIL_BYTES = 2000
RUNTIME_THREADS = 0  # as many as the runtime thinks best
MODEL, WEIGHTS = "model.onnx", "weights.bin"


class Child:
    """A process that runs models, from `with` to the end of the block.

    Args:
        told: The file that takes what it writes to its standard error.
        module: What it runs.
    """

    def __init__(self, told: Path, module: str = "gossamer.graph.calibrate_child") -> None:
        self._told, self._module = told, module

    def __enter__(self) -> Self:
        with self._told.open("wb") as told:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=told,
                bufsize=0,
            )
        assert self._process.stdin is not None  # for the type checker: both are PIPE
        assert self._process.stdout is not None
        self._pipes = self._process.stdin, self._process.stdout
        self._channel = Channel(self._process.stdout.fileno(), self._process.stdin.fileno())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes:
            pipe.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def open(self, path: Path, options: Mapping[str, Any], found: taps.Taps | None = None) -> None:
        """Load the model, and look at what its taps give out."""
        request: dict[str, Any] = {"op": "open", "path": str(path), **options}
        if found is not None:
            request |= {"inputs": taps.INPUTS, "taps": dataclasses.asdict(found)}
        self.ask(request)

    def run(self, feed: Feed) -> float:
        """Seconds until the child answered to one sample, which a plain one does when it ran."""
        begin = time.perf_counter()
        self.ask({"op": "run"}, feed)
        return time.perf_counter() - begin

    def values(self, names: Sequence[str], feed: Feed) -> Feed:
        """The outputs of that name for one sample, of a model that was opened without taps."""
        return self.ask({"op": "values", "names": list(names)}, feed)[1]

    def ask(
        self, request: Mapping[str, Any], arrays: Feed | None = None
    ) -> tuple[dict[str, Any], Feed]:
        """Header and arrays of the reply.

        Raises:
            CalibrationError: The child refused, or is gone.
        """
        try:
            self._channel.send(request, arrays or {}, None)
            reply, results = self._channel.receive(None)
        except EOFError:
            code = self._process.wait()
            told = self._told.read_text(encoding="utf-8", errors="replace")[-TAIL_BYTES:].strip()
            raise CalibrationError(
                "a calibration process that stays alive",
                f"one that ended with code {code}",
                f"{'Out of memory? ' if code == -9 else ''}It wrote: {told or 'nothing'}",
            ) from None
        if "error" in reply:
            raise CalibrationError(*reply["error"])
        return reply, results


@contextlib.contextmanager
def serving(model: ir.Model, names: Iterable[str]) -> Iterator[Child]:
    """A process that gives out these values of `model` as it is now, while the block lasts.

    Args:
        model: A float model that ONNX Runtime can run; it may change within the block.
        names: Of values that nodes make.

    Raises:
        CalibrationError: The model does not load.
        StorageError: No room for a temporary copy of it.
    """
    with tempfile.TemporaryDirectory(prefix="gossamer-") as name:
        folder = Path(name)
        with store.told_apart(folder):
            ir.save(model, folder / MODEL, external_data=WEIGHTS)
        copy = ir.load(folder / MODEL)
        missing = set(names) - {v.name for v in copy.graph.outputs}
        made = (v for node in copy.graph for v in node.outputs)
        copy.graph.outputs.extend(v for v in made if v.name in missing)
        with store.told_apart(folder):
            ir.save(copy, folder / MODEL)
        with Child(folder / "child.log") as child:
            child.open(folder / MODEL, {"threads": RUNTIME_THREADS})
            yield child
