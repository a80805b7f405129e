"""Volumes: the list, and one of them with its attachments and its operations."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from volflow.exceptions import OperationNotFound
from volflow.manager import VolumeManager
from volflow.models import Standing, Volume, VolumeStatus
from volflow.views.records import attachment_json
from volflow.web import asked
from volflow.web.site import context, site_of

FILTERS = ("status", "backend", "q", "after")
HISTORY = 20


def volumes(request: Request) -> Response:
    """List volumes, newest first."""
    given = asked.query(request, FILTERS)
    site = site_of(request)
    manager = site.doors.reading
    page = manager.search_volumes(
        context(),
        status=given.get("status"),
        backend=given.get("backend"),
        text=given.get("q"),
        marker=given.get("after"),
    )
    return site.page(
        request,
        "volumes.html",
        page=page,
        given=given,
        statuses=list(VolumeStatus),
        backends=manager.list_backend_names(context()),
        watch="any",
    )


def volume(request: Request) -> Response:
    """Show one volume."""
    asked.query(request, ())
    site = site_of(request)
    manager = site.doors.reading
    found = manager.get_volume(context(), request.path_params["id"])
    live = manager.list_attachments(context(), found.id)
    past = manager.past_attachments(context(), found.id, HISTORY)
    history = manager.search_operations(context(), volume_id=found.id, limit=HISTORY)
    return site.page(
        request,
        "volume.html",
        found=found,
        live=[attachment_json(a, secrets=False) for a in live],
        past=[attachment_json(a, secrets=False) for a in past],
        history=history,
        owner=_owner(manager, found),
        watch=f"volume:{found.id}",
    )


def _owner(manager: VolumeManager, found: Volume) -> Standing | None:
    """The operation that changes a volume; None: none does, or it is not there."""
    if found.operation_id is None:
        return None
    try:
        return manager.operation_standing(context(), found.operation_id)
    except OperationNotFound:
        return None
