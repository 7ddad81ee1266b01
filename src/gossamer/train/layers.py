"""Layers of modules by path: named, by pattern, or found by themselves."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gossamer.errors import TrainingError

if TYPE_CHECKING:
    from torch import nn

# what transformers and models like its own call these
ATTENTIONS = ("*.attention", "*.self_attn", "*.self_attention")
EMBEDDINGS = ("*embeddings", "*embed_tokens")
QUERIES = ("*.query", "*.q_lin", "*.q_proj")
KEYS = ("*.key", "*.k_lin", "*.k_proj")
VALUES = ("*.value", "*.v_lin", "*.v_proj")


def paths(model: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """Paths of the modules that a pattern matches, in the model's order, the outermost only.

    Args:
        model: Where to look.
        patterns: Paths such as `encoder.layer.3`, or shell patterns such as `*.layer.[36]`.

    Raises:
        TrainingError: A path without wildcards does not exist, or no pattern matches anything.
    """
    from torch import nn

    lists = nn.ModuleList | nn.ModuleDict  # which hold what runs, but never run
    known = [path for path, m in model.named_modules() if path and not isinstance(m, lists)]
    for pattern in patterns:
        if not set(pattern) & set("*?[") and pattern not in known:
            raise _nothing(model, pattern, known)
    found: list[str] = []
    for path in known:
        is_inside = any(path.startswith(f"{outer}.") for outer in found)
        if not is_inside and any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
            found.append(path)
    if not found:
        raise _nothing(model, " or ".join(patterns), known)
    return tuple(found)


def blocks(model: nn.Module) -> tuple[str, ...]:
    """Paths of the repeated layers: the entries of the longest ModuleList, the first of equals.

    Raises:
        TrainingError: There is no ModuleList with entries.
    """
    from torch import nn

    lists = [(path, m) for path, m in model.named_modules() if isinstance(m, nn.ModuleList)]
    path, longest = max(lists, key=lambda found: len(found[1]), default=("", ()))
    if not len(longest):
        raise TrainingError(
            f"repeated layers in a ModuleList of {type(model).__name__}",
            "none",
            "Name the layers by their paths.",
        )
    return tuple(f"{path}.{i}".lstrip(".") for i in range(len(longest)))


def chosen(model: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """The modules that the patterns match; the repeated layers without a pattern."""
    return paths(model, patterns) if patterns else blocks(model)


def uniform(student: Sequence[str], teacher: Sequence[str]) -> tuple[str, ...]:
    """For each layer of a student the one of the teacher as deep in it, the last for the last.

    TinyBERT's g(m) = m · N / M, counted from 1, rounded to the nearest.

    Raises:
        TrainingError: The teacher has fewer layers.
    """
    many, few = len(teacher), len(student)
    if many < few:
        raise TrainingError(
            "a teacher with at least as many layers as the student",
            f"{many} layers against {few}",
            "Name the layers that belong together, as many of each.",
        )
    return tuple(teacher[int((m + 1) * many / few + 0.5) - 1] for m in range(few))


def _nothing(model: nn.Module, pattern: str, known: Sequence[str]) -> TrainingError:
    import difflib

    near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.4) or list(known[:5])
    return TrainingError(
        f"a module called {pattern} in {type(model).__name__}",
        f"{len(known)} modules of other names",
        f"Near it: {', '.join(near)}." if near else "",
    )
