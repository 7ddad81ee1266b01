"""The cheapest way to cut a network in two: which nodes stay with the source.

Cutting labels every node as one of two, at the least sum of what single labels and unequal
neighbours cost. Found by pushing flow along shortest paths (Edmonds and Karp 1972) until none is
left; what the source still reaches then is its side.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Hashable, Mapping, Set

Node = Hashable
NEVER = 1 << 60  # the price of an edge that must not be cut


def source_side(prices: Mapping[tuple[Node, Node], int], source: Node, sink: Node) -> Set[Node]:
    """The nodes on the source's side of a cheapest cut, the fewest of them where several are.

    Args:
        prices: What it costs to cut the edge from one node to another: when the first is on the
            source's side and the second is not. Whole numbers, so that the result is exact.
        source: The node whose side is asked for.
        sink: The node on the other side.
    """
    left: dict[Node, dict[Node, int]] = collections.defaultdict(dict)
    for (tail, head), price in prices.items():
        left[tail][head] = left[tail].get(head, 0) + price
        left[head].setdefault(tail, 0)
    while True:
        came_from = _reached(left, source)
        if sink not in came_from:
            return came_from.keys()
        path = [sink]
        while path[-1] != source:
            path.append(came_from[path[-1]])
        steps = [(tail, head) for head, tail in itertools.pairwise(path)]
        most = min(left[tail][head] for tail, head in steps)
        for tail, head in steps:
            left[tail][head] -= most
            left[head][tail] += most


def _reached(left: Mapping[Node, Mapping[Node, int]], source: Node) -> dict[Node, Node]:
    """Every node that flow can still reach, and the one in front of it."""
    came_from = {source: source}
    waiting = collections.deque([source])
    while waiting:
        tail = waiting.popleft()
        for head, room in left.get(tail, {}).items():
            if room > 0 and head not in came_from:
                came_from[head] = tail
                waiting.append(head)
    return came_from
