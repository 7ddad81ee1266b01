"""Frames: what is sent is what arrives, and a damaged or missing other side is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest

from gossamer.errors import MeasureError
from gossamer.frames import Channel, decode, encode

ARRAYS = {
    "float": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    "a/name:0 with ünicode": np.array([1, -(2**60)]),
    "bool": np.array([True, False]),
    "half": np.array([0.5, np.inf, np.nan], np.float16),
    "brain": np.array([1.5, -2.0], ml_dtypes.bfloat16),
    "scalar": np.array(7, np.uint8),
    "empty": np.empty((0, 4), np.int32),
    "turned": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(10, dtype=np.int16)[::3],
    "foreign": np.array([1.0, 2.0], ">f8"),
}


def assert_same(received: dict[str, np.ndarray]) -> None:
    assert list(received) == list(ARRAYS)
    for name, x in ARRAYS.items():
        assert received[name].shape == x.shape
        assert received[name].dtype == x.dtype.newbyteorder("=")
        assert received[name].tobytes() == x.astype(x.dtype.newbyteorder("=")).tobytes()


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel, list[int]]]:
    """Two ends that are connected, and the file descriptors of the second."""
    (a_in, b_out), (b_in, a_out) = os.pipe(), os.pipe()
    theirs = [b_in, b_out]
    yield Channel(a_in, a_out), Channel(b_in, b_out), theirs
    for fd in (a_in, a_out, *theirs):
        os.close(fd)


def test_arrays_of_every_kind_survive_a_record() -> None:
    header, arrays = decode(b"".join(encode({"op": "run"}, ARRAYS, checked=True)))

    assert header == {"op": "run"}
    assert_same(arrays)


def test_arrays_of_every_kind_survive_a_channel(
    channels: tuple[Channel, Channel, list[int]],
) -> None:
    here, there, _ = channels

    here.send({"n": 1}, ARRAYS, 5)
    header, arrays = there.receive(5)

    assert header == {"n": 1}
    assert_same(arrays)


def test_a_frame_larger_than_any_pipe_arrives(
    channels: tuple[Channel, Channel, list[int]],
) -> None:
    here, there, _ = channels
    large = np.arange(1 << 20)
    sender = threading.Thread(target=here.send, args=({}, {"x": large}, 30))
    sender.start()

    _, arrays = there.receive(30)
    sender.join()

    assert np.array_equal(arrays["x"], large)


@pytest.mark.parametrize("x", [np.array(["text"]), np.array([object()]), np.zeros(2, "i4,f4")])
def test_arrays_that_are_no_numbers_are_refused_by_name(x: np.ndarray) -> None:
    with pytest.raises(MeasureError, match="arrays of numbers; received 'words' of dtype"):
        encode({}, {"words": x})


@pytest.mark.parametrize("end", [0, 8, 40, -1])
def test_a_record_cut_short_is_told(end: int) -> None:
    whole = b"".join(encode({}, ARRAYS, checked=True))

    with pytest.raises(ValueError, match=r"frame|bytes|delimiter|line"):
        decode(whole[:end])


def test_a_record_with_one_wrong_byte_is_told() -> None:
    whole = bytearray(b"".join(encode({}, ARRAYS, checked=True)))
    whole[-3] ^= 1

    with pytest.raises(ValueError, match="damaged"):
        decode(bytes(whole))


def test_nothing_within_the_time_is_a_timeout(
    channels: tuple[Channel, Channel, list[int]],
) -> None:
    here, _, _ = channels

    with pytest.raises(TimeoutError):
        here.receive(0.05)
    with pytest.raises(TimeoutError):  # nobody reads, and the pipe is full
        here.send({}, {"x": np.zeros(1 << 20)}, 0.05)


def test_the_other_end_closed_is_the_end_of_the_file(
    channels: tuple[Channel, Channel, list[int]],
) -> None:
    here, _, theirs = channels
    while theirs:
        os.close(theirs.pop())

    with pytest.raises(EOFError):
        here.receive(5)
    with pytest.raises(EOFError):
        here.send({}, ARRAYS, 5)
