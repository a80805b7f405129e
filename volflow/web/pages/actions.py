"""Changes: each is asked for, confirmed on a page of its own, and then made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from volflow.exceptions import InvalidInput
from volflow.models import Standing
from volflow.views.advice import drivers_to_cancel
from volflow.web import asked
from volflow.web.site import Site, context, site_of

WORD = "form_word"
"""The field of a form that says that it was made by us."""


def confirm(action: str, request: Request) -> Response:
    """Ask whether an operation is to be retried, or cancelled."""
    asked.query(request, ())
    site = _changing(request)
    standing = site.doors.reading.operation_standing(context(), request.path_params["id"])
    return site.page(request, "confirm.html", action=action, standing=standing)


async def act(action: str, request: Request) -> Response:
    """Retry an operation, or cancel it, and show it."""
    await _confirmed(request, ())
    made = _ACTIONS[action]
    operation_id = await run_in_threadpool(made, site_of(request), request.path_params["id"])
    return RedirectResponse(f"/operations/{operation_id}", 303)


def _retry(site: Site, operation_id: str) -> str:
    found = _standing(site, operation_id).operation
    with site.doors.acting([found.backend]) as manager:
        manager.retry_operation(context(), found.id)
    return found.id


def _cancel(site: Site, operation_id: str) -> str:
    found = _standing(site, operation_id).operation
    with site.doors.acting(drivers_to_cancel(found)) as manager:
        manager.cancel_operation(context(), found.id)
    return found.id


def _standing(site: Site, operation_id: str) -> Standing:
    return site.doors.reading.operation_standing(context(), operation_id)


_ACTIONS: dict[str, Callable[[Site, str], str]] = {"retry": _retry, "cancel": _cancel}

retry_asked, retry_done = partial(confirm, "retry"), partial(act, "retry")
cancel_asked, cancel_done = partial(confirm, "cancel"), partial(act, "cancel")


# Comparing and repairing


def reconcile_asked(request: Request) -> Response:
    """Ask which backend is to be compared, and whether what differs is put in order."""
    given = asked.query(request, ("backend", "repair"))
    site = _changing(request)
    return site.page(
        request,
        "reconcile.html",
        backends=site.doors.reading.list_backend_names(context()),
        backend=given.get("backend"),
        repair=_flag(given, "repair"),
    )


async def reconcile_done(request: Request) -> Response:
    """Compare, or repair, and tell what differs."""
    given = await _confirmed(request, ("backend", "repair", "force"))
    backend, repair, force = given.get("backend"), _flag(given, "repair"), _flag(given, "force")
    if force and not repair:
        raise InvalidInput("force goes with repair")
    site = site_of(request)

    def work() -> Response:
        with site.doors.acting(None if backend is None else [backend]) as manager:
            found = manager.reconcile(context(), backend, repair=repair, force=force)
        return site.page(request, "differences.html", found=found, backend=backend, repair=repair)

    return await run_in_threadpool(work)


def _flag(given: dict[str, str], name: str) -> bool:
    if given.get(name, "yes") != "yes":
        raise InvalidInput(f"{name} is either yes or left out")
    return name in given


# Who may


def _changing(request: Request) -> Site:
    """The site, for somebody who may change something.

    :raises HTTPException: he may not.
    """
    site = site_of(request)
    if site.access.session_of(request.headers) is None:
        raise HTTPException(403, "changing something needs the token: sign in first")
    return site


async def _confirmed(request: Request, known: tuple[str, ...]) -> dict[str, str]:
    """The fields of a form that was made by us for this session.

    :raises HTTPException: it was not, or there is no session.
    """
    access = _changing(request).access
    asked.query(request, ())
    given = await asked.form(request, (*known, WORD))
    session = access.session_of(request.headers)
    word = given.pop(WORD, "")
    if session is None or not access.form_is_ours(session, word, request.headers):
        raise HTTPException(403, "this form is not ours, or it is old: open the page again")
    return given
