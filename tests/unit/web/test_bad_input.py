"""Bad input to every route and parameter: a clear sentence, the right status, and no change."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests.contract.lab import Scene
from tests.unit.web.conftest import UNKNOWN, sentence, word

FORM = {"content-type": "application/x-www-form-urlencoded"}
LISTS = {
    "/operations": ("state", "kind", "backend", "volume", "q", "after"),
    "/volumes": ("status", "backend", "q", "after"),
}
PAGES = (*LISTS, "/", "/conductors", "/sign-in", "/events", "/reconcile")
LONG = "x" * 300


def is_clear(text: str) -> None:
    """An operator can read it: words, one line, not endless, no traceback and no SQL."""
    assert len(re.findall(r"[A-Za-z]+", text)) >= 3, text
    assert len(text) < 300, text
    for wrong in ("Traceback", "SELECT", "sqlite", "NoneType", " object at 0x"):
        assert wrong not in text


@pytest.fixture
def refused(
    operator: TestClient, now_there: Callable[[], Scene]
) -> Callable[[str, str, int], str]:
    """``refused(method, path, status, **given)``: what is said, while nothing changes."""

    def ask(method: str, path: str, status: int, **given: object) -> str:
        before = now_there()
        answer = operator.request(method, path, **given)  # type: ignore[arg-type]
        assert status == answer.status_code, answer.text
        text = sentence(answer.text)
        is_clear(text)
        assert before == now_there()
        return text

    return ask


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/operations?state=lost", 400),
        ("/operations?kind=delete%20all", 400),
        ("/operations?volume=1", 400),
        ("/operations?after=1", 400),
        (f"/operations?after={UNKNOWN}", 400),
        (f"/operations?q={LONG}", 400),
        (f"/operations?backend={LONG}", 400),
        ("/operations?q=%00", 400),
        ("/operations?q=%ff", 400),
        ("/operations?q=%ed%b0%80", 400),
        ("/operations?q=" + "x" * 5000, 400),
        ("/operations?" + "&".join(f"x{n}=1" for n in range(60)), 400),
        ("/volumes?status=gone", 400),
        ("/volumes?after=x", 400),
        (f"/volumes?after={UNKNOWN}", 400),
        (f"/volumes?q={LONG}", 400),
        ("/events?operation=1", 400),
        ("/events?volume=x", 400),
        ("/operations/1", 400),
        (f"/operations/{UNKNOWN}", 404),
        (f"/operations/{UNKNOWN}?x=1", 400),
        (f"/operations/{UNKNOWN}/cancel", 404),
        (f"/operations/{UNKNOWN}/retry", 404),
        ("/operations/1/retry", 400),
        (f"/operations/{UNKNOWN}/delete", 404),
        ("/volumes/x", 400),
        (f"/volumes/{UNKNOWN}", 404),
        (f"/volumes/{UNKNOWN}/delete", 404),
        ("/reconcile?repair=no", 400),
        ("/static/nothing", 404),
        ("/%00", 404),
        ("/" + "x" * 5000, 404),
    ],
)
def test_a_bad_url_is_refused(refused: Callable[..., str], path: str, status: int) -> None:
    refused("GET", path, status)


@pytest.mark.parametrize("path", PAGES)
def test_a_parameter_that_no_page_has_is_named(refused: Callable[..., str], path: str) -> None:
    assert "there is no parameter 'colour' here" in refused("GET", f"{path}?colour=red", 400)
    assert refused("GET", f"{path}?{'y' * 1000}=1", 400)


@pytest.mark.parametrize(("path", "names"), LISTS.items())
def test_a_parameter_that_stands_there_twice_is_named(
    refused: Callable[..., str], path: str, names: tuple[str, ...]
) -> None:
    for name in names:
        said = refused("GET", f"{path}?{name}=a&{name}=b", 400)
        assert f"the parameter {name} is given twice" == said


@pytest.mark.parametrize(("path", "names"), LISTS.items())
def test_an_empty_parameter_is_none(
    operator: TestClient, path: str, names: tuple[str, ...]
) -> None:
    """A form sends them so."""
    query = "&".join(f"{name}=" for name in names)
    assert 200 == operator.get(f"{path}?{query}").status_code


@pytest.mark.parametrize("text", ["%", "_", "'", '"', "\\", "*", "é", "💾", "a;--", "NULL", "0"])
def test_any_text_may_be_looked_for(operator: TestClient, text: str) -> None:
    for path in LISTS:
        for name in ("q", "backend"):
            assert 200 == operator.get(f"{path}?{name}={quote(text)}").status_code


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_a_method_that_a_page_does_not_have_is_refused(
    refused: Callable[..., str], method: str
) -> None:
    for path in ("/", "/operations", "/volumes", "/conductors", "/events"):
        assert "not for" in refused(method, path, 405)


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"form_word={word}&colour=red", FORM, 400),
        (b"form_word={word}&form_word={word}", FORM, 400),
        (b"form_word={word}&\xff=1", FORM, 400),
        (b"form_word={word}" + b"x" * 9000, FORM, 400),
        (b"form_word={word}", {"content-type": "text/plain"}, 400),
        (b"form_word={word}", {"content-type": "multipart/form-data; boundary=x"}, 400),
        (b'{"form_word": "{word}"}', {"content-type": "application/json"}, 400),
        (b"", {}, 400),
    ],
)
def test_a_bad_form_is_refused(
    operator: TestClient,
    refused: Callable[..., str],
    owner: Callable[[str], str],
    content: bytes,
    headers: dict[str, str],
    status: int,
) -> None:
    mine = word(operator, "/reconcile").encode()
    for path in (f"/operations/{owner('waits')}/cancel", "/reconcile"):
        refused("POST", path, status, content=content.replace(b"{word}", mine), headers=headers)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("backend=none", 409),
        ("backend=" + "x" * 300, 400),
        ("repair=no", 400),
        ("repair=yes&repair=yes", 400),
        ("force=yes", 400),
        ("force=1&repair=yes", 400),
    ],
)
def test_a_bad_comparison_is_refused(
    operator: TestClient, refused: Callable[..., str], given: str, status: int
) -> None:
    content = f"form_word={word(operator, '/reconcile')}&{given}"
    refused("POST", "/reconcile", status, content=content, headers=FORM)


def test_actions_on_what_is_not_there_are_refused(
    operator: TestClient, refused: Callable[..., str]
) -> None:
    content = f"form_word={word(operator, '/reconcile')}"
    for action in ("retry", "cancel"):
        for key, status in ((UNKNOWN, 404), ("x", 400)):
            path = f"/operations/{key}/{action}"
            refused("POST", path, status, content=content, headers=FORM)
