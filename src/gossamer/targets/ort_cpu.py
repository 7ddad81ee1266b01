"""ONNX Runtime on CPUs."""

from __future__ import annotations

from gossamer.quant import QuantSpec
from gossamer.target import OpRule, TargetSpec

WEIGHT = QuantSpec(dtype="s8", granularity="per-channel", symmetric=True)

ORT_CPU = TargetSpec(
    name="ort-cpu",
    runtime="ort",
    rules=(
        OpRule(
            ops=("Conv",),
            weight=WEIGHT,
            output="required",
            tails=("Relu", "Clip"),
            evidence="QLinearConv; Relu and Clip fold into the zero point",
        ),
        OpRule(
            ops=("MatMul",),
            weight=WEIGHT,
            output="float",
            evidence="MatMulIntegerToFloat",
        ),
        OpRule(ops=("Gemm",), weight=WEIGHT, output="float", evidence="QGemm"),
    ),
    follows=("Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu"),
    follower_tails=("Relu", "Clip"),
    transparent=(
        "MaxPool",
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Slice",
        "Resize",
    ),
    cpus=(("portable", 7), ("avx2", 7), ("avx512", 7), ("vnni", 8), ("amx", 8), ("native", 8)),
)
