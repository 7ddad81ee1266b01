"""What cannot be distilled is refused in words that say what to do."""

from __future__ import annotations

from typing import Any

import pytest

from gossamer.errors import RecipeError, TrainingError

torch = pytest.importorskip("torch")
from gossamer.train.losses.attention_maps import AttentionMaps  # noqa: E402
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


def attach(technique: Distill, student: Any, teacher: Any, **known: Any) -> Any:
    return technique.attach(student, optimizer_of(student), teacher=teacher, **known)


def test_a_teacher_that_shares_what_is_trained_is_refused() -> None:
    student = encoder(0)
    with pytest.raises(TrainingError, match=r"shares 21 parameters with it, embeddings.weight"):
        attach(Distill(), student, student)


def test_another_vocabulary_is_refused_before_an_id_reaches_the_teacher() -> None:
    student, teacher = encoder(0), encoder(1)
    teacher.embeddings = torch.nn.Embedding(20, 8)
    with pytest.raises(TrainingError, match=r"of 30 tokens in the student and of 20 in the teach"):
        attach(Distill(), student, teacher)


def test_a_teacher_that_cannot_take_the_inputs_is_named() -> None:
    student = encoder(0).train()
    with (
        attach(Distill(), student, torch.nn.Linear(2, 3)),
        pytest.raises(TrainingError, match="a teacher that takes what the student takes"),
    ):
        student(**batch())


@pytest.mark.parametrize(
    ("technique", "message"),
    [
        (Distill(losses=(Features(student=("layers.0",)),)), r"a module called layers.0 in Enc"),
        (Distill(losses=(AttentionMaps(teacher=("*.nothing",)),)), r"called \*.nothing in Enc"),
        (Distill(losses=(Relations(student_layer=2),)), "a layer 2 in Encoder; received 2 layers"),
        (Distill(losses=(Features(),), cache=True), "losses of logits only"),
    ],
)
def test_layers_that_are_not_there_are_named_at_once(technique: Distill, message: str) -> None:
    student, teacher = encoder(0), encoder(1)
    with pytest.raises(TrainingError, match=message):
        attach(technique, student, teacher)
    assert [h for m in student.modules() for h in m._forward_hooks] == []


def test_other_widths_need_a_batch_and_an_optimizer() -> None:
    student, teacher = encoder(0).train(), encoder(1, **WIDE)
    with attach(HIDDEN, student, teacher) as attachment:
        student(**batch())
        with pytest.raises(TrainingError, match=r"needed batches= for Distill.attach"):
            attachment.loss(torch.zeros(()))
    with pytest.raises(TrainingError, match=r"needed optimizer= for Distill.attach"):
        HIDDEN.attach(student, teacher=teacher, batches=batches)
    with pytest.raises(TrainingError, match="a batch from batches="):
        attach(HIDDEN, student, teacher, batches=lambda: iter(()))
    with (
        attach(HIDDEN, student, teacher, batches=batches),
        pytest.raises(TrainingError, match="a student that is not distilled yet"),
    ):
        attach(HIDDEN, student, teacher, batches=batches)


def test_an_exit_with_other_classes_is_named() -> None:
    student = encoder(0).train()
    technique = Distill(losses=(SelfDistillation(exits=("layer.0",)),))
    with technique.attach(student) as attachment:
        student(**batch())
        with pytest.raises(TrainingError, match=r"from the exit layer.0"):
            attachment.loss(torch.zeros(()))


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(RecipeError, match="at least one loss"):
        Distill(losses=())
    with pytest.raises(RecipeError, match="a hard-weight of at least 0"):
        Distill(hard_weight=-1.0)
    with pytest.raises(RecipeError, match="an imitation between 0 and 1"):
        SelfDistillation(imitation=2.0)


class Odd(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Gives what it is told to, and has a layer that it never runs."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.unused = torch.nn.Linear(2, 2)
        self.used = torch.nn.Linear(2, 2)
        self.output = output

    def forward(self, x: Any) -> Any:
        self.used(x)
        return self.output


@pytest.mark.parametrize(
    ("output", "received"),
    [({"last_hidden_state": 1}, "dict with last_hidden_state"), ((1, "a"), "tuple"), (3, "int")],
)
def test_a_model_without_logits_is_told_what_it_gave(output: Any, received: str) -> None:
    student = Odd(output)
    with (
        attach(Distill(), student, Odd(output)),
        pytest.raises(TrainingError, match=f"received {received}"),
    ):
        student(torch.zeros(1, 2))


def layer_losses(shape: tuple[int, ...], student: str, teacher: str) -> Any:
    """The loss of one step that compares one layer of two Odd models."""
    mine, theirs = Odd(torch.zeros(1, 2)), Odd(torch.zeros(1, 2))
    theirs.used = torch.nn.Unflatten(-1, shape)
    technique = Distill(losses=(Features(student=(student,), teacher=(teacher,)),))
    values = torch.zeros(1, 2)
    with attach(technique, mine, theirs, batches=lambda: [{"x": values}]) as attachment:
        mine(values)
        return attachment.loss(torch.zeros(()))


def test_layers_that_cannot_be_compared_are_named() -> None:
    with pytest.raises(TrainingError, match="a forward pass that runs the module unused"):
        layer_losses((2,), "unused", "used")
    with pytest.raises(TrainingError, match="as many dimensions in both models"):
        layer_losses((2, 1), "used", "used")


def images(stride: int) -> Any:
    """A classifier of images with maps of features of some size."""
    conv = torch.nn.Conv2d(3, 4, 3, padding=1, stride=stride)
    return torch.nn.Sequential(
        conv, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Features(student=("0",), teacher=("0",)), "hidden states that differ in their width only"),
        (
            SelfDistillation(exits=("3",), features=("0", "1")),
            r"features that differ in their width only; received \[2, 4, 6, 6\]",
        ),
    ],
)
def test_images_of_features_of_other_sizes_are_named(loss: Any, message: str) -> None:
    student, labels = images(1).train(), torch.zeros(2, dtype=torch.long)
    with attach(Distill(losses=(loss,)), student, images(2)) as attachment:
        student(torch.rand(2, 3, 6, 6))
        with pytest.raises(TrainingError, match=message):
            attachment.loss(torch.zeros(()), labels)


def test_other_numbers_of_heads_are_refused_by_maps_and_taken_by_relations() -> None:
    student, teacher = encoder(0).train(), encoder(1, heads=4)
    losses = (Relations(), AttentionMaps())
    for loss, message in zip(losses, (None, "attention maps of one shape"), strict=True):
        with attach(Distill(losses=(loss,)), student, teacher) as attachment:
            student(**batch())
            if message is None:
                assert attachment.loss(torch.zeros(())) > 0
                continue
            with pytest.raises(TrainingError, match=message):
                attachment.loss(torch.zeros(()))


def test_models_that_embed_no_tokens_have_no_vocabulary_to_compare() -> None:
    class Silent(type(images(1))):  # type: ignore[misc]
        def get_input_embeddings(self) -> Any:
            raise NotImplementedError

    student, teacher = Silent(*images(1)), Silent(*images(1))

    attach(Distill(), student, teacher).detach()
