"""``uvicorn subscribers.asgi:app``: the site with its configuration from the environment."""

from __future__ import annotations

import logging

from fastapi import FastAPI

from newsletter.database import engine_for
from newsletter.errors import NewsletterError
from newsletter.settings import load_settings
from subscribers.app import site_app

# An access log would hold the tokens of every reader.
logging.getLogger("uvicorn.access").disabled = True


def _build() -> FastAPI:
    try:
        settings = load_settings()
        return site_app(engine_for(settings.database), settings)
    except NewsletterError as error:
        raise SystemExit(str(error)) from None


app = _build()
