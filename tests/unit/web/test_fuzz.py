"""Whatever is asked for, by whatever method: an answer, and never an unexpected error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hypothesis
import pytest
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.unit.web.conftest import BASE, TOKEN, UNKNOWN, Place, opened, word
from volflow import RequestContext, VolumeManager
from volflow.models import OperationKind, OperationState, VolumeStatus
from volflow.web.access import Access
from volflow.web.app import make_app
from volflow.web.doors import Doors
from volflow.web.feed import Feed

pytestmark = pytest.mark.xdist_group("web fuzz")

ROUTES = (
    "/",
    "/operations",
    "/operations/{}",
    "/operations/{}/retry",
    "/operations/{}/cancel",
    "/volumes",
    "/volumes/{}",
    "/conductors",
    "/reconcile",
    "/sign-in",
    "/events",
    "/static/{}",
    "/{}",
)
PARAMETERS = (
    *("state", "kind", "backend", "volume", "status", "q", "after", "token", "operation"),
    *("repair", "force", "form_word", "x"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUUX")
WORDS = ("", "lab", "free", "yes", UNKNOWN, TOKEN, *OperationState, *OperationKind, *VolumeStatus)


class Target:
    """A page, and what a request may name."""

    def __init__(self, client: TestClient, manager: VolumeManager) -> None:
        context = RequestContext(overwrite=False)
        self.client = client
        volumes, operations = manager.list_volumes(context), manager.list_operations(context)
        self.known = [*(v.id for v in volumes), *(o.id for o in operations), *WORDS]
        self.form_word = word(client, "/reconcile")


@pytest.fixture(scope="module")
def target(stocked: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory: Path = tmp_path_factory.mktemp("fuzz")
    for file in stocked.directory.iterdir():
        if file.is_file():
            (directory / file.name).write_bytes(file.read_bytes())
    with opened(directory, {"lab": deepcopy(stocked.backend)}) as manager:
        feed = Feed(manager.changes)
        feed.close()
        app = make_app(Doors(manager, lambda _: nullcontext(manager)), Access(TOKEN), feed)
        with TestClient(app, BASE, follow_redirects=False) as client:
            client.get("/", params={"token": TOKEN})
            yield Target(client, manager)


TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
NUMBER = st.integers(0, 10_000)
VALUE = st.one_of(NUMBER, NUMBER, TEXT)
"""The number of something that is known, or any text."""

REQUEST = st.fixed_dictionaries(
    {
        "method": st.one_of(st.just("GET"), st.just("POST"), st.sampled_from(METHODS)),
        "route": st.sampled_from(ROUTES),
        "place": VALUE,
        "query": st.lists(st.tuples(st.sampled_from(PARAMETERS), VALUE), max_size=3),
        "form": st.lists(st.tuples(st.sampled_from(PARAMETERS), VALUE), max_size=3),
        "ours": st.booleans(),
        "raw": st.one_of(st.none(), st.binary(max_size=50)),
    }
)


# Threads of the page draw numbers, too, while a request is made up.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@hypothesis.settings(max_examples=300)
@hypothesis.given(REQUEST)
def test_no_request_is_an_unexpected_error(target: Target, asked: dict[str, Any]) -> None:
    def value(found: int | str) -> str:
        known = target.known
        return quote(found if isinstance(found, str) else known[found % len(known)], safe="")

    def encoded(pairs: list[tuple[str, int | str]]) -> str:
        return "&".join(f"{name}={value(given)}" for name, given in pairs)

    url = asked["route"].format(value(asked["place"]))
    url += f"?{encoded(asked['query'])}" if asked["query"] else ""
    form = encoded(asked["form"])
    if asked["ours"]:
        form = "&".join(filter(None, [f"form_word={target.form_word}", form]))
    content = form.encode() if asked["raw"] is None else asked["raw"]
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = target.client.request(asked["method"], url, content=content, headers=headers)
    assert answer.status_code != 500
    assert answer.status_code < 500 or "/events" in url
    assert "content-security-policy" in answer.headers
    assert "Traceback" not in answer.text


@hypothesis.settings(max_examples=100)
@hypothesis.given(
    st.dictionaries(
        st.sampled_from(["host", "cookie", "origin", "sec-fetch-site", "content-type", "accept"]),
        st.binary(max_size=40).filter(lambda b: b"\n" not in b and b"\r" not in b),
    ),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["/", "/operations", "/reconcile", "/sign-in", "/static/live.js"]),
)
def test_no_header_is_an_unexpected_error(
    target: Target, headers: dict[str, bytes], method: str, path: str
) -> None:
    given = [(name.encode(), value) for name, value in headers.items()]
    answer = target.client.request(method, path, headers=given)
    assert answer.status_code < 500
