"""Errors as HTTP: the one place that maps our error tree to RFC 9457 problem details."""

import logging
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from stocksync.errors import (
    BodyRefused,
    BodyTooLarge,
    NoRunInProgress,
    RequestRefused,
    RunInProgress,
    RunNotFound,
    StocksyncError,
    StoreError,
    TooManyWaiting,
    UnknownSource,
)

STATUSES: Final[dict[type[StocksyncError], HTTPStatus]] = {
    RunInProgress: HTTPStatus.CONFLICT,
    NoRunInProgress: HTTPStatus.CONFLICT,
    RunNotFound: HTTPStatus.NOT_FOUND,
    UnknownSource: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooManyWaiting: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
    BodyRefused: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RequestRefused: HTTPStatus.FORBIDDEN,
}
"""The first class that an error is an instance of decides; any other error of ours is a bug here: 500."""

_TITLES: Final = {
    HTTPStatus.NOT_FOUND: ("not_found", "没有这个地址"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "该地址不支持此方法"),
}

_log = logging.getLogger(__name__)


def problem(
    status: int, code: str, message: str, instance: str, headers: dict[str, str] | None = None
) -> Response:
    """Build a problem document; `instance` is the path that was asked for."""
    body = {
        "type": f"urn:stocksync:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": message,
        "instance": instance,
        "code": code,
        "success": False,
        "data": None,
        "message": message,
    }
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def problem_response(error: StocksyncError, instance: str) -> Response:
    """Turn an error of ours into its problem."""
    found = (status for kind, status in STATUSES.items() if isinstance(error, kind))
    status = next(found, HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = {"Retry-After": "5"} if status is HTTPStatus.SERVICE_UNAVAILABLE else None
    return problem(status, error.code, str(error), instance, headers)


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
        return problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", f"参数无效：{faults}", request.url.path
        )

    @api.exception_handler(HTTPException)
    async def framework(request: Request, exc: HTTPException) -> Response:
        code, message = _TITLES.get(HTTPStatus(exc.status_code), ("http_error", str(exc.detail)))
        return problem(exc.status_code, code, message, request.url.path, dict(exc.headers or {}))

    @api.exception_handler(Exception)
    async def unforeseen(request: Request, exc: Exception) -> Response:
        _log.error("unhandled error in %s", request.url.path, exc_info=exc)
        return problem(
            HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "内部错误，详见服务日志", request.url.path
        )
