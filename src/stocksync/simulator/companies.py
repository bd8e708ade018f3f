"""The made-up companies: codes in the proportions of the real boards, invented names, and their traits."""

import random
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from stocksync.domain import codes
from stocksync.simulator.market import MarketInvalid, Stock

# How many of 5,450 companies carry each prefix, about as the exchanges had issued them in 2025.
_QUOTAS: Final = {
    "600": 762, "601": 226, "603": 600, "605": 114, "688": 589,
    "000": 418, "001": 110, "002": 912, "003": 42,
    "300": 942, "301": 440, "302": 11, "920": 283,
}  # fmt: skip
_CDR: Final = "689009"  # the one depositary receipt; small markets go without
_CDR_FROM_SIZE: Final = 50
_CODES_PER_PREFIX: Final = 989  # 1..989: what ends in 990..999 stays free for poison rows
MOST: Final = sum(_QUOTAS.values()) * _CODES_PER_PREFIX // max(_QUOTAS.values())
"""The largest market in these proportions: its fullest prefix is full."""

# Every name begins with a word for "unreal" and goes on with two syllables that no company has.
_UNREAL: Final = "虚幻拟臆"
_SYLLABLES: Final = (
    "岚璃霁翎沐栩绮霓曜琼蘅芷澜漪沅湄泠溟渺濛瀛岑峤嶂崚峣嵘霏霖霄霆霭霰雯雰钰铄锜镝锵钺铱玥珩琮璟"
)
_TRADES: Final = ("", "", "", "科", "药", "材", "电", "能", "食", "机")
_NAME_STYLES: Final = ("{root}{trade}", "*ST{root}", "ST{root}", "{head}  {tail}Ａ")
_NAME_WEIGHTS: Final = (96, 2, 1, 1)
_AREAS: Final = (
    "北京", "上海", "深圳", "广东", "浙江", "江苏", "山东", "福建", "四川", "湖北", "湖南", "安徽", "河南",
    "河北", "辽宁", "吉林", "黑龙江", "陕西", "山西", "江西", "重庆", "天津", "云南", "贵州", "广西", "新疆",
    "甘肃", "内蒙", "海南", "宁夏", "青海", "西藏",
)  # fmt: skip
_INDUSTRIES: Final = (
    "元器件", "半导体", "通信设备", "软件服务", "互联网", "电气设备", "专用机械",
    "机械基件", "汽车配件", "汽车整车", "化工原料", "化学制药", "中成药", "生物制药",
    "医疗保健", "食品", "白酒", "乳制品", "纺织", "服饰", "家居用品",
    "家用电器", "建筑工程", "水泥", "钢加工", "普钢", "铜", "小金属",
    "煤炭开采", "石油开采", "火力发电", "新型电力", "环境保护", "区域地产", "全国地产",
    "银行", "证券", "保险", "仓储物流", "航空", "铁路", "影视音像",
    "旅游服务",
)  # fmt: skip
_BOARD_BEGINS: Final = {
    "主板": date(1991, 4, 3),
    "科创板": date(2019, 7, 22),
    "创业板": date(2009, 10, 30),
    "北交所": date(2020, 7, 27),
}
_LAST_LISTING: Final = date(2025, 12, 31)
_NEW_SHARE: Final = 0.002
_NEW_WITHIN_DAYS: Final = 40
_SATURDAY: Final = 5
_INSOLVENT_SHARE: Final = 0.008
_PAYING_SHARE: Final = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """A stock and the traits from which its figures follow."""

    stock: Stock
    listed: date
    price: float
    """CNY, around which the close swings."""
    total_share: float
    """万股, four decimals; so are the other two."""
    float_share: float
    free_share: float
    earnings: float
    """CNY a share in the last annual report; not positive for loss makers. Sales, book, dividend likewise."""
    earnings_ttm: float
    sales: float
    book: float
    dividend: float
    roe: float
    """Percent a year."""
    phase: float
    """Radians by which its swings are shifted against the others'."""


def found_companies(seed: int, size: int) -> tuple[Company, ...]:
    """Found `size` companies, ordered by ts_code. Raises MarketInvalid where the codes do not suffice."""
    if not 1 <= size <= MOST:
        raise MarketInvalid(f"a made-up market has 1 to {MOST} stocks, not {size}: there are no more codes")
    dice = random.Random(f"{seed}:companies:{size}")  # noqa: S311 - made-up figures, no secret
    issued = _issue_codes(dice, size)
    roots = _unique_roots(dice, size)
    fresh = frozenset(dice.sample(range(size), round(size * _NEW_SHARE)))
    return tuple(
        _found(dice, code, root, fresh=index in fresh)
        for index, (code, root) in enumerate(zip(issued, roots, strict=True))
    )


