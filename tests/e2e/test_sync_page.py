"""The Sync page in a real browser: what people see and do while a sync goes well, or does not."""

from itertools import pairwise

import pytest
from playwright.async_api import Page, expect

from e2e.site import AXE, Site, axe_findings

expect.set_options(timeout=15_000)

STEPS = ["准备", "股票列表", "交易日", "每日指标", "合并", "写入", "核对退市", "完成"]

WATCH = """
window.seen = { steps: [], counts: [] }
new MutationObserver(() => {
  const step = document.querySelector('[aria-current=step]')?.textContent.trim()
  if (step && window.seen.steps.at(-1) !== step) window.seen.steps.push(step)
  const total = document.querySelector('[data-testid=count-total]')?.textContent.trim()
  if (total && window.seen.counts.at(-1) !== total) window.seen.counts.push(total)
}).observe(document, { subtree: true, childList: true, characterData: true, attributes: true })
"""


def verdict(page: Page):  # noqa: ANN201 - Playwright's Locator
    return page.get_by_test_id("verdict")


async def start(page: Page) -> None:
    await page.get_by_role("button", name="开始同步", exact=True).click()
    await expect(page.get_by_test_id("run-status")).to_have_text("运行中")


async def test_a_whole_sync_is_seen_live(site: Site) -> None:
    page = await site.window()
    await expect(verdict(page)).to_have_text("还没有数据")
    await page.evaluate(WATCH)
    await start(page)
    await expect(verdict(page)).to_have_text("正在同步")
    await expect(verdict(page)).to_have_text("数据是最新的")
    await expect(page.get_by_test_id("run-status")).to_have_text("成功")
    await expect(page.get_by_test_id("count-inserted")).to_have_text("600")
    await expect(page.get_by_role("alert").filter(has_text="同步成功")).to_be_visible()
    assert await page.title() == "成功 · 同步 · stocksync"
    seen = await page.evaluate("window.seen")
    order = [STEPS.index(step) for step in seen["steps"]]
    assert len(order) >= 3
    assert all(before < after for before, after in pairwise(order))
    assert seen["counts"] == ["未知", "600"]  # never a zero that only means "not known yet"


async def test_force_says_what_it_does_and_takes_over(site: Site) -> None:
    site.simulator.faults.set("tushare.stock_basic", "hang")
    page = await site.window()
    await start(page)
    old = await site.request("GET", "/api/sync/stock_basics/status")
    site.simulator.faults.clear()
    await page.get_by_role("button", name="强制重新开始").click()
    dialog = page.get_by_role("dialog", name="同步选项")
    await expect(dialog.get_by_role("button", name="开始同步")).to_be_disabled()
    await dialog.get_by_text("接管正在进行的同步").click()
    await expect(dialog.get_by_text("被强制任务取代")).to_be_visible()
    await dialog.get_by_role("button", name="接管并开始").click()
    await expect(verdict(page)).to_have_text("数据是最新的")
    run = await site.request("GET", f"/api/sync/runs/{old['run_id']}")
    assert (run["status"], run["reason"]) == ("failed", "superseded")


async def test_cancel_asks_and_ends_the_run(site: Site) -> None:
    site.simulator.faults.set("tushare.stock_basic", "hang")
    page = await site.window()
    await start(page)
    await page.get_by_role("button", name="取消同步").click()
    question = page.get_by_role("dialog", name="取消正在进行的同步？")
    await question.get_by_role("button", name="继续同步").click()
    await expect(question).to_be_hidden()
    await expect(page.get_by_test_id("run-status")).to_have_text("运行中")
    await page.get_by_role("button", name="取消同步").click()
    await question.get_by_role("button", name="取消同步").click()
    await expect(verdict(page)).to_have_text("上次同步已取消")
    await expect(page.get_by_role("alert").filter(has_text="同步失败 · 已取消")).to_be_visible()


async def test_a_failing_source_is_named_with_its_cause(site: Site) -> None:
    day = (await site.sync())["last_trade_date"]
    site.simulator.faults.set("tushare.*", "bad_token")
    page = await site.window()
    await expect(verdict(page)).to_have_text("数据是最新的")
    await page.get_by_role("button", name="开始同步", exact=True).click()
    await expect(verdict(page)).to_have_text(f"上次同步失败，数据停留在 {day[:4]}-{day[4:6]}-{day[6:]}")
    table = page.get_by_role("region", name="各数据源")
    await expect(table.get_by_role("row").filter(has_text="tushare").first).to_contain_text("被拒绝")
    card = page.get_by_test_id("source-tushare")
    await card.get_by_role("button", name="测试 tushare").click()
    await expect(card).to_contain_text("不可用")


