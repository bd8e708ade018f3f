"""A client of a stocksync server, for programs: StocksyncClient, and AsyncStocksyncClient for an event loop.

    with StocksyncClient("http://127.0.0.1:8000") as client:
        run = client.run()
        end = client.wait(run.run_id, on_progress=lambda stats: print(stats.phase, stats.processed))

Both speak in the domain's values and differ in nothing but `await`:

flow.py       what a conversation asks of the outside: send, receive, pause; no I/O in it
questions.py  the conversations of one answer, and of an answer page by page
following.py  the conversations that last: a status, a run's end, a run's log, over restarts of the server
reading.py    answers as the domain's values, problems as errors.ServerError
events.py     Server-Sent Events
transport.py  what both shells do alike with httpx
blocking.py, asynchronous.py  the two shells, which carry conversations out
"""

from stocksync.client.asynchronous import AsyncStocksyncClient
from stocksync.client.blocking import StocksyncClient

__all__ = ["AsyncStocksyncClient", "StocksyncClient"]
