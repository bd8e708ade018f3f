"""What the judgement of domain.plausibility means for people, and what a correction writes."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Final

from stocksync.domain.magnitudes import SIZES, Row, is_believable
from stocksync.domain.plausibility import Verdict, judge
from stocksync.domain.stock import scaled
from stocksync.stores.report import EXAMPLES, Finding, Severity

_UNITS: Final = {
    "total_mv": "亿元", "circ_mv": "亿元", "total_share": "万股", "float_share": "万股",
    "turnover_rate": "%", "roe": "%",
}  # fmt: skip


def unit_findings(source: str, rows: Sequence[Row], *, mendable: bool) -> Iterator[Finding]:
    """Say what is off with the figures of one source; `mendable` where a repair could change them."""
    for verdict in judge(rows):
        yield _finding(source, rows, verdict, mendable=mendable)


def corrected(figures: Mapping[str, float], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The figures of one row that a repair changes, in the right unit.

    What is not sure is left alone, and so is a row that would not be believable afterwards: among thousands
    that are off a few may have been right.
    """
    found: dict[str, float] = {}
    for verdict in verdicts:
        applies = verdict.whole or not is_believable(figures)
        if verdict.sure and applies and _mends(verdict.powers, figures):
            for name, power in verdict.powers.items():
                value = scaled(figures[name], 10.0**power) if name in figures else None
                if value is not None:
                    found[name] = value
    return found


def _mends(powers: Mapping[str, int], figures: Mapping[str, float]) -> bool:
    return not powers.keys() & set(SIZES) or is_believable(figures, powers)


def _finding(source: str, rows: Sequence[Row], verdict: Verdict, *, mendable: bool) -> Finding:
    affected = set(verdict.codes)
    concerned = [row for row in rows if row.code in affected]
    which = "全部" if verdict.whole else "其中一部分"
    scope = f"{source} 的{which} {len(concerned)} 行"
    if not verdict.powers:
        return Finding(
            code="implausible_rows",
            severity=Severity.WARNING,
            message=f"{scope}的市值与股本互相矛盾，没有哪种单位能解释，请人工核对",
            count=len(concerned),
            examples=_examples(concerned, tuple(_UNITS)[:4]),
        )
    names = tuple(sorted(verdict.powers))
    off = "；".join(_off(name, verdict.powers[name], concerned) for name in names)
    doubt = "" if verdict.sure else "（有其他可能的解释，或并非每一行都如此，请人工核对）"
    return Finding(
        code="unit_off",
        severity=Severity.WARNING,
        message=f"{scope}的单位像是错了：{off}{doubt}",
        count=len(concerned),
        examples=_examples(concerned, names),
        repair="换算成规定的单位，只改从未由本服务写过的行" if mendable and verdict.sure else None,
        needs_units=mendable and verdict.sure,
    )


def _off(name: str, power: int, rows: Sequence[Row]) -> str:
    times = f"{10 ** abs(power):,}"
    size = f"约为应有值的 {times} 倍" if power > 0 else f"约为应有值的 1/{times}"
    usual = median(row.figures[name] for row in rows if name in row.figures)
    return f"{name} {size}（中位数 {usual:,.6g}，单位应是{_UNITS[name]}）"


def _examples(rows: Sequence[Row], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        f"{row.code} " + " ".join(f"{name}={row.figures[name]:.8g}" for name in names if name in row.figures)
        for row in rows[:EXAMPLES]
    )
