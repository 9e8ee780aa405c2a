"""How many deliveries a spell wants to claim, and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from newsletter.delivery.demand import BATCH, UNSETTLED, Demand
from newsletter.delivery.journal import SLOTS

counts = st.integers(0, SLOTS)


@given(st.lists(st.integers(0, 3000), max_size=8), counts, counts, counts)
def test_each_has_its_place_in_the_journal(settled: list[int], waiting: int, free: int, put_off: int) -> None:
    """What waits and what is claimed has room in the journal beside what is settled late, at any rate; nothing is
    claimed while half of a batch waits, and never more than a batch."""
    demand = Demand()
    for second, count in enumerate(settled, 1):
        demand.settled(count, float(second))
    demand.put_off(put_off, 2000, full=False)
    room = demand.room(waiting, free, 100.0)
    assert room == 0 or waiting + room + UNSETTLED <= free
    assert 0 <= room <= max(0, BATCH[1] - waiting)
    assert room == 0 or room >= waiting - 1


@given(st.integers(1, 5000))
def test_a_seconds_worth(rate: int) -> None:
    """What is claimed at a time is what is sent in a second, between fifty and two thousand."""
    demand = Demand()
    for tick in range(1, 21):
        demand.settled(rate // 4, 1000 + tick / 4)
    assert abs(demand.room(0, SLOTS, 1005.0) - min(max(rate // 4 * 4, BATCH[0]), BATCH[1])) <= 1


def test_what_is_put_off() -> None:
    """When most of a claim is put off since domains are held back, so much more is claimed that a batch is left: then
    others do not stand behind that for long. If a relay's rate is full, a batch is enough."""
    demand = Demand()
    for put_off, claimed, full, room in (
        (0, 50, False, 50),
        (40, 50, False, 250),
        (0, 0, False, 250),
        (50, 50, False, 2000),
        (50, 50, True, 50),
        (500, 1000, False, 100),
    ):
        demand.put_off(put_off, claimed, full=full)
        assert demand.room(0, SLOTS, 10.0) == room
    assert demand.room(20, SLOTS, 10.0) == 60
    assert not demand.room(30, SLOTS, 10.0)


def test_when_to_ask_again() -> None:
    """A claim that brought nothing, or the last there was, is not repeated at once; neither is one before the pace
    grants more, nor one that failed."""
    demand = Demand()
    assert demand.is_urgent(0, SLOTS, 10.0)
    demand.claimed(50, more=True, dry=False)
    assert demand.is_urgent(0, SLOTS, 10.0)
    for count, more in ((0, True), (7, False), (0, False)):
        demand.claimed(count, more=more, dry=False)
        assert not demand.is_urgent(0, SLOTS, 10.0)
        assert demand.room(0, SLOTS, 10.0)
    demand.claimed(50, more=True, dry=False)
    demand.held_until = 11.0
    assert not demand.room(0, SLOTS, 10.0)
    assert demand.is_urgent(0, SLOTS, 11.0)
    demand.failed()
    assert not demand.is_urgent(0, SLOTS, 11.0)
