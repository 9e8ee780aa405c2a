"""The live state of relays, in the database: paused by an admin, or resting after failures with growing pauses.

A rest ends by itself. Redis has no part in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, select, update

from newsletter.database import insert
from newsletter.delivery.relays import Relay
from newsletter.delivery.smtp.tokens import safe_reason
from newsletter.tables import relays as table

SHORTEST = timedelta(seconds=20)
LONGEST = timedelta(minutes=15)
# How old ``last_ok_at`` may become while a relay takes messages; each refresh is a write.
REFRESH = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a relay beyond its configuration; ``failures`` came one after the other."""

    paused_at: datetime | None = None
    rests_until: datetime | None = None
    failures: int = 0
    last_error: str | None = None
    last_error_at: datetime | None = None
    last_ok_at: datetime | None = None

    def word(self, now: datetime) -> str:
        """ready, paused or resting."""
        if self.paused_at:
            return "paused"
        return "resting" if self.rests(now) else "ready"

    def is_well(self, now: datetime) -> bool:
        """Whether one more message that the relay took is nothing new."""
        return not self.failures and self.last_ok_at is not None and now - self.last_ok_at < REFRESH

    def serves_others(self, served_at: datetime | None, now: datetime) -> bool:
        """Whether it takes other workers' messages now; it took the last one of ours at ``served_at``."""
        at = self.last_ok_at
        return at is not None and abs(now - at) < 2 * REFRESH and (served_at is None or served_at < at)

    def forgives(self, begun: datetime, now: datetime) -> bool:
        """Whether a message ``begun`` then, and taken, ends its rest; or there is none."""
        return not self.rests(now) or (self.last_error_at is not None and self.last_error_at < begun)

    def rests(self, now: datetime) -> bool:
        """Whether its rest is not over; one beyond the longest was written by a clock that was ahead, and is none."""
        return self.rests_until is not None and now < self.rests_until <= now + LONGEST


def rest_after(failures: int) -> timedelta:
    """How long a relay rests after its n-th failure in a row: 20 s, 40 s, 80 s … 15 minutes."""
    return min(LONGEST, SHORTEST * (1 << min(failures - 1, 10)))


_STATES = select(table.c.name, *(table.c[name] for name in State.__slots__)).where(
    table.c.name.in_(bindparam("names", expanding=True))
)


def states(connection: Connection, relays: Sequence[Relay]) -> dict[str, State]:
    """The state of each relay by its name; one that nothing happened to is ready."""
    rows = connection.execute(_STATES, {"names": [relay.name for relay in relays]})
    found = {row.name: State(*row[1:]) for row in rows}
    return {relay.name: found.get(relay.name, State()) for relay in relays}


def usable(
    known: Mapping[str, State], relays: Sequence[Relay], now: datetime, serving: Collection[Relay] = ()
) -> tuple[Relay, ...]:
    """Those that are neither paused nor resting, by their ``states``; of those ``serving`` us also who rests."""
    words = {relay: known[relay.name].word(now) for relay in relays}
    return tuple(relay for relay, word in words.items() if word == "ready" or (word == "resting" and relay in serving))


def rest(connection: Connection, relay: Relay, reason: str, now: datetime) -> datetime:
    """Let a relay rest that cannot be used; until when.

    Whoever finds it failing while it already rests (two workers that fail together) does not prolong the rest.
    ``reason`` is stored as one line, without the relay's secrets.
    """
    state = _locked(connection, relay.name)
    if state.rests_until and state.rests(now):
        return state.rests_until
    failures = state.failures + 1
    until = now + rest_after(failures)
    _write(
        connection,
        relay.name,
        failures=failures,
        rests_until=until,
        last_error=safe_reason(relay, reason),
        last_error_at=now,
    )
    return until


def recovered(connection: Connection, relay: Relay, begun: datetime, now: datetime) -> bool:
    """Note that a relay took a message; whether anything had to be written. Call it where writing is allowed.

    Failures are forgotten, and its rest is over, but not by a message ``begun`` before it failed, which proves
    nothing. Without failures, one write in ten seconds keeps ``last_ok_at`` for admins and other workers.
    """
    state = states(connection, [relay])[relay.name]
    if state.is_well(now) or not state.forgives(begun, now):
        return False
    state = _locked(connection, relay.name)
    if not state.forgives(begun, now):
        return False
    _write(connection, relay.name, failures=0, rests_until=None, last_ok_at=now)
    return True


def pause(connection: Connection, relay: Relay, now: datetime) -> bool:
    """Use the relay no more until it is resumed; False if it was paused before."""
    if _locked(connection, relay.name).paused_at:
        return False
    _write(connection, relay.name, paused_at=now)
    return True


def resume(connection: Connection, relay: Relay, now: datetime) -> bool:
    """Use the relay from now on, if it was paused or rests; False if it was ready."""
    if _locked(connection, relay.name).word(now) == "ready":
        return False
    _write(connection, relay.name, paused_at=None, rests_until=None, failures=0)
    return True


def _locked(connection: Connection, name: str) -> State:
    """The relay's state; its row, made if need be, is ours until the transaction ends."""
    connection.execute(insert(connection, table).values(name=name).on_conflict_do_nothing())
    columns = [table.c[column] for column in State.__slots__]
    return State(*connection.execute(select(*columns).where(table.c.name == name).with_for_update()).one())


def _write(connection: Connection, name: str, **values: object) -> None:
    connection.execute(update(table).where(table.c.name == name).values(values))
