"""The faults that happen in HTTP or below it: the same for every upstream that speaks HTTP."""

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from stocksync.simulator.faults import Kind
from stocksync.simulator.http import Delivery, Response

_STATUSES: Final[Mapping[Kind, HTTPStatus]] = {
    Kind.HTTP400: HTTPStatus.BAD_REQUEST,
    Kind.HTTP403: HTTPStatus.FORBIDDEN,
    Kind.HTTP404: HTTPStatus.NOT_FOUND,
    Kind.HTTP429: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.HTTP500: HTTPStatus.INTERNAL_SERVER_ERROR,
    Kind.HTTP502: HTTPStatus.BAD_GATEWAY,
    Kind.HTTP503: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.HTML: HTTPStatus.OK,
}
_DELIVERIES: Final[Mapping[Kind, Delivery]] = {
    Kind.HANG: Delivery.HANG,
    Kind.RESET: Delivery.RESET,
    Kind.CLOSE: Delivery.CLOSE,
    Kind.DRIP: Delivery.DRIP,
    Kind.TRUNCATED: Delivery.TRUNCATED,
}


def page(status: HTTPStatus) -> Response:
    """Make the HTML page that a proxy in front of an upstream shows."""
    title = "Welcome" if status is HTTPStatus.OK else f"{status.value} {status.phrase}"
    body = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"
    return Response(status=status, body=body.encode(), content_type="text/html")


def on_the_wire(kind: Kind | None, healthy: Response) -> Response:
    """Apply a fault of HTTP to the answer that would have been sent; other faults leave it as it is."""
    if kind is None:
        return healthy
    if kind in _STATUSES:
        return page(_STATUSES[kind])
    if kind is Kind.BADJSON:
        return replace(healthy, body=b"{'code': 0, 'data': None, oops}")
    return replace(healthy, delivery=_DELIVERIES[kind]) if kind in _DELIVERIES else healthy
