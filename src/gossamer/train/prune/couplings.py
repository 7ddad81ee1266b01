"""Which numbers of a model's parameters stand and fall together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Couplings:
    """Ids of indices along the axes of parameters, and what binds them to each other.

    1. Ids that are joined are removed together or not at all.
    2. A pinned id, and what it is joined with, stays.
    3. What is removed has to be made by a weight and read by a weight: zeros in both hide whatever
       the layers between make of it.

    Attributes:
        macs: Multiply-accumulates by the path of the weight that is multiplied, in order of use.
        heads: Ids that stand for whole rows of an axis that was divided.
        sums: Ids along which values of several branches are added.
    """

    def __init__(self) -> None:
        self.count = 0
        self.macs: dict[str, int] = {}
        self.heads: list[NDArray[np.int64]] = []
        self.sums: list[NDArray[np.int64]] = []
        self._loose: set[int] = set()
        self._edges: list[NDArray[np.int64]] = []
        self._pins: list[tuple[NDArray[np.int64], str]] = []
        self._made: list[NDArray[np.int64]] = []
        self._read: list[NDArray[np.int64]] = []

    def new(self, size: int) -> NDArray[np.int64]:
        """Ids that nothing had before."""
        self.count += size
        return np.arange(self.count - size, self.count)

    def loose(self, size: int) -> NDArray[np.int64]:
        """New ids of what is the same for all indices: as many of it as others ask for."""
        ids = self.new(size)
        self._loose.update(ids.tolist())
        return ids

    def is_loose(self, ids: NDArray[np.int64]) -> bool:
        """Whether these came from `loose`."""
        return int(ids.flat[0]) in self._loose

    def join(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
        """Bind a[i] and b[i], for every i."""
        self._edges.append(np.stack([a.reshape(-1), b.reshape(-1)]))

    def pin(self, ids: NDArray[np.int64] | None, reason: str) -> None:
        """Say that these have to stay, and why."""
        if ids is not None:
            self._pins.append((ids.reshape(-1), reason))

    def made(self, ids: NDArray[np.int64] | None) -> None:
        """Say that a weight has outputs of these ids."""
        if ids is not None:
            self._made.append(ids)

    def read(self, ids: NDArray[np.int64] | None) -> None:
        """Say that a weight multiplies inputs of these ids."""
        if ids is not None:
            self._read.append(ids)

    def use(self, weight: str | None, macs: int) -> None:
        """Note that a weight was multiplied with something."""
        if weight is not None:
            self.macs[weight] = self.macs.get(weight, 0) + macs

    def makes(self, ids: NDArray[np.int64]) -> bool:
        """Whether an axis of a weight, given by its own ids, is one of outputs."""
        return any(np.isin(ids, made).any() for made in self._made)

    def reads(self, ids: NDArray[np.int64]) -> bool:
        """Whether an axis of a weight, given by its own ids, is one of inputs."""
        return any(np.isin(ids, read).any() for read in self._read)

    def roots(self) -> NDArray[np.int64]:
        """For each id, the smallest id that it is bound to."""
        root = np.arange(self.count)
        if not self._edges:
            return root
        a, b = np.concatenate(self._edges, axis=1)
        while True:
            low = np.minimum(root[a], root[b])
            before = root.copy()
            for ends in (a, b, before[a], before[b]):
                np.minimum.at(root, ends, low)
            root = root[root]
            if np.array_equal(root, before):
                return root

    def removable(self, root: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each id that is a root, whether all that is bound to it can be removed."""
        free = self.flags(root, self._made) & self.flags(root, self._read)
        return free & ~self.flags(root, [ids for ids, _ in self._pins])

    def reasons(self, root: NDArray[np.int64]) -> dict[int, str]:
        """Why roots stay: the first reason that was given for each."""
        found: dict[int, str] = {}
        for ids, reason in self._pins:
            for each in np.unique(root[ids]):
                found.setdefault(int(each), reason)
        return found

    def flags(self, root: NDArray[np.int64], sets: list[NDArray[np.int64]]) -> NDArray[np.bool_]:
        """For each id, whether it is the root of one in these sets."""
        flags = np.zeros(self.count, bool)
        for ids in sets:
            flags[root[ids]] = True
        return flags
