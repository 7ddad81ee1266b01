"""What is wrong with a site, in one clause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gossamer.diagnosis import Tensor

CLIPPED = 0.001  # share of the elements
BULK = 0.1  # of the range; of normally distributed numbers the bulk takes most of it
USED = 0.5  # of the range that can be stored


def finding(tensors: Sequence[Tensor], overflow: int | None) -> str:
    """What does most damage: the symptoms of the operand that storing changes most.

    Args:
        tensors: The operands of the site.
        overflow: Output channels whose weights can overflow 16-bit sums.
    """
    for tensor in sorted(tensors, key=lambda t: t.sqnr_db):
        told = "; ".join(_symptoms(tensor))
        if told:
            return f"{told}; {_overflow(overflow)}" if overflow else told
    if overflow:
        return _overflow(overflow)
    if not tensors:
        return "nothing is known of its operands"
    worst = min(tensors, key=lambda t: t.sqnr_db)
    return f"rounding alone, most of it of the {worst.kind} ({worst.sqnr_db:.0f} dB)"


def _symptoms(tensor: Tensor) -> Iterator[str]:
    where = f"{tensor.kind} {tensor.name}" if tensor.kind == "activation" else "weights"
    if tensor.clipped >= CLIPPED:
        yield f"{where}: clipped {share(tensor.clipped)} of values"
    elif tensor.bulk < BULK and tensor.kind == "activation":
        channel = "" if tensor.outlier is None else f": outlier channel {tensor.outlier}"
        yield f"{where}: 99.9 % of values lie in {share(tensor.bulk)} of the range{channel}"
    if tensor.used < USED and tensor.kind == "activation" and tensor.clipped < CLIPPED:
        yield f"{where}: the values use {share(tensor.used)} of what can be stored"
    if tensor.poor and tensor.kind == "weight":
        many = f"{tensor.poor} of {tensor.channels} channels use"
        one = f"1 of {tensor.channels} channels uses"
        said = one if tensor.poor == 1 else many
        yield f"weights: {said} few steps, at worst {tensor.steps} of {tensor.most_steps}"


def _overflow(channels: int) -> str:
    plural = "" if channels == 1 else "s"
    return f"16-bit sums can overflow ({channels} channel{plural})"


def share(fraction: float) -> str:
    """A share in percent, to two digits."""
    percent = 100 * fraction
    return f"{percent:.2g} %" if percent < 99.5 else f"{percent:.0f} %"
