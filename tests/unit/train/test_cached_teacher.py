"""A teacher that is asked once for each sample gives what it would give each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gossamer.errors import TrainingError

torch = pytest.importorskip("torch")
from gossamer.train.cached_teacher import CachedTeacher  # noqa: E402
from gossamer.train.losses.mse import Mse  # noqa: E402
from gossamer.train.techniques.distill import Distill  # noqa: E402
from zoo.encoder import batch, encoder  # noqa: E402

pytestmark = pytest.mark.torch


class Tagger(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Classes of each token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(30, 5)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return {"logits": self.embed(input_ids).cumsum(1)}


def inputs(seed: int = 0) -> dict[str, Any]:
    found = batch(seed)
    del found["labels"]
    return found


def padded(short: dict[str, Any], more: int) -> dict[str, Any]:
    return {name: torch.nn.functional.pad(value, (0, more)) for name, value in short.items()}


def test_known_samples_get_the_very_same_logits_and_cost_nothing() -> None:
    teacher = encoder(1).eval()
    cached = CachedTeacher(teacher).eval()
    with torch.no_grad():
        wanted = [teacher(**inputs(seed)) for seed in range(3)]

    first, again = ([cached(**inputs(seed)) for seed in range(3)] for _ in range(2))

    assert all(torch.equal(a, b) for a, b in zip(wanted, first, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(wanted, again, strict=True))
    assert cached.asked == 12


def test_batches_may_be_shuffled_and_padded_otherwise() -> None:
    cached = CachedTeacher(encoder(1)).eval()
    both = {k: torch.cat([inputs(0)[k], inputs(1)[k]]) for k in inputs()}
    whole = cached(**both)
    order = [5, 0, 7, 2]

    found = cached(**padded({k: v[order] for k, v in both.items()}, 3))

    assert torch.equal(found, whole[order])
    assert cached.asked == 8


def test_only_unknown_samples_of_a_batch_are_computed() -> None:
    teacher = encoder(1).eval()
    cached = CachedTeacher(teacher).eval()
    cached(**inputs(0))
    mixed = {k: torch.cat([inputs(0)[k][:2], inputs(1)[k]]) for k in inputs()}

    found = cached(**mixed)

    with torch.no_grad():  # rows of another batch size are summed in another order
        assert torch.allclose(found, teacher(**mixed), rtol=1e-5, atol=1e-6)
    assert cached.asked == 8


def test_logits_of_tokens_are_kept_without_padding() -> None:
    teacher = Tagger().eval()
    cached = CachedTeacher(teacher).eval()
    cached(**inputs())

    found = cached(**padded(inputs(), 2))

    real = padded(inputs(), 2)["attention_mask"].bool()
    with torch.no_grad():
        assert torch.equal(found[real], teacher(**padded(inputs(), 2))["logits"][real])
    assert found.shape == (4, 8, 5)
    assert (found[~real] == 0).all()
    assert cached.asked == 4


def test_padding_in_front_makes_another_sample() -> None:
    cached = CachedTeacher(encoder(1)).eval()
    cached(**inputs())
    in_front = {k: torch.nn.functional.pad(v, (2, 0)) for k, v in inputs().items()}

    cached(**in_front)

    assert cached.asked == 8


def test_a_full_cache_keeps_what_it_has_and_asks_for_the_rest() -> None:
    cached = CachedTeacher(encoder(1), max_bytes=4 * 3 * 4).eval()  # four samples of three floats
    for seed in (0, 1, 0, 1):
        cached(**inputs(seed))

    assert cached.asked == 4 + 4 + 0 + 4


def test_a_folder_keeps_logits_for_the_same_teacher_only(tmp_path: Path) -> None:
    wanted = CachedTeacher(encoder(1), folder=tmp_path).eval()(**inputs())

    again = CachedTeacher(encoder(1), folder=tmp_path).eval()
    other = CachedTeacher(encoder(2), folder=tmp_path).eval()

    assert torch.equal(again(**inputs()), wanted)
    assert again.asked == 0
    assert not torch.equal(other(**inputs()), wanted)
    assert other.asked == 4


def test_halves_come_back_from_a_folder_as_the_same_numbers(tmp_path: Path) -> None:
    teacher = torch.nn.Linear(3, 2).bfloat16()
    values = torch.rand(4, 3).bfloat16()
    wanted = CachedTeacher(teacher, folder=tmp_path).eval()(values)

    again = CachedTeacher(teacher, folder=tmp_path).eval()

    assert torch.equal(again(values), wanted.float())
    assert again.asked == 0


def test_a_teacher_in_training_mode_keeps_nothing() -> None:
    cached = CachedTeacher(encoder(1)).train()
    cached(**inputs())
    cached.eval()(**inputs())

    assert cached.asked == 8


def test_training_with_kept_logits_is_training_with_the_teacher() -> None:
    curves = []
    for cache in (False, True):
        student = encoder(0).train()
        optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
        technique = Distill(losses=(Mse(),), hard_weight=0.0, cache=cache)
        with technique.attach(student, optimizer, teacher=encoder(1)) as attachment:
            curve = []
            for epoch in range(3):
                for seed in range(2):
                    torch.manual_seed(10 * epoch + seed)
                    student(**batch(seed))
                    loss = attachment.loss(torch.zeros(()))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    curve.append(loss.item())
        curves.append(curve)

    assert curves[0] == curves[1]


def test_inputs_that_have_no_bytes_to_tell_apart_are_refused() -> None:
    with pytest.raises(TrainingError, match="kept; received input of list"):
        CachedTeacher(torch.nn.Linear(1, 1)).eval()([1.0])


def test_logits_of_other_shapes_in_one_batch_are_refused() -> None:
    class Ends(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return {"start_logits": input_ids.float(), "end_logits": input_ids.float()}

    cached = CachedTeacher(Ends()).eval()
    assert cached(**inputs()).shape == (4, 2, 6)
    longer = padded(inputs(), 3)
    mixed = {k: torch.cat([longer[k], padded(inputs(1), 3)[k]]) for k in longer}

    with pytest.raises(TrainingError, match="logits of one shape for all samples"):
        cached(**mixed)
