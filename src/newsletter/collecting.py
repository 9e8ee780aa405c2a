"""How often a process that lives long looks for garbage in cycles."""

from __future__ import annotations

import gc


def collect_seldom() -> None:
    """What was loaded by now stays, and is not looked through again and again; what comes is looked through seldom.

    The many small things of a batch or a request make a collection rarer than every 700 of them: a fifth of the time
    of a request, up to a sixth of that of a mail.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
