"""The step `shrink` on encoders of transformers: neurons, heads, layers, and their files."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from gossamer.errors import TrainingError
from gossamer.train.prune import saved
from gossamer.train.prune.cost import cost
from gossamer.train.prune.criteria.snip import Snip
from gossamer.train.prune.groups import coupled
from gossamer.train.steps.shrink import Shrink, example
from zoo import encoders

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch.jit inside transformers
]
# their attention cuts and places values in ways that no rule follows, or asks the config for heads
HEADS_STAY = {
    "Longformer": "heads that can be removed",
    "Reformer": "heads that can be removed",
    "GPT2": "heads that can be removed",
    "Funnel": "a slim model that runs",
}
LAYERS_STAY = {"Albert": "a stack of layers", "Funnel": "a number for num_hidden_layers"}
TWO_STACKS = {"MBart"}  # of which one is cut, but its config has one number for both
NO_WIDTH = {"Flaubert"}  # whose config says nothing of it


@pytest.fixture(params=encoders.OWN)
def architecture(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def shrunk(model: nn.Module, folder: Path, step: Shrink) -> nn.Module:
    return step.apply(copy.deepcopy(model), encoders.context(folder, name_of(model)))


def name_of(model: nn.Module) -> str:
    return type(model).__name__.removesuffix("ForSequenceClassification")


def loaded(model: nn.Module, folder: Path) -> nn.Module:
    import transformers

    assert saved.save(model, folder) is None
    kind = getattr(transformers, type(model).__name__)
    plain: nn.Module = kind.from_pretrained(folder)
    return plain.eval()


def macs(model: nn.Module) -> int:
    return cost(model, example(model, encoders.batch(name_of(model)))).macs


def test_half_of_the_neurons_go_and_transformers_loads_the_rest(
    architecture: str, tmp_path: Path
) -> None:
    model = encoders.make(architecture)

    slim = shrunk(model, tmp_path, Shrink(ffn=0.5))  # which compares it with the masked model

    assert macs(slim) < 0.85 * macs(model)
    if architecture in NO_WIDTH:
        assert "its config makes it" in str(saved.loads_without(slim))
        return
    plain = loaded(slim, tmp_path)
    torch.testing.assert_close(encoders.logits(plain), encoders.logits(slim), atol=1e-6, rtol=1e-6)


def test_half_of_the_heads_go_and_the_folder_says_why_it_needs_gossamer(
    architecture: str, tmp_path: Path
) -> None:
    model = encoders.make(architecture)
    if architecture in HEADS_STAY:
        with pytest.raises(TrainingError, match=HEADS_STAY[architecture]):
            shrunk(model, tmp_path, Shrink(heads=0.5))
        return

    slim = shrunk(model, tmp_path, Shrink(heads=0.5, criterion=Snip()))
    reason = saved.save(slim, tmp_path)

    assert "its config makes it" in str(reason)
    assert (tmp_path / "config.json").is_file()
    again = saved.load(lambda: encoders.make(architecture), tmp_path)
    assert torch.equal(encoders.logits(again), encoders.logits(slim))
    assert macs(slim) < macs(model)


def test_layers_go_and_transformers_loads_the_rest(architecture: str, tmp_path: Path) -> None:
    model = encoders.make(architecture)
    if architecture in LAYERS_STAY:
        with pytest.raises(TrainingError, match=LAYERS_STAY[architecture]):
            shrunk(model, tmp_path, Shrink(layers=(0, 2)))
        return

    slim = shrunk(model, tmp_path, Shrink(layers=(0, 2)))

    if architecture in TWO_STACKS:
        assert "its config makes it" in str(saved.save(slim, tmp_path))
        again = saved.load(lambda: encoders.make(architecture), tmp_path)
    else:
        again = loaded(slim, tmp_path)
    torch.testing.assert_close(encoders.logits(again), encoders.logits(slim))
    stays = {path.replace(".2.", ".1.") for path in state(model) if ".1." not in path}
    assert set(state(slim)) <= {*stays, *state(model)}
    assert len(list(slim.parameters())) < len(list(model.parameters()))


def test_a_layer_that_computes_by_its_number_needs_gossamer(tmp_path: Path) -> None:
    """GPT-2's third layer divides by 3; where it becomes the second, its config makes it 2."""
    model = encoders.make("GPT2", scale_attn_by_inverse_layer_idx=True)

    slim = shrunk(model, tmp_path, Shrink(layers=(0, 2)))

    assert "scaling" in str(saved.save(slim, tmp_path))
    made = lambda: encoders.make("GPT2", scale_attn_by_inverse_layer_idx=True)  # noqa: E731
    assert torch.equal(encoders.logits(saved.load(made, tmp_path)), encoders.logits(slim))


