"""Lists of ids come back as they were, and are the same bytes whoever packed them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from newsletter.packing import Packer, pack, united, unpack

some_ids = st.one_of(
    st.lists(st.integers(1, 3000), unique=True).map(sorted),
    st.lists(st.integers(1, 2**62), unique=True).map(sorted),
    st.lists(st.integers(-5, 2**40), unique=True),
    st.builds(range, st.integers(1, 10**9), st.integers(1, 10**9)).map(lambda r: list(r[:1500])),
)


@given(some_ids | st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_there_and_back(ids: list[int]) -> None:
    """Ids of any order, size and gaps, also repeated ones, come back in their order."""
    assert unpack(pack(ids)) == ids


@given(st.lists(some_ids, max_size=5))
def test_many_together(lists: list[list[int]]) -> None:
    """The ids of many packed lists together are those of each."""
    assert united(map(pack, lists)) == {number for ids in lists for number in ids}


@given(some_ids, st.data())
def test_a_mask_packs_as_its_ids(ids: list[int], data: st.DataObject) -> None:
    """A selection packed by mask is, byte for byte, what its ids are packed to."""
    mask = data.draw(st.integers(0, (1 << len(ids)) - 1))
    assert Packer(ids)(mask) == pack([number for n, number in enumerate(ids) if mask >> n & 1])


@given(st.integers(1, 10**6), st.sets(st.integers(0, 1200), min_size=1), st.sets(st.integers(0, 1200)), st.data())
def test_wherever_one_begins(first: int, there: set[int], withdrawn: set[int], data: st.DataObject) -> None:
    """Two workers that know different items, since one began later or one item was withdrawn, pack the same alike."""
    known = [first + n for n in sorted(there)]
    start = data.draw(st.integers(0, len(known) - 1))
    later = [number for number in known[start:] if number - first not in withdrawn]
    selected = [number for number in later if data.draw(st.booleans())] if len(later) < 50 else later[::3]
    packed = {
        Packer(ids)(sum(1 << n for n, number in enumerate(ids) if number in set(selected))) for ids in (known, later)
    }
    assert packed == {pack(selected)}


def test_small() -> None:
    """Half of a thousand neighbours take about a bit for each neighbour."""
    assert len(pack(range(5000, 6000, 2))) < 130
    assert len(pack([5, 1_000_000_000])) < 10
