"""Self-hosted digests by country and theme."""

__version__ = "0.1.0"
