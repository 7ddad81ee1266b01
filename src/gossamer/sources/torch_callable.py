"""Torch modules that a Python callable of the user's returns: `package.module:factory`."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.errors import SourceError
from gossamer.plugins import require
from gossamer.source import FloatModel, Source, TrainableModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from gossamer.source import ModuleExample

_TEXT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_PLAIN = (bool, int, float, str, tuple, type(None))


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchCallable(Source):
    """A callable without arguments that returns an `nn.Module`, or one with its example inputs."""

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether `text` reads `package.module:factory` and is no path."""
        return bool(_TEXT.fullmatch(text)) and not Path(text).exists()

    def open(self, cache: Path) -> FloatModel:
        """The exported module. The factory runs each time: it alone says what the weights are.

        Raises:
            SourceError: The module or the factory is missing, raises, returns no nn.Module, or
                gives no example inputs.
            ExportError: The module cannot be exported, or the graph disagrees with it.
            MissingDependency: torch is not installed.
        """
        from gossamer.sources._module import exported

        return exported(self.trainable(), cache, kind="torch callable", origin=self.text)

    def trainable(self) -> TrainableModel:
        """The module that the factory returns.

        Raises:
            SourceError: As for `open`.
            MissingDependency: torch is not installed.
        """
        require("torch", "torch", "models from torch callables")
        from gossamer.sources._example import example_of

        factory = _factory(self.text)
        module, given = _built(factory, self.text)
        example = example_of(module, given)
        digest = _digest(factory, module, example)
        return TrainableModel(module=module, example=example, digest=digest)


def _factory(text: str) -> Callable[[], object]:
    name, _, path = text.partition(":")
    found: Any = _imported(name)
    for part in path.split("."):
        if not hasattr(found, part):
            public = [n for n in dir(found) if not n.startswith("_")]
            near = difflib.get_close_matches(part, public, n=3, cutoff=0.5)
            raise SourceError(
                f"a callable {path} in the module {name}",
                f"no {part!r} there",
                f"Did you mean {' or '.join(near)}?" if near else f"There are: {_list(public)}.",
            )
        found = getattr(found, part)
    if not callable(found):
        raise SourceError(
            f"a callable {text}",
            f"{type(found).__name__}",
            "Name a function without arguments that returns the module.",
        )
    return found  # type: ignore[no-any-return]


def _imported(name: str) -> object:
    try:
        with _current_directory_first(), contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise _failed(f"a module {name} that imports", error) from error
        near = difflib.get_close_matches(
            name.rsplit(".", 1)[-1], [p.stem for p in Path(*name.split(".")[:-1]).glob("*.py")], n=3
        )
        raise SourceError(
            f"a Python module {name}",
            f"no module {error.name!r} in the current directory or the environment",
            f"Did you mean {' or '.join(near)}?" if near else "Run from the folder that holds it.",
        ) from error
    except (Exception, SystemExit) as error:
        raise _failed(f"a module {name} that imports", error) from error


@contextlib.contextmanager
def _current_directory_first() -> Iterator[None]:
    """A stretch in which modules of the current directory are found, as `python -m` finds them."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)


def _built(factory: Callable[[], object], text: str) -> tuple[nn.Module, object]:
    import torch

    try:
        # A factory that draws its weights without a seed of its own gives the same ones each time.
        with (
            _current_directory_first(),
            contextlib.redirect_stdout(sys.stderr),
            torch.random.fork_rng(devices=[]),
        ):
            torch.manual_seed(0)
            result = factory()
    except (Exception, SystemExit) as error:
        raise _failed(f"a factory {text} that returns a module when called", error) from error
    module, given = result, None
    if isinstance(result, tuple) and len(result) == 2:
        module, given = result
    if not isinstance(module, torch.nn.Module):
        raise SourceError(
            f"a torch.nn.Module, alone or with example inputs, from {text}",
            f"{type(result).__name__}",
            "Let the factory return module or (module, example_inputs).",
        )
    return module.eval().float().cpu(), given


def _digest(factory: Callable[[], object], module: nn.Module, example: ModuleExample) -> str:
    """sha256 over code, settings and weights of the module, and its example's shapes."""
    digest = hashlib.sha256()
    owners = {type(part) for part in module.modules()}
    files = {_source_file(owner) for owner in (factory, *owners)} - {None}
    for content in sorted(Path(str(file)).read_bytes() for file in files):
        digest.update(hashlib.sha256(content).digest())
    for name, part in module.named_modules():
        plain = {k: v for k, v in sorted(vars(part).items()) if isinstance(v, _PLAIN)}
        digest.update(f"{name} {type(part).__qualname__} {plain}\n".encode())
    config: Any = getattr(module, "config", None)
    if hasattr(config, "to_json_string"):
        digest.update(config.to_json_string().encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    for name, tensor in example.inputs.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    return digest.hexdigest()


def _source_file(owner: Any) -> str | None:
    try:
        return inspect.getsourcefile(owner)
    except TypeError:
        return None


def _failed(needed: str, error: BaseException) -> SourceError:
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    message = " ".join(str(error).split())[:300]
    return SourceError(
        needed, f"{type(error).__name__}: {message}{place}", "Correct that code, then try again."
    )


def _list(names: list[str]) -> str:
    return ", ".join(names[:8]) or "none"
