"""What every loss of distillation must be, those of third parties included."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gossamer import plugins
from gossamer.errors import RecipeError, TrainingError

torch = pytest.importorskip("torch")
from gossamer.train.loss import Loss  # noqa: E402
from gossamer.train.techniques.distill import Distill  # noqa: E402
from zoo.encoder import batch, encoder  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(params=plugins.names("losses"))
def loss(request: pytest.FixtureRequest) -> Loss:
    found: Loss = plugins.load("losses", request.param)()
    return found


def term(loss: Loss, student: Any, teacher: Any, seed: int = 0) -> Any:
    """The loss of one training step of the student, in eval mode but for its own flag."""
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    student.eval()
    student.training = True  # dropout off: the same numbers as the teacher
    technique = Distill(losses=(loss,), hard_weight=0.0)
    with technique.attach(
        student, optimizer, teacher=teacher, batches=lambda: iter([batch()])
    ) as attachment:
        student(**batch(seed))
        return attachment.loss(torch.zeros(()))


def test_it_is_a_frozen_value_that_survives_its_yaml_form(loss: Loss) -> None:
    assert plugins.parse("losses", plugins.dump(loss)) == loss
    assert dataclasses.is_dataclass(loss)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_no_sum_can_have_is_refused(loss: Loss, weight: float) -> None:
    with pytest.raises(RecipeError, match="a weight of at least 0"):
        type(loss)(weight=weight)


def test_it_is_a_finite_scalar_that_teaches_the_student_only(loss: Loss) -> None:
    student, teacher = encoder(0), encoder(1, layers=4)

    found = term(loss, student, teacher)
    found.backward()

    assert found.shape == ()
    assert found.isfinite()
    assert found > 0
    grads = [p.grad for p in student.parameters() if p.grad is not None]
    assert any((g != 0).any() for g in grads)
    assert all(g.isfinite().all() for g in grads)
    assert all(p.grad is None for p in teacher.parameters())


def test_it_takes_what_autocast_gives(loss: Loss) -> None:
    student, teacher = encoder(0), encoder(1, layers=4)
    wanted = term(loss, student, teacher)

    with torch.autocast("cpu", torch.bfloat16):
        found = term(loss, student, teacher)

    assert found.dtype == torch.float32
    assert torch.allclose(found, wanted, rtol=0.1, atol=0.01)  # 8 bits of mantissa


def test_weights_multiply_it(loss: Loss) -> None:
    student, teacher = encoder(0), encoder(1, layers=4)

    once = term(loss, student, teacher)
    thrice = term(dataclasses.replace(loss, weight=3.0), student, teacher)

    assert torch.allclose(3 * once, thrice, rtol=1e-5)


def test_a_student_that_equals_its_teacher_is_taught_nothing(loss: Loss) -> None:
    if not loss.needs_teacher:
        pytest.skip("it has no teacher")
    student = encoder(0)

    term(loss, student, encoder(0)).backward()

    # the least value is not 0 for all, but nothing pulls away from it; float32 leaves some 1e-7
    for parameter in student.parameters():
        assert parameter.grad is None or parameter.grad.abs().max() < 1e-5


def test_padding_does_not_count(loss: Loss) -> None:
    student, teacher = encoder(0), encoder(1, layers=4)
    student.eval()
    student.training = True
    short, padded = batch(0), batch(0)
    for name, filler in (("input_ids", 7), ("attention_mask", 0)):
        more = torch.full((4, 3), filler)
        padded[name] = torch.cat([padded[name], more], 1)
    found = []
    with Distill(losses=(loss,), hard_weight=0.0).attach(student, teacher=teacher) as attachment:
        for inputs in (short, padded):
            student(**inputs)
            found.append(attachment.loss(torch.zeros(())))

    assert torch.allclose(found[0], found[1], rtol=1e-4)  # sums in another order


def test_a_teacher_is_asked_for_where_one_is_needed(loss: Loss) -> None:
    technique = Distill(losses=(loss,))
    if loss.needs_teacher:
        with pytest.raises(TrainingError, match=r"needed teacher= for Distill.attach"):
            technique.attach(encoder(0))
    else:
        technique.attach(encoder(0)).detach()
