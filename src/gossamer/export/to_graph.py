"""Torch modules as ONNX graphs, by the dynamo exporter, checked against the module."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gossamer.errors import ExportError
from gossamer.export.agree import check_agreement, outputs_on_ort

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx_ir as ir
    from torch import Tensor, nn

    from gossamer.runtime import Feed
    from gossamer.source import ModuleExample

OPSET = 18
BATCH = "batch"
SEQUENCE = "sequence"


def to_graph(module: nn.Module, example: ModuleExample) -> ir.Model:
    """The graph of a module in eval mode, with the axes `batch` and `sequence` left open.

    Initializers keep their parameter paths, inputs the names of the example, outputs the names of
    the module's own output fields. The module is only read.

    Raises:
        ExportError: `forward` fails on the example, or cannot be traced.
    """
    import torch

    names = tuple(_forward(module, example.inputs))
    hook = module.register_forward_hook(
        lambda _module, _arguments, output: tuple(_named_tensors(output).values())
    )
    try:
        with quiet_exporter():
            program = torch.onnx.export(
                module,
                (),
                kwargs=dict(example.inputs),
                dynamo=True,
                dynamic_shapes=_open_axes(example),
                input_names=list(example.inputs),
                output_names=list(names),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:
        raise ExportError(
            f"a module that torch.export can trace with open axes ({_axes_text(example)})",
            f"{type(module).__name__}: {_first_cause(error)}",
            "Branches and shapes in `forward` must not depend on values or sizes of the inputs.",
        ) from error
    finally:
        hook.remove()
    if program is None:
        raise ExportError("a graph from torch.onnx.export", "nothing")
    return program.model


def check_graph(module: nn.Module, example: ModuleExample, path: Path) -> None:
    """Nothing, if the saved graph and the module agree on other batch sizes and lengths too.

    Raises:
        ExportError: They differ, or ONNX Runtime cannot run the graph.
    """
    variants = [_resized(example, batch, longer) for batch, longer in ((2, 0), (1, 5), (3, -3))]
    expected = [
        {name: y.numpy() for name, y in _forward(module, inputs).items()} for inputs in variants
    ]
    feeds: list[Feed] = [{name: x.numpy() for name, x in inputs.items()} for inputs in variants]
    try:
        received = outputs_on_ort(path, feeds)
    except Exception as error:
        raise ExportError(
            f"an exported graph of {type(module).__name__} that onnxruntime runs with open axes",
            _first_cause(error),
            "A size of the example became a constant of the graph: look for shapes in `forward` "
            "that are turned into Python numbers.",
        ) from error
    check_agreement(expected, received, f"the module {type(module).__name__}")


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """A stretch in which torch and transformers write neither to the console nor warnings.

    Standard output belongs to results; the exporter prints progress there and logs every
    optional package that it misses.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    # The exporter's loggers have handlers of their own; the parent's level alone reaches children.
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _forward(module: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    import torch

    try:
        with torch.no_grad(), quiet_exporter():
            outputs = _named_tensors(module(**inputs))
    except Exception as error:
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in inputs.items())
        raise ExportError(
            f"a module whose forward takes {shapes}",
            f"{type(module).__name__}: {_first_cause(error)}",
            "Give example inputs that fit: let the factory return (module, example_inputs).",
        ) from error
    if not outputs:
        raise ExportError(
            "a module that returns tensors", f"{type(module).__name__}, which returns none"
        )
    return outputs


def _named_tensors(output: object) -> dict[str, Tensor]:
    """The tensors of whatever a forward returned, by field name; nested ones are flattened."""
    import torch

    if isinstance(output, torch.Tensor):
        return {"output": output}
    found: dict[str, Any] = {}
    if isinstance(output, Mapping):
        fields = [(str(key), value) for key, value in output.items()]
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        fields = list(zip(output._fields, output, strict=True))
    elif isinstance(output, tuple | list):
        fields = [(f"output_{i}", value) for i, value in enumerate(output)]
    else:
        return {}
    for name, value in fields:
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, tuple | list):
            found |= {
                f"{name}_{i}": item
                for i, item in enumerate(value)
                if isinstance(item, torch.Tensor)
            }
    return found


def _open_axes(example: ModuleExample) -> dict[str, dict[int, Any]]:
    from torch.export import Dim

    batch, sequence = Dim(BATCH), Dim(SEQUENCE, max=example.longest)
    return {
        name: {0: batch, 1: sequence} if name in example.sequence else {0: batch}
        for name in example.inputs
    }


def _axes_text(example: ModuleExample) -> str:
    return f"{BATCH} and {SEQUENCE}" if example.sequence else BATCH


def _resized(example: ModuleExample, batch: int, longer: int) -> dict[str, Tensor]:
    """The example's own values at another batch size and length."""
    import torch

    resized = {}
    for name, given in example.inputs.items():
        x = given[torch.arange(batch) % len(given)]
        if name in example.sequence:
            length = max(2, min(x.shape[1] + longer, example.longest or x.shape[1] + longer))
            x = x[:, torch.arange(length) % x.shape[1]]
        resized[name] = x.contiguous()
    return resized


def _first_cause(error: BaseException) -> str:
    """The first lines of the innermost message: exporters wrap theirs in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])[:400]}"
