"""What the configuration files of a Hugging Face folder say about data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gossamer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gossamer.source import FloatModel

_POSITIONS = ("max_position_embeddings", "n_positions")  # the second is GPT-2's
# position tables that begin after the padding token's place
_PADDED_POSITIONS = ("roberta", "xlm-roberta", "camembert", "longformer", "mpnet", "xlm-roberta-xl")


def read_json(folder: Path | None, name: str) -> dict[str, Any]:
    """The JSON object in a file of the folder; empty if there is none.

    Raises:
        DataError: The file is not a JSON object.
    """
    if folder is None or not (folder / name).is_file():
        return {}
    path = folder / name
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError("a JSON object", f"{path}: {error}", "Repair or remove it.") from error
    if not isinstance(value, dict):
        raise DataError("a JSON object", f"{path}: {type(value).__name__}", "Repair or remove it.")
    return value


def label_ids(model: FloatModel) -> dict[str, int]:
    """Class numbers by name as the model's own configuration has them; often empty."""
    config = read_json(model.folder, "config.json")
    names: Mapping[str, Any] = config.get("label2id") or {}
    if names:
        return {str(name): int(index) for name, index in names.items()}
    return {str(name): int(index) for index, name in (config.get("id2label") or {}).items()}


def max_positions(model: FloatModel) -> int | None:
    """The longest sequence that the model has positions for, if its configuration says."""
    config = read_json(model.folder, "config.json")
    most = next((config[key] for key in _POSITIONS if key in config), None)
    if not isinstance(most, int) or most <= 0:
        return None
    if config.get("model_type") in _PADDED_POSITIONS:
        return most - int(config.get("pad_token_id") or 1) - 1
    return most


def predicts_a_number(model: FloatModel) -> bool:
    """Whether the model gives one number per sample instead of one for each class."""
    config = read_json(model.folder, "config.json")
    if config.get("problem_type") == "regression":
        return True
    first = model.outputs[0].shape if model.outputs else None
    return bool(first) and first is not None and len(first) <= 2 and first[-1] == 1