@pytest.mark.parametrize("layers", [(0, 2), (1, 2)])
def test_layers_of_several_kinds_keep_theirs(layers: tuple[int, ...], tmp_path: Path) -> None:
    kinds = ["local", "lsh", "local"]
    model = encoders.make("Reformer", attn_layers=kinds, lsh_attn_chunk_length=4, num_buckets=2)

    slim = shrunk(model, tmp_path, Shrink(layers=layers))

    assert slim.config.attn_layers == [kinds[i] for i in layers]  # type: ignore[union-attr]
    assert loaded(slim, tmp_path).state_dict().keys() == state(slim).keys()


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.state_dict())


def test_heads_that_stay_are_told_with_reasons(tmp_path: Path) -> None:
    model = encoders.make("Longformer")

    with pytest.raises(TrainingError, match=r"needed heads that can be removed.*as_strided"):
        shrunk(model, tmp_path, Shrink(heads=0.5))


def test_layers_keep_their_own_numbers(tmp_path: Path) -> None:
    model = encoders.make("Bert")

    slim = shrunk(model, tmp_path, Shrink(layers=(1, 2)))

    name = "bert.encoder.layer.{}.output.dense.weight"
    assert torch.equal(state(slim)[name.format(0)], state(model)[name.format(1)])
    assert torch.equal(state(slim)[name.format(1)], state(model)[name.format(2)])


@pytest.mark.parametrize("layers", [(0, 3), (1, 0), (1, 1)])
def test_layers_that_do_not_exist_or_do_not_rise_are_refused(
    layers: tuple[int, ...], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="rising numbers of layers among 0 to 2"):
        shrunk(encoders.make("Bert"), tmp_path, Shrink(layers=layers))


def test_layers_of_their_own_width_are_saved_with_their_sizes(tmp_path: Path) -> None:
    model = encoders.make("Bert")
    with torch.no_grad():  # the first layer hardly matters
        model.get_parameter("bert.encoder.layer.0.intermediate.dense.weight")[:40] *= 1e-3

    slim = shrunk(model, tmp_path, Shrink(ffn=0.25, uniform=False, layers=(0, 1)))

    groups = [
        len(g) for g in coupled(slim, example(slim, encoders.batch())).groups if g.kind == "neurons"
    ]
    assert len(set(groups[:2])) == 2
    assert "its config makes it" in str(saved.save(slim, tmp_path))
    again = saved.load(lambda: encoders.make("Bert"), tmp_path)
    assert torch.equal(encoders.logits(again), encoders.logits(slim))


def test_a_folder_of_another_architecture_is_refused(tmp_path: Path) -> None:
    slim = shrunk(encoders.make("Bert"), tmp_path, Shrink(heads=0.5))
    saved.save(slim, tmp_path)

    with pytest.raises(TrainingError, match="a slim model of RobertaForSequenceClassification in"):
        saved.load(lambda: encoders.make("Roberta"), tmp_path)
    with pytest.raises(TrainingError, match="FileNotFoundError"):
        saved.load(lambda: encoders.make("Bert"), tmp_path / "nowhere")


def test_a_module_that_is_not_of_transformers_is_said_to_be_none() -> None:
    assert saved.loads_without(nn.Linear(2, 2)) == "Linear is no model of transformers"
