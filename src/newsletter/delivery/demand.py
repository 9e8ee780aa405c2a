"""How many deliveries a spell wants to claim, and when. Pure; moments are seconds by a clock that never jumps."""

from __future__ import annotations

BATCH = (50, 2000)
UNSETTLED = 1000
# How fast it goes is told from what was settled in at least this time.
RATE_SECONDS = 0.2
# So many a second take all of a processor, of which two threads that share the interpreter cost a twentieth.
DENSE = 500


class Demand:
    """The demand of one spell: about a second's worth, so that a slow relay does not hold what others could send."""

    def __init__(self) -> None:
        self.dry = False
        """No more are due now or soon."""
        self.held_until = 0.0
        """Before this moment the pace grants nothing."""
        self._in_vain = False
        self._batch = BATCH[0]
        self._scale = 1.0
        self._measured_at = 0.0
        self._settled = 0

    @property
    def dense(self) -> bool:
        """Whether so many go that the processor is what is short."""
        return self._batch >= DENSE

    def room(self, waiting: int, free: int, at: float) -> int:
        """How many to claim: none while half of a batch still waits, or the pace grants nothing.

        ``free``: places in the journal; each that waits will need one, and each that is claimed.
        """
        wanted, least = self._batch - waiting, self._batch // 2
        room = min(int(wanted * self._scale), BATCH[1] - waiting, free - waiting - UNSETTLED)
        return room if min(wanted, room) >= least and at >= self.held_until else 0

    def is_urgent(self, waiting: int, free: int, at: float) -> bool:
        """Whether to claim at once; if nothing more was found the last time, the next pulse is soon enough."""
        return not self._in_vain and self.room(waiting, free, at) > 0

    def claimed(self, count: int, *, more: bool, dry: bool) -> None:
        """Note what a claim brought: if there are more, but all in others' hands, none."""
        self.dry, self._in_vain = dry, not (count and more)

    def put_off(self, count: int, claimed: int, *, full: bool) -> None:
        """Note how many the pace puts off, perhaps for a moment only, when so many were ``claimed``.

        If no relay's rate is ``full`` they are of domains that are held back, and others stand behind them: as large a
        part of the next claim will be put off, which is to leave what is wanted.
        """
        self.dry = self.dry and not count
        if claimed:
            self._scale = 1.0 if full else claimed / max(1, claimed - count)

    def failed(self) -> None:
        """Note that nobody could be asked."""
        self._in_vain = True

    def settled(self, count: int, at: float) -> None:
        """Note how many were settled."""
        self._settled += count
        if at - self._measured_at >= RATE_SECONDS:
            rate = self._settled / (at - self._measured_at)
            self._batch = int(min(max(rate, BATCH[0]), BATCH[1]))
            self._measured_at, self._settled = at, 0
