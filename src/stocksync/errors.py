"""Every error that stocksync raises on purpose, as one tree.

    StocksyncError
    ├── SettingsInvalid          the environment does not describe a service that can start
    ├── RowError                 one row of an upstream's answer
    │   ├── OutOfScope           not an A share: dropped, counted, no error
    │   └── BadRow               malformed or unknown: rejected by name, an error of the run
    ├── SourceError              an upstream gave no usable answer; the next source is asked
    │   ├── SourceDenied         bad token, or no permission for this dataset
    │   ├── SourceRateLimited    too many calls; `retry_after` seconds where known
    │   ├── SourceBanned         the upstream refuses this client as such
    │   ├── SourceTimeout        no answer before the deadline
    │   ├── SourceUnreachable    the transport failed
    │   ├── SourceNonsense       an answer that is not the protocol's
    │   ├── SourceEmpty          a well-formed answer without rows
    │   ├── SourceIncomplete     rows, but not what the source declares
    │   ├── SourceNotFinal       figures that can still change today
    │   └── SourceSkipped        not asked: switched off, unconfigured or not provided
    ├── RunError                 a request that does not fit how the run stands
    │   ├── RunInProgress        one run at a time, and one is running
    │   ├── NoRunInProgress      nothing to cancel
    │   ├── RunNotFound          no such run
    │   ├── UnknownSource        a source that this installation does not have
    │   ├── IdempotencyKeyReused a key that stands for another request already
    │   ├── IdempotencyInProgress a key whose first request is still being carried out
    │   ├── LeaseLost            another process took over this run's slot
    │   └── RunFailed            a run that cannot be completed; carries the reason
    ├── StoreError               the database
    │   ├── StoreUnavailable     cannot be reached or written now; may heal by itself
    │   ├── SearchTimedOut       a search that takes too long
    │   ├── StoreInvalid         is not a database that this version can use
    │   └── StoreUrlInvalid      STOCKSYNC_STORE names no store that exists
    ├── LogNotFound              no such record in the operation log
    ├── ServerDied               a server that we started ended by itself
    ├── RemoteError              what stocksync.client met with
    │   ├── ServerError          the server's answer was a problem; carries its `code`
    │   └── Unreachable          no answer, or none that a stocksync server gives
    └── RequestRefused           an HTTP request that is turned away
        ├── HostRefused          a Host header that is not allowed (DNS rebinding)
        ├── OriginRefused        a page of another origin (cross-site request)
        ├── BodyRefused          a body that is not JSON
        ├── BodyTooLarge         a body larger than any request needs
        └── TooManyWaiting       more long polls or event streams than this process will hold

`code` is stable and public: it stands in HTTP problems, in exit codes and in logs. Messages are for
people and are Chinese, because they travel to the API's users.
"""

from typing import ClassVar


class StocksyncError(Exception):
    """Root of the tree. `str(error)` is the message for people."""

    code: str = "error"


class SettingsInvalid(StocksyncError):
    """The environment does not describe a service that can start."""

    code = "settings_invalid"


class RowError(StocksyncError):
    """One row of an upstream's answer cannot become a stock."""

    code = "row_error"


class OutOfScope(RowError):
    """The row is not an A share (B share, NEEQ, index, fund, delisted): dropped, not an error."""

    code = "out_of_scope"


class BadRow(RowError):
    """The row is malformed or its code unknown: rejected by name."""

    code = "bad_row"

    def __init__(self, *, code: str, field: str, value: object, reason: str) -> None:
        """Keep what a person needs to find the row again; `value` is shortened for display."""
        super().__init__(reason)
        self.stock_code = code if code.isprintable() else ascii(code)
        self.field = field
        self.value = repr(value)[:100]
        self.reason = reason


class SourceError(StocksyncError):
    """An upstream gave no usable answer. `outcome` is the word that `attempts` carries for it."""

    code = "source_error"
    outcome: ClassVar[str] = "error"


class SourceDenied(SourceError):
    """The token is wrong, or it carries no permission for this dataset. Asking again will not help."""

    code = "source_denied"
    outcome = "denied"


class SourceRateLimited(SourceError):
    """Too many calls. `retry_after` is in seconds; None where the upstream will not heal within a run."""

    code = "source_rate_limited"
    outcome = "rate_limited"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Keep the wait beside the message."""
        super().__init__(message)
        self.retry_after = retry_after


class SourceBanned(SourceError):
    """The upstream refuses this client as such: never hammer it."""

    code = "source_banned"
    outcome = "banned"


class SourceTimeout(SourceError):
    """No complete answer before the deadline."""

    code = "source_timeout"
    outcome = "timeout"


class SourceUnreachable(SourceError):
    """The transport failed: no connection, a reset, a server error. Asking again may help."""

    code = "source_unreachable"


class SourceNonsense(SourceError):
    """The answer is not the protocol's: HTML, cut-off JSON, missing columns, an unknown error code."""

    code = "source_nonsense"


