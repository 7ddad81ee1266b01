"""Graphs moved to another opset by onnx's version converter, and proof that they compute the same.

The converter works on one serialized message, which cannot exceed 2 GiB; so weights are taken out
before and put back after. What it needs the values of (shapes, scales, axes) is small and stays in.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import SourceError
from gossamer.export.agree import difference, outputs_on_ort
from gossamer.sources._onnx_read import byte_size, read_model, tensors
from gossamer.sources._signature import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx_ir as ir

    from gossamer.runtime import Feed
    from gossamer.source import TensorType

LOWEST = 18
TOLERANCE = 1e-5
_SMALL = 1024  # elements; what version adapters read the values of is far smaller
_OPEN_SIZES = (8, 16, 32, 64, 128, 224, 256, 512)
# 8 is what opset 18 came with; 10 is read by every onnxruntime since 1.20, and newer ones bring
# only types that float models do not use.
IR_VERSIONS = (8, 10)
_RESIZE_CHANGED = 11
_OLD_RESIZE = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
_LOAD = """
import sys
import onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""
_LOAD_LIMIT = 1_500_000_000  # bytes of weights; larger ones are loaded when they are first run
_REFERENCE_LIMIT = 64 << 20  # bytes of weights that onnx's own, slow evaluator may be asked to run


def wanted_opset(opset: int | None) -> int:
    """The opset in which a model of `opset` is kept: 18 and what onnxruntime reads, at least."""
    if opset is None or opset < LOWEST:
        return LOWEST
    return opset if opset <= (newest := _newest_readable(opset)) else newest


def convert(model: ir.Model, opset: int, path: Path) -> ir.Model:
    """The model, which has no functions of its own, in another opset; the given one is used up.

    Raises:
        SourceError: The converter knows no way for one of the operators.
    """
    held = model.graph.opset_imports.get("")
    if held is None or held == opset:
        model.graph.opset_imports[""] = opset
        return model
    try:
        converted = _converted(model, opset)
    except Exception as error:
        raise SourceError(
            f"a model that onnx's version converter takes from opset {held} to {opset}",
            f"{path}: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            f"Export the model again with opset {LOWEST} or later.",
        ) from error
    if held < _RESIZE_CHANGED:
        _keep_resize_positions(converted)
    return converted


def agreement(original: Path, converted: Path, opset: int) -> str:
    """How the outputs of both files were compared, and that they agree, as a clause for reports.

    Raises:
        SourceError: They differ by more than 1e-5 of the largest output.
    """
    try:
        gap, told = compared(original, converted)
    except Exception as error:
        raise _disagreement(original, opset, " ".join(str(error).split())[:300]) from error
    if gap is None:
        return f"outputs not compared: {told}"
    if gap <= TOLERANCE:
        return "outputs equal to the bit" if not gap else f"outputs agree to {gap:.1g}"
    raise _disagreement(original, opset, f"a difference of {gap:.3g} in the output {told!r}")


def compared(original: Path, converted: Path) -> tuple[float | None, str]:
    """The largest gap between the outputs of two files, in shares of the largest, and where it is.

    None, and why, where nothing runs the original.

    Raises:
        Exception: ONNX Runtime's own errors: it cannot load or run the converted file.
    """
    model = read_model(original)
    inputs, _ = signature_of(model)
    run = _original_runner(original, model)
    if run is None:
        return None, "no runtime here runs the original"
    for feeds in _synthesised(inputs):
        try:
            expected = run(feeds)
        except Exception:  # the next sizes may be the right ones
            continue
        received = outputs_on_ort(converted, feeds)
        return max(difference(y, z) for y, z in zip(expected, received, strict=True))
    return None, "the original runs on no synthesised input"


def name_apart(model: ir.Model) -> bool:
    """Nodes of one name get others, as today's onnxruntime takes no two; whether there were any."""
    repeated = []
    for graph in model.graphs():
        names = set[str]()
        for node in graph:
            if node.name in names:
                repeated.append(node)
            elif node.name:
                names.add(node.name)
    for i, node in enumerate(repeated):
        node.name = f"{node.name}_again_{i}"
    return bool(repeated)


def check_survives(path: Path, original: Path) -> None:
    """Nothing, if onnxruntime outlives a graph with bodies when it loads it.

    Version 1.31 does not where a body reads from outside what nodes that only move numbers made of
    a DequantizeLinear.

    Raises:
        SourceError: It ended its process.
    """
    if len([*read_model(path).graphs()]) < 2:
        return
    command = [sys.executable, "-P", "-c", _LOAD, str(path)]
    code = subprocess.run(command, capture_output=True, check=False).returncode
    if code < 0:
        raise SourceError(
            "a graph that onnxruntime can load",
            f"{original}, which ends its process with signal {-code}",
            "Take Q/DQ out of what its If, Loop or Scan reads, and export the model again.",
        )


