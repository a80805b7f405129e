"""Signing in: the token is given once, in the URL of the start or in a form."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from volflow.web import asked
from volflow.web.site import site_of


def sign_in(request: Request) -> Response:
    """Ask for the token."""
    asked.query(request, ())
    return site_of(request).page(request, "sign_in.html", wrong=False)


async def signed_in(request: Request) -> Response:
    """Take the token."""
    asked.query(request, ())
    given = await asked.form(request, ("token",))
    answer = RedirectResponse("/", 303)
    return await run_in_threadpool(entered, request, given.get("token", ""), answer)


def entered(request: Request, token: str, answer: Response) -> Response:
    """Begin a session where the token is right; else say that it is wrong."""
    site = site_of(request)
    cookie = site.access.opened_by(token)
    if cookie is None:
        return site.page(request, "sign_in.html", 403, wrong=True)
    answer.set_cookie(
        site.access.cookie,
        cookie,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer
