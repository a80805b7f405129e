"""The page in a real browser: what an operator does at three in the morning."""

from __future__ import annotations

from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.contract.lab import until
from tests.web.conftest import TOKEN, Eyes, Served
from volflow import RequestContext

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

LOST = "net::ERR"
"""What a browser says of a server that is not there."""

CONTRAST = """
const channels = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b]
  .map((c) => c / 255)
  .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
const ground = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const found = channels(getComputedStyle(each).backgroundColor);
    if (found.length < 4 || found[3] > 0) return found;
  }
  return [255, 255, 255];
};
const poor = [];
for (const each of document.querySelectorAll("body *")) {
  const own = [...each.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !each.getClientRects().length || each.closest("svg, noscript")) continue;
  const [a, b] = [light(channels(getComputedStyle(each).color)), light(ground(each))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(`${each.tagName}.${each.className} ${each.textContent} ${ratio}`);
}
return poor;
"""


@pytest.fixture
def ailing(served: Served) -> tuple[str, str]:
    return served.ailing("db-1")


@pytest.fixture
def waiting(served: Served) -> tuple[str, str]:
    return served.waiting("db-2")


def test_from_the_overview_to_what_ails(
    eyes: Eyes, served: Served, ailing: tuple[str, str], waiting: tuple[str, str]
) -> None:
    _, owner = ailing
    eyes.open(served.url)
    assert eyes.driver.title.startswith("1 need attention")
    eyes.reads("the export is held by somebody")
    eyes.keep("test-overview")
    eyes.link(f"/operations/{owner}").click()
    eyes.reads("What the backend refuses to undo")
    bars = eyes.all("svg.bars rect.undo")
    assert bars
    assert all(bar.size["width"] > 0 for bar in bars)
    assert 6 == len(eyes.all(".graph li"))
    eyes.keep("test-operation")


def test_an_open_operation_follows_what_happens(
    eyes: Eyes, served: Served, waiting: tuple[str, str]
) -> None:
    volume_id, owner = waiting
    eyes.open(f"{served.url}/operations/{owner}")
    eyes.reads("Live")
    assert "waiting" in eyes.says("#verdict")
    eyes.run("window.same = true")
    served.attach(volume_id)
    until(lambda: "succeeded" in eyes.says("#verdict"), "the operation is shown as it is")
    assert "succeeded" in eyes.driver.title
    assert "Live: now succeeded" == eyes.says("#link-state")
    assert eyes.run("return window.same"), "the page was loaded anew"
    eyes.keep("test-operation-settled")


def test_two_open_lists_follow_what_happens(eyes: Eyes, served: Served) -> None:
    tabs = []
    for path in ("/", "/operations?state=waiting"):
        if tabs:
            eyes.driver.switch_to.new_window("window")
        eyes.open(served.url + path)
        eyes.reads("Live")
        tabs.append(eyes.driver.current_window_handle)
    _, owner = served.waiting("db-3")
    for tab in tabs:
        eyes.driver.switch_to.window(tab)
        eyes.find(f'a[href="/operations/{owner}"]')


def test_a_volume_follows_what_happens_without_an_operation(eyes: Eyes, served: Served) -> None:
    context = RequestContext(overwrite=False)
    made = served.manager.create_volume(context, size_gib=1, backend="lab")
    eyes.open(f"{served.url}/volumes/{made.id}")
    eyes.reads("Live")
    served.manager.set_maintenance(context, made.id, True)
    until(lambda: "maintenance" in eyes.says("#verdict"), "the maintenance is shown")


def test_an_update_disturbs_nobody(eyes: Eyes, served: Served, waiting: tuple[str, str]) -> None:
    """When the focus is on a link of what is drawn anew, and when something was unfolded."""
    volume_id, owner = waiting
    served.attach(volume_id)
    context = RequestContext(overwrite=False)
    served.manager.detach_volume(context, volume_id)
    eyes.open(f"{served.url}/volumes/{volume_id}")
    eyes.reads("Live")
    eyes.find("summary").click()
    eyes.run("arguments[0].focus()", eyes.link(f"/operations/{owner}"))
    served.manager.reserve_volume(context, volume_id)
    until(lambda: "attaching" in eyes.says("#verdict"), "the reservation is shown")
    assert eyes.run("return document.activeElement.getAttribute('href')").endswith(owner)
    assert eyes.run("return document.querySelector('details').open")


def test_a_cancel_is_confirmed_and_done(
    eyes: Eyes, served: Served, waiting: tuple[str, str]
) -> None:
    volume_id, owner = waiting
    eyes.sign_in(served.url)
    eyes.open(f"{served.url}/operations/{owner}")
    eyes.link(f"/operations/{owner}/cancel").click()
    eyes.reads("Cancel this attach?")
    eyes.keep("test-confirm")
    eyes.find("button.strong").click()
    until(lambda: "rolled back" in eyes.says("#verdict"), "the cancel is shown")
    assert eyes.driver.current_url.endswith(owner)
    found = served.manager.get_volume(RequestContext(overwrite=False), volume_id)
    assert "available" == found.status


