"""The application: which path leads to which page, and how errors are told."""

from __future__ import annotations

import logging
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from volflow import exceptions as e
from volflow.web.access import Access
from volflow.web.doors import Doors
from volflow.web.feed import Feed
from volflow.web.guard import Guard
from volflow.web.pages import actions, conductors, events, operations, overview, session, volumes
from volflow.web.site import Site, site_of

LOG = logging.getLogger(__name__)


class Told(NamedTuple):
    """How an error is told: its status, and what to do about it."""

    status: int
    title: str
    advice: str = ""


_ERRORS: tuple[tuple[type[Exception], Told], ...] = (
    (e.BackendNotFound, Told(409, "No such backend", "The configuration has to name it.")),
    (e.NotFound, Told(404, "Not found")),
    (e.InvalidInput, Told(400, "That cannot be asked for")),
    (e.InvalidVolume, Told(409, "The state forbids it")),
    (e.OperationConflict, Told(409, "The state forbids it")),
    (e.Fenced, Told(409, "Another run took it over")),
    (e.RollbackIncomplete, Told(409, "An undo is refused", "Recovery goes on with it.")),
    (e.DriverError, Told(502, "The backend refused")),
    (e.DatabaseError, Told(503, "The database cannot be used")),
    (e.BoardError, Told(503, "The job board cannot be used")),
    (e.VolflowError, Told(500, "It failed")),
)
"""The first row that has an error's class tells of it."""

_TITLES = {403: "Not allowed", 404: "Not found", 405: "Not possible here"}
_SENTENCES = {
    404: "there is no page {path}",
    405: "a page {path} is there, but not for {method}",
}


def make_app(doors: Doors, access: Access, feed: Feed | None = None) -> Starlette:
    """Make the application."""
    found = Starlette(
        routes=[
            Route("/", overview.overview),
            Route("/operations", operations.operations),
            Route("/operations/{id}", operations.operation),
            Route("/operations/{id}/retry", actions.retry_asked),
            Route("/operations/{id}/retry", actions.retry_done, methods=["POST"]),
            Route("/operations/{id}/cancel", actions.cancel_asked),
            Route("/operations/{id}/cancel", actions.cancel_done, methods=["POST"]),
            Route("/volumes", volumes.volumes),
            Route("/volumes/{id}", volumes.volume),
            Route("/conductors", conductors.conductors),
            Route("/reconcile", actions.reconcile_asked),
            Route("/reconcile", actions.reconcile_done, methods=["POST"]),
            Route("/sign-in", session.sign_in),
            Route("/sign-in", session.signed_in, methods=["POST"]),
            Route("/events", events.events),
            Mount("/static", StaticFiles(packages=[("volflow.web", "static")])),
        ],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={HTTPException: _http, e.VolflowError: _ours, Exception: _bug},
    )
    found.router.redirect_slashes = False
    found.state.site = Site(doors, access, feed or Feed(doors.reading.changes))
    return found


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = _SENTENCES.get(error.status_code, error.detail)
    told = Told(error.status_code, _TITLES.get(error.status_code, "It failed"))
    sentence = said.format(path=request.url.path[:80], method=request.method)
    return await _error_page(request, told, sentence, error.headers)


async def _ours(request: Request, error: Exception) -> Response:
    told = next(told for kind, told in _ERRORS if isinstance(error, kind))
    return await _error_page(request, told, str(error))


async def _bug(request: Request, error: Exception) -> Response:
    LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    told = Told(500, "It failed", "This is most likely a bug; the server's log has more.")
    return await _error_page(request, told, f"an unexpected {type(error).__name__}")


async def _error_page(
    request: Request, told: Told, sentence: str, headers: object = None
) -> Response:
    site = site_of(request)

    def draw() -> Response:
        return site.page(request, "error.html", told.status, told=told, sentence=sentence)

    answer = await run_in_threadpool(draw)
    if isinstance(headers, dict):
        answer.headers.update(headers)
    return answer
