"""Fidelity follows its formula, output by output, sum by sum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gossamer.errors import DataError, MeasureError
from gossamer.task import DataRequest
from gossamer.tasks.fidelity import Fidelity, looks_like_logits
from zoo.judged import model, tensor

TASK = Fidelity()


def rows(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> Any:
    """Rows of (reference, candidate) pairs."""
    return np.stack(
        [
            TASK.row(
                {k: np.asarray(v) for k, v in found.items()},
                None,
                {k: np.asarray(v) for k, v in wanted.items()},
            )
            for wanted, found in pairs
        ]
    )


def test_the_score_is_one_minus_noise_power_over_signal_power() -> None:
    found = rows([({"y": [[3.0, 4.0]]}, {"y": [[3.0, 4.5]]})])

    assert TASK.score(found) == pytest.approx(1 - 0.25 / 25)
    assert TASK.metrics(found)["sqnr_db"] == pytest.approx(20)


def test_powers_are_summed_over_samples_before_they_are_divided() -> None:
    found = rows([({"y": [[10.0]]}, {"y": [[9.0]]}), ({"y": [[1.0]]}, {"y": [[1.0]]})])

    assert TASK.score(found) == pytest.approx(1 - 1 / 101)


def test_the_worst_output_counts() -> None:
    found = rows([({"a": [[1.0]], "b": [[2.0]]}, {"a": [[1.0]], "b": [[1.0]]})])

    assert TASK.score(found) == pytest.approx(1 - 1 / 4)


def test_integer_outputs_count_by_their_share_of_equal_values() -> None:
    wanted = {"y": [[5.0]], "ids": [[1, 2, 3, 4]]}
    found = rows([(wanted, {"y": [[5.0]], "ids": [[1, 2, 3, 0]]}), (wanted, wanted)])

    assert TASK.score(found) == pytest.approx(7 / 8)
    assert TASK.metrics(found)["sqnr_db"] == 200.0


def test_a_model_of_integer_outputs_alone_has_no_noise_ratio() -> None:
    found = rows([({"ids": [[True, False]]}, {"ids": [[True, True]]})])

    assert TASK.metrics(found) == {"fidelity": 0.5}


def test_agreement_on_the_best_class_is_reported_beside_it() -> None:
    wanted = {"logits": [[0.0, 1.0, 0.5]]}
    found = rows([(wanted, {"logits": [[0.0, 0.4, 0.5]]}), (wanted, wanted)])

    assert TASK.metrics(found)["top1_agreement"] == 0.5


def test_tokens_agree_one_by_one() -> None:
    wanted = {"logits": [[[0.0, 1.0], [1.0, 0.0]]]}
    found = rows([(wanted, {"logits": [[[0.0, 1.0], [0.4, 0.6]]]})])

    assert TASK.metrics(found)["top1_agreement"] == 0.5


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("logits", (1, 10), True),
        ("output", (1, 10), True),
        ("scores", (1, 100, 2), True),
        ("pooler_output", (1, 384), False),
        ("last_hidden_state", (1, 7, 384), False),
        ("output", (1, 3, 8, 8), False),
        ("logits", (1, 1), False),
    ],
)
def test_logits_are_known_by_rank_and_name(name: str, shape: Any, expected: bool) -> None:
    assert looks_like_logits(name, np.zeros(shape, np.float32)) is expected


def test_an_output_that_was_always_zero_and_no_longer_is_scores_nothing() -> None:
    silent = {"y": [[0.0, 0.0]]}

    assert TASK.score(rows([(silent, {"y": [[0.0, 1e-9]]})])) == 0.0
    assert TASK.score(rows([(silent, silent)])) == 1.0


def test_noise_above_the_signal_scores_below_zero() -> None:
    assert TASK.score(rows([({"y": [[1.0]]}, {"y": [[-1.0]]})])) == -3.0


@pytest.mark.parametrize("side", ["found", "wanted"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_fail_the_candidate(side: str, value: float) -> None:
    good, bad = {"y": np.ones((1, 2))}, {"y": np.array([[1.0, value]])}

    with pytest.raises(MeasureError, match="1 of 2 values of y are NaN or Inf"):
        TASK.row(bad if side == "found" else good, None, good if side == "found" else bad)


def test_an_output_of_another_shape_fails_the_candidate() -> None:
    with pytest.raises(MeasureError, match=r"shape \(1, 3\)"):
        rows([({"y": [[1.0, 2.0]]}, {"y": [[1.0, 2.0, 3.0]]})])


def test_an_output_that_is_missing_fails_the_candidate() -> None:
    with pytest.raises(MeasureError, match="no such output"):
        rows([({"y": [[1.0]]}, {"z": [[1.0]]})])


def test_without_a_reference_there_is_nothing_to_compare() -> None:
    with pytest.raises(MeasureError, match="the float model's outputs"):
        TASK.row({"y": np.ones(1)}, None, None)


def test_half_precision_outputs_are_summed_in_double() -> None:
    wanted = {"y": np.full((1, 100), 300.0, np.float16)}

    row = TASK.row(wanted, None, wanted)

    assert row[1] == 100 * 300.0**2  # float16 ends at 65504


def test_without_data_inputs_are_made_up_and_said_to_be() -> None:
    request = DataRequest(model=model(tensor("x", "batch", 3)), seed=3)

    data = TASK.open(request)

    assert data.synthetic
    assert (len(data.calibration), len(data.search), len(data.report)) == (64, 32, 32)
    assert data.files == ()


def test_calibration_data_alone_leaves_made_up_inputs_to_judge_by(tmp_path: Any) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((5, 3), np.float32))
    request = DataRequest(model=model(), calibration_path=tmp_path / "a.npz")

    data = TASK.open(request)

    assert data.synthetic
    assert (len(data.calibration), len(data.search), len(data.report)) == (5, 64, 64)
    assert next(data.calibration.feeds())["x"].tolist() == [[0, 0, 0]]


def test_an_input_of_unknown_rank_cannot_be_made_up() -> None:
    from gossamer.source import TensorType

    request = DataRequest(model=model(TensorType(name="x", dtype="float32", shape=None)))

    with pytest.raises(DataError, match="inputs of known rank"):
        TASK.open(request)