def _issue_codes(dice: random.Random, size: int) -> list[str]:
    receipts = [_CDR] if size >= _CDR_FROM_SIZE else []
    issued = [
        f"{prefix}{number:03d}"
        for prefix, count in _share_out(size - len(receipts)).items()
        for number in dice.sample(range(1, _CODES_PER_PREFIX + 1), count)
    ]
    return sorted([*receipts, *issued])


def _share_out(size: int) -> dict[str, int]:
    """Give each prefix its share of `size`, the rounding going to those that lost most by it."""
    total = sum(_QUOTAS.values())
    counts = {prefix: quota * size // total for prefix, quota in _QUOTAS.items()}
    by_loss = sorted(_QUOTAS, key=lambda prefix: -(_QUOTAS[prefix] * size % total))
    for prefix in by_loss[: size - sum(counts.values())]:
        counts[prefix] += 1
    return counts


def _unique_roots(dice: random.Random, size: int) -> list[str]:
    width = len(_SYLLABLES)
    numbers = dice.sample(range(len(_UNREAL) * width * width), size)
    return [
        _UNREAL[number // (width * width)] + _SYLLABLES[number // width % width] + _SYLLABLES[number % width]
        for number in numbers
    ]


def _found(dice: random.Random, code: str, root: str, *, fresh: bool) -> Company:
    place = codes.locate(code)
    listed = _listing_day(dice, place.board, fresh=fresh)
    loses = dice.random() < (0.35 if place.board == "科创板" else 0.22)
    stock = Stock(
        ts_code=f"{code}.{place.exchange}",
        name=_name(dice, code, root, loses=loses),
        area=None if fresh else dice.choice(_AREAS),
        industry=None if fresh else dice.choice(_INDUSTRIES),
        board=place.board,
        exchange=place.exchange.name,
        list_date=listed.strftime("%Y%m%d"),
        is_hs={"SSE": dice.choice("NH"), "SZSE": dice.choice("NS")}.get(place.exchange.name, "N"),
    )
    return _with_traits(dice, stock, listed, loses=loses)


def _listing_day(dice: random.Random, board: str, *, fresh: bool) -> date:
    begin = _LAST_LISTING - timedelta(days=_NEW_WITHIN_DAYS) if fresh else _BOARD_BEGINS[board]
    day = begin + timedelta(days=dice.randrange((_LAST_LISTING - begin).days))
    return day - timedelta(days=max(0, day.weekday() - _SATURDAY + 1))


def _name(dice: random.Random, code: str, root: str, *, loses: bool) -> str:
    """Write the short name with the traps that real ones carry; the root keeps it unique after cleaning."""
    if code == _CDR:
        return f"{root}-WD"
    if code.startswith("688") and loses:
        return f"{root}-U"
    style = dice.choices(_NAME_STYLES, _NAME_WEIGHTS)[0]
    return style.format(root=root, head=root[:2], tail=root[2:], trade=dice.choice(_TRADES))


def _with_traits(dice: random.Random, stock: Stock, listed: date, *, loses: bool) -> Company:
    price = round(min(1500.0, dice.lognormvariate(2.6, 0.8) + 1), 2)
    total = round(dice.lognormvariate(10.8, 1.0) + 3000, 4)
    floating = round(total * dice.uniform(0.25, 1.0), 4)
    margin = dice.uniform(-0.3, -0.01) if loses else dice.uniform(0.01, 0.25)
    sales = price * dice.uniform(0.05, 1.2)
    earnings = sales * margin
    book = price * (-0.1 if dice.random() < _INSOLVENT_SHARE else dice.uniform(0.1, 0.9))
    return Company(
        stock=stock,
        listed=listed,
        price=price,
        total_share=total,
        float_share=floating,
        free_share=round(floating * dice.uniform(0.3, 1.0), 4),
        earnings=earnings,
        earnings_ttm=earnings + sales * dice.uniform(-0.06, 0.04),
        sales=sales,
        book=book,
        dividend=max(0.0, earnings) * 0.3 if dice.random() < _PAYING_SHARE else 0.0,
        roe=max(-200.0, min(200.0, earnings / abs(book) * 100)),
        phase=dice.uniform(0, 6.28),
    )
