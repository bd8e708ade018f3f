"""One run, seen while it goes on, in a real browser."""

from playwright.async_api import expect

from e2e.site import Site
from e2e.story import begin, faults

expect.set_options(timeout=15_000)


async def test_a_run_is_followed_until_it_ends(site: Site) -> None:
    async with faults(site, {"tushare.daily_basic": "drip"}):
        run = await begin(site)
        page = await site.window(f"/history/{run['run_id']}", viewport={"width": 1200, "height": 500})
        await expect(page.get_by_text("实时", exact=True).last).to_be_visible()
        await expect(page.get_by_text("尚未结束")).to_be_visible()
        await site.request("POST", "/api/sync/stock_basics/cancel")
        await expect(page.get_by_text("已结束")).to_be_visible()
        await expect(page.get_by_role("log")).to_contain_text("同步任务已被取消")
        await expect(page.get_by_text("尚未结束")).to_be_hidden()


async def test_a_run_that_is_not_there_is_said_to_be_missing(site: Site) -> None:
    page = await site.window("/history/20200101-000000-00000000")
    await expect(page.get_by_role("alert")).to_contain_text("没有这次运行")
    await page.get_by_role("link", name="全部运行").click()
    await expect(page.get_by_text("还没有运行过").first).to_be_visible()
