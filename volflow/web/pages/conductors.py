"""Conductors and backends: who runs what is queued, and how much of it there is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from volflow.web import asked
from volflow.web.site import context, site_of


def conductors(request: Request) -> Response:
    """List both."""
    asked.query(request, ())
    site = site_of(request)
    manager = site.doors.reading
    return site.page(
        request,
        "conductors.html",
        conductors=manager.list_conductors(context()),
        backends=manager.list_backends(context()),
        watch="any",
    )
