"""Distillation in somebody's own loop: what the teacher sees, what is trained, what is left."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gossamer import plugins
from gossamer.errors import TrainingError

torch = pytest.importorskip("torch")
from gossamer.train.losses.dkd import Dkd  # noqa: E402
from gossamer.train.losses.features import Features  # noqa: E402
from gossamer.train.losses.layer_pairs import LayerPairs  # noqa: E402
from gossamer.train.losses.logits import Logits  # noqa: E402
from gossamer.train.losses.relations import Relations  # noqa: E402
from gossamer.train.losses.self_distillation import SelfDistillation  # noqa: E402
from gossamer.train.techniques.distill import Distill  # noqa: E402
from zoo.encoder import batch, encoder  # noqa: E402

pytestmark = pytest.mark.torch
WIDE = {"layers": 4, "width": 12, "heads": 2}
HIDDEN = Distill(losses=(Logits(), Features(), LayerPairs(weight=0.5)))


def batches() -> Any:
    return iter([batch()])


def optimizer_of(model: Any) -> Any:
    return torch.optim.Adam(model.parameters(), lr=0.01)


def state(model: Any) -> dict[str, Any]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def train(model: Any, optimizer: Any, attachment: Any, seeds: range) -> list[float]:
    """Steps that depend on their seed alone, dropout included."""
    model.train()
    losses = []
    for seed in seeds:
        torch.manual_seed(seed)
        inputs = batch(seed)
        task = torch.nn.functional.cross_entropy(model(**inputs), inputs["labels"])
        loss = attachment.loss(task)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("returns", ["tensor", "tuple", "mapping"])
def test_the_loss_is_the_weighted_sum_for_all_that_a_module_may_return(returns: str) -> None:
    student, teacher = encoder(0, returns=returns).train(), encoder(1, layers=3, returns=returns)
    technique = Distill(losses=(Logits(weight=3.0), Dkd(weight=0.1)), hard_weight=0.25)
    task = torch.tensor(2.0)

    with technique.attach(student, teacher=teacher) as attachment:
        student(**batch())
        found = attachment.loss(task)

    terms = attachment.terms
    assert list(terms) == ["logits", "dkd"]
    assert torch.allclose(found, 0.25 * task + 3 * terms["logits"] + 0.1 * terms["dkd"])


def test_the_teacher_stays_as_it_is_and_runs_without_dropout() -> None:
    student, teacher = encoder(0).train(), encoder(1).train()
    teacher.layer[0].eval()
    before, modes = state(teacher), [m.training for m in teacher.modules()]
    with torch.no_grad():
        wanted = copy.deepcopy(teacher).eval()(**batch())
    seen = []
    hook = teacher.register_forward_hook(lambda _module, _args, output: seen.append(output))
    optimizer = optimizer_of(student)

    with Distill().attach(student, optimizer, teacher=teacher) as attachment:
        train(student, optimizer, attachment, range(3))
    hook.remove()

    assert torch.equal(seen[0], wanted)
    assert not seen[0].requires_grad
    assert same(state(teacher), before)
    assert [m.training for m in teacher.modules()] == modes
    assert all(p.grad is None for p in teacher.parameters())


def test_the_teacher_gets_no_labels_and_runs_in_training_alone() -> None:
    student, teacher = encoder(0), encoder(1)
    calls: list[dict[str, Any]] = []
    teacher.register_forward_pre_hook(
        lambda _module, _args, kwargs: calls.append(kwargs), with_kwargs=True
    )
    with Distill().attach(student, teacher=teacher) as attachment:
        student.train()(**batch())
        assert [sorted(kwargs) for kwargs in calls] == [["attention_mask", "input_ids"]]
        with torch.no_grad():
            student(**batch())
        student.eval()(**batch())
        assert attachment.loss(torch.tensor(5.0)) == 5.0
    student.train()(**batch())

    assert len(calls) == 1


def test_a_loss_without_a_forward_pass_is_refused() -> None:
    student = encoder(0).train()
    with Distill().attach(student, teacher=encoder(1)) as attachment:
        with pytest.raises(TrainingError, match="a forward pass of the student"):
            attachment.loss(torch.zeros(()))
        student(**batch())
        attachment.loss(torch.zeros(()))
        with pytest.raises(TrainingError, match="none since it was attached or since the last"):
            attachment.loss(torch.zeros(()))


def test_adapters_between_other_widths_are_trained_and_leave_with_the_attachment() -> None:
    student, teacher = encoder(0), encoder(1, **WIDE)
    keys, optimizer = set(student.state_dict()), optimizer_of(student)

    attachment = HIDDEN.attach(student, optimizer, teacher=teacher, batches=batches)
    added = {k: v for k, v in state(student).items() if k not in keys}
    train(student, optimizer, attachment, range(2))
    trained = state(student)

    assert len(added) == 2 + 3  # layers; embeddings and layers
    assert all(tuple(v.shape) == (12, 8) for v in added.values())
    assert all(not torch.equal(trained[k], v) for k, v in added.items())
    assert sum(len(group["params"]) for group in optimizer.param_groups[1:]) == 5

    attachment.detach()
    attachment.detach()
    assert set(student.state_dict()) == keys
    hooks = [h for m in (*student.modules(), *teacher.modules()) for h in m._forward_hooks]
    assert hooks == []
    optimizer.step()


def test_a_detached_student_computes_the_same() -> None:
    student, teacher = encoder(0), encoder(1, **WIDE)
    optimizer = optimizer_of(student)
    attachment = HIDDEN.attach(student, optimizer, teacher=teacher, batches=batches)
    train(student, optimizer, attachment, range(1))
    attached = student.eval()(**batch())

    attachment.detach()

    assert torch.equal(student(**batch()), attached)


def test_looking_for_widths_leaves_student_and_random_numbers_alone() -> None:
    student = encoder(0).train()
    student.layer[1].eval()
    before, modes = state(student), [m.training for m in student.modules()]
    random = torch.get_rng_state()

    with HIDDEN.attach(student, optimizer_of(student), teacher=encoder(1), batches=batches):
        assert same(state(student), before)  # equal widths: no adapters
        assert [m.training for m in student.modules()] == modes
        assert torch.equal(torch.get_rng_state(), random)


def test_training_goes_on_exactly_from_state_dicts() -> None:
    teacher = encoder(1, **WIDE)

    def begun() -> tuple[Any, Any, Any]:
        student = encoder(0)
        optimizer = optimizer_of(student)
        attached = HIDDEN.attach(student, optimizer, teacher=teacher, batches=batches)
        return student, optimizer, attached

    torch.manual_seed(0)
    student, optimizer, attached = begun()
    train(student, optimizer, attached, range(2))
    kept = state(student), copy.deepcopy(optimizer.state_dict())
    train(student, optimizer, attached, range(2, 4))

    other, other_optimizer, other_attached = begun()  # adapters drawn anew
    other.load_state_dict(kept[0])
    other_optimizer.load_state_dict(kept[1])
    train(other, other_optimizer, other_attached, range(2, 4))

    assert same(state(other), state(student))


def test_a_schedule_made_after_attaching_steps() -> None:
    student, teacher = encoder(0), encoder(1, **WIDE)
    optimizer = optimizer_of(student)
    with HIDDEN.attach(student, optimizer, teacher=teacher, batches=batches) as attachment:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
        train(student, optimizer, attachment, range(1))
        schedule.step()
    train(student, optimizer, Unchanged(), range(1))
    schedule.step()


class Unchanged:
    def loss(self, loss: Any) -> Any:
        return loss


def test_every_loss_at_once_teaches_the_student() -> None:
    torch.manual_seed(0)  # adapters are drawn
    student, teacher = encoder(0), encoder(1, **WIDE)
    kinds = [plugins.load("losses", name) for name in plugins.names("losses")]
    optimizer = optimizer_of(student)
    technique = Distill(losses=tuple(kind(weight=0.5) for kind in kinds), hard_weight=0.1)
    with technique.attach(student, optimizer, teacher=teacher, batches=batches) as attachment:
        curve = train(student, optimizer, attachment, range(60))

    assert len(attachment.terms) == len(kinds)
    assert sum(curve[-10:]) < 0.9 * sum(curve[:10])


def test_two_losses_of_a_kind_have_names_and_adapters_of_their_own() -> None:
    student, teacher = encoder(0).train(), encoder(1, **WIDE)
    losses = Features(student=("layer.0",), teacher=("layer.1",)), Features(distance="cosine")
    technique = Distill(losses=losses)
    with technique.attach(
        student, optimizer_of(student), teacher=teacher, batches=batches
    ) as attachment:
        student(**batch())
        attachment.loss(torch.zeros(()))
        assert list(attachment.terms) == ["features", "features_2"]
        assert sum(n.startswith("distillation_") for n, _ in student.named_parameters()) == 3


def test_what_a_model_teaches_its_exits_does_not_change_what_teaches() -> None:
    student = encoder(0).train()
    loss = SelfDistillation(imitation=1.0, features=("layer.0", "layer.1"))
    with Distill(losses=(loss,), hard_weight=0.0).attach(student) as attachment:
        student(**batch())
        attachment.loss(torch.zeros(())).backward()

    assert student.head.weight.grad is None
    assert all(p.grad is None for p in student.layer[1].parameters())
    assert student.exits[0].weight.grad.abs().sum() > 0


def test_labels_may_come_with_the_loss_and_the_task_may_have_none() -> None:
    inputs = batch()
    labels = inputs.pop("labels")
    student = encoder(0).train()
    technique = Distill(losses=(SelfDistillation(),), hard_weight=0.0)
    with technique.attach(student) as attachment:
        student(**inputs)
        assert attachment.loss(torch.tensor(float("nan")), labels).isfinite()


def test_images_get_a_convolution_of_one_pixel_between_channels() -> None:
    def net(width: int) -> Any:
        conv = torch.nn.Conv2d(3, width, 3, padding=1)
        return torch.nn.Sequential(
            conv, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(width, 4)
        )

    student, teacher = net(4).train(), net(6)
    images = torch.rand(2, 3, 5, 5)
    technique = Distill(losses=(Features(student=("0",), teacher=("0",)),), hard_weight=0.0)
    optimizer = optimizer_of(student)
    with technique.attach(
        student, optimizer, teacher=teacher, batches=lambda: [{"input": images}]
    ) as attachment:
        before = student.distillation_features_0.clone()
        student(images)
        attachment.loss(torch.zeros(())).backward()
        optimizer.step()
        assert not torch.equal(student.distillation_features_0, before)


def test_a_recipe_can_name_it_with_its_losses() -> None:
    value = {"distill": {"losses": ["dkd", {"relations": {"heads": 4}}], "hard-weight": 0.1}}
    wanted = Distill(losses=(Dkd(), Relations(heads=4)), hard_weight=0.1)

    assert plugins.parse("techniques", value) == wanted
    assert plugins.parse("techniques", plugins.dump(wanted)) == wanted
