"""Every page says what an operator asks, in HTML that is read without a script."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from tests.contract.lab import HOST_A
from tests.unit.web.conftest import UNKNOWN, said, sentence
from volflow import RequestContext, Volume, VolumeManager
from volflow.models import OperationState, VolumeStatus

LABELLING = ("aria-labelledby", "aria-describedby")
VOID = {"meta", "link", "input", "br", "line", "rect"}


class Outline(HTMLParser):
    """Checks that tags are closed, ids are unique and tables have what readers need."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.wrong: list[str] = []
        self.tables = self.captions = 0
        self.headings: list[int] = []
        self.labels: set[str] = set()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if "id" in given:
            self.ids.append(given["id"] or "")
        if any(name == "style" or name.startswith("on") for name in given):
            self.wrong.append(f"{tag} has {attrs}, which the policy forbids")
        if tag == "th" and "scope" not in given:
            self.wrong.append("a heading of a table has no scope")
        if tag in ("input", "select") and given.get("type") != "hidden":
            self.wrong += [] if "label" in self.open else [f"{tag} {attrs} has no label"]
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self.headings.append(int(tag[1]))
        self.tables += tag == "table"
        self.captions += tag == "caption"
        self.labels |= {
            given[k] or "" for k in ("aria-labelledby", "aria-describedby") if k in given
        }
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"{tag} is closed where it is not open")


def is_well_made(page: str) -> None:
    found = Outline()
    found.feed(page)
    assert not found.wrong
    assert not found.open
    assert len(found.ids) == len(set(found.ids))
    assert found.labels <= set(found.ids)
    assert found.tables == found.captions
    assert found.headings[0] == 1
    assert 1 == found.headings.count(1)
    assert all(b - a <= 1 for a, b in zip(found.headings, found.headings[1:], strict=False))
    assert {"header", "nav", "main", "footer"} <= set(found.tags)
    assert 'href="#main"' in page


def shown(client: TestClient, path: str) -> str:
    """A page, which is well made."""
    answer = client.get(path)
    assert 200 == answer.status_code, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    is_well_made(answer.text)
    return answer.text


def test_the_overview_begins_with_what_needs_attention(
    reader: TestClient, stock: dict[str, Volume], owner: Callable[[str], str]
) -> None:
    page = shown(reader, "/")
    text = said(page)
    order = ["Needs attention", "Volumes in error", "Conductors that are missing", "Runs now"]
    order += ["Waits for its caller", "Waits for a conductor", "Settled last"]
    places = [text.index(title) for title in order]
    assert sorted(places) == places
    assert "no way out" in text
    for command in (
        "volflow recover",
        f"volflow volume delete {stock['broken'].id}",
        "volflow conductor run --backend lab",
    ):
        assert f'<code class="command">{command}</code>' in page
    for name in ("ails", "waits", "died", "queued"):
        assert f'href="/operations/{owner(name)}"' in page
    assert "<title>2 need attention" in page


def test_an_overview_of_nothing_is_calm(reader: TestClient) -> None:
    text = said(shown(reader, "/"))
    assert "Nothing needs you." in text
    assert "Nothing was done lately." in text


def test_a_run_whose_owner_died_needs_attention_once_its_lease_has_ended(
    reader: TestClient,
    stock: dict[str, Volume],
    owner: Callable[[str], str],
    manager: VolumeManager,
) -> None:
    assert "Abandoned" not in shown(reader, "/")
    with manager.database.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE operations SET lease_expires_at = 1 WHERE id = '{owner('died')}'"
        )
    text = said(shown(reader, "/"))
    assert "Abandoned by their owner" in text
    assert "recovery takes it over" in text
    assert "Runs now" not in text


def test_the_list_of_operations_is_filtered(
    reader: TestClient, stock: dict[str, Volume], owner: Callable[[str], str]
) -> None:
    page = shown(reader, "/operations?state=waiting&kind=attach&backend=lab")
    assert owner("waits") in page
    assert owner("ails") not in page
    assert '<option value="waiting" selected>' in page
    assert owner("ails") in shown(reader, "/operations?q=ails")
    assert owner("ails") in shown(reader, f"/operations?q={owner('ails')[:9]}")
    assert "No operation is like that." in shown(reader, "/operations?q=nowhere")
    page = shown(reader, f"/operations?volume={stock['used'].id}")
    assert 4 == page.count('<th scope="row">')


@pytest.mark.parametrize("state", list(OperationState))
def test_each_state_has_a_list(
    reader: TestClient, stock: dict[str, Volume], state: OperationState
) -> None:
    page = shown(reader, f"/operations?state={state}")
    words = state.replace("_", " ")
    assert page.count(f"</span> {words}</span>") == page.count('<th scope="row">')


