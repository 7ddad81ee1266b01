"""A torch module as its own project runs it: the runtime that others are compared with."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer import plugins
from gossamer.errors import BuildError, MeasureError, TargetError
from gossamer.measure.environment import cpu_flags
from gossamer.runtime import Runtime
from gossamer.source import Source, TensorType

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from gossamer.runtime import Feed, Precision, Session
    from gossamer.source import FloatModel

NAMES = ("torch-eager", "torch-eager-bf16", "torch-compile", "torch-compile-bf16")
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
FILE = "module.json"


def runtime(name: str) -> Runtime:
    """The runtime called `name`: a plug-in, or PyTorch with the module itself.

    Raises:
        RecipeError: There is none of that name.
        TargetError: It computes in bfloat16, and the CPU does not.
    """
    public = name.replace("_", "-")
    if public in NAMES:
        _check_cpu(public)
        return TorchModule(name=public)
    known = plugins.names("runtimes")
    if public not in known:
        raise plugins.unknown("a runtime", name, (*known, *NAMES))
    found: Runtime = plugins.load("runtimes", name)()
    return found


def is_module(text: str) -> bool:
    """Whether a user's text names a source that is a torch module.

    Raises:
        SourceError: No source knows such a text.
    """
    from gossamer.sources import find

    return type(find(text)).trainable is not Source.trainable


def module_file(text: str, model: FloatModel, folder: Path) -> Path:
    """A file in `folder` that `TorchModule` opens: what the user typed, and what to feed."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = [[t.name, t.dtype, t.shape] for t in model.inputs]
    outputs = [[t.name, t.dtype, t.shape] for t in model.outputs]
    path = folder / FILE
    path.write_text(json.dumps({"source": text, "inputs": inputs, "outputs": outputs}))
    return path


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchModule(Runtime):
    """PyTorch with the module of a Hugging Face folder or a factory, not with a graph of it.

    Attributes:
        name: One of NAMES: called as it is or through torch.compile, in float32 or with weights and
            inputs turned into bfloat16.
    """

    name: str

    def is_installed(self) -> bool:
        """Whether torch is there."""
        return importlib.util.find_spec("torch") is not None

    def version(self) -> str:
        """The version of torch."""
        return importlib.metadata.version("torch")

    def build(self, model: Path, folder: Path) -> tuple[Path, ...]:  # noqa: ARG002 - as its base
        """Nothing: a graph is no module.

        Raises:
            BuildError: Always.
        """
        raise BuildError("the source of a torch module", str(model), "Graphs run on torch-cpu.")

    def open(
        self,
        path: Path,
        *,
        threads: int,
        precision: Precision = "default",  # noqa: ARG002 - the name says it
    ) -> Session:
        """A session that owns torch's one pool of threads in this process.

        Raises:
            SourceError: The source does not give a module.
            MissingDependency: torch or transformers is not installed.
        """
        return self._one(path, threads)

    def open_parallel(
        self,
        path: Path,
        *,
        threads: int,
        precision: Precision = "default",  # noqa: ARG002 - the name says it
    ) -> tuple[Session, ...]:
        """One session that as many threads call; each call computes with one.

        Raises:
            SourceError: The source does not give a module.
            MissingDependency: torch or transformers is not installed.
        """
        return (self._one(path, 1),) * threads

    def _one(self, path: Path, threads: int) -> Session:
        from gossamer.sources import find

        is_bfloat16 = self.name.endswith("-bf16")
        torch = plugins.require("torch", "torch", "running models with PyTorch")
        told = json.loads(path.read_text(encoding="utf-8"))
        module = _as_used(find(told["source"]).trainable().module)
        if is_bfloat16:
            module = module.to(torch.bfloat16)
        torch.set_num_threads(threads)
        call: Any = module
        if "compile" in self.name:
            # no pool of compiling processes, which would be busy while others are timed
            torch._inductor.config.compile_threads = 1
            call = torch.compile(module, dynamic=False)
        types = tuple(
            tuple(TensorType(name=n, dtype=d, shape=s and tuple(s)) for n, d, s in told[which])
            for which in ("inputs", "outputs")
        )
        return _ModuleSession(call, types, is_bfloat16=is_bfloat16)


def _check_cpu(name: str) -> None:
    if name.endswith("-bf16") and not set(BFLOAT16_FLAGS) & set(cpu_flags()):
        raise TargetError(
            f"a CPU that computes in bfloat16, for {name}",
            f"one without {', '.join(BFLOAT16_FLAGS)}",
            "Without such instructions PyTorch is slower in bfloat16 than in float32.",
        )


class _ModuleSession:
    """A Session over a module that is called with tensors by name."""

    def __init__(
        self, call: Any, types: tuple[tuple[TensorType, ...], ...], *, is_bfloat16: bool
    ) -> None:
        self.inputs, self.outputs = types
        self._call = call
        self._is_bfloat16 = is_bfloat16

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Feed:
        import torch

        try:
            with torch.inference_mode():
                tensors = {name: torch.from_numpy(np.asarray(x)) for name, x in feed.items()}
                if self._is_bfloat16:
                    tensors = {
                        name: x.bfloat16() if x.is_floating_point() else x
                        for name, x in tensors.items()
                    }
                values = _tensors(self._call(**tensors))
                arrays = [(x.float() if x.dtype == torch.bfloat16 else x).numpy() for x in values]
        except Exception as error:  # modules raise whatever they like, compilers too
            message = " ".join(str(error).split())[:300]
            raise MeasureError(
                f"inputs for {', '.join(f'{t.name} {t.dtype} {t.shape}' for t in self.inputs)}",
                f"{type(error).__name__}: {message}",
                "torch-compile needs a C++ compiler; is there one?"
                if "ompile" in type(error).__name__ + message
                else "Feed one array per input, in its type and shape.",
            ) from error
        names = [t.name for t in self.outputs]
        names += [f"output_{i}" for i in range(len(names), len(arrays))]
        return dict(zip(names, arrays, strict=False))


def _as_used(module: nn.Module) -> nn.Module:
    """The module with torch's fused attention, where transformers has it: its own default.

    Modules are opened with plain attention, which exports better and runs slower.
    """
    choose = getattr(module, "set_attn_implementation", None)
    if choose is not None:
        try:
            choose("sdpa")
        except (ValueError, ImportError):  # this architecture has none
            choose("eager")
    return module


def _tensors(output: object) -> list[Tensor]:
    """Every tensor in what a module gave, in order."""
    import torch

    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        return [x for value in output.values() for x in _tensors(value)]
    if isinstance(output, tuple | list):
        return [x for value in output for x in _tensors(value)]
    return []
