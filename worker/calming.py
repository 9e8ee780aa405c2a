"""What Celery logs: of servers that are away a line a time, without a traceback, and nothing of ticks that go well."""

from __future__ import annotations

import logging
import re

from celery.beat import SchedulingError
from celery.exceptions import CPendingDeprecationWarning
from celery.worker.consumer.consumer import CONNECTION_ERROR
from kombu.exceptions import OperationalError

from newsletter.database import why_away

WARNINGS = "py.warnings"
LOGGERS = ("celery.app.trace", "celery.beat", "celery.worker.consumer.consumer", "celery.worker.strategy", WARNINGS)
"""Those that tell of tasks, of rings, of the connection to Redis; and of what Celery will change."""
REGULAR = re.compile(r"^(Scheduler: Sending due task |Task newsletter\.)(tick|mailbox)\b")
"""What beat has done each minute or two. What comes of it has lines of our own."""
ENDLESS = re.compile(r" \(\d+/None\)$")
"""The number of a try of which there is no last."""


class Calm(logging.Filter):
    """Makes a sentence of an error that ends by itself; what else went wrong keeps its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record in place if it tells that a server is away; whether it is worth telling."""
        if record.name == WARNINGS:
            # Said each time that Redis is lost: that a default will be another one in Celery 6.
            return CPendingDeprecationWarning.__name__ not in record.getMessage()
        if record.levelno == logging.INFO and REGULAR.search(record.getMessage()):
            return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        error = record.exc_info[1] if record.exc_info else None
        if record.msg == CONNECTION_ERROR:
            said = ENDLESS.sub("", " ".join(record.getMessage().split()))
        elif error is not None and (reason := why_away(error)):
            said = f"The database is away, and the next tick tries again: {reason}"
        elif isinstance(error, SchedulingError) and isinstance(error.__context__, OperationalError):
            said = f"Redis is away, and the next tick tries again: {error.__context__}"
        else:
            return True
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args, record.exc_info, record.exc_text = said, (), None, None
        return True


def calm_logs() -> None:
    """Have Celery's loggers say so."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(Calm())
