"""Tiny encoders of transformers with a classifier on top, one for each architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.step import ModuleContext

SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
NARROW = {"embedding_size": 16}
GROUPS = ("q_groups", "k_groups", "v_groups", "intermediate_groups", "output_groups")
OWN: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("Bert", "Roberta", "XLMRoberta", "Camembert", "LayoutLM", "MPNet")},
    "Albert": NARROW,
    "Electra": NARROW,
    "MobileBert": {**NARROW, "intra_bottleneck_size": 16, "true_hidden_size": 16},
    "SqueezeBert": {"embedding_size": 32, "post_attention_groups": 1, **dict.fromkeys(GROUPS, 2)},
    "Deberta": RELATIVE,
    "DebertaV2": {**RELATIVE, "position_buckets": 8, "share_att_key": True},
    "Longformer": {"attention_window": [4, 4, 4]},
    "DistilBert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64},
}


def make(architecture: str) -> nn.Module:
    """The encoder with numbers that a training could have left, in eval mode."""
    import transformers

    own = OWN[architecture]
    if architecture == "DistilBert":
        fields = {"vocab_size": 100, "max_position_embeddings": 40, **own}
    else:
        fields = {**SMALL, **own}
    config = getattr(transformers, f"{architecture}Config")(**fields)
    kind = getattr(transformers, f"{architecture}ForSequenceClassification")
    torch.manual_seed(0)
    model: nn.Module = kind(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    return model


def batch() -> dict[str, Tensor]:
    """Four sentences of eight tokens, two of them padded, with labels."""
    ids = torch.randint(5, 100, (4, 8), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 5:] = mask[3, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 0, 1])}


def logits(model: nn.Module) -> Tensor:
    """What a model says of the batch."""
    inputs = {name: x for name, x in batch().items() if name != "labels"}
    with torch.no_grad():
        found: Tensor = model(**inputs).logits
    return found


class Sentences:
    """The same four sentences again and again."""

    def __len__(self) -> int:
        return 32

    def batches(self, size: int, seed: int, start: int = 0) -> Iterator[Mapping[str, Tensor]]:
        same = {name: x.repeat(size // 4, *[1] * (x.ndim - 1)) for name, x in batch().items()}
        return iter([same][start:])


def context(folder: Path) -> ModuleContext:
    """What a step may use."""
    return ModuleContext(training=Sentences(), teacher=nn.Identity, seed=0, folder=folder)
