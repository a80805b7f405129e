"""The first page: what needs attention, what runs, and what waits for whom."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from volflow.manager import VolumeManager
from volflow.models import OperationState, Page, Standing
from volflow.views.overview import OPEN, look
from volflow.web import asked
from volflow.web.pages.session import entered
from volflow.web.site import context, site_of

SHOWN = 15
"""How many operations of a kind the first page shows."""


@dataclass(frozen=True)
class Group:
    """Operations that stand alike.

    :ivar state: by which the list of all of them is filtered.
    :ivar shown: those of a page that are told of neither as abandoned nor as overdue.
    """

    title: str
    state: OperationState
    page: Page[Standing]
    shown: list[Standing]


def overview(request: Request) -> Response:
    """Draw it; or take the token of a URL, and go on without it."""
    given = asked.query(request, ("token",))
    site = site_of(request)
    if "token" in given:
        return entered(request, given["token"], RedirectResponse("/", 303))
    found = look(site.doors.reading, context(), SHOWN)
    return site.page(
        request,
        "overview.html",
        groups=[
            Group(title, state, found.operations[state], found.going_on(state))
            for state, title in OPEN.items()
        ],
        abandoned=found.abandoned,
        overdue=found.overdue,
        broken=found.broken,
        dead=found.dead,
        alone=found.alone,
        counts=found.counts,
        last=_last(site.doors.reading),
        watch="any",
    )


def _last(manager: VolumeManager) -> list[Standing]:
    found = manager.search_operations(context(), limit=SHOWN).items
    return [s for s in found if s.operation.settled]
