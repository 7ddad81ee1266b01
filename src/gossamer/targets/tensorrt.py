"""TensorRT on NVIDIA GPUs.

Read in NVIDIA's documentation of TensorRT 10 and 11, the sections that the evidence names, on
2026-11-23. Nothing of it was measured: no GPU was there. What is checked is that the files keep to
these rules and compute what the float model does.
"""

from __future__ import annotations

from gossamer.quant import Accumulator, QuantSpec
from gossamer.target import OpRule, TargetSpec

LEVELS = ("portable", "avx2", "avx512", "neon", "dotprod", "vnni", "amx")
ANY_CPU: Accumulator = "s32"  # the GPU adds the products
PLACEMENT = "NVIDIA's Q/DQ Layer-Placement Recommendations"

TENSORRT = TargetSpec(
    name="tensorrt",
    runtime="tensorrt",
    extra="tensorrt",
    device="gpu",
    unproven="from NVIDIA's documentation; not measured on a GPU by gossamer's authors",
    rules=(
        OpRule(
            ops=("Conv", "ConvTranspose"),
            has_weight=True,
            output="float",
            int_bias=False,
            min_inputs=16,
            min_outputs=16,
            depthwise_after=(),
            evidence=f"{PLACEMENT}: all inputs of weighted operations, not their outputs",
        ),
        OpRule(
            ops=("MatMul", "Gemm"),
            has_weight=True,
            output="float",
            int_bias=False,
            min_reduction=16,
            min_outputs=16,
            min_rows=2,
            evidence=f"{PLACEMENT}: all inputs of weighted operations, not their outputs",
        ),
        OpRule(
            ops=("Add",),
            output="float",
            beside=("Conv",),
            always_beside=True,
            evidence=f"{PLACEMENT}: the residual input, for one kernel of Conv, Add and Relu",
        ),
    ),
    transparent=("MaxPool",),
    hoists=True,
    activation=QuantSpec(dtype="s8", symmetric=True),
    transforms=("plain-attention",),
    cpus=tuple((level, ANY_CPU) for level in LEVELS),
    evidence=(
        "Working with Quantized Types: symmetric quantization; per tensor for activations, per "
        "channel for weights (Conv axis 0, ConvTranspose axis 1). ONNX-TensorRT, Supported ONNX "
        "Operators: zero points must be 0; GlobalAveragePool, LayerNormalization and Softmax take "
        "floats. Explicit Quantization: Q and DQ pass through MaxPool; operators without weights "
        "that read int8 must write int8. Fused Attention: scale the query. Migrating from 10.x to "
        "11.x: networks are strongly typed, so that types other than float32 around int8 would "
        "have to stand in the file, which has none (no float_types). Documentation of Model "
        "Optimizer's ONNX quantization: no Conv below 16 channels and none by depth, no product "
        "of a vector, none below 16 inputs or outputs. No section asks to leave a MatMul of two "
        "activations in float; it needs a Q for either, which no rule here gives it."
    ),
)
