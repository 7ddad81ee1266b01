"""The task that a user, a model and the presence of data ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.errors import RecipeError
from gossamer.tasks import choose
from gossamer.tasks.fidelity import Fidelity
from gossamer.tasks.image_classification import ImageClassification
from gossamer.tasks.text_classification import TextClassification
from zoo.judged import image_model, model, text_model


@pytest.mark.parametrize("name", ["image-classification", "image_classification"])
def test_a_name_is_that_task(name: str) -> None:
    assert choose(name, model(task="text-classification"), {}) == ImageClassification()


def test_without_a_name_the_model_decides() -> None:
    signature = image_model(task="image-classification")

    assert choose(None, signature, {}) == ImageClassification()


@pytest.mark.parametrize("task", [None, "video-classification"])
def test_without_a_known_task_it_is_fidelity(task: str | None) -> None:
    assert choose(None, model(task=task), {}) == Fidelity()


def test_without_data_there_are_no_labels_to_judge_by() -> None:
    signature = image_model(task="image-classification")

    assert choose(None, signature, {}, has_data=False) == Fidelity()


def test_what_the_model_decides_is_filled_in() -> None:
    signature = text_model(Path("no-such-folder"), classes=1)

    assert choose("text-classification", signature, {}) == TextClassification(metric="spearman")


def test_options_may_be_text_numbers_or_lists() -> None:
    options = {"size": "240x320", "crop": 224, "mean": "0.5, 0.4,0.3", "std": [1, 2, 3]}

    task = choose("image-classification", image_model(), {**options, "channel-order": "bgr"})

    assert task == ImageClassification(
        size=(240, 320), crop=(224,), mean=(0.5, 0.4, 0.3), std=(1, 2, 3), channel_order="bgr"
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fidelty", {}, "Did you mean fidelity"),
        ("image-classification", {"sise": 3}, "Did you mean size"),
        ("image-classification", {"size": "big"}, "a whole number for image-classification.size"),
        ("image-classification", {"channel_order": "xyz"}, "rgb, bgr"),
        ("text-classification", {"metric": "f2"}, "Did you mean f1"),
        ("fidelity", {"columns": "text=0"}, "a field of fidelity"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        choose(name, image_model(), options)
