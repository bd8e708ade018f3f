"""What the lifespan hands to every request, typed."""

from typing import TYPE_CHECKING, TypedDict, cast

from fastapi import Request

if TYPE_CHECKING:
    from stocksync.api.events import StatusEvents
    from stocksync.api.sse import EventStreams
    from stocksync.api.view import StatusView
    from stocksync.app import App


class State(TypedDict):
    """Opened when the server starts, closed when it stops."""

    app: "App"
    status: "StatusView"
    streams: "EventStreams"
    events: "StatusEvents"


def app_of(request: Request) -> "App":
    """What the application works with."""
    return cast("App", request.state.app)


def view_of(request: Request) -> "StatusView":
    """The status as bytes."""
    return cast("StatusView", request.state.status)


def streams_of(request: Request) -> "EventStreams":
    """The open event streams."""
    return cast("EventStreams", request.state.streams)


def events_of(request: Request) -> "StatusEvents":
    """The status, for event streams."""
    return cast("StatusEvents", request.state.events)