def test_lists_go_on_page_by_page_and_keep_their_filter(
    reader: TestClient, manager: VolumeManager, context: RequestContext
) -> None:
    for n in range(60):
        manager.create_volume(context, size_gib=1, backend="lab", name=f"v{n}")
    for path, what in (("/operations", "kind=create"), ("/volumes", "status=available")):
        first = shown(reader, f"{path}?{what}")
        assert 50 == first.count('<th scope="row">')
        (after,) = {link for link in first.split('"') if "after=" in link}
        assert what in after
        second = shown(reader, after.replace("&amp;", "&"))
        assert 10 == second.count('<th scope="row">')
        assert f'href="{path}?{what}" rel="first"' in second


def test_an_operation_tells_its_facts_steps_and_timeline(
    reader: TestClient, owner: Callable[[str], str]
) -> None:
    page = shown(reader, f"/operations/{owner('ails')}")
    text = said(page)
    assert "What the backend refuses to undo create-export: ExportFailed: no way out" in text
    assert "ConnectionFailed: no way in" in text
    assert '<rect class="bar undo refused"' in page
    assert '<rect class="bar undo done"' not in page
    assert '<rect class="bar undo undone"' in page
    assert "to be undone" in text
    assert f"volflow operation show {owner('ails')}" in text
    assert "recovery tries again what was refused: due" in text


def test_of_a_long_timeline_the_end_is_shown(
    reader: TestClient, owner: Callable[[str], str], manager: VolumeManager
) -> None:
    """When recovery has retried for days."""
    rows = [
        (owner("ails"), 10**15 + n, n, step, what, "no" if what == "refused" else None)
        for n in range(2, 3000)
        for step, what in (
            ("operation", "taken over"),
            ("create-export", "reverting"),
            ("create-export", "refused"),
            ("operation", "needs_attention"),
        )
    ]
    with manager.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO events (operation_id, at, epoch, step, what, detail)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )
    page = shown(reader, f"/operations/{owner('ails')}")
    assert "Only the end of it is shown" in page
    assert 100 < page.count('<rect class="bar') <= 300


def test_an_operation_that_waits_names_the_calls_to_come(
    reader: TestClient, owner: Callable[[str], str]
) -> None:
    text = said(shown(reader, f"/operations/{owner('waits')}"))
    assert "Next: its caller's next call, or else its undo: due in" in text
    assert "attach ◦ still to be called" in text
    assert "Owner nobody now" in text


def test_an_operation_that_runs_names_its_owner(
    reader: TestClient, owner: Callable[[str], str], manager: VolumeManager
) -> None:
    page = shown(reader, f"/operations/{owner('died')}")
    assert manager.get_operation(RequestContext(overwrite=False), owner("died")).owner in page  # type: ignore[operator]
    assert "create-export" in page
    assert "runs now" in said(page)


def test_an_operation_that_is_settled_offers_nothing(
    operator: TestClient, manager: VolumeManager, context: RequestContext, stock: dict[str, Volume]
) -> None:
    done = manager.list_operations(context, state="succeeded")[0]
    page = shown(operator, f"/operations/{done.id}")
    assert "It is done." in page
    for word in ("/retry", "/cancel", "What helps"):
        assert word not in page


def test_only_somebody_with_the_token_is_offered_changes(
    reader: TestClient, operator: TestClient, owner: Callable[[str], str]
) -> None:
    path = f"/operations/{owner('ails')}"
    assert f'href="{path}/retry"' in shown(operator, path)
    page = shown(reader, path)
    assert "/retry" not in page
    assert "/reconcile" not in page
    assert 'href="/sign-in"' in page
    for path in ("/", "/sign-in", "/reconcile", "/reconcile?repair=yes&backend=lab"):
        shown(operator, path)


def test_volumes_are_listed_and_found(
    reader: TestClient, stock: dict[str, Volume], owner: Callable[[str], str]
) -> None:
    page = shown(reader, "/volumes")
    assert all(v.id in page for v in stock.values())
    assert f'href="/operations/{owner("waits")}"' in page
    page = shown(reader, "/volumes?status=in-use&backend=lab&q=us")
    assert stock["used"].id in page
    assert stock["free"].id not in page
    assert "No volume is like that." in shown(reader, "/volumes?q=us&status=error")
    for status in VolumeStatus:
        shown(reader, f"/volumes?status={status}")


