"""Who may do what: names, headers, the token, and forms that are ours."""

from __future__ import annotations

import hmac
from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from tests.contract.lab import Scene
from tests.unit.web.conftest import BASE, TOKEN, UNKNOWN, sentence, word
from volflow import Volume
from volflow.web.access import Access, is_loopback

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8400", "localhost:1", "LOCALHOST", "[::1]:8400", "[::1]"]
)
def test_this_host_may_be_asked_for_by_its_own_names(reader: TestClient, host: str) -> None:
    assert 200 == reader.get("/", headers={"host": host}).status_code


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1:8400:1",
        "",
        "[::1",
        "a b",
        "localhost/",
    ],
)
def test_another_sites_name_is_refused(reader: TestClient, host: str) -> None:
    """When its name was made to lead here, so that its script could read the page."""
    for path in ("/", "/operations", "/static/live.js", "/events", "/nowhere"):
        answer = reader.get(path, headers={"host": host})
        assert 400 == answer.status_code
        assert "--allow-host" in answer.text
        assert "nosniff" == answer.headers["x-content-type-options"]


def test_a_proxys_name_may_be_allowed() -> None:
    access = Access(TOKEN, ("Volflow.example.org",))
    assert access.host_is_ours("volflow.example.org:443")
    assert not access.host_is_ours("volflow.example.com")


def test_every_answer_has_the_headers_that_protect_it(
    reader: TestClient, stock: dict[str, Volume]
) -> None:
    paths = ["/", "/operations", f"/volumes/{stock['free'].id}", "/nowhere", "/operations?x=1"]
    paths += ["/static/live.js", "/static/style.css", "/events", "/reconcile", "/?token=wrong"]
    for path in paths:
        headers = reader.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "nosniff" == headers["x-content-type-options"]
        assert "no-referrer" == headers["referrer-policy"]
        assert "DENY" == headers["x-frame-options"]
        assert "no-store" == headers["cache-control"]


def test_the_token_of_the_url_becomes_a_cookie_and_leaves_the_url(reader: TestClient) -> None:
    answer = reader.get("/", params={"token": TOKEN})
    assert (303, "/") == (answer.status_code, answer.headers["location"])
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert "may change" in reader.get("/").text


def test_behind_tls_the_cookie_goes_no_other_way(app: Starlette) -> None:
    with TestClient(app, BASE.replace("http:", "https:"), follow_redirects=False) as client:
        answer = client.post("/sign-in", content=f"token={TOKEN}", headers=FORM)
    assert "Secure" in answer.headers["set-cookie"].split("; ")


@pytest.mark.parametrize("token", ["wrong", TOKEN[:-1], TOKEN + "x", "\udc80", "é" * 200])
def test_a_wrong_token_opens_nothing(reader: TestClient, token: str) -> None:
    encoded = token.encode("utf-8", "surrogatepass")
    given = "".join(f"%{byte:02x}" for byte in encoded)
    for answer in (
        reader.get(f"/?token={given}"),
        reader.post("/sign-in", content=f"token={given}", headers=FORM),
    ):
        assert answer.status_code in (400, 403)
        assert "set-cookie" not in answer.headers
    assert "may change" not in reader.get("/").text


def test_a_cookie_that_is_not_ours_opens_nothing() -> None:
    access, other = Access(TOKEN), Access("another-token-than-ours")
    cookie = access.opened_by(TOKEN)
    theirs = other.opened_by("another-token-than-ours")
    assert cookie is not None
    nonce = cookie.partition(".")[0]
    assert nonce == access.session_of(Headers({"cookie": f"volflow-session={cookie}"}))
    for wrong in (theirs, nonce, f"{nonce}.", f".{cookie.partition('.')[2]}", TOKEN, "", "a.b"):
        given = Headers({"cookie": f"volflow-session={wrong}"})
        assert access.session_of(given) is None
    for header in ("volflow-session", "=", "é=1", f"other={cookie}", '"', "a[]=1; \\"):
        assert access.session_of(Headers({"cookie": header})) is None


def test_a_session_outlives_the_process_where_the_token_does() -> None:
    cookie = Access(TOKEN).opened_by(TOKEN)
    given = Headers({"cookie": f"volflow-session={cookie}"})
    assert Access(TOKEN).session_of(given) is not None


CHANGES = ("/operations/{id}/retry", "/operations/{id}/cancel", "/reconcile")


def test_without_the_token_nothing_is_changed(
    reader: TestClient, owner: Callable[[str], str], now_there: Callable[[], Scene]
) -> None:
    before = now_there()
    for name in ("waits", "ails", "queued", "died"):
        for path in CHANGES:
            for ask in (reader.get, reader.post):
                answer = ask(path.format(id=owner(name)))
                assert 403 == answer.status_code
                assert "needs the token" in sentence(answer.text)
    assert before == now_there()


@pytest.mark.parametrize(
    ("given", "headers"),
    [
        ("", {}),
        ("form_word=", {}),
        ("form_word=0123", {}),
        ("form_word=%C3%A9", {}),
        ("form_word={word}", {"origin": "http://evil.example"}),
        ("form_word={word}", {"origin": "http://127.0.0.1:8401"}),
        ("form_word={word}", {"sec-fetch-site": "cross-site"}),
        ("form_word={word}", {"sec-fetch-site": "same-site"}),
        ("form_word={other}", {}),
    ],
)
def test_a_form_that_is_not_ours_changes_nothing(
    operator: TestClient,
    app: Starlette,
    owner: Callable[[str], str],
    now_there: Callable[[], Scene],
    given: str,
    headers: dict[str, str],
) -> None:
    """When another site sends it with the operator's cookie, and when another session has it."""
    with TestClient(app, BASE, follow_redirects=False) as another:
        another.get("/", params={"token": TOKEN})
        theirs = word(another, f"/operations/{owner('waits')}/cancel")
    mine = word(operator, f"/operations/{owner('waits')}/cancel")
    assert mine != theirs
    content = given.format(word=mine, other=theirs)
    before = now_there()
    for path in CHANGES:
        answer = operator.post(
            path.format(id=owner("waits")), content=content, headers=FORM | headers
        )
        assert 403 == answer.status_code
        assert "this form is not ours" in sentence(answer.text)
    assert before == now_there()


def test_a_change_is_never_made_by_following_a_link(
    operator: TestClient, owner: Callable[[str], str], now_there: Callable[[], Scene]
) -> None:
    before = now_there()
    for path in CHANGES:
        assert 200 == operator.get(path.format(id=owner("ails"))).status_code
    assert before == now_there()


def test_no_page_has_the_token(operator: TestClient, owner: Callable[[str], str]) -> None:
    for path in ("/", "/sign-in", f"/operations/{owner('ails')}/retry", f"/operations/{UNKNOWN}"):
        assert TOKEN not in operator.get(path).text


def test_which_addresses_are_this_hosts_own() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "example.org", "")))


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that ends at the first difference tells a guesser how far he is."""
    compared: list[tuple[bytes | str, bytes | str]] = []
    real = hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert Access(TOKEN).opened_by("guess") is None
    assert [(b"guess", TOKEN.encode())] == compared
