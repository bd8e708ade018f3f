"""Errors as HTTP: the one place that maps our error tree to RFC 9457 problem details."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response

from stocksync.api.problem_types import PREFIX, PROBLEM_TYPES, address, page
from stocksync.errors import StocksyncError

_FRAMEWORK: Final = {HTTPStatus.NOT_FOUND: "not_found", HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed"}

_log = logging.getLogger(__name__)


def problem(
    code: str,
    message: str,
    instance: str,
    *,
    status: HTTPStatus | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build a problem document; `instance` is the path that was asked for. `status` overrides the kind's."""
    kind = PROBLEM_TYPES[code]
    status = status or kind.status
    retry = {"Retry-After": str(kind.retry_after)} if kind.retry_after else {}
    body = {
        "type": address(code),
        "title": kind.title,
        "status": status.value,
        "detail": message,
        "instance": instance,
        "code": code,
        "success": False,
        "data": None,
        "message": message,
    }
    return JSONResponse(body, status, {**retry, **(headers or {})}, media_type="application/problem+json")


def problem_response(
    error: StocksyncError, instance: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Turn an error of ours into its problem. One that has no kind of its own is a bug here."""
    code = error.code if error.code in PROBLEM_TYPES else "internal_error"
    return problem(code, str(error), instance, headers=headers)


def _framework_problem(exc: HTTPException, instance: str) -> Response:
    # FastAPI makes a 400 of whatever reading a body raises: our refusals, JSON beyond Python's limits.
    if isinstance(exc.__cause__, StocksyncError):
        return problem_response(exc.__cause__, instance)
    status = HTTPStatus(exc.status_code)
    if status is HTTPStatus.BAD_REQUEST:
        return problem("invalid_request", "请求体不是可读的 JSON", instance)
    code = _FRAMEWORK.get(status, "http_error")
    message = str(exc.detail) if code == "http_error" else PROBLEM_TYPES[code].title
    return problem(code, message, instance, status=status, headers=exc.headers)


def install(api: FastAPI) -> None:
    """Answer every error with a problem: ours, the framework's and the ones that nobody foresaw."""

    @api.exception_handler(StocksyncError)
    async def ours(request: Request, exc: StocksyncError) -> Response:
        return problem_response(exc, request.url.path)

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, exc: RequestValidationError) -> Response:
        faults = "；".join(
            f"{'.'.join(str(part) for part in fault['loc'])}：{fault['msg']}" for fault in exc.errors()
        )
        return problem("invalid_request", f"参数无效：{faults}", request.url.path)

    @api.exception_handler(HTTPException)
    async def framework(request: Request, exc: HTTPException) -> Response:
        return _framework_problem(exc, request.url.path)

    @api.exception_handler(Exception)
    async def unforeseen(request: Request, exc: Exception) -> Response:
        _log.error("unhandled error in %s", request.url.path, exc_info=exc)
        return problem("internal_error", "内部错误，详见服务日志", request.url.path)

    @api.get(f"{PREFIX}{{code}}", include_in_schema=False)
    async def explained(code: str) -> Response:
        text = page(code)
        if text is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return HTMLResponse(text)
