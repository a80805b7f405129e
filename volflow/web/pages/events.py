"""The stream of changes that open pages listen to."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from volflow import arguments as check
from volflow.web import asked
from volflow.web.site import site_of


async def events(request: Request) -> Response:
    """Say what changes, for as long as the page is open."""
    given = asked.query(request, ("operation", "volume"))
    operation = check.optional_uuid("operation", given.get("operation"))
    volume = check.optional_uuid("volume", given.get("volume"))
    feed = site_of(request).feed
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    if request.method == "HEAD":
        return Response(media_type="text/event-stream", headers=headers)
    if feed.is_full:
        return Response("too many pages listen\n", 503, media_type="text/plain")
    return StreamingResponse(
        feed.heard(operation, volume), media_type="text/event-stream", headers=headers
    )
