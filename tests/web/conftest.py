"""A real server, `volflow web`, and a real browser that looks at it."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

import volflow
from tests.conftest import RequireBinary
from tests.contract.lab import HOST_A, until
from volflow import RequestContext, VolumeManager, exceptions
from volflow.drivers.local import LocalDriver
from volflow.testing import Fault, FaultyDriver

TOKEN = "a-token-of-some-length"
SHOTS = Path(volflow.__path__[0]).parent / "build" / "web"

CONFIG = """\
[volflow]
database = sqlite:///{0}/volflow.db
backends = lab

[lab]
driver = local
directory = {0}/images
"""

ARGUMENTS = (
    "--headless=new",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1280,900",
)


class Served:
    """The server of one database, which may be stopped and started again on its port.

    :ivar manager: another process's, as far as the page knows.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self._token = directory / "token"
        self._token.write_text(TOKEN)
        self._token.chmod(0o600)
        (directory / "volflow.conf").write_text(CONFIG.format(directory))
        self.faulty = FaultyDriver(LocalDriver(directory / "images"))
        database = f"sqlite:///{directory}/volflow.db"
        self.manager = VolumeManager(database, drivers={"lab": self.faulty}, recover=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it says where it is."""
        listen = f"127.0.0.1:{self._port}"
        words = ["web", "--config", str(self._directory / "volflow.conf"), "--listen", listen]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "volflow.cli", *words, "--token-file", str(self._token)],
            env={**os.environ, "PYTHONPATH": str(Path(volflow.__path__[0]).parent)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\n", said)
        assert found, said
        self._port = int(found[1])

    def stop(self) -> int:
        """Stop it as an operator does, and return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        return code

    def close(self) -> None:
        if self._process is not None:
            self.stop()
        self.manager.close()

    def settle(self) -> None:
        """End all that goes on."""
        context = RequestContext(overwrite=False)
        self.manager.recover()
        for standing in self.manager.search_operations(context, state="waiting").items:
            self.manager.cancel_operation(context, standing.operation.id)

    # What happens in the meantime

    def waiting(self, name: str) -> tuple[str, str]:
        """A volume whose attach waits for its caller; its id, and that of its operation."""
        context = RequestContext(overwrite=False)
        made = self.manager.create_volume(context, size_gib=1, backend="lab", name=name)
        self.manager.reserve_volume(context, made.id)
        owner = self.manager.get_volume(context, made.id).operation_id
        assert owner is not None
        return made.id, owner

    def attach(self, volume_id: str) -> None:
        """What the caller does that was waited for."""
        context = RequestContext(overwrite=False)
        self.manager.initialize_connection(context, volume_id, HOST_A)
        self.manager.attach(context, volume_id, None, "a", "/dev/vdb")

    def ailing(self, name: str) -> tuple[str, str]:
        """A volume whose attach failed, and whose undo was refused."""
        context = RequestContext(overwrite=False)
        made = self.manager.create_volume(context, size_gib=1, backend="lab", name=name)
        refused = exceptions.ConnectionFailed("the portal does not answer")
        held = exceptions.ExportFailed("the export is held by somebody")
        self.faulty.faults += [
            Fault("initialize_connection", "after", refused),
            Fault("remove_export", "before", held, times=None),
        ]
        with pytest.raises(exceptions.RollbackIncomplete):
            self.manager.attach_volume(context, made.id, HOST_A, host_name="a")
        self.faulty.faults.clear()
        owner = self.manager.get_volume(context, made.id).operation_id
        assert owner is not None
        return made.id, owner


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server of a session."""
    found = Served(tmp_path_factory.mktemp("served"))
    try:
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture
def served(running: Served) -> Iterator[Served]:
    """The server, where nothing is going on when the test begins."""
    yield running
    running.settle()


class Eyes:
    """A browser with words for what an operator does.

    :ivar expected: parts of what it may complain about in this test.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.expected: list[str] = []

    def open(self, url: str) -> None:
        self.driver.get(url)

    def sign_in(self, url: str) -> None:
        self.driver.get(f"{url}/?token={TOKEN}")
        assert "token" not in self.driver.current_url

    def find(self, css: str) -> WebElement:
        return until(lambda: next(iter(self.all(css)), None), f"there is {css}: {self.text}")

    def all(self, css: str) -> list[WebElement]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, css))

    def link(self, href: str) -> WebElement:
        return self.find(f'a[href="{href}"]')

    @property
    def text(self) -> str:
        """What can be read now."""
        return str(self.run("return document.body.innerText"))

    def says(self, css: str) -> str:
        """What a part of the page says now, which may be drawn anew at any time."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", css))

    def reads(self, text: str) -> None:
        """Wait until something can be read."""
        until(lambda: text in self.text, f"{text!r} can be read in: {self.text}")

    def run(self, script: str, *given: Any) -> Any:
        return self.driver.execute_script(script, *given)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def tab_to(self, css: str) -> None:
        """Press the tab key until something has the focus, which has to be visible."""
        for _ in range(100):
            self.press(Keys.TAB)
            active = "document.activeElement"
            if self.run(f"return {active}.matches(arguments[0])", css):
                width = self.run(f"return getComputedStyle({active}).outlineWidth")
                assert width != "0px", f"{css} has the focus and does not show it"
                return
        pytest.fail(f"the tab key does not lead to {css}")

    def look_like(self, scheme: str) -> None:
        """Prefer light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def be_wide(self, width: int) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )

    def let_scripts_run(self, yes: bool) -> None:
        given = {"value": not yes}
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", given)

    def keep(self, name: str) -> None:
        """Keep a picture of the whole page."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        size = "return [innerWidth, Math.min(document.documentElement.scrollHeight, 4000)]"
        width, height = self.run(size)
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        taken = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
        )
        (SHOTS / f"{name}.png").write_bytes(base64.b64decode(taken["data"]))

    def complaints(self) -> list[str]:
        """What the browser complained about: the policy, scripts, requests that failed."""
        entries = self.driver.get_log("browser")
        said = [e["message"] for e in entries if e["level"] in ("WARNING", "SEVERE")]
        return [s for s in said if not any(part in s for part in self.expected)]

    def reset(self) -> None:
        self.let_scripts_run(True)
        self.look_like("light")
        self.be_wide(1280)
        first, *others = self.driver.window_handles
        for handle in others:
            self.driver.switch_to.window(handle)
            self.driver.close()
        self.driver.switch_to.window(first)
        self.driver.get("about:blank")
        self.driver.delete_all_cookies()
        self.driver.get_log("browser")
        self.expected = []


@pytest.fixture(scope="session")
def chromium(require_binary: RequireBinary) -> Iterator[Eyes]:
    """One browser of a session."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(require_binary("chromium", "chromium"))
    service = webdriver.ChromeService(str(require_binary("chromedriver", "chromium-driver")))
    profile = tempfile.mkdtemp(prefix="volflow-browser-")
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, service)
    try:
        yield Eyes(driver)
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture
def eyes(chromium: Eyes) -> Iterator[Eyes]:
    """The browser, which has nothing to complain about."""
    chromium.reset()
    yield chromium
    complaints = chromium.complaints()
    chromium.reset()
    assert [] == complaints