async def test_a_server_that_dies_is_said_to_be_away_and_comes_back(site: Site) -> None:
    await site.sync()
    page = await site.window()
    await expect(verdict(page)).to_have_text("数据是最新的")
    await site.kill()
    banner = page.get_by_text("连接中断，正在重连。以下为")
    await expect(banner).to_be_visible()
    await expect(page.get_by_test_id("count-total")).to_have_text("600")
    await site.start()
    await expect(banner).to_be_hidden()
    await expect(page.get_by_test_id("source-tushare")).to_be_visible()
    await start(page)
    await expect(page.get_by_test_id("count-unchanged")).to_have_text("600")
    await expect(verdict(page)).to_have_text("数据是最新的")


async def test_two_tabs_are_in_step(site: Site) -> None:
    one = await site.window()
    other = await site.tab(one.context)
    site.simulator.faults.set("tushare.stock_basic", "hang")
    await start(one)
    await expect(other.get_by_test_id("run-status")).to_have_text("运行中")
    await other.get_by_role("button", name="取消同步").click()
    await other.get_by_role("dialog").get_by_role("button", name="取消同步").click()
    for page in (one, other):
        await expect(verdict(page)).to_have_text("上次同步已取消")


async def test_both_languages_and_the_theme_are_remembered(site: Site) -> None:
    page = await site.window(locale="en-GB")
    await expect(verdict(page)).to_have_text("There are no data yet")
    await page.get_by_role("button", name="中文").click()
    await expect(verdict(page)).to_have_text("还没有数据")
    theme = page.get_by_role("button", name="主题")
    await theme.click()
    await theme.click()
    await expect(theme).to_have_accessible_name("主题: 深色")
    await page.reload()
    await expect(verdict(page)).to_have_text("还没有数据")
    assert "dark" in (await page.locator("html").get_attribute("class") or "")
    assert await page.locator("html").get_attribute("lang") == "zh-CN"


async def test_the_order_of_the_sources_is_chosen_by_keyboard(site: Site) -> None:
    page = await site.window()
    await page.get_by_role("button", name="选项…").press("Enter")
    dialog = page.get_by_role("dialog", name="同步选项")
    await dialog.get_by_label("单数据源").press("Space")
    await dialog.get_by_role("button", name="开始同步").press("Enter")
    await expect(verdict(page)).to_have_text("数据是最新的")
    assert (await site.request("GET", "/api/sync/status"))["job"] == "stock_basics"


async def test_a_phone_shows_all_of_it_without_scrolling_sideways(site: Site) -> None:
    await site.sync()
    page = await site.window(viewport={"width": 390, "height": 844}, has_touch=True)
    await expect(verdict(page)).to_have_text("数据是最新的")
    await expect(page.get_by_test_id("source-tushare")).to_be_visible()
    assert await page.evaluate("document.scrollingElement.scrollWidth") <= 390
    nav = await page.get_by_role("navigation", name="主导航").bounding_box()
    assert nav is not None
    assert nav["y"] + nav["height"] == pytest.approx(844, abs=1)


async def test_a_deep_link_to_nothing_says_so(site: Site) -> None:
    page = await site.window("/no/such/view")
    await expect(page.get_by_role("heading", name="没有这个页面")).to_be_visible()
    await page.get_by_role("link", name="返回同步页").click()
    await expect(verdict(page)).to_have_text("还没有数据")


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci in web/")
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_serious(site: Site, theme: str) -> None:
    page = await site.window(color_scheme=theme, reduced_motion="reduce")
    await expect(verdict(page)).to_have_text("还没有数据")
    findings = await axe_findings(page)
    site.simulator.faults.set("tushare.daily_basic", "no_permission")
    await page.get_by_role("button", name="开始同步", exact=True).click()
    await expect(verdict(page)).to_have_text("上次同步失败")
    findings += await axe_findings(page)
    site.simulator.faults.set("tushare.stock_basic", "hang")
    await start(page)
    findings += await axe_findings(page)
    await page.get_by_role("button", name="强制重新开始").click()
    await expect(page.get_by_role("dialog", name="同步选项")).to_be_visible()
    findings += await axe_findings(page)
    assert findings == []
