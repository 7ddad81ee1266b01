"""Untrusted ONNX files, read without following or loading more than a model may ask for.

Nothing in a file is believed before it is checked: sizes, opsets, and above all where it says that
its weights lie. What is refused is refused with a SourceError, never with protobuf's own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from gossamer.errors import SourceError
from gossamer.sources._file_kinds import damage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx
    import onnx_ir as ir

OLDEST_OPSET = 7
PROTOBUF_LIMIT = 2**31 - 1


def read_model(path: Path) -> ir.Model:
    """The graph of an ONNX file whose external data was checked and not yet read.

    Raises:
        SourceError: Not a file, not a model, truncated, an opset that cannot be read, external
            data missing, short or outside the model's folder.
    """
    import onnx_ir as ir

    proto = _parsed(path)
    _check_header(proto, path)
    try:
        model: ir.Model = ir.from_proto(proto)
        found = list(tensors(model))
        byte_size(found)  # refuses tensors of no known type
    except Exception as error:
        raise SourceError(
            f"a readable ONNX graph in {path}", _one_line(error), "Export the model again."
        ) from error
    for tensor in found:
        if isinstance(tensor, ir.ExternalTensor):
            _check_external(tensor, path)
            tensor.base_dir = path.parent
    _check_graph(model, path)
    return model


def tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every tensor of a model: initializers and tensor attributes, subgraphs and functions too."""
    import onnx_ir as ir

    for graph in (*model.graphs(), *model.functions.values()):
        if isinstance(graph, ir.Graph):
            yield from (v.const_value for v in graph.initializers.values() if v.const_value)
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.is_ref():
                    continue
                if attribute.type == ir.AttributeType.TENSOR:
                    yield attribute.as_tensor()
                elif attribute.type == ir.AttributeType.TENSORS:
                    yield from attribute.as_tensors()


def byte_size(found: Iterable[ir.TensorProtocol]) -> int:
    """Bytes that tensors take, strings not counted."""
    import onnx_ir as ir

    return sum(int(t.nbytes) for t in found if t.dtype != ir.DataType.STRING)


def external_files(model: ir.Model) -> tuple[str, ...]:
    """Locations of external data files, relative to the model's folder, sorted."""
    import onnx_ir as ir

    found = {str(t.location) for t in tensors(model) if isinstance(t, ir.ExternalTensor)}
    return tuple(sorted(found))