def test_a_volume_tells_who_owns_and_who_uses_it(
    reader: TestClient, stock: dict[str, Volume], owner: Callable[[str], str]
) -> None:
    page = shown(reader, f"/volumes/{stock['used'].id}")
    text = said(page)
    assert "Nobody is changing it." in text
    assert HOST_A["initiator"] in text
    assert "a at /dev/vdb" in text
    assert "Detached before (1)" in text
    assert 4 == page.count('href="/operations/')
    text = said(shown(reader, f"/volumes/{stock['waits'].id}"))
    assert f"Attach {owner('waits')[:8]} {owner('waits')[8:]} owns it." in text
    text = said(shown(reader, f"/volumes/{stock['broken'].id}"))
    assert f"volflow volume delete {stock['broken'].id}" in text
    assert "Nobody uses it." in said(shown(reader, f"/volumes/{stock['free'].id}"))


def test_a_volume_whose_owner_is_gone_names_the_repair(
    reader: TestClient, stock: dict[str, Volume], manager: VolumeManager
) -> None:
    with manager.database.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE volumes SET operation_id = '{UNKNOWN}' WHERE id = '{stock['waits'].id}'"
        )
    assert "volflow reconcile --repair" in shown(reader, f"/volumes/{stock['waits'].id}")


def test_conductors_and_backends_are_told(
    reader: TestClient, manager: VolumeManager, stock: dict[str, Volume], context: RequestContext
) -> None:
    text = said(shown(reader, "/conductors"))
    assert "There is none." in text
    assert "lab 8 1 1 none: volflow conductor run --backend lab" in text
    conductor = manager.conductor("night-shift", ["lab"], 2)
    conductor.start()
    try:
        manager.wait(stock["queued"].operation_id or "", 30)
        text = said(shown(reader, "/conductors"))
    finally:
        conductor.stop()
        assert conductor.wait(30)
    assert "night-shift ✓ alive" in text
    assert "lab 8 1 0 night-shift" in text


def test_a_conductor_that_died_is_named_with_what_starts_another(
    reader: TestClient, manager: VolumeManager
) -> None:
    with manager.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO conductors VALUES "
            "('c', 'gone', 'o', 'h', 7, '[\"lab\", \"two words\"]', 1, 1, 1, 1)"
        )
    assert "volflow conductor run --backend lab --backend 'two words'" in said(shown(reader, "/"))
    assert "gone ▲ dead" in said(shown(reader, "/conductors"))


def test_a_row_that_makes_no_sense_is_named(
    reader: TestClient, stock: dict[str, Volume], manager: VolumeManager
) -> None:
    broken = stock["free"].id
    with manager.database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE volumes SET status = 'x' WHERE id = '{broken}'")
    text = said(shown(reader, "/volumes"))
    assert f"The row of {broken} makes no sense" in text
    answer = reader.get(f"/volumes/{broken}")
    assert 503 == answer.status_code
    assert "makes no sense" in sentence(answer.text)


NAME = "<script>alert(1)</script>\"'&\x1b[31m"


def test_what_others_wrote_is_only_text(
    operator: TestClient, manager: VolumeManager, context: RequestContext
) -> None:
    made = manager.create_volume(context, size_gib=1, backend="lab", name=NAME)
    manager.reserve_volume(context, made.id)
    owner = manager.get_volume(context, made.id).operation_id
    paths = ["/", "/volumes", f"/volumes/{made.id}", "/operations", f"/operations/{owner}"]
    paths += [f"/operations/{owner}/cancel", "/volumes?q=%3Cscript%3E", "/operations?q=%3Cscript"]
    for path in paths:
        page = shown(operator, path)
        assert "<script>" not in page.replace("<script src", "")
        assert "\x1b" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_the_script_and_the_styles_are_files(reader: TestClient) -> None:
    for name, kind in (("live.js", "javascript"), ("style.css", "css"), ("icon.svg", "svg")):
        answer = reader.get(f"/static/{name}")
        assert 200 == answer.status_code
        assert kind in answer.headers["content-type"]
    assert 404 == reader.get("/static/../app.py").status_code
    assert 404 == reader.get("/static/%2e%2e/app.py").status_code


def test_what_is_not_there_is_said_to_be_not_there(
    reader: TestClient, manager: VolumeManager, context: RequestContext
) -> None:
    for path in (f"/operations/{UNKNOWN}", f"/volumes/{UNKNOWN}", "/nowhere", "/operations/"):
        answer = reader.get(path)
        assert 404 == answer.status_code
        assert "there is no" in sentence(answer.text)
        is_well_made(answer.text)
