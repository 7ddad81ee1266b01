"""What a file is that turned out to be no ONNX model, so that the message can say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from gossamer.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

# Fields of onnx.ModelProto and their wire types (0 varint, 2 length-delimited), from onnx.proto.
_MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_CALLABLE = "Write a factory and name it as package.module:factory."
# offset, magic bytes, what it is, what to do
_MAGIC = (
    (0, b"version https://git-lfs", "a Git LFS pointer", "Fetch the real file with: git lfs pull."),
    (0, b"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint", _CALLABLE),
    (0, b"\x80\x02", "a pickle, such as a PyTorch checkpoint", _CALLABLE),
    (0, b"<?xml", "XML, such as OpenVINO's format", "Give the model that it was made from."),
    (0, b"\x89HDF", "HDF5, such as a Keras model", "Convert it to ONNX first."),
    (4, b"TFL3", "a TensorFlow Lite model", "Convert it to ONNX first."),
    (8, b'{"', "safetensors weights", "Give the folder with config.json beside them."),
    (0, b"{", "JSON", "For a Hugging Face model give its folder."),
    (0, b"<", "a web page or XML", "Download the file itself."),
)


def damage(path: Path) -> SourceError:
    """The error for a file that holds no readable model: what it is, or where it breaks off."""
    size = path.stat().st_size
    if not size:
        return SourceError("an ONNX model", f"{path}, an empty file", "Copy or export it again.")
    with path.open("rb") as file:
        head = file.read(64)
        for offset, magic, kind, hint in _MAGIC:
            if head[offset:].startswith(magic):
                return SourceError("an ONNX model", f"{path}, which is {kind}", hint)
        broken = _truncation(file, size)
    if broken is None:
        kind = "a text file" if _is_text(head) else "nothing known here"
        return SourceError(
            "an ONNX model", f"{path}, which is {kind}", "Give a file written by an ONNX exporter."
        )
    return SourceError(
        "a complete ONNX model",
        f"{path}, which is truncated: {broken}",
        "Copy or download it again.",
    )


def _truncation(file: BinaryIO, size: int) -> str | None:
    """Where the outermost protobuf message breaks off; None if it is no ONNX message at all."""
    file.seek(0)
    fields = 0
    while file.tell() < size:
        key = _varint(file)
        if key is None or _MODEL_FIELDS.get(key >> 3) != key & 7:
            return "its parts do not fit together" if fields > 1 else None
        value = _varint(file)
        if value is None:
            return f"it ends after {size:,} bytes"
        if key & 7 == 2:
            if file.tell() + value > size:
                return f"it ends after {size:,} bytes and announces {file.tell() + value:,}"
            file.seek(value, 1)
        fields += 1
    return "it holds no graph with an opset"


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
    return None


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n" for byte in head)
