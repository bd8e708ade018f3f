"""How records of the operation log are counted, the same in every store."""

from collections import Counter
from collections.abc import Iterable

from stocksync.ports import LogStats


def tally(groups: Iterable[tuple[str, bool, int | None, int]]) -> LogStats:
    """Add up groups of records: (action type, success, hour where it is known, how many)."""
    by_type, by_hour = Counter[str](), Counter[int | None]()
    succeeded = 0
    for action_type, success, hour, count in groups:
        by_type[action_type] += count
        by_hour[hour] += count
        succeeded += count if success else 0
    return LogStats(
        total=by_type.total(),
        succeeded=succeeded,
        by_type=dict(by_type),
        by_hour=tuple(by_hour[hour] for hour in range(24)),
    )
