"""Site: what all pages share: managers, access, the feed of changes, and how a page is drawn."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from oslo_context.context import RequestContext
from starlette.requests import Request
from starlette.responses import HTMLResponse

from volflow.views import words
from volflow.views.advice import conducting, expects, helps, may_cancel, may_retry
from volflow.web.access import Access
from volflow.web.doors import Doors
from volflow.web.feed import Feed
from volflow.web.marks import mark_of


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("volflow.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "clean": words.clean,
        "instant": words.instant,
        "moment": words.moment,
        "quoted": shlex.quote,
        "took": words.took,
        "span": words.span,
        "spoken": lambda state: str(state).replace("_", " "),
    }
    found.globals |= {
        "conducting": conducting,
        "expects": expects,
        "helps": helps,
        "mark_of": mark_of,
        "may_cancel": may_cancel,
        "may_retry": may_retry,
    }
    return found


@dataclass
class Site:
    """One page server.

    :ivar live: the pages update themselves.
    """

    doors: Doors
    access: Access
    feed: Feed
    templates: Environment = field(default_factory=_environment)

    def page(
        self, request: Request, template: str, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """Draw a page."""
        session = self.access.session_of(request.headers)
        given: dict[str, Any] = {
            "now": datetime.now(UTC),
            "path": request.url.path,
            "may_change": session is not None,
            "form_word": None if session is None else self.access.form_word(session),
            "watch": "",
            "link": partial(_link, request),
        }
        drawn = self.templates.get_template(template).render(given | values)
        return HTMLResponse(drawn, status)


def _link(request: Request, changed: Mapping[str, str | None]) -> str:
    """The URL of this page with some parameters changed; None takes one away."""
    kept = {name: value for name, value in request.query_params.items() if value}
    wanted = {name: value for name, value in (kept | dict(changed)).items() if value}
    return f"{request.url.path}?{urlencode(wanted)}" if wanted else request.url.path


def site_of(request: Request) -> Site:
    """The site that a request is for."""
    found: Site = request.app.state.site
    return found


def context() -> RequestContext:
    """Make the context of one request; its id stands on what it changes."""
    return RequestContext(overwrite=False)