class SourceEmpty(SourceError):
    """A well-formed answer without a single usable row."""

    code = "source_empty"
    outcome = "empty"


class SourceIncomplete(SourceError):
    """Rows came, but fewer or other than the source declares: not to be taken for the whole."""

    code = "source_incomplete"
    outcome = "incomplete"


class SourceNotFinal(SourceError):
    """Figures of a trading day that is still going on."""

    code = "source_not_final"
    outcome = "not_final"


class SourceSkipped(SourceError):
    """The source was not asked: unconfigured, or it does not provide this dataset."""

    code = "source_skipped"
    outcome = "skipped"


class RunError(StocksyncError):
    """A request that does not fit how the run stands."""

    code = "run_error"


class RunInProgress(RunError):
    """One run at a time, and one is running."""

    code = "run_in_progress"


class NoRunInProgress(RunError):
    """There is no run to cancel."""

    code = "no_run_in_progress"


class RunNotFound(RunError):
    """No run has this id, or it is older than STOCKSYNC_KEEP_RUNS_DAYS."""

    code = "run_not_found"


class UnknownSource(RunError):
    """A source was named that this installation does not have or has switched off."""

    code = "unknown_source"


class IdempotencyKeyReused(RunError):
    """The Idempotency-Key was used for another request within the last day."""

    code = "idempotency_key_reused"


class IdempotencyInProgress(RunError):
    """The first request with this Idempotency-Key has not been answered yet."""

    code = "idempotency_in_progress"


class LeaseLost(RunError):
    """Another process took over: whoever gets this must stop writing at once."""

    code = "lease_lost"


class RunFailed(RunError):
    """The run cannot be completed. `reason` is a value of domain.status.Reason."""

    code = "run_failed"

    def __init__(self, message: str, *, reason: str) -> None:
        """Keep the machine-readable reason beside the message."""
        super().__init__(message)
        self.reason = reason


class StoreError(StocksyncError):
    """Something is wrong with the database."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The database cannot be reached, read or written now; it may heal by itself."""

    code = "store_unavailable"


class SearchTimedOut(StoreError):
    """A search takes longer than one may; a narrower one may not."""

    code = "search_timed_out"

    def __init__(self) -> None:
        """Say what helps, the same in every store."""
        super().__init__("搜索超时，请缩小时间范围或换一个关键字")


class StoreInvalid(StoreError):
    """The database is damaged, or made by a newer version: no retry will help."""

    code = "store_invalid"


class StoreUrlInvalid(StoreError):
    """STOCKSYNC_STORE names a kind of store that does not exist here."""

    code = "store_url_invalid"


class LogNotFound(StocksyncError):
    """No record of the operation log has this id, or it was cleared."""

    code = "log_not_found"


class ServerDied(StocksyncError):
    """A server that we started ended by itself; what it said stands above."""

    code = "server_died"


class RemoteError(StocksyncError):
    """A server could not be used from here; what stocksync.client raises."""

    code = "remote_error"


class ServerError(RemoteError):
    """A server answered with a problem (RFC 9457), whose `code` and HTTP `status` this error has.

    `retry_after` is in seconds; None where the same request will not do better later.
    """

    code = "server_error"

    def __init__(self, detail: str, *, code: str, status: int, retry_after: float | None = None) -> None:
        """`detail` is for people."""
        super().__init__(detail)
        self.code = code
        self.status = status
        self.detail = detail
        self.retry_after = retry_after


class Unreachable(RemoteError):
    """No answer came, or one that no server of ours gives: a proxy's, or that of another service."""

    code = "unreachable"


class RequestRefused(StocksyncError):
    """An HTTP request that is turned away."""

    code = "request_refused"


class HostRefused(RequestRefused):
    """The Host header is not on the allow-list (DNS rebinding)."""

    code = "host_refused"


class OriginRefused(RequestRefused):
    """A page of another origin sent this request (cross-site request forgery)."""

    code = "origin_refused"


class BodyRefused(RequestRefused):
    """A request body that is not JSON."""

    code = "body_refused"


class BodyTooLarge(RequestRefused):
    """A request body larger than any request needs."""

    code = "body_too_large"


class TooManyWaiting(RequestRefused):
    """More long polls or event streams than this process will hold; plain requests still get through."""

    code = "too_many_waiting"
