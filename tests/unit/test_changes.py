"""What counts as a change of the market, and what is only new to the store."""

from dataclasses import replace

import pytest

from builders import a_list, a_listing, a_ref, a_stock, measured
from stocksync.domain.changes import Change, ChangeKind, compare, departures, newcomers
from stocksync.domain.codes import Exchange
from stocksync.domain.merge import unite

STOCK = replace(measured("300750", pe=1.0), name="某股份", market="创业板")


def kinds(changes: tuple[Change, ...]) -> list[ChangeKind]:
    return [change.kind for change in changes]


def test_a_stock_that_was_not_stored_is_listed() -> None:
    (change,) = compare(None, STOCK)
    assert change == Change(kind=ChangeKind.LISTED, code="300750", source="tushare", name="某股份")


def test_figures_and_texts_are_no_change_of_the_market() -> None:
    assert compare(STOCK, STOCK) == ()
    assert compare(STOCK, replace(STOCK, figures={"pe": 2.0}, area="福建", industry="电气设备")) == ()


def test_a_rename_tells_both_names() -> None:
    (change,) = compare(STOCK, replace(STOCK, name="*ST某股"))
    assert (change.kind, change.name) == (ChangeKind.RENAMED, "*ST某股")
    assert (change.before, change.after) == ("某股份", "*ST某股")


@pytest.mark.parametrize("older", ["某 股 份", "某股份 ", "某股份"])
def test_another_spelling_is_no_rename(older: str) -> None:
    """An older service stored names as they came."""
    assert compare(replace(STOCK, name=older), STOCK) == ()


def test_a_move_tells_both_boards() -> None:
    (change,) = compare(replace(STOCK, market="主板"), STOCK)
    assert (change.kind, change.before, change.after) == (ChangeKind.MOVED_BOARD, "主板", "创业板")


def test_a_stock_that_returns_may_have_changed_its_name_and_board_too() -> None:
    assert kinds(compare(STOCK, STOCK, was_gone=True)) == [ChangeKind.RELISTED]
    other = replace(STOCK, name="别股份", market="主板")
    assert kinds(compare(STOCK, other, was_gone=True)) == [
        ChangeKind.RELISTED,
        ChangeKind.RENAMED,
        ChangeKind.MOVED_BOARD,
    ]


BEIJING = unite([a_list("tushare", [a_listing("920047", name="某股份", list_date="20200101")])])


def test_of_the_absent_those_under_a_new_code_are_told_from_those_that_are_gone() -> None:
    leaving = departures("tushare", [a_ref("430047"), a_ref("600001", "别股份")], BEIJING)
    gone, moved = leaving.changes(BEIJING)
    assert gone == Change(kind=ChangeKind.DELISTED, code="600001", source="tushare", name="别股份")
    assert (moved.kind, moved.code, moved.name) == (ChangeKind.RENUMBERED, "920047", "某股份")
    assert (moved.before, moved.after) == ("430047", "920047")


def test_the_new_code_of_a_stock_is_no_new_stock() -> None:
    leaving = departures("tushare", [a_ref("430047")], BEIJING)
    known = {"tushare": {Exchange.BSE: 1}}
    listed = compare(None, a_stock("920047"))
    assert newcomers(BEIJING, known, [leaving]).true_changes(listed) == []
    assert newcomers(BEIJING, known, []).true_changes(listed) == list(listed)


SHANGHAI = [a_listing(f"600{n:03}") for n in range(10)]


@pytest.mark.parametrize(("stored", "is_change"), [(0, False), (4, False), (5, True), (9, True)])
def test_a_load_is_no_change_of_the_market_also_where_it_had_been_broken_off(
    stored: int, *, is_change: bool
) -> None:
    listed = unite([a_list("tushare", [*SHANGHAI, a_listing("000001")])])
    fresh = newcomers(listed, {"tushare": {Exchange.SSE: stored, Exchange.SZSE: 0}}, [])
    new = compare(None, a_stock("600009"))
    assert fresh.true_changes(new) == (list(new) if is_change else [])
    assert fresh.true_changes(compare(None, a_stock("000001"))) == [], "that exchange is being loaded"
    assert fresh.true_changes(compare(None, a_stock("600009", "akshare"))) == [], "a source never seen"


def test_whatever_else_happens_is_a_change_during_a_load_too() -> None:
    fresh = newcomers(unite([a_list("tushare", SHANGHAI)]), {}, [])
    renamed = compare(a_stock("600001"), a_stock("600001", name="别股份"))
    assert fresh.true_changes(renamed) == list(renamed)
