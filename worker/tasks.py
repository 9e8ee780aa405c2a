"""The tasks. Arguments are numbers of rows; a task that comes twice or never does no harm."""

from __future__ import annotations

from functools import cache

import structlog
from celery import shared_task
from celery.signals import worker_process_init
from kombu.exceptions import OperationalError
from sqlalchemy import Engine

from newsletter.collecting import collect_seldom
from newsletter.database import engine_for
from newsletter.delivery import dispatch
from newsletter.delivery.kept import Kept
from newsletter.digests import runs, upkeep
from newsletter.digests.calendar import slot_of
from newsletter.errors import StateError
from newsletter.feedback.mailbox import mailbox_of, read_mailbox
from newsletter.settings import Settings, load_settings
from worker.clock import now
from worker.stopping import stopping

log = structlog.get_logger("newsletter.worker")


@cache
def _settings() -> Settings:
    return load_settings()


def _engine() -> Engine:
    return engine_for(_settings().database)


@cache
def _kept() -> Kept:
    return Kept(_engine(), _settings())


@worker_process_init.connect
def _warm_up(**_: object) -> None:
    """Load and inline the templates before the first digest waits for them."""
    dispatch.warm_up(_settings())
    collect_seldom()


def ring(name: str, *args: int) -> None:
    """Send a task; if Redis is away the next tick will."""
    try:
        TASKS[name].delay(*args)
    except OperationalError:
        log.warning("redis is away; the next tick rings again", task=name)


@shared_task(name="newsletter.tick")
def tick() -> None:
    """Keep subscriptions up, open the runs that are due, then ring for all work that waits in the database."""
    moment = now()
    engine, settings = _engine(), _settings()
    upkeep.keep_up(engine, moment)
    # First, or a run passes over readers whose last digest is in the hands of a worker that died.
    ready = dispatch.sweep(engine, settings, moment)
    runs.open_due_runs(engine, slot_of(moment, settings.tick_seconds))
    for run_id, workers in dispatch.assemblies(engine, settings.workers):
        for _ in range(workers):
            ring("assemble", run_id)
    for _ in range(ready):
        ring("deliver")


@shared_task(name="newsletter.assemble")
def assemble(run_id: int) -> None:
    """Assemble shards of a run until none is left, then ring for the sending."""
    engine, settings = _engine(), _settings()
    looked_at = runs.assemble(engine, run_id, now(), on_shard=lambda: ring("deliver"))
    if looked_at:
        log.info("assembled", run=run_id, subscriptions=looked_at)
        for _ in range(dispatch.sweep(engine, settings, now())):
            ring("deliver")


@shared_task(name="newsletter.deliver", expires=300)
def deliver() -> None:
    """Send what is ready, notices first, for a short while; ring again if there is more."""
    tally = dispatch.dispatch(_engine(), _settings(), now, stopping, _kept())
    if tally.total:
        log.info("delivered", **tally.counts)
    if tally.more:
        ring("deliver")


@shared_task(name="newsletter.mailbox", expires=300)
def mailbox() -> None:
    """Let those leave who did so by mail; a server that is away is asked again in two minutes."""
    settings = _settings()
    found = mailbox_of(settings)
    if found is None:
        return
    try:
        told = read_mailbox(_engine(), settings, found, now())
    except StateError as error:
        log.warning("the leave mailbox cannot be read", reason=error.message)
        return
    if told.left:
        log.info("left by mail", readers=told.left)
    if told.refused:
        log.warning("the leave mailbox does not give messages", messages=told.refused)


TASKS = {"tick": tick, "assemble": assemble, "deliver": deliver}
