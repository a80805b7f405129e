"""The first page: what needs attention, what runs, and what waits for whom."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from volflow.manager import VolumeManager
from volflow.models import OperationState, Page, Standing
from volflow.web import asked
from volflow.web.pages.session import entered
from volflow.web.site import context, site_of

SHOWN = 15
"""How many operations of a kind the first page shows."""


@dataclass(frozen=True)
class Group:
    """Operations that stand alike.

    :ivar state: by which the list of all of them is filtered.
    """

    key: str
    title: str
    state: OperationState
    page: Page[Standing]

    @property
    def shown(self) -> list[Standing]:
        """Those that are not told of as abandoned."""
        return [standing for standing in self.page.items if not standing.abandoned]


_GROUPS = (
    ("attention", "Needs attention", OperationState.NEEDS_ATTENTION),
    ("running", "Runs now", OperationState.RUNNING),
    ("reverting", "Is being undone", OperationState.REVERTING),
    ("waiting", "Waits for its caller", OperationState.WAITING),
    ("queued", "Waits for a conductor", OperationState.QUEUED),
)


def overview(request: Request) -> Response:
    """Draw it; or take the token of a URL, and go on without it."""
    given = asked.query(request, ("token",))
    site = site_of(request)
    if "token" in given:
        return entered(request, given["token"], RedirectResponse("/", 303))
    manager = site.doors.reading
    groups = [
        Group(key, title, state, manager.search_operations(context(), state=state, limit=SHOWN))
        for key, title, state in _GROUPS
    ]
    conductors = manager.list_conductors(context())
    served = {name for c in conductors if c.alive for name in c.backends}
    queued = next(group for group in groups if group.state is OperationState.QUEUED)
    return site.page(
        request,
        "overview.html",
        groups=groups,
        abandoned=_abandoned(groups),
        broken=manager.search_volumes(context(), status="error", limit=SHOWN),
        dead=[c for c in conductors if not c.alive],
        alone=sorted({s.operation.backend for s in queued.page.items} - served),
        counts=manager.counts(context()),
        last=_last(manager),
        watch="any",
    )


def _abandoned(groups: list[Group]) -> list[Standing]:
    """What nobody runs any more, though it is said to run."""
    return [s for group in groups for s in group.page.items if s.abandoned]


def _last(manager: VolumeManager) -> list[Standing]:
    found = manager.search_operations(context(), limit=SHOWN).items
    return [s for s in found if s.operation.settled]
