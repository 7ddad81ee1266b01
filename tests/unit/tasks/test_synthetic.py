"""Made-up inputs are what a model of that signature could really be given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir import tape

from gossamer.runtime import Feed
from gossamer.source import FloatModel, TensorType
from gossamer.tasks._synthetic import Synthetic
from zoo.judged import model, tensor


def made_up(signature: FloatModel, length: int = 16, seed: int = 0) -> Synthetic:
    return Synthetic.of(signature, count=8, seed=seed, length=length)


def fed(*inputs: TensorType, length: int = 16) -> Feed:
    return made_up(model(*inputs), length).feed(0)


@pytest.fixture
def embedding(tmp_path: Path) -> Path:
    """`ids` looks up 7 words through a Cast, `kinds` 2 types, `codes` in no table."""
    ids, kinds, codes = (
        ir.Value(
            name=name, shape=ir.Shape(["batch", "sequence"]), type=ir.TensorType(ir.DataType.INT64)
        )
        for name in ("ids", "kinds", "codes")
    )
    words = ir.Value(name="words", const_value=ir.tensor(np.zeros((7, 4), np.float32)))
    types = ir.Value(name="types", const_value=ir.tensor(np.zeros((4, 2), np.float32)))
    for value in (words, types):
        assert value.const_value is not None
        value.shape, value.dtype = value.const_value.shape, value.const_value.dtype
    recorder = tape.Tape()
    whole = recorder.op("Cast", [ids], {"to": ir.DataType.INT32})
    first = recorder.op("Gather", [words, whole])
    second = recorder.op("Gather", [types, kinds], {"axis": 1})
    third = recorder.op("Identity", [codes])
    graph = ir.Graph(
        [ids, kinds, codes], [first, second, third], nodes=recorder.nodes,
        initializers=[words, types], opset_imports={"": 18}, name="g",
    )  # fmt: skip
    path = tmp_path / "model.onnx"
    ir.save(ir.Model(graph, ir_version=10), path)
    return path


def test_an_index_stays_inside_the_table_that_it_looks_up(embedding: Path) -> None:
    names = ("ids", "kinds", "codes")
    inputs = [tensor(name, "batch", "sequence", dtype="int64") for name in names]

    rows = made_up(model(*inputs, path=embedding), length=500)

    assert rows.limits == {"ids": 7, "kinds": 2, "codes": 100}
    feed = rows.feed(0)
    assert set(feed["ids"].ravel().tolist()) == set(range(7))
    assert set(feed["kinds"].ravel().tolist()) == {0, 1}
    assert feed["ids"].dtype == np.int64


def test_files_that_are_not_onnx_show_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    path.write_text("<net/>")

    feed = made_up(model(tensor("ids", 1, "sequence", dtype="int64"), path=path)).feed(0)

    assert 0 <= feed["ids"].min() <= feed["ids"].max() < 100


def test_masks_types_and_positions_are_told_by_their_names(embedding: Path) -> None:
    names = ("attention_mask", "token_type_ids", "position_ids")
    inputs = [tensor(n, "batch", "sequence", dtype="int64") for n in names]

    feed = made_up(model(*inputs, path=embedding), length=4).feed(0)

    assert [feed[n].tolist() for n in names] == [[[1, 1, 1, 1]], [[0, 0, 0, 0]], [[0, 1, 2, 3]]]


def test_truth_values_are_true_and_floats_are_normal() -> None:
    feed = fed(tensor("on", "batch", 2, dtype="bool"), tensor("x", "batch", 10_000))

    assert feed["on"].tolist() == [[True, True]]
    assert feed["x"].dtype == np.float32
    assert abs(feed["x"].mean()) < 0.05
    assert abs(feed["x"].std() - 1) < 0.05


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (("batch", 3, "height", "width"), (1, 3, 224, 224)),
        (("batch", "height", "width", 3), (1, 224, 224, 3)),
        ((None, None, None, None), (1, 3, 224, 224)),
        (("batch", 12, "past_sequence", 64), (1, 12, 16, 64)),
        (("batch", "sequence", 80), (1, 16, 80)),
        (("batch", 80, None), (1, 80, 16)),
        ((2, 3), (2, 3)),
        ((), ()),
    ],
)
def test_open_axes_get_the_size_that_their_place_suggests(
    shape: tuple[int | str | None, ...], expected: tuple[int, ...]
) -> None:
    assert fed(tensor("x", *shape))["x"].shape == expected


def test_sound_is_a_second_long() -> None:
    assert fed(tensor("input_values", "batch", "samples"))["input_values"].shape == (1, 16_000)


def test_sequences_are_no_longer_than_the_models_positions(tmp_path: Path) -> None:
    config = {"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    signature = model(tensor("x", "batch", "sequence", 4), folder=tmp_path)

    assert made_up(signature, length=2048).feed(0)["x"].shape == (1, 512, 4)
    assert made_up(signature, length=128).feed(0)["x"].shape == (1, 128, 4)


def test_bytes_of_an_image_use_their_whole_range(embedding: Path) -> None:
    signature = model(tensor("x", 1, 8, 8, 3, dtype="uint8"), path=embedding)

    x = made_up(signature).feed(0)["x"]

    assert x.dtype == np.uint8
    assert x.max() > 200


def test_a_row_depends_on_its_index_and_the_seed_alone() -> None:
    signature = model(tensor("x", "batch", 3))
    one, again, other = made_up(signature), made_up(signature), made_up(signature, seed=1)

    assert one.feed(5)["x"].tolist() == again.feed(5)["x"].tolist()
    assert one.feed(5)["x"].tolist() != one.feed(4)["x"].tolist()
    assert one.feed(5)["x"].tolist() != other.feed(5)["x"].tolist()
