"""Arrays are fed as the model takes them, or refused with the reason."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from gossamer.errors import DataError
from gossamer.task import DataRequest, Samples, Task
from gossamer.tasks.classification import Classification
from gossamer.tasks.fidelity import Fidelity
from zoo.judged import model, tensor, write_arrays

IMAGE = model(tensor("x", "batch", 3, 4))


def samples(path: Path, signature: Any = None, task: Task | None = None) -> Samples:
    request = DataRequest(model=signature or model(), path=path)
    return (task or Fidelity()).open(request).search.samples


def refused(path: Path, signature: Any = None, task: Task | None = None) -> DataError:
    with pytest.raises(DataError) as caught:
        samples(path, signature, task)
    error = caught.value
    assert error.needed
    assert error.received
    return error


def test_an_array_of_the_inputs_rank_is_fed_with_a_leading_1(tmp_path: Path) -> None:
    x = np.arange(60, dtype=np.float32).reshape(5, 3, 4)
    np.savez(tmp_path / "a.npz", x=x)

    fed = samples(tmp_path / "a.npz", IMAGE).feed(2)["x"]

    assert fed.tolist() == [x[2].tolist()]


def test_an_array_with_a_rank_more_is_fed_as_it_is(tmp_path: Path) -> None:
    x = np.arange(60, dtype=np.float32).reshape(5, 1, 3, 4)
    np.savez(tmp_path / "a.npz", x=x)

    assert samples(tmp_path / "a.npz", IMAGE).feed(2)["x"].tolist() == x[2].tolist()


def test_an_input_without_axes_takes_one_number_per_sample(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(5.0))

    fed = samples(tmp_path / "a.npz", model(tensor("x"))).feed(3)["x"]

    assert fed.shape == ()
    assert fed == 3


def test_a_folder_holds_samples_of_any_length(tmp_path: Path) -> None:
    for i in range(4):
        np.savez(tmp_path / f"{i}.npz", ids=np.arange(i + 1)[None], labels=np.int64(i % 2))
    signature = model(tensor("ids", "batch", "sequence", dtype="int64"))

    rows = samples(tmp_path, signature, Classification())

    assert [rows.feed(i)["ids"].shape for i in range(4)] == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert [rows.label(i) for i in range(4)] == [0, 1, 0, 1]
    assert samples(tmp_path, signature).label(0) is None


def test_a_folder_with_a_single_file_is_that_file(tmp_path: Path) -> None:
    write_arrays(tmp_path / "only.npz", count=6)

    assert len(samples(tmp_path)) == 6


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (np.float64, "float32"),
        (np.float32, "float16"),
        (np.int32, "int64"),
        (np.int64, "int32"),
        (np.uint8, "float32"),
        (np.bool_, "int64"),
        (np.int64, "bool"),
        (np.int64, "uint8"),
        (np.float32, "bfloat16"),
    ],
)
def test_numbers_that_fit_are_converted(tmp_path: Path, stored: Any, wanted: str) -> None:
    np.savez(tmp_path / "a.npz", x=np.tile(np.array([0, 1, 1], stored), (4, 1)))

    fed = samples(tmp_path / "a.npz", model(tensor("x", "batch", 3, dtype=wanted))).feed(0)["x"]

    assert fed.dtype == np.dtype(ml_dtypes.bfloat16 if wanted == "bfloat16" else wanted)
    assert fed.astype(float).tolist() == [[0.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("value", "wanted", "message"),
    [
        (0.5, "int64", "astype"),
        (1000, "uint8", "numbers that fit uint8"),
        (-1, "uint32", "numbers that fit uint32"),
        (2**40 + 1, "float32", "numbers that fit float32"),
        (1e300, "float32", "numbers that fit float32"),
        (7, "bool", "numbers that fit bool"),
        ("a", "float32", "an array of numbers"),
        (1j, "float32", "an array of numbers"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    tmp_path: Path, value: Any, wanted: str, message: str
) -> None:
    np.savez(tmp_path / "a.npz", x=np.full((4, 3), value))

    assert message in str(refused(tmp_path / "a.npz", model(tensor("x", "b", 3, dtype=wanted))))


def test_a_missing_array_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", imgae=np.zeros((4, 3)))

    error = refused(tmp_path / "a.npz", model(tensor("image", "batch", 3)))

    assert "image" in error.needed
    assert "imgae" in error.received
    assert error.hint.startswith("Save imgae as image")


def test_an_array_that_is_no_input_is_refused(tmp_path: Path) -> None:
    error = refused(write_arrays(tmp_path / "a.npz", mask=np.ones((12, 3))))

    assert "also mask" in error.received


def test_labels_are_ignored_by_fidelity_and_needed_by_classification(tmp_path: Path) -> None:
    file = write_arrays(tmp_path / "a.npz", labels=None)

    assert samples(file).label(0) is None
    assert "an array labels" in refused(file, task=Classification()).needed


def test_an_input_called_labels_leaves_no_labels_to_judge_by(tmp_path: Path) -> None:
    signature = model(tensor("x", "batch", 3), tensor("labels", "batch", dtype="int64"))
    file = write_arrays(tmp_path / "a.npz")

    assert samples(file, signature).feed(4)["labels"].tolist() == [1]
    assert "an input called labels" in refused(file, signature, Classification()).received


@pytest.mark.parametrize(
    "labels", [np.full(12, 0.5), -np.ones(12), np.array(["a"] * 12), np.zeros((12, 2))]
)
def test_labels_that_are_no_class_numbers_are_refused(tmp_path: Path, labels: Any) -> None:
    file = write_arrays(tmp_path / "a.npz", labels=labels)

    assert "class numbers" in refused(file, task=Classification()).needed


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    file = write_arrays(tmp_path / "a.npz", labels=np.ones(12, int))

    assert "two different labels" in refused(file, task=Classification()).needed


def test_arrays_of_unequal_length_are_refused(tmp_path: Path) -> None:
    file = write_arrays(tmp_path / "a.npz", labels=np.arange(11) % 3)

    assert "x: 12, labels: 11" in refused(file, task=Classification()).received


def test_an_array_without_samples_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((0, 3)))

    assert "at least one sample" in refused(tmp_path / "a.npz").needed


def test_a_single_number_is_no_array_of_samples(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.float32(1))

    assert "along their first axis" in refused(tmp_path / "a.npz").needed


@pytest.mark.parametrize("shape", [(5, 3, 5), (5, 1, 3, 5), (5, 3), (5, 1, 1, 3, 4)])
def test_a_shape_that_contradicts_the_model_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(shape, np.float32))

    error = refused(tmp_path / "a.npz", IMAGE)

    assert "to fit batch x 3 x 4" in error.needed
    assert str(shape) in error.received


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_number_that_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    x = np.zeros((6, 3), np.float32)
    x[4, 1] = x[5, 0] = value
    np.savez(tmp_path / "a.npz", x=x)

    error = refused(tmp_path / "a.npz")

    assert "index (4, 1) of x" in error.received
    assert "a.npz" in error.received


def test_arrays_of_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}] * 5, object))

    assert "Python objects are never read" in refused(tmp_path / "a.npz").hint


@pytest.mark.parametrize("keep", [0, 20, 200, -40])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    file = write_arrays(tmp_path / "a.npz", count=50)
    file.write_bytes(file.read_bytes()[:keep])

    assert "as np.savez writes it" in refused(file).needed


def test_a_file_with_flipped_bytes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez_compressed(file, x=np.random.default_rng(0).standard_normal((50, 3)))
    raw = bytearray(file.read_bytes())
    raw[300:320] = b"\xff" * 20
    file.write_bytes(raw)

    refused(file)


def test_a_bare_array_under_the_name_of_an_archive_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.zeros((5, 3)))

    assert "one bare array" in refused(tmp_path / "a.npz").received


def test_a_broken_file_in_a_folder_is_named(tmp_path: Path) -> None:
    for i in range(4):
        np.savez(tmp_path / f"{i}.npz", x=np.zeros((1, 3)))
    (tmp_path / "2.npz").write_bytes(b"PK")

    assert "2.npz" in refused(tmp_path).received


def test_a_folder_needs_one_label_per_file(tmp_path: Path) -> None:
    for i in range(4):
        np.savez(tmp_path / f"{i}.npz", x=np.zeros((1, 3)), labels=np.arange(2))

    assert "one label per file" in refused(tmp_path, task=Classification()).needed


def test_an_input_that_takes_text_is_refused(tmp_path: Path) -> None:
    file = write_arrays(tmp_path / "a.npz")

    assert "inputs are numbers" in refused(file, model(tensor("x", "b", 3, dtype="string"))).needed


def test_files_are_closed_again(tmp_path: Path) -> None:
    for i in range(4):
        np.savez(tmp_path / f"{i}.npz", x=np.zeros((1, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        rows = samples(tmp_path)
        assert [rows.feed(i)["x"].shape for i in range(4)] == [(1, 3)] * 4
