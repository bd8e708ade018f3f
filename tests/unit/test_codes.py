import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builders import examples
from stocksync.domain.codes import Exchange, clean_name, full_symbol, is_retired_code, locate, split_symbol
from stocksync.errors import BadRow, OutOfScope, RowError

TABLE = {
    **dict.fromkeys(["600", "601", "603", "605"], ("SH", "主板")),
    **dict.fromkeys(["688", "689"], ("SH", "科创板")),
    **dict.fromkeys(["000", "001", "002", "003"], ("SZ", "主板")),
    **dict.fromkeys(["300", "301", "302"], ("SZ", "创业板")),
    **dict.fromkeys(
        ["920", *(f"{tens}{n}" for tens in (43, 83, 87, 88) for n in range(10))], ("BJ", "北交所")
    ),
}
OUT_OF_SCOPE = {"900", "200", "400", "420"}
PREFIXES = [f"{n:03}" for n in range(1000)]

tails = st.text("0123456789", min_size=3, max_size=3)
listed_codes = st.builds(str.__add__, st.sampled_from(sorted(TABLE)), tails)


def outcome(code: str) -> object:
    try:
        place = locate(code)
    except RowError as exc:
        return type(exc)
    return (place.exchange.value, place.board)


@given(tails)
@example("000")
@examples(10)
def test_the_thousand_prefixes_are_exactly_the_table(tail: str) -> None:
    expected = {
        prefix: TABLE.get(prefix, OutOfScope if prefix in OUT_OF_SCOPE else BadRow) for prefix in PREFIXES
    }
    assert {prefix: outcome(prefix + tail) for prefix in PREFIXES} == expected


@given(tails)
@examples(30)
def test_920_is_beijing_and_no_other_9_is(tail: str) -> None:
    assert locate("920" + tail).exchange is Exchange.BSE
    for prefix in (prefix for prefix in PREFIXES if prefix[0] == "9" and prefix != "920"):
        with pytest.raises(RowError):
            locate(prefix + tail)


@pytest.mark.parametrize(
    ("exchange", "name"),
    [("SH", "上海证券交易所"), ("SZ", "深圳证券交易所"), ("BJ", "北京证券交易所")],
)
def test_an_exchange_knows_its_chinese_name(exchange: str, name: str) -> None:
    assert Exchange(exchange).full_name == name


@pytest.mark.parametrize("code", ["123456", "999999", "700000", "930001", "604000", "399001"])
def test_an_unknown_prefix_is_a_bad_row_that_names_the_code(code: str) -> None:
    with pytest.raises(BadRow) as caught:
        locate(code)
    assert (caught.value.stock_code, caught.value.field) == (code, "code")
    assert caught.value.value == repr(code)
    assert caught.value.reason


@pytest.mark.parametrize("code", ["900901", "200002", "400001", "420001"])
def test_out_of_scope_is_no_error_of_the_row_and_names_the_code(code: str) -> None:
    with pytest.raises(OutOfScope, match=code):
        locate(code)
    with pytest.raises(OutOfScope):
        full_symbol(code)
    with pytest.raises(OutOfScope):
        split_symbol(f"{code}.SH")


@pytest.mark.parametrize(
    "code",
    [
        "", "60051", "6005190", "６００５１９", "60051٩", "600519\n", " 600519", "600519 ", "600 19",
        "60051a", "+60051", "60.519", "600519.SH", "sh600519", "\x00600519", "\ud800", 600519,
        600519.0, True, None, b"600519", ["600519"],
    ],
)  # fmt: skip
def test_anything_but_six_ascii_digits_is_refused(code: object) -> None:
    with pytest.raises(BadRow) as caught:
        locate(code)
    assert caught.value.field == "code"
    assert caught.value.stock_code.isprintable()


@given(st.one_of(st.text(), st.integers(), st.none(), st.binary(), st.floats()))
@examples(200)
def test_whatever_comes_is_located_or_refused_by_name(code: object) -> None:
    try:
        place = locate(code)
    except BadRow as exc:
        exc.stock_code.encode()
        exc.value.encode()
    except OutOfScope:
        assert str(code)[:3] in OUT_OF_SCOPE
    else:
        assert (place.exchange, place.board) == TABLE[str(code)[:3]]


@given(listed_codes)
@examples(100)
def test_a_full_symbol_splits_into_its_code(code: str) -> None:
    symbol = full_symbol(code)
    assert symbol == f"{code}.{TABLE[code[:3]][0]}"
    assert split_symbol(symbol) == code


@given(listed_codes, st.sampled_from(["SH", "SZ", "BJ", "sh", "", "HK", "SH.SH", " SH", "ＳＨ"]))
@examples(150)
def test_a_suffix_that_contradicts_the_code_is_refused(code: str, suffix: str) -> None:
    if suffix == TABLE[code[:3]][0]:
        assert split_symbol(f"{code}.{suffix}") == code
        return
    with pytest.raises(BadRow) as caught:
        split_symbol(f"{code}.{suffix}")
    assert (caught.value.stock_code, caught.value.field) == (code, "ts_code")


@pytest.mark.parametrize(
    "symbol", ["600519", "SH.600519", ".SH", "", None, 600519, "600519 .SH", "6005１9.SH"]
)
def test_what_is_no_symbol_is_a_bad_row(symbol: object) -> None:
    with pytest.raises(BadRow):
        split_symbol(symbol)


@pytest.mark.parametrize(
    ("code", "retired"),
    [
        ("430047", True),
        ("830799", True),
        ("871981", True),
        ("889999", True),
        ("920047", False),
        ("600519", False),
        ("43004", False),
        ("4300470", False),
    ],
)
def test_only_old_beijing_codes_are_retired(code: str, *, retired: bool) -> None:
    assert is_retired_code(code) is retired


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("万  科Ａ", "万科A"),
        (" 平安银行\t", "平安银行"),
        ("ＳＴ　康美", "ST康美"),
        ("*ST 中天", "*ST中天"),
        ("", ""),
    ],
)
def test_names_have_one_clean_form(raw: str, clean: str) -> None:
    assert clean_name(raw) == clean


@given(st.text(max_size=20))
@example("a \u0301")
@example("A¨")
@example("万  科Ａ")
@examples(300)
def test_a_clean_name_is_normal_without_spaces_and_stays_as_it_is(name: str) -> None:
    clean = clean_name(name)
    assert not any(char.isspace() for char in clean)
    assert clean == unicodedata.normalize("NFKC", clean)
    assert clean_name(clean) == clean
