"""What a request's words stand for."""

from __future__ import annotations

from gossamer.measure.environment import cpu_level
from gossamer.search.prepare import named_level


def test_native_is_the_level_of_this_machine_and_other_levels_stand_for_themselves() -> None:
    assert named_level("native") == cpu_level()
    assert named_level("native") != "native"
    assert named_level("avx2") == "avx2"
