"""The executor `ray`."""

from __future__ import annotations

import dataclasses
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gossamer.errors import MeasureError, RecipeError
from gossamer.plugins import require
from gossamer.progress import Silent
from gossamer.search.executor import Executor

if TYPE_CHECKING:
    from gossamer.search.prepare import Request
    from gossamer.search.shared import Place, Shared
    from gossamer.search.strategy import Work

LOOK_SECONDS = 2.0  # between looks at nodes and workers


@dataclass(frozen=True, kw_only=True, slots=True)
class Ray(Executor):
    """A Ray cluster: on every node one worker that has all its CPUs, so that nothing disturbs it.

    Workers take trials from the database of the search. The trial of a node that dies goes to
    another one; nodes that join later get a worker too. Model and data lie at the same paths on
    all nodes.

    Attributes:
        address: Of the cluster, as Ray writes it; `auto` is the one that this machine is part of.
    """

    shares: ClassVar[bool] = True
    address: str = "auto"

    def explore(self, work: Work) -> None:
        """Look on all nodes until no trial is left.

        Raises:
            RecipeError: There is no cluster.
            MeasureError: No node could work.
            MissingDependency: Ray is not installed.
        """
        shared = work.shared
        assert shared is not None  # prepare() saw to it
        ray = require("ray", "ray", "searches on a cluster")
        if not ray.is_initialized():
            try:
                ray.init(address=self.address, log_to_driver=False)
            except ConnectionError as error:
                raise RecipeError(
                    f"a Ray cluster at {self.address}", str(error), "Start one: ray start --head."
                ) from error
        _Cluster(ray, work, shared).work_off()


class _Cluster:
    """The workers of one search."""

    def __init__(self, ray: Any, work: Work, shared: Shared) -> None:
        self._ray, self._work, self._shared = ray, work, shared
        self._running: dict[Any, tuple[str, str]] = {}  # node and owner of each worker
        self._given_up: dict[str, str] = {}  # nodes that cannot work, and why
        self._known: set[str] = set()

    def work_off(self) -> None:
        progress, told = self._work.prepared.progress, 0
        progress.stage("trials", self._work.prepared.request.trials)
        while True:
            self._start()
            if not self._running:
                break
            done, _ = self._ray.wait(list(self._running), timeout=LOOK_SECONDS)
            for worker in done:
                self._end(worker)
            finished = self._shared.count()
            progress.advance(finished - told)
            told = finished
        if self._given_up and not told:
            raise MeasureError(
                "a node that can search", "; ".join(dict.fromkeys(self._given_up.values()))
            )

    def _start(self) -> None:
        """A worker on every node that had none yet, or may have one again."""
        busy = {node for node, _ in self._running.values()}
        for node in self._ray.nodes():
            identity = node["NodeID"]
            cpus = node["Resources"].get("CPU", 0)
            if not node["Alive"] or not cpus or identity in self._given_up or identity in busy:
                continue
            if identity in self._known:
                continue  # it found no more to do
            self._known.add(identity)
            owner = uuid.uuid4().hex
            self._running[self._worker(identity, cpus, owner)] = (identity, owner)

    def _worker(self, node: str, cpus: float, owner: str) -> Any:
        prepared, limits = self._work.prepared, self._work.limits
        seconds = max(1, round(prepared.seconds - limits.elapsed))
        request = dataclasses.replace(prepared.request, budget=f"{seconds}s")
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            node, soft=False
        )
        # named by its module, not by value: workers import gossamer like anybody else
        worker = self._ray.remote(along).options(
            num_cpus=cpus, max_retries=0, scheduling_strategy=strategy
        )
        return worker.remote(request, self._shared.place, owner, str(prepared.out.absolute()))

    def _end(self, worker: Any) -> None:
        node, owner = self._running.pop(worker)
        try:
            self._ray.get(worker)
        except self._ray.exceptions.RayTaskError as error:
            reason = str(error.cause or error).splitlines()[-1]
            self._given_up[node] = reason
            self._work.prepared.progress.note(f"node {node[:8]} stopped: {reason}")
        except self._ray.exceptions.RayError as error:
            name = type(error).__name__
            self._given_up[node] = name
            self._work.prepared.progress.note(f"node {node[:8]} is gone ({name}): others go on")
        self._shared.release(owner)
        if node in self._given_up:  # its trial is for those that had come to their end too
            self._known.intersection_update(busy for busy, _ in self._running.values())


def along(request: Request, place: Place, owner: str, out: str) -> None:
    """What a worker does: look with the others until no trial is left.

    Args:
        request: Of the search, with the time that is left.
        place: Where its trials are.
        owner: Name of this worker, for its trials.
        out: Where the driver keeps files; used where this machine sees the folder too.
    """
    from gossamer.search.prepare import prepare
    from gossamer.search.search import begun
    from gossamer.search.shared import Shared

    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        own = Path(out) if (Path(out) / "cache").is_dir() else Path(scratch)
        prepared = prepare(request, Path(scratch) / "opened", own, Silent())
        shared = Shared(place, owner=owner)
        with begun(prepared, shared, time.monotonic()) as work:
            prepared.wanted.strategy.explore(work)
