"""Promises 1 to 3 under random histories: publishing, retagging, changed picks and frequency, outages."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path

from house import THEMES, House
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from servers import unsafe
from sqlalchemy import select, update

from newsletter.audience.picks import Picks, load_profiles, profile_ids
from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.items import retag, withdraw
from newsletter.catalogue.themes import all_themes, descendants
from newsletter.database import connect, reading
from newsletter.delivery import outbox, settling
from newsletter.delivery.settling import Outcome
from newsletter.delivery.smtp.conversation import Answer, Verdict
from newsletter.digests import runs
from newsletter.digests.calendar import next_due
from newsletter.digests.matching import Index
from newsletter.digests.runs import load_items
from newsletter.migrations import upgrade
from newsletter.settings import load_settings
from newsletter.tables import deliveries, editions, items, subscribers, subscriptions
from newsletter.tables import runs as runs_table

COUNTRIES = ("GT", "HN", "MX", "FR")
ZONES = ("UTC", "America/Guatemala", "Europe/Paris", "Asia/Kathmandu")
picks = st.builds(
    Picks,
    countries=st.frozensets(st.sampled_from(COUNTRIES), max_size=2),
    regions=st.frozensets(st.sampled_from(("013", "150")), max_size=1),
    themes=st.frozensets(st.sampled_from(THEMES), max_size=2),
)
tags = st.tuples(
    st.lists(st.sampled_from(COUNTRIES), max_size=2, unique=True),
    st.lists(st.sampled_from(("013", "150")), max_size=1),
    st.lists(st.sampled_from(THEMES), max_size=2, unique=True),
)
frequencies = st.sampled_from(("immediate", "daily", "weekly", "monthly"))
outcomes: Counter[str] = Counter()
"""What the histories came to, so that a machine that never gets to a digest is noticed."""


@dataclass
class Seen:
    """What a reader has got: how often each item."""

    got: Counter[int] = field(default_factory=Counter)


@cache
def migrated() -> Path:
    """A SQLite database with all tables, to be copied: a history takes little longer than migrating."""
    file = Path(tempfile.mkdtemp(prefix="nl-histories-")) / "h.db"
    atexit.register(shutil.rmtree, file.parent, ignore_errors=True)
    engine = connect(f"sqlite:///{file}")
    upgrade(engine)
    engine.dispose()
    return file


class Histories(RuleBasedStateMachine):
    """An oracle beside the real thing: whenever a cursor moves, exactly what fits must have been sent."""

    @initialize(readers=st.lists(st.tuples(picks, frequencies), min_size=2, max_size=3), published=st.integers(1, 4))
    def begin(self, readers: list[tuple[Picks, str]], published: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        file = shutil.copy(migrated(), Path(self.folder.name) / "h.db")
        engine = unsafe(connect(f"sqlite:///{file}"))
        self.house = House(engine, load_settings(base_url="https://news.example.org", secret_key="k" * 40))
        self.house.create()
        self.readers: dict[int, Seen] = {}
        self.checked: set[int] = set()
        self.count = 0
        for wanted, frequency in readers:
            self.subscribe(wanted, frequency, "America/Guatemala", 8)
        for number in range(published):
            self.publish(([COUNTRIES[number]], ["013"], [THEMES[number % len(THEMES)]]), number)

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.house.engine.dispose()
            self.folder.cleanup()

    @rule(wanted=picks, frequency=frequencies, zone=st.sampled_from(ZONES), hour=st.integers(0, 23))
    def subscribe(self, wanted: Picks, frequency: str, zone: str, hour: int) -> None:
        if len(self.readers) < 4:
            due_at = next_due(frequency, hour, 0, zone, self.house.now)
            number = self.house.subscribe(
                f"r{len(self.readers)}@example.org", wanted, frequency, hour=hour, timezone=zone, due_at=due_at
            )
            self.readers[number] = Seen()

    @rule(tag=tags, back=st.integers(0, 400))
    def publish(self, tag: tuple[list[str], list[str], list[str]], back: int) -> None:
        """Also back-dated: the position decides, not the date."""
        self.count += 1
        self.house.publish(
            f"t{self.count}",
            countries=tuple(tag[0]),
            regions=tuple(tag[1]),
            themes=tuple(tag[2]),
            published_at=self.house.now - timedelta(days=back),
        )

    @rule(tag=tags, which=st.integers(0, 50))
    def retag_one(self, tag: tuple[list[str], list[str], list[str]], which: int) -> None:
        if self.count:
            with self.house.engine.begin() as connection:
                values = {"countries": tag[0], "regions": tag[1], "themes": tag[2]}
                retag(connection, which % self.count + 1, values, self.house.now)

    @rule(wanted=picks, which=st.integers(0, 50))
    def change_picks(self, wanted: Picks, which: int) -> None:
        if self.readers:
            with self.house.engine.begin() as connection:
                connection.execute(
                    update(subscriptions)
                    .where(subscriptions.c.id == which % len(self.readers) + 1)
                    .values(profile_id=profile_ids(connection, [wanted])[wanted])
                )

    @rule(frequency=frequencies, which=st.integers(0, 50))
    def change_frequency(self, frequency: str, which: int) -> None:
        if self.readers:
            number = which % len(self.readers) + 1
            with self.house.engine.begin() as connection:
                row = connection.execute(
                    select(subscriptions.c.hour, subscribers.c.timezone)
                    .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
                    .where(subscriptions.c.id == number)
                ).one()
            due_at = next_due(frequency, row.hour, 0, row.timezone, self.house.now)
            self.house.set(number, frequency=frequency, due_at=due_at)

    @rule(hours=st.integers(1, 24 * 9))
    def pass_time(self, hours: int) -> None:
        """Up to nine days without a tick: an outage."""
        self.house.pass_time(hours=hours, minutes=7)

    @rule(twice=st.booleans(), shard=st.integers(1, 3))
    def tick(self, twice: bool, shard: int) -> None:
        cursors = {number: self.house.cursor(number) for number in self.readers}
        for _ in range(1 + twice):
            runs.open_due_runs(self.house.engine, self.house.now)
            with reading(self.house.engine) as connection:
                waiting = runs.unfinished(connection)
            for run_id in waiting:
                runs.assemble(self.house.engine, run_id, self.house.now, shard=shard)
        for number, before in cursors.items():
            self.check_moved(number, before)

    @rule(hours=st.integers(1, 30), verdict=st.sampled_from((*Verdict, Verdict.ACCEPTED)))
    def ordinary_day(self, hours: int, verdict: Verdict) -> None:
        """Something is published, time passes, beat ticks, a worker sends."""
        self.publish((["GT"], [], ["children"]), 0)
        self.pass_time(hours)
        self.tick(False, 2)
        self.send([verdict], False)

    @rule(verdicts=st.lists(st.sampled_from(list(Verdict)), min_size=1, max_size=4), crash=st.booleans())
    def send(self, verdicts: list[Verdict], crash: bool) -> None:
        """A relay that answers as it likes, or a worker that dies with its claims in hand."""
        house = self.house
        with house.engine.begin() as connection:
            claimed = outbox.claim(connection, "a worker", house.now, timedelta(minutes=5), 50)
        if crash:
            return
        for number, delivery in enumerate(claimed):
            verdict = verdicts[number % len(verdicts)]
            before = house.cursor(delivery.subscription_id)
            with house.engine.begin() as connection:
                (state,) = settling.settle(connection, [Outcome(delivery, Answer(verdict, 250, ""))], house.now)
            outcomes[state] += 1
            if state == "sent":
                self.receive(delivery.subscription_id, delivery.edition_id)
                self.check_moved(delivery.subscription_id, before)
            else:
                assert house.cursor(delivery.subscription_id) == before

    @rule(days=st.integers(1, 40))
    def lost_and_found(self, days: int) -> None:
        """A machine is lost with what a relay has taken from it, and comes back when the next digests are made."""
        house = self.house
        self.publish((["GT"], [], ["children"]), 0)
        self.pass_time(24)
        self.tick(False, 2)
        with house.engine.begin() as connection:
            claimed = outbox.claim(connection, "lost", house.now, timedelta(minutes=5), 50)
        self.pass_time(24 * days)
        with house.engine.begin() as connection:
            outbox.sweep(connection, house.now, [])
        self.tick(False, 2)
        with house.engine.begin() as connection:
            settling.settle(connection, [Outcome(one, Answer(Verdict.ACCEPTED, 250, "")) for one in claimed], house.now)
        for one in claimed:
            self.receive(one.subscription_id, one.edition_id)
            outcomes["overtaken"] += house.states(one.subscription_id)[-1] == "queued"
        self.send([Verdict.ACCEPTED], False)

    def receive(self, number: int, edition_id: int) -> None:
        with reading(self.house.engine) as connection:
            ids = connection.execute(select(editions.c.item_ids).where(editions.c.id == edition_id)).scalar_one()
        self.readers[number].got.update(ids)

    def check_moved(self, number: int, before: int) -> None:
        """A cursor that moved at assembly passed only what did not fit; one that moved by a digest is checked below."""
        after = self.house.cursor(number)
        assert after >= before
        with reading(self.house.engine) as connection:
            row = connection.execute(
                select(deliveries.c.state, deliveries.c.profile_id, deliveries.c.lower, editions.c.item_ids)
                .join(editions, editions.c.id == deliveries.c.edition_id)
                .where(deliveries.c.subscription_id == number)
                .order_by(deliveries.c.id.desc())
            ).first()
            profile = connection.execute(
                select(subscriptions.c.profile_id).where(subscriptions.c.id == number)
            ).scalar_one()
            if after > before and not (row and row.state == "sent" and row.lower == before):
                wanted = load_profiles(connection, [profile])[profile]
                vocabulary = all_themes(connection, self.house.list_id)
                index = Index(
                    load_items(connection, self.house.list_id, before, after),
                    countries_in,
                    lambda slug: descendants(vocabulary, slug),
                )
                assert index.fitting(wanted) == 0
        self.check_edition(number)

    def check_edition(self, number: int) -> None:
        """A new delivery's edition holds exactly what fits its profile between cursor and the run's upper position."""
        house = self.house
        with reading(house.engine) as connection:
            row = connection.execute(
                select(deliveries, editions.c.item_ids)
                .join(editions, editions.c.id == deliveries.c.edition_id)
                .where(
                    deliveries.c.subscription_id == number, deliveries.c.state == "queued", deliveries.c.attempts == 0
                )
            ).one_or_none()
            if row is None or row.id in self.checked:
                return
            self.checked.add(row.id)
            outcomes["checked"] += 1
            upper = connection.execute(select(runs_table.c.upper).where(runs_table.c.id == row.run_id)).scalar_one()
            wanted = load_profiles(connection, [row.profile_id])[row.profile_id]
            vocabulary = all_themes(connection, house.list_id)
            found = load_items(connection, house.list_id, row.lower, upper)
            index = Index(found, countries_in, lambda slug: descendants(vocabulary, slug))
            assert row.lower == house.cursor(number)
            assert row.item_ids == [item.id for item in index.of(index.fitting(wanted))]

    @rule(which=st.integers(0, 50))
    def withdraw_one(self, which: int) -> None:
        if self.count:
            with self.house.engine.begin() as connection:
                withdraw(connection, which % self.count + 1, self.house.now)

    @invariant()
    def nothing_twice(self) -> None:
        """No reader got an item twice."""
        for seen in getattr(self, "readers", {}).values():
            assert all(times == 1 for times in seen.got.values())

    @invariant()
    def nothing_ahead(self) -> None:
        """Nobody got an item that their cursor has not passed."""
        got = {number: seen.got for number, seen in getattr(self, "readers", {}).items() if seen.got}
        if got:
            with reading(self.house.engine) as connection:
                positions = dict(connection.execute(select(items.c.id, items.c.position)).all())
                cursors = dict(connection.execute(select(subscriptions.c.id, subscriptions.c.cursor)).all())
            assert all(positions[item] <= cursors[number] for number, seen in got.items() for item in seen)


Histories.TestCase.settings = settings(
    max_examples=45,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class TestHistories(Histories.TestCase):
    """Each item that fits is in exactly one digest, whatever happened."""

    def runTest(self) -> None:
        outcomes.clear()
        super().runTest()
        assert {"sent", "failed", "deferred", "overtaken"} <= outcomes.keys(), outcomes
        assert outcomes["sent"] > 20, outcomes
