"""AKShare's worker with little patience: a test that waits for a hanging site need not wait for long."""

from stocksync.sources import akshare_requests

akshare_requests.TIMEOUT = 1.0  # type: ignore[misc]
akshare_requests.BODY_DEADLINE = 1.5  # type: ignore[misc]

from stocksync.sources.akshare_worker import CALLS  # noqa: E402 - it sends nothing before it is asked

__all__ = ["CALLS"]
