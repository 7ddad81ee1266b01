"""ONNX Runtime on NVIDIA GPUs, with its CUDA kernels.

Read in the documentation and sources of onnxruntime 1.31 that the evidence names, on 2026-11-23.
Nothing of it was measured: no GPU was there.
"""

from __future__ import annotations

from gossamer.quant import Accumulator
from gossamer.target import OpRule, TargetSpec

LEVELS = ("portable", "avx2", "avx512", "neon", "dotprod", "vnni", "amx")
ANY_CPU: Accumulator = "s32"  # the GPU adds the products

ORT_CUDA = TargetSpec(
    name="ort-cuda",
    runtime="ort-cuda",
    extra="ort-cuda",
    device="gpu",
    unproven="from ONNX Runtime's documentation; not measured on a GPU by gossamer's authors",
    weight_only=OpRule(
        ops=("MatMul", "Gemm"),
        has_weight=True,
        output="float",
        evidence="contrib_ops/cuda/quantization: MatMulNBits of 4 and 8 bits, also for float32",
    ),
    cpus=tuple((level, ANY_CPU) for level in LEVELS),
    evidence=(
        "ONNX Runtime, docs/FAQ.md: of the int8 operators the CUDA build has QuantizeLinear, "
        "DequantizeLinear and MatMulInteger alone, so that a Conv between Q/DQ runs in float and "
        "they cost time: no rules. Files in Q/DQ run in int8 through TensorRT (target tensorrt). "
        "It runs the float types of the file, which are float32: no float_types."
    ),
)
