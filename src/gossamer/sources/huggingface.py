"""Hugging Face models: a folder as `save_pretrained` writes it, or an id on the hub."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import carried
from gossamer.errors import SourceError
from gossamer.plugins import require
from gossamer.source import FloatModel, Source, TrainableModel
from gossamer.sources._quiet import quiet_transformers

if TYPE_CHECKING:
    from torch import nn

    from gossamer.sources._opened import Description

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What belongs beside a compressed model: configuration, tokenizer, processor. Never weights.
_COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "*processor_config.json",
    "chat_template.*",
)
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
_NUMBERS = (carried.FILE,)
_TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForImageClassification": "image-classification",
    "ForCausalLM": "causal-lm",
    "LMHeadModel": "causal-lm",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class HuggingFace(Source):
    """A transformers model from safetensors, loaded as float32 with the head its config names."""

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether `text` is a folder with a config, or an `org/name` that is no path."""
        path = Path(text)
        if path.exists():
            return (path / "config.json").is_file()
        return bool(_HUB_ID.fullmatch(text)) and not text.endswith(".onnx")

    def open(self, cache: Path) -> FloatModel:
        """The exported model, with the files that belong beside it.

        Raises:
            SourceError: The folder lacks a config or safetensors, the config names no class that
                transformers has, weights are missing or damaged, the hub cannot be reached.
            ExportError: The graph and the module give different numbers.
            MissingDependency: torch or transformers is not installed.
        """
        from gossamer.sources._module import export_key
        from gossamer.sources._opened import opened

        folder, config = self._folder()
        digest = _digest(folder)
        found = opened(cache, export_key(digest), lambda out: _write(folder, config, out))
        return replace(
            found.model(digest, kind="Hugging Face", origin=self.text),
            folder=folder,
            companions=_files(folder, _COMPANIONS),
            task=_task(config),
        )

    def trainable(self) -> TrainableModel:
        """The transformers module.

        Raises:
            SourceError: As for `open`.
            MissingDependency: torch or transformers is not installed.
        """
        folder, config = self._folder()
        return _trainable(folder, config)

    def _folder(self) -> tuple[Path, dict[str, Any]]:
        path = Path(self.text)
        folder = path if path.exists() else _downloaded(self.text)
        return folder, _read_config(folder)


def _digest(folder: Path) -> str:
    """sha256 over what the model is made of."""
    from gossamer.sources._onnx_read import digest_of

    files = (*_files(folder, _COMPANIONS), *_files(folder, _WEIGHTS), *_files(folder, _NUMBERS))
    names = tuple(file.name for file in files if file.name != "config.json")
    return digest_of(folder / "config.json", names)


def _downloaded(hub_id: str) -> Path:
    """The folder of a hub model, fetched because the user named it; from the cache if offline."""
    hub = require("huggingface_hub", "hf", "Hugging Face models")
    try:
        folder = hub.snapshot_download(hub_id, allow_patterns=[*_COMPANIONS, *_WEIGHTS])
    except Exception as error:
        from gossamer.sources import nearby

        raise SourceError(
            f"the Hugging Face model {hub_id!r}, which is also no path here",
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            f"Check the name and the network, or give a local folder. {nearby(Path(hub_id))}",
        ) from error
    return Path(folder)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(
            f"a readable {path}",
            f"{type(error).__name__}: {error}",
            "Save the model again with save_pretrained.",
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise SourceError(
            f"a transformers configuration in {path}",
            "one without model_type",
            "Give the folder that save_pretrained wrote.",
        )
    if "quantization_config" in config:
        raise SourceError(
            "float weights",
            f"{folder}, whose weights are quantized already (quantization_config)",
            "Give the model that it was quantized from.",
        )
    if not _files(folder, _WEIGHTS):
        raise _no_weights(folder)
    return config


def _no_weights(folder: Path) -> SourceError:
    graphs = sorted(p.relative_to(folder).as_posix() for p in folder.glob("**/*.onnx"))
    others = sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".h5"})
    if graphs:
        hint = f"Give the ONNX file itself: {folder / graphs[0]}."
    elif others:
        hint = (
            "Pickled weights can run code and are not read: load the model in transformers and "
            "save it with save_pretrained, which writes safetensors."
        )
    else:
        hint = "Copy model.safetensors into it."
    return SourceError(
        "weights in model.safetensors",
        f"{folder} with {', '.join(others + graphs) or 'none'}",
        hint,
    )


def _files(folder: Path, patterns: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(sorted({p for pattern in patterns for p in folder.glob(pattern) if p.is_file()}))


def _task(config: dict[str, Any]) -> str | None:
    """The task that the head is for; regression and multi-label heads have none of ours."""
    architecture = (config.get("architectures") or [""])[0]
    if config.get("problem_type") not in {None, "single_label_classification"}:
        return None
    if len(config.get("id2label") or "two") < 2 or config.get("num_labels") == 1:
        return None
    return next((task for end, task in _TASKS.items() if architecture.endswith(end)), None)


def _write(folder: Path, config: dict[str, Any], out: Path) -> Description:
    from gossamer.sources._module import write_module

    return write_module(_trainable(folder, config), out, folder)


def _trainable(folder: Path, config: dict[str, Any]) -> TrainableModel:
    from gossamer.sources._example import example_of

    module = _loaded(folder, config)
    example = example_of(module, image=_image_size(folder))
    return TrainableModel(
        module=module, example=example, digest=_digest(folder), ranges=carried.beside(folder)
    )


def _loaded(folder: Path, config: dict[str, Any]) -> nn.Module:
    torch = require("torch", "hf", "Hugging Face models")
    transformers = require("transformers", "hf", "Hugging Face models")
    require("safetensors", "hf", "Hugging Face models")
    loader = _loader(transformers, config)
    try:
        with quiet_transformers(transformers):
            module, report = loader.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                # Plain attention exports to fewer nodes than torch's fused one, and fuses better.
                attn_implementation="eager",
                output_loading_info=True,
            )
    except Exception as error:
        raise SourceError(
            f"a model that transformers {transformers.__version__} loads from {folder}",
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            "Copy the folder again, or upgrade transformers if the model is newer.",
        ) from error
    missing = sorted(report["missing_keys"])
    if missing or report["mismatched_keys"]:
        named = missing or [str(key) for key in report["mismatched_keys"]]
        raise SourceError(
            f"a weight for every parameter of {type(module).__name__}",
            f"{folder} without {', '.join(named[:3])}" + (" …" if len(named) > 3 else ""),
            "They would be random: train the model's head first, or correct `architectures`.",
        )
    if hasattr(module.config, "use_cache"):
        module.config.use_cache = False
    return module.eval()  # type: ignore[no-any-return]


def _loader(transformers: Any, config: dict[str, Any]) -> Any:
    name = (config.get("architectures") or ["AutoModel"])[0]
    loader = getattr(transformers, name, None)
    if loader is None:
        near = difflib.get_close_matches(name, dir(transformers), n=2)
        guess = f"Near it: {', '.join(near)}. " if near else ""
        custom = "Its own code is not run. " if "auto_map" in config else ""
        raise SourceError(
            f"an architecture that transformers {transformers.__version__} has",
            f"{name!r} in config.json",
            f"{custom}{guess}Write a factory and name it as package.module:factory.",
        )
    return loader


def _image_size(folder: Path) -> tuple[int, int] | None:
    """Height and width that a preprocessor cuts images to, for configs that name none."""
    try:
        settings = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    size = settings.get("crop_size") or settings.get("size")
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    if isinstance(size, dict) and "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return None
