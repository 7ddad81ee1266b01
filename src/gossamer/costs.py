"""What kernels take in float32 and in int8 on one machine, as measured."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gossamer.errors import OutputError

SCHEMA_VERSION = 1
Samples = tuple[float, ...]
RETIME = "Time the kernels again: gossamer profile MODEL."


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where costs hold: anything else here, and they are others.

    Attributes:
        target: Public name of the target.
        runtime: Its runtime with the version, `onnxruntime 1.31.1`.
        cpu: Model name of the processor.
        flags: Its instruction sets.
        threads: Threads of the runtime.
    """

    target: str
    runtime: str
    cpu: str
    flags: tuple[str, ...]
    threads: int

    def dump(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "target": self.target,
            "runtime": self.runtime,
            "cpu": self.cpu,
            "flags": list(self.flags),
            "threads": self.threads,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelCost:
    """Seconds of one kernel, one number for each round in which all kernels took turns.

    Attributes:
        float32: With float neighbours.
        int8: With int8 neighbours; empty where the runtime refused it.
    """

    float32: Samples
    int8: Samples

    @property
    def is_complete(self) -> bool:
        """Whether both were measured."""
        return bool(self.float32 and self.int8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What was measured of kernels on one machine.

    Attributes:
        machine: Where.
        kernels: By signature (`gossamer.graph.pieces`).
        quantize: Seconds to store float numbers in int8, by how many there are.
        dequantize: Seconds to read them back.
        overhead: Seconds of a call that does next to nothing; it is part of all the others.
        noise_floor: How far a kernel strayed from itself in a second session, as a fraction.
    """

    machine: Machine
    kernels: Mapping[str, KernelCost] = field(default_factory=dict)
    quantize: Mapping[int, Samples] = field(default_factory=dict)
    dequantize: Mapping[int, Samples] = field(default_factory=dict)
    overhead: Samples = ()
    noise_floor: float = 0.0

    def kernel(self, signature: str) -> tuple[float, float] | None:
        """Seconds in float32 and in int8; None where one of them is not known."""
        found = self.kernels.get(signature)
        if found is None or not found.is_complete:
            return None
        return self._own(found.float32), self._own(found.int8)

    def quantizing(self, elements: int) -> float:
        """Seconds to store so many float numbers in int8."""
        return _interpolated({n: self._own(s) for n, s in self.quantize.items()}, elements)

    def dequantizing(self, elements: int) -> float:
        """Seconds to read them back."""
        return _interpolated({n: self._own(s) for n, s in self.dequantize.items()}, elements)

    def _own(self, samples: Samples) -> float:
        """The quietest round, without what every call takes: others on a machine only add time."""
        return max(min(samples) - min(self.overhead, default=0.0), 0.0)

    def dump(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "machine": self.machine.dump(),
            "noise_floor": self.noise_floor,
            "overhead": list(self.overhead),
            "kernels": {
                name: {"float32": list(k.float32), "int8": list(k.int8)}
                for name, k in self.kernels.items()
            },
            "quantize": {str(n): list(s) for n, s in self.quantize.items()},
            "dequantize": {str(n): list(s) for n, s in self.dequantize.items()},
        }

    @classmethod
    def parse(cls, plain: object, machine: Machine) -> Costs:
        """The costs that plain data holds, if they were measured on `machine`.

        Raises:
            OutputError: They were measured elsewhere, or it is something else.
        """
        top = _mapping(plain, "costs")
        if top.get("schema_version") != SCHEMA_VERSION:
            raise OutputError(
                f"costs with schema_version {SCHEMA_VERSION}",
                repr(top.get("schema_version"))[:80],
                RETIME,
            )
        if top.get("machine") != machine.dump():
            raise OutputError(
                f"costs measured on {machine.dump()}", repr(top.get("machine"))[:300], RETIME
            )
        return cls(
            machine=machine,
            noise_floor=_samples([top.get("noise_floor")], "noise_floor")[0],
            overhead=_samples(top.get("overhead"), "overhead"),
            kernels={
                str(name): KernelCost(
                    float32=_samples(_mapping(entry, name).get("float32"), name),
                    int8=_samples(entry.get("int8"), name),
                )
                for name, entry in _mapping(top.get("kernels"), "kernels").items()
            },
            quantize=_by_elements(top.get("quantize"), "quantize"),
            dequantize=_by_elements(top.get("dequantize"), "dequantize"),
        )


def _interpolated(measured: Mapping[int, float], elements: int) -> float:
    """Between the nearest sizes, beyond them in proportion; 0 where nothing was measured."""
    sizes = sorted(measured)
    if not sizes:
        return 0.0
    times = [measured[n] for n in sizes]
    above = bisect.bisect_left(sizes, elements)
    if above == 0:
        return times[0]  # what a call costs whatever its size
    if above == len(sizes):
        return times[-1] * elements / sizes[-1]
    share = (elements - sizes[above - 1]) / (sizes[above] - sizes[above - 1])
    return times[above - 1] + share * (times[above] - times[above - 1])


def _by_elements(value: object, where: str) -> dict[int, Samples]:
    found = _mapping(value, where)
    if not all(str(key).isdecimal() for key in found):
        raise OutputError(f"numbers of elements in {where}", repr(list(found))[:80], RETIME)
    return {int(key): _samples(raw, where) for key, raw in found.items()}


def _samples(value: object, where: str) -> Samples:
    given: list[Any] = value if isinstance(value, list) else [None]
    if not all(
        isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) and x >= 0
        for x in given
    ):
        raise OutputError(f"a list of seconds for {where}", repr(value)[:80], RETIME)
    return tuple(float(x) for x in given)


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OutputError(f"a JSON object for {where}", repr(value)[:80], RETIME)
    return value
