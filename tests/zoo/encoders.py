"""Tiny encoders of transformers with a classifier on top, one for each architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.step import ModuleContext

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
SMALL = {**SIZES, "vocab_size": 100, "max_position_embeddings": 40}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
NARROW = {"embedding_size": 16}
GROUPS = ("q_groups", "k_groups", "v_groups", "intermediate_groups", "output_groups")
NAMED = {"vocab_size": 100, "max_position_embeddings": 40}  # those with names of their own
LAYERS = {"n_layers": 3, "n_heads": 4}
SPOKEN = {
    "conv_dim": (16, 16),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
}
TWO_STACKS = {
    f"{part}_{name}": size
    for part in ("encoder", "decoder")
    for name, size in {"layers": 3, "attention_heads": 4, "ffn_dim": 64}.items()
}
OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("Bert", "Roberta", "XLMRoberta", "Camembert", "LayoutLM", "MPNet"), SMALL),
    "Albert": SMALL | NARROW,
    "Electra": SMALL | NARROW,
    "MobileBert": {**SMALL, **NARROW, "intra_bottleneck_size": 16, "true_hidden_size": 16},
    "SqueezeBert": {
        **SMALL,
        "embedding_size": 32,
        "post_attention_groups": 1,
        **dict.fromkeys(GROUPS, 2),
    },
    "Deberta": SMALL | RELATIVE,
    "DebertaV2": {**SMALL, **RELATIVE, "position_buckets": 8, "share_att_key": True},
    "Longformer": {**SMALL, "attention_window": [4, 4, 4]},
    "DistilBert": {**NAMED, **LAYERS, "dim": 32, "hidden_dim": 64},
    "Flaubert": {**NAMED, **LAYERS, "emb_dim": 32},
    "XLNet": {"vocab_size": 100, "d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 64},
    "Funnel": {
        "vocab_size": 100,
        "d_model": 32,
        "n_head": 4,
        "d_head": 8,
        "d_inner": 64,
        "block_sizes": [1, 1, 1],
        "num_decoder_layers": 1,
    },
    "MBart": {**NAMED, **TWO_STACKS, "d_model": 32},  # Barthez is one
    "Reformer": {
        "vocab_size": 100,
        "hidden_size": 32,
        "feed_forward_size": 64,
        "num_attention_heads": 4,
        "attention_head_size": 8,
        "attn_layers": ["local"] * 3,
        "axial_pos_embds": False,
        "max_position_embeddings": 64,
        "local_attn_chunk_length": 4,
    },
    "CTRL": {
        "vocab_size": 100,
        "n_positions": 40,
        "n_embd": 32,
        "dff": 64,
        "n_layer": 3,
        "n_head": 4,
        "pad_token_id": 0,
    },
    "GPT2": {
        "vocab_size": 100,
        "n_positions": 40,
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "pad_token_id": 0,
    },
    "Wav2Vec2": SIZES | SPOKEN,
    "Hubert": SIZES | SPOKEN,
}
ENDS = {"MBart": 2}  # which token ends a text, where the architecture looks for it


def make(architecture: str, **changed: object) -> nn.Module:
    """The encoder with numbers that a training could have left, in eval mode."""
    import transformers

    config = getattr(transformers, f"{architecture}Config")(**{**OWN[architecture], **changed})
    kind = getattr(transformers, f"{architecture}ForSequenceClassification")
    torch.manual_seed(0)
    model: nn.Module = kind(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    return model


def batch(architecture: str = "Bert") -> dict[str, Tensor]:
    """Four sentences of eight tokens, two of them padded, with labels; or four sounds."""
    random, labels = torch.Generator().manual_seed(1), torch.tensor([0, 1, 0, 1])
    if OWN[architecture].keys() >= SPOKEN.keys():
        return {"input_values": torch.randn(4, 400, generator=random), "labels": labels}
    ids = torch.randint(5, 100, (4, 8), generator=random)
    mask = torch.ones_like(ids)
    mask[1, 5:] = mask[3, 6:] = 0
    if architecture in ENDS:
        ids[:, -1] = ENDS[architecture]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def logits(model: nn.Module) -> Tensor:
    """What a model says of its batch."""
    named = batch(type(model).__name__.removesuffix("ForSequenceClassification"))
    inputs = {name: x for name, x in named.items() if name != "labels"}
    with torch.no_grad():
        found: Tensor = model(**inputs).logits
    return found


class Sentences:
    """The same four samples again and again."""

    def __init__(self, architecture: str) -> None:
        self._batch = batch(architecture)

    def __len__(self) -> int:
        return 32

    def batches(self, size: int, seed: int, start: int = 0) -> Iterator[Mapping[str, Tensor]]:
        same = {name: x.repeat(size // 4, *[1] * (x.ndim - 1)) for name, x in self._batch.items()}
        return iter([same][start:])


def context(folder: Path, architecture: str = "Bert") -> ModuleContext:
    """What a step may use."""
    return ModuleContext(
        training=Sentences(architecture), teacher=nn.Identity, seed=0, folder=folder
    )
