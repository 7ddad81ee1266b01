"""What a module is called with while it is exported: the user's example, or one from its config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gossamer.errors import SourceError
from gossamer.source import ModuleExample

if TYPE_CHECKING:
    from torch import Tensor, nn

_TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_LENGTH = 32
_IMAGE = 224
_HINT = (
    "Let the factory return (module, example_inputs), a dict of tensors by parameter name, or set "
    "the module's attribute `example_inputs`."
)


def example_of(
    module: nn.Module, given: object = None, image: tuple[int, int] | None = None
) -> ModuleExample:
    """The example to export `module` with.

    1. What was given, or the module's attribute `example_inputs`: tensors by name or position.
    2. Else, from a transformers config: pixel_values, or input_ids with a mask and token types.

    Args:
        module: In eval mode.
        given: A tensor, a sequence of them or a dict by parameter name; None if there is none.
        image: Image size that a preprocessor's configuration names, if the model's does not.

    Raises:
        SourceError: There is no example, or it does not fit `forward`.
    """
    given = getattr(module, "example_inputs", None) if given is None else given
    config = getattr(module, "config", None)
    if given is not None:
        inputs = _batched(_bound(module, given))
        sequence = tuple(n for n, x in inputs.items() if n in _TEXT_INPUTS and x.dim() == 2)
        return ModuleExample(
            inputs=inputs, sequence=sequence, longest=_longest(module) if sequence else None
        )
    if not hasattr(config, "model_type"):
        raise SourceError(
            "example inputs for the module", f"{type(module).__name__} without any", _HINT
        )
    main = getattr(module, "main_input_name", "input_ids")
    if main == "pixel_values":
        return ModuleExample(inputs={main: _image(config, image)})
    if main == "input_ids" and not getattr(config, "is_encoder_decoder", False):
        return _text(module)
    raise SourceError(
        "a model of images (pixel_values) or of text with one part (input_ids)",
        f"{type(module).__name__}, which takes {main}",
        _HINT,
    )


def _bound(module: nn.Module, given: object) -> dict[str, Any]:
    import torch

    signature = inspect.signature(module.forward)
    try:
        if isinstance(given, Mapping):
            bound = signature.bind(**given)
        elif isinstance(given, tuple | list):
            bound = signature.bind(*given)
        else:
            bound = signature.bind(given)
    except TypeError as error:
        raise SourceError(
            f"example inputs that fit {type(module).__name__}.forward{signature}", str(error), _HINT
        ) from error
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            found |= value
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            raise SourceError(
                f"inputs with names in {type(module).__name__}.forward", f"*{name}", _HINT
            )
        elif value is not None:
            found[name] = value
    wrong = {n: type(x).__name__ for n, x in found.items() if not isinstance(x, torch.Tensor)}
    if wrong or not found:
        raise SourceError("example inputs that are torch tensors", str(wrong or "none"), _HINT)
    return found


def _batched(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs as float32 with at least two rows, for torch takes one row for a constant."""
    import torch

    batches = {x.shape[0] if x.dim() else 0 for x in inputs.values()}
    if len(batches) != 1 or 0 in batches:
        raise SourceError(
            "example inputs whose first axis is one common batch",
            ", ".join(f"{name} {list(x.shape)}" for name, x in inputs.items()),
            _HINT,
        )
    inputs = {
        name: (x.float() if x.is_floating_point() else x).detach().cpu().contiguous()
        for name, x in inputs.items()
    }
    if batches == {1}:
        inputs = {name: torch.cat([x, x]) for name, x in inputs.items()}
    return inputs


def _image(config: Any, named: tuple[int, int] | None) -> Tensor:
    import torch

    size = getattr(config, "image_size", None) or named or _IMAGE
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    channels = getattr(config, "num_channels", 3)
    rng = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, height, width, generator=rng)


def _text(module: nn.Module) -> ModuleExample:
    import torch

    config: Any = module.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    longest = _longest(module)
    length = min(_LENGTH, longest or _LENGTH)
    rng = torch.Generator().manual_seed(0)
    # The upper half of a vocabulary holds no padding or separators, which some models count.
    shape = (2, length)
    ids = torch.randint(text.vocab_size // 2, text.vocab_size, shape, generator=rng)
    mask = torch.ones_like(ids)
    mask[1, length - length // 4 :] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    parameters = inspect.signature(module.forward).parameters
    if "token_type_ids" in parameters and (getattr(text, "type_vocab_size", None) or 0) > 1:
        inputs["token_type_ids"] = torch.randint(0, 2, shape, generator=rng)
    inputs = {name: inputs[name] for name in parameters if name in inputs}
    return ModuleExample(inputs=inputs, sequence=tuple(inputs), longest=longest)


def _longest(module: nn.Module) -> int | None:
    """The longest sequence: the positions that there are, without those kept for padding."""
    config = getattr(module, "config", None)
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 2:
        return None
    for name, part in module.named_modules():
        padding = getattr(part, "padding_idx", None)
        if name.endswith("position_embeddings") and isinstance(padding, int):
            return positions - padding - 1  # RoBERTa counts positions from its padding index
    return positions
