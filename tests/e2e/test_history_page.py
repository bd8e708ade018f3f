"""The history and one run in it, in a real browser."""

import re

import pytest
from playwright.async_api import Page, expect

from e2e.site import AXE, Site, axe_findings
from e2e.story import Story

expect.set_options(timeout=15_000)

pytestmark = pytest.mark.asyncio(loop_scope="module")

Told = tuple[Site, Story]

PHONE = {"width": 390, "height": 844}


def rows(page: Page):  # noqa: ANN201 - Playwright's Locator
    return page.get_by_role("table").get_by_role("rowgroup").last.get_by_role("row")


async def test_every_run_is_told_by_words_in_strip_and_table(told_site: Told) -> None:
    site, _ = told_site
    page = await site.window("/history")
    await expect(rows(page)).to_have_count(9)
    strip = page.get_by_role("list", name=re.compile("左右方向键"))
    told = [await link.get_attribute("aria-label") or "" for link in await strip.get_by_role("link").all()]
    assert len(told) == 9
    for words in ("完成但有错误", "失败 (已取消)", "失败 (被强制任务取代)", "失败 (所有数据源都失败)"):
        assert sum(words in each for each in told) == 1
    assert "行数未知" in told[-1]  # the rows of a run that never had a list are not zero
    glyphs = await strip.locator(".glyph").all_text_contents()
    assert set(glyphs) == {"✓", "!", "✕", "■", "»"}


async def test_the_strip_is_one_stop_for_the_keyboard(told_site: Told) -> None:
    site, story = told_site
    page = await site.window("/history")
    strip = page.get_by_role("list", name=re.compile("左右方向键"))
    await strip.get_by_role("link").last.focus()
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(f"/history/{story.failed['run_id']}$"))
    await expect(page.get_by_text("所有数据源都失败").first).to_be_visible()


async def test_filters_live_in_the_address(told_site: Told) -> None:
    site, _ = told_site
    page = await site.window("/history")
    await expect(rows(page)).to_have_count(9)
    await page.get_by_role("button", name="完成但有错误").click()
    await expect(rows(page)).to_have_count(1)
    await expect(page).to_have_url(re.compile(r"\?status=success_with_errors$"))
    await page.reload()
    await expect(rows(page)).to_have_count(1)
    await page.get_by_role("combobox", name="任务").select_option("stock_basics")
    await expect(page.get_by_text("没有符合筛选条件的运行")).to_be_visible()
    await page.get_by_role("button", name="清除筛选").click()
    await expect(rows(page)).to_have_count(9)
    await page.goto(f"{site.url}/history?status=nonsense&from=yesterday")
    await expect(rows(page)).to_have_count(9)


async def test_the_chart_is_loaded_when_it_is_shown(told_site: Told) -> None:
    site, _ = told_site
    page = await site.window("/history")
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    await expect(rows(page)).to_have_count(9)
    assert not [url for url in loaded if "Chart" in url]
    await page.get_by_role("button", name="趋势图").click()
    await expect(page.get_by_role("img", name="最近 9 次运行的耗时与行数")).to_be_visible()
    assert [url for url in loaded if "Chart" in url]


async def test_rejects_are_shown_with_their_reasons(told_site: Told) -> None:
    site, story = told_site
    page = await site.window(f"/history/{story.rejecting['run_id']}")
    table = page.get_by_role("table", name="被拒绝的行").get_by_role("row")
    await expect(table).to_have_count(story.rejecting["errors"] + 1)
    await expect(table.filter(has_text="605993")).to_contain_text("缺少必填字段")


async def test_what_changed_in_the_market_is_shown_by_kind(told_site: Told) -> None:
    site, story = told_site
    page = await site.window(f"/history/{story.changed['run_id']}")
    table = page.get_by_role("table", name="市场的变化").get_by_role("row")
    await expect(table).to_have_count(6)
    await page.get_by_role("group", name="变化的种类").get_by_role("button", name=re.compile("更名")).click()
    await expect(table).to_have_count(3)
    await expect(table.filter(has_text="虚拟银行")).to_contain_text("→ 虚拟银行")


async def test_the_timeline_and_the_log_tell_what_failed_when(told_site: Told) -> None:
    site, story = told_site
    page = await site.window(f"/history/{story.failed['run_id']}")
    log = page.get_by_role("log", name="事件日志")
    await expect(log).to_contain_text("进入阶段：股票列表")
    await page.get_by_label("级别").select_option("error")
    await expect(log).not_to_contain_text("进入阶段")
    await expect(log).to_contain_text("股票列表获取失败")
    timeline = page.get_by_role("list").filter(has_text="股票列表 · tushare")
    await expect(timeline).to_contain_text(re.compile("历时"))


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: make page")
async def test_nobody_is_kept_out(told_site: Told) -> None:
    site, story = told_site
    for path in ("/history?trend=1", f"/history/{story.rejecting['run_id']}"):
        for scheme in ("light", "dark"):
            page = await site.window(path, color_scheme=scheme, bypass_csp=True)
            await expect(page.get_by_role("table").first).to_be_visible()
            assert await axe_findings(page) == []


async def test_it_fits_a_phone_in_both_languages(told_site: Told) -> None:
    site, story = told_site
    for path, words in (("/history", "The last 9 runs"), (f"/history/{story.changed['run_id']}", "renamed")):
        page = await site.window(path, viewport=PHONE, locale="en-US", has_touch=True)
        await expect(page.get_by_text(words).first).to_be_visible()
        await expect(page.get_by_role("table").first.get_by_role("row").last).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
