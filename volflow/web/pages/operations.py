"""Operations: the list, and one of them with its timeline and its steps."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from volflow.models import OperationKind, OperationState
from volflow.views.timeline import fold
from volflow.web import asked
from volflow.web.drawing import drawn
from volflow.web.flow import attempts
from volflow.web.site import context, site_of

FILTERS = ("state", "kind", "backend", "volume", "q", "after")

EVENTS = 300
ATTEMPTS = 20
"""How many of the last ones are shown of an operation that was retried for a long time."""


def operations(request: Request) -> Response:
    """List operations, newest first."""
    given = asked.query(request, FILTERS)
    site = site_of(request)
    manager = site.doors.reading
    page = manager.search_operations(
        context(),
        state=given.get("state"),
        kind=given.get("kind"),
        backend=given.get("backend"),
        volume_id=given.get("volume"),
        text=given.get("q"),
        marker=given.get("after"),
    )
    return site.page(
        request,
        "operations.html",
        page=page,
        given=given,
        states=list(OperationState),
        kinds=list(OperationKind),
        backends=manager.list_backend_names(context()),
        watch="any",
    )


def operation(request: Request) -> Response:
    """Show one operation."""
    asked.query(request, ())
    site = site_of(request)
    manager = site.doors.reading
    standing = manager.operation_standing(context(), request.path_params["id"])
    found = standing.operation
    events = manager.operation_timeline(context(), found.id, last=EVENTS)
    flow = attempts(manager.operation_flow(context(), found.id))
    return site.page(
        request,
        "operation.html",
        standing=standing,
        found=found,
        timeline=drawn(fold(events), standing.now),
        cut=len(events) == EVENTS,
        attempts=flow[-ATTEMPTS:],
        watch=f"operation:{found.id}",
    )
