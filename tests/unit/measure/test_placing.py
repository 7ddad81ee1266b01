"""Which CPUs instances get: their own, and of one node where that is possible."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import RecipeError
from gossamer.measure import placing
from gossamer.measure.placing import placed, places


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(1, 6), st.data())
def test_every_instance_has_its_own_cpus_of_as_few_nodes_as_can_be(
    sizes: list[int], cores: int, data: st.DataObject
) -> None:
    nodes = [[100 * i + cpu for cpu in range(size)] for i, size in enumerate(sizes)]
    instances = data.draw(st.integers(0, sum(sizes) // cores))

    found = placed(nodes, instances, cores)

    cpus = [cpu for place in found for cpu in place]
    assert [len(place) for place in found] == [cores] * instances
    assert len(set(cpus)) == len(cpus)
    assert set(cpus) <= {cpu for node in nodes for cpu in node}
    across = sum(len({cpu // 100 for cpu in place}) > 1 for place in found)
    assert across <= max(0, instances - sum(size // cores for size in sizes))


def test_instances_are_spread_over_the_nodes() -> None:
    assert placed([[0, 1, 2, 3], [4, 5, 6, 7]], 2, 2) == ((0, 1), (4, 5))


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with eight cores on two nodes."""
    monkeypatch.setattr(placing, "physical_cores", lambda: 8)
    monkeypatch.setattr(placing, "cores_by_node", lambda: ((0, 1, 2, 3), (4, 5, 6, 7)))


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("instances", "cores", "shape"),
    [(None, None, (1, 8)), (4, None, (4, 2)), (3, None, (3, 2)), (None, 4, (2, 4)), (8, 1, (8, 1))],
)
def test_what_is_left_open_is_filled_with_the_machine(
    instances: int | None, cores: int | None, shape: tuple[int, int]
) -> None:
    found = places(instances, cores)

    assert (len(found), len(found[0])) == shape


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(("instances", "cores"), [(9, None), (None, 9), (3, 3), (2, 5)])
def test_more_cores_than_there_are_is_bad_input(instances: int | None, cores: int | None) -> None:
    with pytest.raises(RecipeError, match="received 8 that this process may use"):
        places(instances, cores)
