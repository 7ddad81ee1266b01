"""What a device and its runtime really do, as data; every fact carries its evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gossamer.errors import TargetError
from gossamer.plugins import unknown
from gossamer.quant import Accumulator, QuantSpec

Output = Literal["required", "float", "either"]
Device = Literal["cpu", "gpu"]
PORTABLE = "portable"  # the level that stands for every CPU
WIDTHS: tuple[Accumulator, ...] = ("s16", "s32")


@dataclass(frozen=True, kw_only=True, slots=True)
class OpRule:
    """How a target runs one operator set in int8.

    Attributes:
        ops: Canonical operator types.
        has_weight: Whether one operand is a constant that is stored; the others only read int8.
        output: Whether the int8 kernel needs a Q behind it ("required"), must write float
            ("float"), or can do both ("either").
        tails: Operators that the kernel absorbs behind itself, one text per chain, longest first:
            "Add[residual] Relu?" (see `gossamer.graph.match`).
        weight_operand: Which operand is the weight.
        int_bias: Whether a bias operand is stored in int32 with the site.
        zero_free: Whether the kernel takes only activations whose zero point is 0.
        beside: For operators without weights: one operand must be made straight by one of these
            int8 operators, and it stays in float, because their kernel adds the other one in.
            Empty: every operand is quantized.
        always_beside: Whether the other operand is quantized even where nothing else reads it in
            int8, provided that the neighbour has no other reader.
        keeps_apart: Whether an Add behind the node is written as Sum, because the runtime would
            join it with the node into a float kernel.
        min_reduction: Smallest number of products per output element that pays.
        min_inputs: Smallest number of input channels that pays; not asked of depthwise Convs.
        min_outputs: Smallest number of output channels that pays.
        min_weights: Smallest number of weights that pays.
        min_rows: Smallest number of rows that pays, of products whose rows the graph tells.
        depthwise_after: Operators that must make the input of a Conv with one input channel per
            group for int8 to pay there; None if it always pays.
        evidence: Where the fact was measured or read.
    """

    ops: tuple[str, ...]
    has_weight: bool = False
    output: Output = "required"
    tails: tuple[str, ...] = ()
    weight_operand: int = 1
    int_bias: bool = True
    zero_free: bool = False
    beside: tuple[str, ...] = ()
    always_beside: bool = False
    keeps_apart: bool = False
    min_reduction: int = 0
    min_inputs: int = 0
    min_outputs: int = 0
    min_weights: int = 0
    min_rows: int = 0
    depthwise_after: tuple[str, ...] | None = None
    evidence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetSpec:
    """One target.

    Attributes:
        name: Public name.
        runtime: Name of the runtime that runs it.
        extra: The extra of gossamer that installs the runtime; None if the base install has it.
        device: What runs the model; on a GPU every CPU level is as good as the other.
        unproven: What nobody has measured of all this, for people; empty if the facts are measured.
        rules: What runs in int8 with a kernel of its own.
        follows: Operators that run in int8 when all their activation inputs already are (they
            move or combine int8 values: MaxPool, Concat, Add …).
        follower_tails: Tails (see OpRule) that the kernels of followers absorb.
        transparent: Operators through which Q/DQ pass unchanged (Reshape, Transpose, MaxPool …).
        hoists: Whether the Q/DQ of an input stand above the transparent operators in front of it.
        nonzero_bias: Whether a Conv with several readers needs a bias that is not all zero.
        smooths: Whether a Mul in front of the Q of a MatMul costs nothing, so that SmoothQuant does
            not either (see `gossamer.graph.smooth`).
        activation: How activations are stored.
        activation_bits: Of 8 and 16, those in which Q/DQ of activations do what they say.
        qoperators: Whether the runtime runs QLinearConv and its like (`gossamer.graph.qoperator`).
        weight: How weights are stored on CPUs that accumulate in int32.
        dynamic: Operators that have a dynamically quantized kernel.
        weight_only: Products of float activations with weights in groups of few bits, written as
            MatMulNBits; None if the target has no kernel for it.
        float_types: Float types besides f32 that make models faster there.
        transforms: Canonicalisation passes that the target wants, by name.
        cpus: CPU levels, of each architecture the weakest first, with the accumulator of its
            kernels (see QuantSpec).
        evidence: Where the facts that are no rules were measured.
    """

    name: str
    runtime: str
    extra: str | None = None
    device: Device = "cpu"
    unproven: str = ""
    rules: tuple[OpRule, ...] = ()
    follows: tuple[str, ...] = ()
    follower_tails: tuple[str, ...] = ()
    transparent: tuple[str, ...] = ()
    hoists: bool = False
    nonzero_bias: bool = False
    smooths: bool = False
    activation: QuantSpec = field(default_factory=QuantSpec)
    activation_bits: tuple[int, ...] = (8,)
    qoperators: bool = False
    weight: QuantSpec = field(
        default_factory=lambda: QuantSpec(dtype="s8", granularity="per-channel", symmetric=True)
    )
    dynamic: tuple[str, ...] = ()
    weight_only: OpRule | None = None
    float_types: tuple[str, ...] = ()
    transforms: tuple[str, ...] = ()
    cpus: tuple[tuple[str, Accumulator], ...] = ()
    evidence: str = ""

    def accumulator(self, cpu: str) -> Accumulator:
        """The narrowest accumulator of the kernels on CPU level `cpu` and everything above it.

        Raises:
            TargetError: The target knows no such level.
        """
        levels = dict(self.cpus)
        if cpu not in levels:
            error = unknown(f"a CPU level of {self.name}", cpu, (*levels, "native"))
            raise TargetError(error.needed, error.received, error.hint)
        return levels[cpu]

    def safe_on(self, cpu: str) -> tuple[str, ...]:
        """The named CPU levels on which a file made for level `cpu` is right.

        Raises:
            TargetError: The target knows no such level.
        """
        needed = WIDTHS.index(self.accumulator(cpu))
        levels = dict(self.cpus)
        return tuple(n for n in levels if n != PORTABLE and WIDTHS.index(levels[n]) >= needed)
