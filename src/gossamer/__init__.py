"""A trained model in, the fastest model measured within an accuracy budget out."""

from __future__ import annotations

import importlib
import os
import sys
import types
import typing

# onnxruntime looks at this when it is imported; without it, the import alone makes a device id in
# the home folder and reports to its makers, whatever is switched off afterwards
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if typing.TYPE_CHECKING:
    from gossamer.bench import bench
    from gossamer.check import check
    from gossamer.compare import compare
    from gossamer.compress import compress
    from gossamer.diagnose import diagnose
    from gossamer.diagnosis import Diagnosis
    from gossamer.errors import GossamerError, InputError
    from gossamer.evaluate import evaluate
    from gossamer.explain import explain, inspect
    from gossamer.profile import profile
    from gossamer.rerun import rerun
    from gossamer.result import Candidate, Result
    from gossamer.sweep import sweep
    from gossamer.swept import Swept
    from gossamer.tables import tables
    from gossamer.tune import tune

__all__ = [
    "Candidate",
    "Diagnosis",
    "GossamerError",
    "InputError",
    "Result",
    "Swept",
    "bench",
    "check",
    "compare",
    "compress",
    "diagnose",
    "evaluate",
    "explain",
    "inspect",
    "profile",
    "rerun",
    "sweep",
    "tables",
    "tune",
]
# what does not lie in a module of its own name
_ELSEWHERE = {
    "Candidate": "result",
    "GossamerError": "errors",
    "InputError": "errors",
    "inspect": "explain",
}


class _Package(types.ModuleType):
    """Loads what is public when somebody first asks for it.

    Of a process that runs one model nobody does: a third of the time until it listened went into
    the commands. A function comes before the module of its name, whoever imports that module.
    """

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


def _public(name: str) -> property:
    place = f"{__name__}.{_ELSEWHERE.get(name, name.lower())}"

    def get(package: types.ModuleType) -> object:
        known = vars(package)
        if name not in known:
            known[name] = getattr(importlib.import_module(place), name)
        return known[name]

    def put(package: types.ModuleType, value: object) -> None:
        if not isinstance(value, types.ModuleType):  # which the import system would put here
            vars(package)[name] = value

    return property(get, put)


for _name in __all__:
    setattr(_Package, _name, _public(_name))
sys.modules[__name__].__class__ = _Package