def digest_of(path: Path, others: tuple[str, ...] = ()) -> str:
    """sha256 of a file; with other files beside it, sha256 over the list of theirs and its own.

    Raises:
        SourceError: A file cannot be read.
    """
    try:
        first = _sha256(path)
        if not others:
            return first
        lines = [first, *(f"{_sha256(path.parent / name)} {name}" for name in others)]
    except OSError as error:
        raise SourceError(
            f"readable files beside {path}",
            _one_line(error),
            "Weights beside a graph belong to it: copy them too.",
        ) from error
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parsed(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not path.is_file():
        raise SourceError("an ONNX file", f"{str(path)!r}, which is no file", "Check the path.")
    try:
        if path.stat().st_size > PROTOBUF_LIMIT:
            raise SourceError(
                "an ONNX file below 2 GiB, the limit of its format",
                f"{path} with {path.stat().st_size:,} bytes",
                "Save the weights as external data.",
            )
        return onnx.load(str(path), format="protobuf", load_external_data=False)
    except OSError as error:
        raise SourceError(
            f"a readable file {path}", _one_line(error), "Check its permissions."
        ) from error
    except DecodeError as error:
        raise damage(path) from error


def _check_header(proto: onnx.ModelProto, path: Path) -> None:
    if not proto.HasField("graph") or not proto.opset_import:
        raise damage(path)
    for imported in (*proto.opset_import, *(o for f in proto.functions for o in f.opset_import)):
        if imported.domain == "ai.onnx":  # an alias of the default domain
            imported.domain = ""
    opset = max((o.version for o in proto.opset_import if not o.domain), default=None)
    if opset is not None:
        _check_opset(opset, path)
    if proto.graph.sparse_initializer:
        names = ", ".join(s.values.name for s in proto.graph.sparse_initializer[:3])
        raise SourceError(
            "weights stored as dense tensors",
            f"sparse initializers ({names}) in {path}",
            "Export the model with dense weights.",
        )


def _check_opset(opset: int, path: Path) -> None:
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if opset < OLDEST_OPSET:
        hint = "Export the model again with opset 18 or later."
    elif opset > newest:
        hint = "Upgrade with: pip install -U onnx onnxruntime; or export with an older opset."
    else:
        return
    raise SourceError(
        f"an ONNX opset from {OLDEST_OPSET} to {newest}, the newest that the installed onnx knows",
        f"opset {opset} in {path}",
        hint,
    )


def _check_external(tensor: ir.ExternalTensor, path: Path) -> None:
    location = str(tensor.location)
    parts = PurePosixPath(location.replace("\\", "/")).parts
    inside = f"external data inside the folder of {path.name}"
    if not location or location.startswith("/") or PureWindowsPath(location).is_absolute():
        raise SourceError(
            inside,
            f"the absolute path {location!r} for {tensor.name!r}" if location else "no location",
            "Paths of external data are relative to the model; save the model again.",
        )
    if ".." in parts:
        raise SourceError(
            inside,
            f"the path {location!r} for {tensor.name!r}, which leaves it",
            "Put the data file beside the model and save the model again.",
        )
    file = path.parent / location
    real = file.resolve()
    if not real.is_relative_to(path.parent.resolve()):
        raise SourceError(
            inside,
            f"{location!r} for {tensor.name!r}, a symbolic link to {real}",
            "Copy the model with its links followed: cp -rL.",
        )
    _check_external_file(tensor, file)


def _check_external_file(tensor: ir.ExternalTensor, file: Path) -> None:
    if not file.exists():
        raise SourceError(
            f"the external data file {file.name!r} beside the model",
            f"a folder without it ({file.parent})",
            "Copy it there: the model file holds the graph alone, its weights lie in that file.",
        )
    if not file.is_file() or file.stat().st_nlink > 1:
        raise SourceError(
            f"external data in a plain file with one name, for {tensor.name!r}",
            f"{file}, which has hard links" if file.is_file() else f"{file}, which is no file",
            "Copy the file; through a link, a model could read files that are not its own.",
        )
    offset, size = tensor.offset or 0, file.stat().st_size
    length = tensor.nbytes if tensor.length is None else tensor.length
    if offset < 0 or length != tensor.nbytes or offset + length > size:
        raise SourceError(
            f"{tensor.nbytes:,} bytes of external data for {tensor.name!r}",
            f"bytes {offset:,} to {offset + length:,} of {file.name}, which has {size:,}",
            "The file is truncated or belongs to another model: copy it again.",
        )


def _check_graph(model: ir.Model, path: Path) -> None:
    graph = model.graph
    weights = set(graph.initializers)
    if not [i for i in graph.inputs if i.name not in weights]:
        raise SourceError(
            "a model with an input", f"{path}, which has none", "Export it with its inputs."
        )
    if not graph.outputs:
        raise SourceError(
            "a model with an output", f"{path}, which has none", "Export it with its outputs."
        )
    for part in model.graphs():
        for node in part:
            for value in node.inputs:
                if value is not None and value.name and _is_undefined(value):
                    raise SourceError(
                        "a graph in which every value comes from somewhere",
                        f"{value.name!r}, used by {node.op_type} and made by nothing, in {path}",
                        "The file is damaged or was edited wrongly: export the model again.",
                    )


def _is_undefined(value: ir.Value) -> bool:
    return value.producer() is None and not value.is_graph_input() and not value.is_initializer()


def _one_line(error: BaseException) -> str:
    """The innermost message: onnx_ir wraps it once for every level of the graph."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
