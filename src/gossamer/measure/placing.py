"""Which CPUs each of several instances of a model gets."""

from __future__ import annotations

from collections.abc import Sequence

from gossamer.errors import RecipeError
from gossamer.measure.environment import cores_by_node, physical_cores


def places(instances: int | None, cores: int | None) -> tuple[tuple[int, ...], ...]:
    """CPUs of each instance on this machine: `cores` cores each, one CPU of every core.

    Args:
        instances: How many; None is as many as fit.
        cores: Cores of each; None is as many as are there for each.

    Raises:
        RecipeError: The machine has fewer cores, or leaves this process fewer.
    """
    there = physical_cores()
    each = max(1, cores or there // (instances or 1))
    count = there // each if instances is None and cores and each <= there else instances or 1
    if count * each > there:
        raise RecipeError(
            f"{count * each} cores, for {count} instances with {each} each",
            f"{there} that this process may use",
            "Ask for fewer --instances, or fewer --cores-per-instance.",
        )
    return placed(cores_by_node(), count, each)


def placed(
    nodes: Sequence[Sequence[int]], instances: int, cores: int
) -> tuple[tuple[int, ...], ...]:
    """`cores` CPUs for each instance, of one node wherever that is possible.

    Each instance goes where most CPUs are free, so that the memory of all nodes is used. Those
    that no single node has room for take what the others left over.

    Args:
        nodes: CPUs of each NUMA node, at least instances * cores in all.
        instances: How many instances.
        cores: CPUs of each.
    """
    free = [list(node) for node in nodes]
    found = []
    for _ in range(instances):
        widest = max(free, key=len)
        if len(widest) < cores:
            break
        found.append(tuple(widest[:cores]))
        del widest[:cores]
    rest = [cpu for node in free for cpu in node]
    found += [tuple(rest[i * cores : (i + 1) * cores]) for i in range(instances - len(found))]
    return tuple(found)
