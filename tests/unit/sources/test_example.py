"""The inputs that a module is exported with, taken from its configuration."""

from __future__ import annotations

from typing import Any

import pytest

from gossamer.errors import SourceError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from gossamer.sources._example import example_of  # noqa: E402

pytestmark = pytest.mark.torch
SMALL = {
    "vocab_size": 60,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 50,
}


def test_text_models_get_ids_a_mask_with_padding_and_token_types() -> None:
    module = transformers.BertModel(transformers.BertConfig(**SMALL))
    example = example_of(module)

    assert list(example.inputs) == ["input_ids", "attention_mask", "token_type_ids"]
    assert example.sequence == ("input_ids", "attention_mask", "token_type_ids")
    assert {tuple(x.shape) for x in example.inputs.values()} == {(2, 32)}
    assert 0 < int(example.inputs["attention_mask"][1].sum()) < 32
    assert example.longest == 50


def test_token_types_are_left_out_where_there_is_only_one() -> None:
    config = transformers.RobertaConfig(**SMALL, type_vocab_size=1, pad_token_id=1)

    assert list(example_of(transformers.RobertaModel(config)).inputs) == [
        "input_ids",
        "attention_mask",
    ]


def test_positions_kept_for_padding_shorten_the_longest_sequence() -> None:
    config = transformers.RobertaConfig(**SMALL, type_vocab_size=1, pad_token_id=1)

    assert example_of(transformers.RobertaModel(config)).longest == 48


def test_a_short_model_gets_a_short_example() -> None:
    module = transformers.BertModel(
        transformers.BertConfig(**(SMALL | {"max_position_embeddings": 9}))
    )

    assert example_of(module).inputs["input_ids"].shape == (2, 9)


class Picture(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A vision model as far as an example asks."""

    main_input_name = "pixel_values"

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.config = transformers.ViTConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "named", "shape"),
    [
        ({"image_size": 32, "num_channels": 1}, None, (2, 1, 32, 32)),
        ({"image_size": [40, 24]}, (64, 64), (2, 3, 40, 24)),
        ({"image_size": None}, (64, 48), (2, 3, 64, 48)),
        ({"image_size": None}, None, (2, 3, 224, 224)),
    ],
)
def test_images_have_the_size_of_the_model_or_of_its_preprocessor(
    settings: dict[str, Any], named: tuple[int, int] | None, shape: tuple[int, ...]
) -> None:
    module = Picture()
    for name, value in settings.items():
        object.__setattr__(module.config, name, value)
    example = example_of(module, image=named)

    assert example.inputs["pixel_values"].shape == shape
    assert example.sequence == ()


def test_a_model_of_two_parts_asks_for_example_inputs() -> None:
    config = transformers.T5Config(
        vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2
    )
    with pytest.raises(SourceError, match=r"with one part.*T5Model, which takes input_ids"):
        example_of(transformers.T5Model(config))
