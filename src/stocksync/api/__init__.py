"""The HTTP API: `create_api` builds the ASGI application that any ASGI server can run."""

from stocksync.api.application import create_api

__all__ = ["create_api"]
