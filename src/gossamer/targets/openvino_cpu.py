"""OpenVINO on CPUs.

Measured with openvino 2026.4.1 on one Zen 4 core (avx512_vnni, avx512_bf16), 2026-11-22.
"""

from __future__ import annotations

from gossamer.target import OpRule, TargetSpec

OPENVINO_CPU = TargetSpec(
    name="openvino-cpu",
    runtime="openvino",
    extra="openvino",
    rules=(
        OpRule(
            ops=("Conv",),
            has_weight=True,
            output="float",
            int_bias=False,
            depthwise_after=("Relu", "Clip"),
            evidence="u8 input with any zero point; s8 is 11 % slower (ResNet-50, MobileNetV2)",
        ),
        OpRule(
            ops=("ConvTranspose",),
            has_weight=True,
            output="float",
            int_bias=False,
            zero_free=True,
            evidence="with a zero point it stays in float",
        ),
        OpRule(
            ops=("MatMul", "Gemm"),
            has_weight=True,
            output="float",
            int_bias=False,
            zero_free=True,
            min_weights=10_000,
            evidence="with a zero point a subtraction stays beside the product (ConvNeXt: 8 %)",
        ),
        OpRule(
            ops=("Add",),
            output="float",
            beside=("Conv",),
            evidence="the Conv adds the other operand in; in float ResNet-50 takes 28 % longer "
            "(5 % where only the four sums of two Convs are)",
        ),
        OpRule(
            ops=("GlobalAveragePool", "AveragePool"),
            output="float",
            evidence="reads int8; up to 1 % faster",
        ),
    ),
    transparent=(
        *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"),
        *("Slice", "Pad", "MaxPool", "Split", "Identity"),
    ),
    hoists=True,
    nonzero_bias=True,
    smooths=True,
    weight_only=OpRule(
        ops=("MatMul", "Gemm"),
        has_weight=True,
        output="float",
        evidence="FullyConnected with u4 or u8 weights",
    ),
    float_types=("bf16",),
    transforms=("plain-attention", "channels-first"),
    cpus=(
        *(("portable", "s16"), ("avx2", "s16"), ("avx512", "s16")),
        *(("vnni", "s32"), ("amx", "s32"), ("neon", "s32"), ("dotprod", "s32")),
    ),
    evidence=(
        "A pair above Slice and Pad serves all readers (ResNet-20: 9 %). An int8 Conv whose bias "
        "is absent or zero and whose output has several readers gives wrong numbers (0 to 5 dB). "
        "A Q that no kernel before it takes in is a conversion to f32 and a FakeQuantize; behind a "
        "Mul it is one kernel, and a Mul that a kernel takes in is none (MiniLM: 2 % faster). "
        "16-bit Q/DQ are left out: sites run in float, and ranges cut nothing off. "
        "Accumulators: kernels of all layouts under emulated Haswell, Cortex-A57 (neon) and "
        "Neoverse-N1 (dotprod) CPUs (test_accumulators.py)."
    ),
)