def test_a_retry_mends_what_ails(eyes: Eyes, served: Served, ailing: tuple[str, str]) -> None:
    _, owner = ailing
    eyes.sign_in(served.url)
    eyes.link(f"/operations/{owner}/retry").click()
    eyes.find("button.strong").click()
    until(lambda: "rolled back" in eyes.says("#verdict"), "the retry is shown")
    eyes.open(served.url)
    eyes.reads("Nothing needs you.")


def test_a_server_that_stops_is_noticed_and_what_it_missed_is_drawn(
    eyes: Eyes, served: Served, waiting: tuple[str, str]
) -> None:
    volume_id, owner = waiting
    eyes.expected = [LOST]
    eyes.open(f"{served.url}/operations/{owner}")
    eyes.reads("Live")
    assert 0 == served.stop()
    eyes.reads("Disconnected since")
    assert "waiting" in eyes.says("#verdict")
    eyes.keep("test-disconnected")
    served.attach(volume_id)
    served.start()
    until(lambda: "succeeded" in eyes.says("#verdict"), "what was missed is drawn")
    eyes.reads("Live")


def test_the_keyboard_is_enough(eyes: Eyes, served: Served, waiting: tuple[str, str]) -> None:
    _, owner = waiting
    eyes.open(f"{served.url}/sign-in")
    eyes.tab_to("a.skip")
    assert eyes.find("a.skip").location["x"] >= 0
    eyes.press(Keys.ENTER)
    eyes.tab_to("input[name=token]")
    eyes.press(TOKEN, Keys.ENTER)
    eyes.reads("may change")
    eyes.tab_to("nav a[href='/operations']")
    eyes.press(Keys.ENTER)
    eyes.reads("Begins with")
    eyes.tab_to("input[type=search]")
    eyes.press("db-2", Keys.ENTER)
    until(lambda: "q=db-2" in eyes.driver.current_url, "the search is asked for")
    eyes.tab_to(f"a[href='/operations/{owner}']")
    eyes.press(Keys.ENTER)
    eyes.reads("Timeline")
    eyes.tab_to(f"a[href='/operations/{owner}/cancel']")
    eyes.press(Keys.ENTER)
    eyes.reads("Cancel this attach?")
    eyes.tab_to("button.strong")
    eyes.press(Keys.ENTER)
    until(lambda: "rolled back" in eyes.says("#verdict"), "the cancel is shown")


def test_without_scripts_everything_is_read_and_done(
    eyes: Eyes, served: Served, waiting: tuple[str, str], ailing: tuple[str, str]
) -> None:
    _, owner = waiting
    eyes.let_scripts_run(False)
    eyes.sign_in(served.url)
    said = eyes.find("body").text
    for words in ("Needs attention", "Waits for its caller", "Reload to update"):
        assert words in said
    eyes.keep("test-without-scripts")
    eyes.link("/volumes").click()
    assert "db-1" in eyes.find("main").text
    eyes.open(f"{served.url}/operations/{owner}/cancel")
    eyes.find("button.strong").click()
    assert "rolled back" in eyes.find("#verdict").text


def paths(served: Served, volume_id: str, owner: str) -> list[str]:
    found = ["/", "/operations", "/volumes", "/conductors", "/sign-in", "/reconcile", "/nowhere"]
    found += [f"/operations/{owner}", f"/operations/{owner}/cancel", f"/volumes/{volume_id}"]
    return [served.url + path for path in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_texts_stand_out_from_their_ground(
    eyes: Eyes, served: Served, ailing: tuple[str, str], waiting: tuple[str, str], scheme: str
) -> None:
    """AA: 4.5 to 1."""
    eyes.expected = ["404"]
    eyes.look_like(scheme)
    eyes.sign_in(served.url)
    grounds: set[Any] = set()
    for number, url in enumerate(paths(served, *ailing)):
        eyes.open(url)
        assert [] == eyes.run(CONTRAST), url
        grounds.add(eyes.run("return getComputedStyle(document.body).backgroundColor"))
        eyes.keep(f"test-{scheme}-{number}")
    (ground,) = grounds
    channels = [int(c) for c in ground.removeprefix("rgb(").rstrip(")").split(",")]
    assert (sum(channels) > 3 * 128) == (scheme == "light")


def test_the_search_for_poor_contrast_finds_some(eyes: Eyes, served: Served) -> None:
    eyes.open(served.url)
    eyes.run("document.querySelector('h1').style.setProperty('color', '#999')")
    assert any(poor.startswith("H1") for poor in eyes.run(CONTRAST))


def test_a_narrow_window_is_wide_enough(
    eyes: Eyes, served: Served, ailing: tuple[str, str], waiting: tuple[str, str]
) -> None:
    eyes.expected = ["404"]
    eyes.sign_in(served.url)
    for width in (400, 320):
        eyes.be_wide(width)
        for number, url in enumerate(paths(served, *ailing)):
            eyes.open(url)
            assert eyes.run("return document.documentElement.scrollWidth") <= width, url
            if width == 400:
                eyes.keep(f"test-narrow-{number}")
