from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gossamer.costs import Costs, KernelCost, Machine
from gossamer.errors import OutputError

HERE = Machine(
    target="ort-cpu", runtime="onnxruntime 1.31.1", cpu="some CPU", flags=("avx2",), threads=2
)
COSTS = Costs(
    machine=HERE,
    kernels={
        "conv": KernelCost(float32=(0.003, 0.005, 0.004), int8=(0.002, 0.002, 0.003)),
        "odd": KernelCost(float32=(0.001,), int8=()),
    },
    quantize={1000: (0.002,), 3000: (0.004,)},
    dequantize={1000: (0.001,)},
    overhead=(0.001,),
    noise_floor=0.02,
)


def test_a_kernel_costs_its_quietest_round_without_what_every_call_takes() -> None:
    assert COSTS.kernel("conv") == pytest.approx((0.002, 0.001))


def test_a_kernel_that_was_refused_or_never_seen_has_no_cost() -> None:
    assert COSTS.kernel("odd") is None
    assert COSTS.kernel("another") is None


def test_conversions_are_interpolated_and_grow_in_proportion_beyond() -> None:
    assert COSTS.quantizing(2000) == pytest.approx(0.002)
    assert COSTS.quantizing(6000) == pytest.approx(0.006)
    assert COSTS.quantizing(1) == pytest.approx(0.001)
    assert Costs(machine=HERE).quantizing(2000) == 0.0


def test_costs_come_back_from_json_as_they_were() -> None:
    assert Costs.parse(json.loads(json.dumps(COSTS.dump())), HERE) == COSTS


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(HERE, cpu="another CPU"),
        replace(HERE, runtime="onnxruntime 1.0.0"),
        replace(HERE, threads=1),
        replace(HERE, flags=("avx2", "avx512_vnni")),
    ],
    ids=lambda m: f"{m.cpu}, {m.runtime}, {m.threads}",
)
def test_costs_of_another_machine_are_refused(elsewhere: Machine) -> None:
    with pytest.raises(OutputError, match="costs measured on"):
        Costs.parse(COSTS.dump(), elsewhere)


@pytest.mark.parametrize(
    "damage",
    [
        {"schema_version": 2},
        {"kernels": []},
        {"kernels": {"conv": {"float32": [-1.0], "int8": []}}},
        {"kernels": {"conv": {"float32": ["fast"], "int8": []}}},
        {"quantize": {"many": [0.1]}},
        {"overhead": None},
        {"noise_floor": float("nan")},
    ],
    ids=str,
)
def test_damaged_costs_are_refused(damage: dict[str, object]) -> None:
    with pytest.raises(OutputError):
        Costs.parse(COSTS.dump() | damage, HERE)
