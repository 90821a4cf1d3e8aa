"""What a larger base would take is told from the speed that was seen."""

import re

from textmill.gpt2.architecture import Architecture, of_size
from textmill.training import larger_base
from textmill.training.log import Point
from textmill.training.memory.devices import Devices

STARTER = Architecture(4096, 256, 6, 8, 256)
ROOMY = Devices(1, 32 * 10**9)
HISTORY = [
    Point(0),
    Point(10, tokens_per_second=1000.0),
    Point(20, tokens_per_second=2000.0),
    Point(30, tokens_per_second=2100.0),
]


def test_it_names_minutes_and_memory_and_twice_the_speed_takes_half_the_time() -> None:
    def minutes(speed: float) -> int:
        said = larger_base.sentence(STARTER, [Point(10, tokens_per_second=speed)], 30_000, ROOMY)
        found = re.search(r"model.base: 124M, would train about (\d+) minutes here, with \d\.\d GB of memory", said)
        assert found, said
        return int(found[1])

    assert abs(minutes(4000) - 2 * minutes(8000)) <= 1
    assert "minutes here" in larger_base.sentence(STARTER, HISTORY, 30_000, ROOMY)


def test_nothing_is_proposed_that_is_no_larger_does_not_fit_or_takes_days() -> None:
    assert larger_base.sentence(of_size("124M"), HISTORY, 30_000, ROOMY) == ""
    assert larger_base.sentence(STARTER, HISTORY, 30_000, Devices(1, 10**9)) == ""
    assert larger_base.sentence(STARTER, [Point(10, tokens_per_second=100.0)], 10**8, ROOMY) == ""
    assert larger_base.sentence(STARTER, [Point(0)], 30_000, ROOMY) == ""