def check_loads(path: Path, original: Path) -> None:
    """Nothing, if onnxruntime takes the graph as valid; one of foreign domains is not its to judge.

    Raises:
        SourceError: The graph is not valid: wrong types, unknown operators, shapes that clash.
    """
    model = read_model(path)
    domains = {node.domain for graph in model.graphs() for node in graph}
    if domains - {"", "ai.onnx.ml"} or byte_size(tensors(model)) > _LOAD_LIMIT:
        return
    try:
        outputs_on_ort(path, [])
    except Exception as error:
        if type(error).__name__ == "NotImplemented":  # valid, and perhaps known to other runtimes
            return
        raise SourceError(
            "a valid ONNX graph",
            f"{original}: {' '.join(str(error).replace(str(path), original.name).split())[:300]}",
            "Export the model again.",
        ) from error


def _newest_readable(opset: int) -> int:
    """The newest opset up to `opset` that onnxruntime loads, found by asking it."""
    import onnx.parser
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    for version in range(opset, LOWEST, -1):
        text = f'<ir_version: {IR_VERSIONS[1]}, opset_import: ["": {version}]> '
        probe = onnx.parser.parse_model(text + "g (float[1] x) => (float[1] y) { y = Relu(x) }")
        try:
            ort.InferenceSession(
                probe.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,
            )
        except Exception:  # the answer is that it cannot
            continue
        return version
    return LOWEST


def _converted(model: ir.Model, opset: int) -> ir.Model:
    import onnx_ir as ir
    from onnx import version_converter

    graph = model.graph
    given = len(graph.inputs)
    weights: dict[str, ir.TensorProtocol] = {}
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.size <= _SMALL:
            continue
        weights[name] = tensor
        value.shape, value.type = ir.Shape(tensor.shape.numpy()), ir.TensorType(tensor.dtype)
        value.const_value = None
        graph.initializers.pop(name)
        graph.inputs.append(value)
    result: ir.Model = ir.from_proto(version_converter.convert_version(ir.to_proto(model), opset))
    for value in list(result.graph.inputs)[given:]:
        result.graph.inputs.remove(value)
        value.const_value = weights[str(value.name)]
        result.graph.register_initializer(value)
    result.graph.opset_imports[""] = opset
    result.ir_version = model.ir_version
    result.metadata_props.update(model.metadata_props)
    return result


def _keep_resize_positions(model: ir.Model) -> None:
    """Edits in place what the converter forgets: where Resize and Upsample took their samples.

    Until opset 10 that was x / scale, rounded down; since opset 11 it is an attribute with
    another default.
    """
    import onnx_ir as ir

    for graph in model.graphs():
        for node in graph:
            if node.op_type == "Resize" and not node.domain:
                for name, old in _OLD_RESIZE.items():
                    node.attributes[name] = ir.AttrString(name, old)


def _original_runner(path: Path, model: ir.Model) -> Callable[[list[Feed]], list[Feed]] | None:
    """What runs the original: onnxruntime, else onnx's reference evaluator if it is small."""
    try:
        outputs_on_ort(path, [])
    except Exception:  # whatever its reason, it cannot be the witness
        if byte_size(tensors(model)) > _REFERENCE_LIMIT:
            return None
    else:
        return lambda feeds: outputs_on_ort(path, feeds)
    if name_apart(model):
        return lambda feeds: _outputs_of(model, feeds)
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(str(path))
    except Exception:
        return None
    names = evaluator.output_names
    return lambda feeds: [
        dict(zip(names, evaluator.run(None, feed), strict=True)) for feed in feeds
    ]


def _outputs_of(model: ir.Model, feeds: list[Feed]) -> list[Feed]:
    import onnx_ir as ir

    with tempfile.TemporaryDirectory(prefix="gossamer-") as folder:
        path = Path(folder) / "model.onnx"
        ir.save(ir.external_data.load_to_model(model), path)
        return outputs_on_ort(path, feeds)


def _synthesised(inputs: tuple[TensorType, ...]) -> Iterator[list[Feed]]:
    """Two random feeds for one guess of the open sizes after the other; a fixed graph needs one."""
    is_fixed = all(isinstance(d, int) for t in inputs for d in (t.shape or (None,))[1:])
    for size in _OPEN_SIZES[:1] if is_fixed else _OPEN_SIZES:
        yield [
            {t.name: _random(t, size, np.random.default_rng(seed)) for t in inputs}
            for seed in (0, 1)
        ]


def _random(tensor: TensorType, size: int, rng: np.random.Generator) -> np.ndarray:
    shape = [
        d if isinstance(d, int) else (size if axis else 1)
        for axis, d in enumerate((1, size) if tensor.shape is None else tensor.shape)
    ]
    dtype = np.dtype(tensor.dtype) if tensor.dtype != "bfloat16" else np.dtype("float32")
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape).astype(dtype)
    if dtype == np.object_:
        return np.full(shape, "a", dtype=object)
    return rng.integers(0, 2, shape).astype(dtype)  # 0 and 1 are valid as indices, ids and masks


def _disagreement(path: Path, opset: int, received: str) -> SourceError:
    return SourceError(
        f"a model that computes the same in opset {opset}, to {TOLERANCE:g} of its largest output",
        f"{path} lifted by onnx's version converter: {received}",
        f"Export the model again with opset {LOWEST} or later.",
    )
