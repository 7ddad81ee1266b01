"""ONNX Runtime on CPUs.

Measured with onnxruntime 1.31.1 on one Zen 4 core (avx512_vnni), 2026-11-22; kernels are the
operator types in the optimized graph.
"""

from __future__ import annotations

from gossamer.target import OpRule, TargetSpec

ORT_CPU = TargetSpec(
    name="ort-cpu",
    runtime="ort",
    rules=(
        OpRule(
            ops=("Conv",),
            has_weight=True,
            output="required",
            tails=("Relu", "Clip"),
            min_outputs=16,
            depthwise_after=("Relu", "Clip", "Add", "Conv", "Transpose", "LayerNormalization"),
            evidence="QLinearConv with Relu and Clip inside; 8 channels take up to 4 times as long",
        ),
        OpRule(
            ops=("MatMul",),
            has_weight=True,
            output="float",
            min_weights=10_000,
            keeps_apart=True,
            evidence="MatMulIntegerToFloat; joined with its bias it is a float Gemm (kwt1: 1.5×)",
        ),
        OpRule(ops=("Gemm",), has_weight=True, output="float", evidence="QGemm"),
    ),
    follows=(
        *("Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu"),
    ),
    follower_tails=("Relu", "Clip"),
    transparent=(
        *("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"),
        *("Slice", "Resize", "Pad"),
    ),
    activation_bits=(8, 16),
    qoperators=True,
    dynamic=("MatMul",),
    weight_only=OpRule(
        ops=("MatMul", "Gemm"),
        has_weight=True,
        output="float",
        evidence="MatMulNBits; DequantizeLinear is as fast, but 2 to 4 times slower to load",
    ),
    transforms=("fuse-transformer",),
    cpus=(
        *(("portable", "s16"), ("avx2", "s16"), ("avx512", "s16")),
        *(("vnni", "s32"), ("amx", "s32"), ("neon", "s32"), ("dotprod", "s32")),
    ),
    evidence=(
        "Q/DQ on both sides of the transparent operators go, and these run on int8 (Pad keeps "
        "them). Without the int8 Mul and Sigmoid of SiLU YOLOX-nano takes 1.39 times as long; its "
        "depthwise Convs behind SiLU lose 8 dB against the float ones, which take 1.16 times. "
        "Between 16-bit Q/DQ (com.microsoft's below opset 21) sites run in float and dequantize "
        "their weights in each run: Conv takes 2, MatMul and Gemm 5 times as long as in int8. "
        "Accumulators: kernels of all layouts under emulated Haswell, Cortex-A57 (neon) and "
        "Neoverse-N1 (dotprod) CPUs (test_accumulators.py)."
    ),
)
