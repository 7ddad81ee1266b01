"""Stock PyTorch on CPUs.

Measured with torch 2.13.0 on one AMD EPYC core that shows no AVX-512, 2026-11-23.
"""

from __future__ import annotations

from gossamer.target import OpRule, TargetSpec

TORCH_CPU = TargetSpec(
    name="torch-cpu",
    runtime="torch-cpu",
    extra="torch",
    rules=(
        OpRule(
            ops=("Conv",),
            has_weight=True,
            output="float",
            int_bias=False,
            evidence="onednn::qconv_pointwise, with the Relu and the Q behind it inside",
        ),
        OpRule(
            ops=("MatMul", "Gemm"),
            has_weight=True,
            output="float",
            int_bias=False,
            min_weights=10_000,
            evidence="onednn::qlinear_pointwise, with the bias, the Relu and the Q behind inside",
        ),
    ),
    transforms=("fuse-transformer",),
    cpus=(
        *(("portable", "s16"), ("avx2", "s16"), ("avx512", "s16")),
        *(("neon", "s16"), ("dotprod", "s16")),  # not proven on ARM
        *(("vnni", "s32"), ("amx", "s32")),
    ),
    evidence=(
        "Accumulators: kernels of all layouts under an emulated Haswell (test_accumulators.py)."
    ),
)
