"""A text classifier with all that losses of distillation look at, a few thousand weights large."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

VOCABULARY, CLASSES = 30, 3


class Attention(nn.Module):
    """Returns its maps beside its output, as transformers' eager attention does."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
            for part in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        maps = scores.masked_fill(mask[:, None, None] == 0, float("-inf")).softmax(-1)
        return (maps @ v).transpose(1, 2).flatten(-2), maps


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = self.norm(x + self.dropout(self.attention(x, mask)[0]))
        return found


class Encoder(nn.Module):
    """Embeddings, blocks, an exit behind each block but the last, and a head.

    Attributes:
        returns: What forward gives: a tensor, a tuple with a loss, or a mapping with `logits`.
    """

    def __init__(
        self, layers: int = 2, width: int = 8, heads: int = 2, returns: str = "tensor"
    ) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_attention_heads=heads, vocab_size=VOCABULARY)
        self.embeddings = nn.Embedding(VOCABULARY, width)
        self.layer = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.exits = nn.Sequential(*(nn.Linear(width, CLASSES) for _ in range(layers - 1)))
        self.head = nn.Linear(width, CLASSES)
        self.returns = returns

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> Any:
        x = self.embeddings(input_ids)
        for i, block in enumerate(self.layer):
            x = block(x, attention_mask)
            if i < len(self.exits):
                self.exits[i](x[:, 0])
        logits = self.head(x[:, 0])
        if self.returns == "tensor":
            return logits
        loss = nn.functional.cross_entropy(logits, labels) if labels is not None else None
        return (loss, logits) if self.returns == "tuple" else {"loss": loss, "logits": logits}


def encoder(seed: int = 0, **options: Any) -> Encoder:
    """One whose weights are drawn by the seed; torch's own generator stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Encoder(**options)


def batch(seed: int = 0, size: int = 4, tokens: int = 6) -> dict[str, Tensor]:
    """Texts of different lengths, padded, with labels."""
    drawn = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, tokens + 1, (size, 1), generator=drawn)
    mask = (torch.arange(tokens) < lengths).long()
    ids = torch.randint(1, VOCABULARY, (size, tokens), generator=drawn) * mask
    labels = torch.randint(0, CLASSES, (size,), generator=drawn)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
