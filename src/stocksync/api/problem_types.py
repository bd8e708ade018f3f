"""Every kind of problem that the API answers with: its status, its title, and what a client can do about it.

Each has a page that this server serves, and the `type` of a problem is that page's address (RFC 9457).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import Final

PREFIX: Final = "/problems/"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind. `retry_after` is in seconds, None where the same request will not do better later."""

    status: HTTPStatus
    title: str
    advice: str
    retry_after: int | None = None


PROBLEM_TYPES: Final[Mapping[str, ProblemType]] = {
    "invalid_request": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY, "参数无效", "detail 逐项说明了哪个参数为何无效；改正后重试。"
    ),
    "unknown_source": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "未知或未启用的数据源",
        "detail 列出了可用的数据源；由 STOCKSYNC_SOURCES 启用。",
    ),
    "idempotency_key_reused": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Idempotency-Key 已用于另一请求",
        "同一个键只能用于方法、路径、参数和请求体都相同的请求；新的请求请用新的键。键在 24 小时后失效。",
    ),
    "idempotency_in_progress": ProblemType(
        HTTPStatus.CONFLICT,
        "相同 Idempotency-Key 的请求正在处理",
        "按 Retry-After 稍候，再以同一个键重试，即得到同一次运行。",
        retry_after=1,
    ),
    "run_in_progress": ProblemType(
        HTTPStatus.CONFLICT,
        "同步任务正在运行中",
        "等它结束，或以 force=true 接管。只有请求带 Prefer: handling=strict 时才以此错误应答。",
    ),
    "no_run_in_progress": ProblemType(
        HTTPStatus.CONFLICT, "没有正在运行的同步任务", "没有可以取消的任务；最近一次的结果见状态接口。"
    ),
    "run_not_found": ProblemType(
        HTTPStatus.NOT_FOUND,
        "没有这次运行",
        "编号有误，或该次运行已超过 STOCKSYNC_KEEP_RUNS_DAYS 而被清理。",
    ),
    "log_not_found": ProblemType(
        HTTPStatus.NOT_FOUND, "没有这条操作日志", "编号有误，或该记录已被清空；清空本身会留下一条记录。"
    ),
    "not_found": ProblemType(HTTPStatus.NOT_FOUND, "没有这个地址", "接口文档见 /docs。"),
    "method_not_allowed": ProblemType(
        HTTPStatus.METHOD_NOT_ALLOWED, "该地址不支持此方法", "Allow 头列出了支持的方法。"
    ),
    "host_refused": ProblemType(
        HTTPStatus.FORBIDDEN, "不接受的 Host", "以 STOCKSYNC_ALLOWED_HOSTS 放行访问本服务所用的主机名。"
    ),
    "origin_refused": ProblemType(
        HTTPStatus.FORBIDDEN,
        "不接受来自其他网站页面的请求",
        "以 STOCKSYNC_ALLOWED_ORIGINS 放行该页面的来源。",
    ),
    "body_refused": ProblemType(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "请求体必须是 JSON",
        "以 Content-Type: application/json 发送请求体，或不发送请求体。",
    ),
    "body_too_large": ProblemType(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "请求体过大", "没有任何请求需要 1 MiB 以上的请求体。"
    ),
    "search_timed_out": ProblemType(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "搜索超时",
        "缩小时间范围，或换一个关键字：按关键字查找要逐条查看范围内的记录。",
        retry_after=5,
    ),
    "too_many_waiting": ProblemType(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "等待中的请求过多",
        "长轮询已达上限；普通的状态请求不受影响。按 Retry-After 稍候重试。",
        retry_after=5,
    ),
    "store_unavailable": ProblemType(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "数据库暂时不可用",
        "服务会自行恢复，请按 Retry-After 重试；状态接口仍以 stale_since 注明的旧快照应答。",
        retry_after=5,
    ),
    "store_invalid": ProblemType(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "数据库内容有误",
        "重试没有用：请在服务器上运行 stocksync doctor 查看原因。",
    ),
    "http_error": ProblemType(HTTPStatus.BAD_REQUEST, "无法理解的请求", "请求不符合 HTTP 的要求。"),
    "internal_error": ProblemType(
        HTTPStatus.INTERNAL_SERVER_ERROR, "内部错误", "这是程序的缺陷；服务日志记有详情，请报告。"
    ),
}

_PAGE: Final = """<!doctype html>
<html lang="zh-CN">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<h1>{title}</h1>
<p><code>{code}</code>，HTTP {status:d}</p>
<p>{advice}</p>
"""


def address(code: str) -> str:
    """Where a kind of problem is explained."""
    return f"{PREFIX}{code}"


def page(code: str) -> str | None:
    """Explain a kind of problem as HTML; None where there is no such kind."""
    kind = PROBLEM_TYPES.get(code)
    if kind is None:
        return None
    return _PAGE.format(
        title=escape(kind.title), code=escape(code), status=kind.status.value, advice=escape(kind.advice)
    )
