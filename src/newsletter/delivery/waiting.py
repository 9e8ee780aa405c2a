"""What a spell has claimed and not begun: digests in a queue for each relay, and notices for any of them."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice

from newsletter.delivery.notices import Taken
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.relays import Relay
from newsletter.delivery.shares import Carried, carries

Yields = Callable[[Relay, Taken | Claimed], bool]
"""Whether a relay leaves a message to others."""


class Waiting:
    """See the module; its length is how many messages wait.

    Whoever waits in a queue has leave to go (``pace``). Leave of which nobody made use is kept to be given back.
    """

    def __init__(self, relays: Sequence[Relay]) -> None:
        self.notices: deque[Taken] = deque()
        self._queues: dict[str, deque[Claimed]] = {relay.name: deque() for relay in relays}
        self._suspects: dict[str, deque[Claimed]] = {relay.name: deque() for relay in relays}
        self._passed_on: list[Claimed] = []
        self._unused: defaultdict[Relay, Counter[str]] = defaultdict(Counter)

    def __len__(self) -> int:
        queues = (*self._queues.values(), *self._suspects.values())
        return len(self.notices) + len(self._passed_on) + sum(map(len, queues))

    def count_for(self, relay: Relay, yields: Yields = lambda *_: False) -> int:
        """How many messages there may be for this relay, but for notices that it ``yields`` to others."""
        return self.digests_for(relay) + sum(
            carries([relay], one.slug) and not yields(relay, one) for one in self.notices
        )

    def notices_for(self, relays: Sequence[Relay]) -> int:
        """How many notices wait that any of these relays may carry."""
        return sum(carries(relays, one.slug) for one in self.notices)

    def digests_for(self, relay: Relay) -> int:
        """How many digests wait for this relay."""
        return len(self._queues[relay.name]) + len(self._suspects[relay.name])

    def deliveries(self) -> list[Claimed]:
        """Every digest that waits."""
        queues = (*self._queues.values(), *self._suspects.values(), self._passed_on)
        return [delivery for queue in queues for delivery in queue]

    def add(self, relay: Relay, deliveries: Iterable[Claimed]) -> None:
        """Digests that have leave to go through this relay."""
        self._queues[relay.name] += deliveries

    def stuck(self, lagging: Collection[Relay], others: Sequence[Relay]) -> int:
        """How many messages wait for relays that lag, and for none of the others."""
        return sum(map(self.digests_for, lagging)) + len(self.notices) - self.notices_for(others)

    def next_notice(self, relay: Relay, yields: Yields) -> Taken | None:
        """The oldest that this relay may carry and does not yield to others."""
        for place, notice in enumerate(self.notices):
            if carries([relay], notice.slug) and not yields(relay, notice):
                del self.notices[place]
                return notice
        return None

    def take_notices(self, unless_for: Sequence[Relay] = ()) -> list[Taken]:
        """Take out those that none of these relays may carry; without relays, all."""
        taken = [notice for notice in self.notices if not carries(unless_for, notice.slug)]
        self.notices = deque(notice for notice in self.notices if carries(unless_for, notice.slug))
        return taken

    def next_delivery(self, relay: Relay, yields: Yields) -> Claimed | None:
        """The next digest for this relay; last what it hung up over and does not yield to others."""
        if queue := self._queues[relay.name]:
            return queue.popleft()
        suspects = self._suspects[relay.name]
        for place, delivery in enumerate(suspects):
            if not yields(relay, delivery):
                del suspects[place]
                return delivery
        return None

    def put_back(self, relay: Relay, delivery: Claimed) -> None:
        """A digest whose turn it was, and which keeps it."""
        self._queues[relay.name].appendleft(delivery)

    def suspect(self, relay: Relay, delivery: Claimed) -> None:
        """A digest over which the relay has hung up: the others go first, of them the one that is farthest from it."""
        self._suspects[relay.name].append(delivery)
        if queue := self._queues[relay.name]:
            queue.appendleft(queue.pop())

    def pass_on(self, _relay: Relay, delivery: Claimed) -> None:
        """A digest that the relay did not take, and has used its leave for: others try next."""
        self._passed_on.append(delivery)

    def take_passed_on(self) -> list[Claimed]:
        """Take out what relays did not take; it has leave for none."""
        taken, self._passed_on = self._passed_on, []
        return taken

    def take_suspects(self, relay: Relay, taken: Carried) -> list[Claimed]:
        """Take out what the relay has hung up over, of those lists that ``taken`` is true of."""
        suspects = self._suspects[relay.name]
        found = [delivery for delivery in suspects if taken(delivery.slug)]
        self._suspects[relay.name] = deque(delivery for delivery in suspects if not taken(delivery.slug))
        self.give_up(relay, *found)
        return found

    def give_up(self, relay: Relay, *deliveries: Claimed) -> None:
        """Digests that will not make use of their leave."""
        self._unused[relay].update(delivery.domain for delivery in deliveries)

    def movable(self, relay: Relay, others: Sequence[Relay], keep: int = 0) -> list[Claimed]:
        """Take out what waited for this relay and others may carry, behind the first ``keep``; what it hung up over
        stays."""
        queue = list(self._queues[relay.name])
        moved = [delivery for delivery in queue[keep:] if carries(others, delivery.slug)]
        if moved:
            left = [delivery for delivery in queue[keep:] if not carries(others, delivery.slug)]
            self._queues[relay.name] = deque(queue[:keep] + left)
            self.give_up(relay, *moved)
        return moved

    def surplus(self, keeps: Mapping[Relay, int], others: Sequence[Relay], is_suspect: Yields) -> int:
        """How many digests wait for these relays that others may carry for which they are not suspect, behind as many
        as each keeps."""
        queues = [islice(self._queues[relay.name], keep, None) for relay, keep in keeps.items()]
        return sum(
            carries([one for one in others if not is_suspect(one, delivery)], delivery.slug)
            for queue in queues
            for delivery in queue
        )

    def emptied(self, relay: Relay) -> list[Claimed]:
        """What waited for this relay, and does not need the leave for it any more."""
        queue, suspects = self._queues[relay.name], self._suspects[relay.name]
        waiting = [*queue, *suspects]
        queue.clear()
        suspects.clear()
        self.give_up(relay, *waiting)
        return waiting

    def take_unused(self) -> list[tuple[Relay, Counter[str]]]:
        """The leave that nobody made use of, by domain: for the pace to have it back."""
        unused = [(relay, domains) for relay, domains in self._unused.items() if domains]
        self._unused.clear()
        return unused
