"""The loss of a batch, and images moved at random."""

from __future__ import annotations

from typing import Any

import pytest

from gossamer.errors import TrainingError

torch = pytest.importorskip("torch")
from gossamer.train.task_loss import batch_loss  # noqa: E402

pytestmark = pytest.mark.torch


class Echo(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Returns its input in one of the shapes that modules return."""

    def __init__(self, kind: str = "tensor") -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Any) -> Any:
        made = {
            "tensor": x,
            "tuple": (x.sum(), x),
            "dict": {"hidden": x * 0, "logits": x},
            "logits": {"loss": None, "logits": x},
        }
        return made.get(self.kind)


@pytest.mark.parametrize("kind", ["tensor", "tuple", "dict", "logits"])
def test_classes_are_judged_by_cross_entropy_whatever_form_the_output_has(kind: str) -> None:
    x, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])

    found = batch_loss(Echo(kind), {"x": x, "labels": labels})

    expected = (x.double().logsumexp(1) - x.double()[torch.arange(5), labels]).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_numbers_are_judged_by_their_squared_error() -> None:
    found = batch_loss(
        Echo(), {"x": torch.tensor([[1.0], [4.0]]), "labels": torch.tensor([0.0, 2])}
    )

    assert float(found) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("shape", "labels"),
    [((4, 3), [0, 1, 2, 3]), ((4, 3, 2), [0, 1, 2, 1]), ((3, 3), [0, 1]), ((2, 2), [0.5, 1.0])],
)
def test_outputs_that_do_not_fit_the_labels_are_refused(shape: Any, labels: list[float]) -> None:
    with pytest.raises(TrainingError, match=r"outputs for \d labels"):
        batch_loss(Echo(), {"x": torch.zeros(shape), "labels": torch.tensor(labels)})


def test_a_part_that_is_called_module_is_not_asked_for_labels() -> None:
    class Part(Echo):
        def forward(self, x: Any, labels: Any) -> Any:
            raise AssertionError

    class Whole(Echo):
        def __init__(self) -> None:
            super().__init__()
            self.module = Part()

    found = batch_loss(Whole(), {"x": torch.zeros(2, 3), "labels": torch.tensor([0, 1])})

    assert float(found) == pytest.approx(float(torch.tensor(3.0).log()))


def test_labels_reach_a_module_that_takes_them() -> None:
    class Asking(Echo):
        def forward(self, x: Any, labels: Any = None) -> Any:
            assert labels is not None
            return x

    batch_loss(Asking(), {"x": torch.zeros(2, 3), "labels": torch.tensor([0, 1])})


def test_a_module_without_tensors_has_no_logits() -> None:
    with pytest.raises(TrainingError, match=r"logits from Echo.*received NoneType"):
        batch_loss(Echo("nothing"), {"x": torch.zeros(1), "labels": torch.tensor([0])})
