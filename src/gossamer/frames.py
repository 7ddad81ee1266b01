"""Messages between a process and its child, and records on disk: JSON and raw arrays.

A frame is: the magic word, the length of a JSON text, a checksum of the arrays, the text
`{"header": {...}, "arrays": [[name, dtype, shape], ...]}`, then the bytes of the arrays, C order.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import time
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.errors import GossamerError, MeasureError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from gossamer.runtime import Feed

PREFIX = struct.Struct("<4sIII")
MAGIC = b"GSM1"
MAX_TEXT = 1 << 26
NUMERIC = "biufcV"  # V: the types of ml_dtypes


def encode(
    header: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]], *, checked: bool = False
) -> list[memoryview]:
    """The pieces of a frame, to be written one after the other.

    With `checked` it gets a checksum, as records on disk want; pipes do not lose bytes.

    Raises:
        MeasureError: An array is not one of numbers.
    """
    for name, x in arrays.items():
        if x.dtype.kind not in NUMERIC or x.dtype.names is not None:
            raise MeasureError(
                "arrays of numbers",
                f"{name!r} of dtype {x.dtype}",
                "Text and objects cannot be fed to a measured model.",
            )
    whole = {n: np.ascontiguousarray(x, x.dtype.newbyteorder("=")) for n, x in arrays.items()}
    bodies = [x.reshape(-1).view(np.uint8).data for x in whole.values() if x.nbytes]
    layout = [[name, x.dtype.name, list(x.shape)] for name, x in arrays.items()]
    text = json.dumps({"header": dict(header), "arrays": layout}).encode()
    total = 0
    for body in bodies if checked else ():
        total = zlib.crc32(body, total)
    prefix = PREFIX.pack(MAGIC, len(text), total, int(checked))
    return [memoryview(prefix), memoryview(text), *bodies]


def decode(frame: bytes) -> tuple[dict[str, Any], Feed]:
    """Header and arrays of a whole frame that was written with a checksum.

    Raises:
        ValueError: The frame is cut short or damaged.
    """
    length, total = _prefix(frame[: PREFIX.size])
    start = PREFIX.size + length
    header, arrays = _layout(frame[PREFIX.size : start])
    body = memoryview(frame)[start:]
    size = sum(x.nbytes for x in arrays.values())
    if len(body) != size or zlib.crc32(body) != total:
        raise ValueError(f"{len(body)} of {size} bytes, or damaged ones")
    for x in arrays.values():
        _bytes(x)[:] = body[: x.nbytes]
        body = body[x.nbytes :]
    return header, arrays


class Channel:
    """Frames over two pipes.

    Both methods raise EOFError when the other side is gone, TimeoutError when it does not answer.
    """

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        for fd in (incoming, outgoing):
            os.set_blocking(fd, False)

    def send(
        self,
        header: Mapping[str, Any],
        arrays: Mapping[str, NDArray[np.generic]],
        timeout: float | None,
    ) -> None:
        """Write one frame."""
        deadline = _deadline(timeout)
        for piece in encode(header, arrays):
            rest = piece
            while rest:
                try:
                    rest = rest[os.write(self._outgoing, rest) :]
                except BlockingIOError:
                    _wait(self._outgoing, select.POLLOUT, deadline)
                except BrokenPipeError:
                    raise EOFError from None

    def receive(self, timeout: float | None) -> tuple[dict[str, Any], Feed]:
        """Header and arrays of the next frame."""
        deadline = _deadline(timeout)
        prefix = bytearray(PREFIX.size)
        self._fill(memoryview(prefix), deadline)
        text = bytearray(_prefix(bytes(prefix))[0])
        self._fill(memoryview(text), deadline)
        header, arrays = _layout(bytes(text))
        for x in arrays.values():
            self._fill(_bytes(x), deadline)
        return header, arrays

    def _fill(self, rest: memoryview, deadline: float | None) -> None:
        while rest:
            try:
                count = os.readv(self._incoming, [rest])
            except BlockingIOError:
                _wait(self._incoming, select.POLLIN, deadline)
                continue
            if count == 0:
                raise EOFError
            rest = rest[count:]


Answer = tuple[dict[str, Any], "Mapping[str, NDArray[np.generic]]"]


def serve(answer: Callable[[dict[str, Any], Feed], Answer]) -> None:
    """Answer frames on stdin with frames on stdout until stdin ends; an error is an answer too."""
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # whatever a library prints cannot fall into a frame
    channel = Channel(requests, replies)
    with contextlib.suppress(EOFError):
        while True:
            header, arrays = channel.receive(None)
            try:
                reply, results = answer(header, arrays)
            except GossamerError as error:
                told = [error.needed, error.received, error.hint]
                reply, results = {"error": told}, {}
            except Exception as error:  # whatever it is, the parent raises it
                reply, results = {"error": ["a model that runs", str(error).strip(), ""]}, {}
            channel.send(reply, results, None)


def _prefix(raw: bytes) -> tuple[int, int]:
    if len(raw) != PREFIX.size:
        raise ValueError("no whole frame")
    magic, length, total, _ = PREFIX.unpack(raw)
    if magic != MAGIC or length > MAX_TEXT:
        raise ValueError(f"no frame: it begins with {magic!r}")
    return length, total


def _layout(text: bytes) -> tuple[dict[str, Any], Feed]:
    document = json.loads(text)
    arrays = {name: np.empty(shape, _dtype(kind)) for name, kind, shape in document["arrays"]}
    return document["header"], arrays


def _dtype(name: str) -> np.dtype[np.generic]:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # makes its names known to numpy; loaded only by models that need them

        extended: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, name))
        return extended


def _bytes(x: NDArray[np.generic]) -> memoryview:
    return x.reshape(-1).view(np.uint8).data if x.nbytes else memoryview(bytearray())


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _wait(fd: int, event: int, deadline: float | None) -> None:
    poll = select.poll()
    poll.register(fd, event)
    left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
    if not poll.poll(left):
        raise TimeoutError
