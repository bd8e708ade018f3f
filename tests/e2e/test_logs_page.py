"""The operation log in a real browser."""

import csv
import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from e2e.site import AXE, Site, axe_findings
from e2e.story import faults

expect.set_options(timeout=15_000)

PHONE = {"width": 390, "height": 844}


def rows(page: Page):  # noqa: ANN201 - Playwright's Locator
    return page.get_by_role("table").get_by_role("rowgroup").last.get_by_role("row")


@pytest.fixture
async def logged(site: Site) -> Site:
    """Three records: a run that went well, one that failed, and one that a front end made."""
    await site.sync()
    async with faults(site, {"tushare.*": "bad_token"}):
        await site.sync()
    record = {
        "action_type": "system_settings",
        "action": "修改显示设置",
        "success": False,
        "error_message": "无权限",
    }
    await site.request("POST", "/api/system/logs/create", json=record)
    return site


async def test_what_was_done_is_listed_counted_and_filtered(logged: Site) -> None:
    page = await logged.window("/logs")
    await expect(rows(page)).to_have_count(3)
    await expect(page.get_by_text("66.7%")).to_be_visible()
    await expect(rows(page).nth(1)).to_contain_text("已受理 · 运行失败")
    await page.get_by_label("结果").select_option("false")
    await expect(rows(page)).to_have_count(1)
    await page.reload()
    await expect(rows(page)).to_have_count(1)
    await page.get_by_role("button", name="清除筛选").click()
    await page.get_by_label("关键词").fill("显示设置")
    await expect(rows(page)).to_have_count(1)
    await expect(page).to_have_url(re.compile("keyword="))
    await page.get_by_label("关键词").fill("(a+)+$")
    await expect(page.get_by_text("没有符合筛选条件的记录")).to_be_visible()


async def test_a_record_opens_beside_the_list_and_by_its_address(logged: Site) -> None:
    page = await logged.window("/logs")
    await rows(page).nth(1).get_by_role("link").click()
    drawer = page.get_by_role("dialog", name="操作详情")
    await expect(drawer).to_contain_text('"outcome": "failed"')
    address = page.url
    await page.keyboard.press("Escape")
    await expect(drawer).to_be_hidden()
    await expect(page).to_have_url(re.compile("/logs$"))
    await page.goto(address)
    await drawer.get_by_role("link", name="查看这次运行").click()
    await expect(page).to_have_url(re.compile("/history/"))


async def test_the_export_holds_what_is_shown(logged: Site, tmp_path: Path) -> None:
    page = await logged.window("/logs?success=false")
    await expect(rows(page)).to_have_count(1)
    async with page.expect_download() as started:
        await page.get_by_role("link", name="导出 CSV").click()
    file = tmp_path / "logs.csv"
    await (await started.value).save_as(file)
    _, *records = csv.reader(file.read_text("utf-8-sig").splitlines())
    assert [record[2] for record in records] == ["修改显示设置"]


async def test_clearing_says_what_goes_and_asks(logged: Site) -> None:
    page = await logged.window("/logs")
    await page.get_by_role("button", name="清空…").click()
    dialog = page.get_by_role("dialog", name="清空操作日志")
    await expect(dialog).to_contain_text("没有符合条件的记录")
    await expect(dialog.get_by_role("button", name=re.compile("永久删除"))).to_be_disabled()
    await dialog.get_by_label("保留").select_option("")
    await dialog.get_by_label("只清空类型").select_option("data_import")
    await expect(dialog).to_contain_text("将永久删除全部时间的 2 条记录（数据导入）")
    await dialog.get_by_role("button", name="不清空").click()
    await expect(rows(page)).to_have_count(3)
    await page.get_by_role("button", name="清空…").click()
    await dialog.get_by_role("button", name="永久删除 2 条").click()
    await expect(page.get_by_text("已清空 2 条操作日志")).to_be_visible()
    await expect(rows(page)).to_have_count(2)  # what was kept, and the record of the clearing
    await expect(rows(page).first).to_contain_text("清空操作日志")


async def test_a_server_that_is_away_is_said_to_be(logged: Site) -> None:
    page = await logged.window("/logs")
    await expect(rows(page)).to_have_count(3)
    await logged.kill()
    await page.get_by_label("结果").select_option("false")
    await expect(page.get_by_role("alert")).to_contain_text("无法加载")
    await expect(rows(page)).to_have_count(3)
    await logged.start()
    await page.get_by_role("alert").get_by_role("button", name="重试").click()
    await expect(rows(page)).to_have_count(1)


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: make page")
async def test_nobody_is_kept_out(logged: Site) -> None:
    for scheme in ("light", "dark"):
        page = await logged.window("/logs", color_scheme=scheme, bypass_csp=True)
        await expect(rows(page)).to_have_count(3)
        assert await axe_findings(page) == []
        await rows(page).first.get_by_role("link").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        assert await axe_findings(page) == []


async def test_it_fits_a_phone_in_both_languages(logged: Site) -> None:
    page = await logged.window("/logs", viewport=PHONE, locale="en-US", has_touch=True)
    await expect(rows(page)).to_have_count(3)
    await expect(page.get_by_text("Accepted · run: Failed")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
