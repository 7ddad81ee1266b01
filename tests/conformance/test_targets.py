"""What every target must be, those of third parties included."""

from __future__ import annotations

import dataclasses

import pytest

from gossamer import plugins
from gossamer.errors import TargetError
from gossamer.graph import passes
from gossamer.graph.place import Wish, place
from gossamer.target import TargetSpec
from zoo.placed import block, conv_relu_conv, residual

NAMES = plugins.names("targets")


@pytest.fixture(params=NAMES)
def target(request: pytest.FixtureRequest) -> TargetSpec:
    spec: TargetSpec = plugins.load("targets", request.param)
    return spec


def test_its_name_is_that_of_its_file() -> None:
    assert tuple(plugins.load("targets", name).name for name in NAMES) == NAMES


def test_its_runtime_and_transforms_exist(target: TargetSpec) -> None:
    assert target.runtime in plugins.names("runtimes")
    assert all(callable(passes.find(name)) for name in target.transforms)


def test_every_fact_has_evidence(target: TargetSpec) -> None:
    assert target.evidence
    assert target.weight_only is None or target.weight_only.evidence
    assert all(rule.evidence for rule in target.rules)


def test_no_operator_has_two_rules(target: TargetSpec) -> None:
    ops = [op for rule in target.rules for op in rule.ops]
    assert len(ops) == len(set(ops))
    assert not set(ops) & {*target.follows, *target.transparent}


def test_portable_is_its_weakest_level_and_accumulators_only_grow(target: TargetSpec) -> None:
    levels = [name for name, _ in target.cpus]
    accumulators = [n for _, n in target.cpus]
    assert levels[0] == "portable"
    assert accumulators == sorted(accumulators)
    with pytest.raises(TargetError, match=f"a CPU level of {target.name}"):
        target.accumulator("quantum")


def test_on_a_gpu_every_cpu_level_is_as_good_as_the_other(target: TargetSpec) -> None:
    if target.device == "gpu":
        assert {target.accumulator(level) for level in ("portable", "avx2", "vnni", "neon")} == {
            "s32"
        }


def test_it_is_immutable(target: TargetSpec) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        target.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("build", [conv_relu_conv, residual, block])
def test_it_decides_the_same_each_time_and_reads_the_graph_only(
    target: TargetSpec, build: object
) -> None:
    model = build()  # type: ignore[operator]
    before = str(model)
    first, second = (place(model, target, Wish()) for _ in range(2))
    assert first == second
    assert str(model) == before
    assert bool(first.quantized) == bool(target.rules)
