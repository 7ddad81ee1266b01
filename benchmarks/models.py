"""Architectures that the benchmarks measure, with random weights: each name is a factory.

    gossamer compress benchmarks.models:resnet50

Weights are drawn by a fixed seed, so speed can be measured and no file is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import transformers

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


def resnet50() -> nn.Module:
    """ResNet-50, 224 x 224, 1,000 classes."""
    config = transformers.ResNetConfig(num_labels=1000)
    return _seeded(lambda: transformers.ResNetForImageClassification(config))


def mobilenetv2() -> nn.Module:
    """MobileNetV2, 224 x 224, 1,001 classes."""
    config = transformers.MobileNetV2Config(num_labels=1001)
    return _seeded(lambda: transformers.MobileNetV2ForImageClassification(config))


def convnext_tiny() -> nn.Module:
    """ConvNeXt-Tiny, 224 x 224, 1,000 classes."""
    config = transformers.ConvNextConfig(num_labels=1000)
    return _seeded(lambda: transformers.ConvNextForImageClassification(config))


def vit_b16() -> nn.Module:
    """ViT-B/16, 224 x 224, 1,000 classes."""
    config = transformers.ViTConfig(num_labels=1000, attn_implementation="eager")
    return _seeded(lambda: transformers.ViTForImageClassification(config))


def bert_base() -> nn.Module:
    """BERT base, 2 classes."""
    config = transformers.BertConfig(attn_implementation="eager")
    return _seeded(lambda: transformers.BertForSequenceClassification(config))


def distilbert() -> nn.Module:
    """DistilBERT, 2 classes."""
    config = transformers.DistilBertConfig(attn_implementation="eager")
    return _seeded(lambda: transformers.DistilBertForSequenceClassification(config))


def minilm_l6() -> nn.Module:
    """MiniLM, 6 layers of width 384, 2 classes."""
    config = transformers.BertConfig(
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        attn_implementation="eager",
    )
    return _seeded(lambda: transformers.BertForSequenceClassification(config))


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().eval()
