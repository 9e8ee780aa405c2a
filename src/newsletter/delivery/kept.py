"""What a worker process keeps from one spell of sending to the next."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from sqlalchemy import Engine

from newsletter.delivery.composing.letters import Letters
from newsletter.delivery.pace import Pace
from newsletter.delivery.relays import Relay
from newsletter.delivery.routing import Routing
from newsletter.delivery.shares import Shares
from newsletter.delivery.smtp.pools import Record
from newsletter.settings import Settings


class Kept:
    """See the module. Made after the fork: it holds connections."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.letters = Letters(engine, settings)
        self.pace = Pace(settings.redis_url, settings.workers)
        self.routing = Routing(Shares(), self.pace)
        self.records: defaultdict[str, Record] = defaultdict(Record)
        """Of relays, by name."""
        self.served_at: dict[Relay, datetime] = {}
        """When each relay last took a message of ours."""
        self.full_until: dict[Relay, float] = {}
        """Until when the rates of relays are used up, by ``time.monotonic``, as far as is known."""
