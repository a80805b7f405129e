"""No secret is ever shown, on any route, to anybody."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from jinja2 import ChoiceLoader, DictLoader
from starlette.testclient import TestClient

from tests.contract.lab import HOST_A
from tests.unit.web.conftest import word
from volflow import RequestContext, VolumeManager, exceptions
from volflow.testing import FaultyDriver, MemoryDriver

CONNECTOR = {**HOST_A, "password": "a-connectors-password", "keyring": {"key": "nested-key"}}
INFO = {"keyring": "AQDkeyringsecretAQ==", "auth_password": "x", "token": "another-secret"}


class Leaky(MemoryDriver):
    """Puts secrets under names that nobody knows, and into what it says."""

    def initialize_connection(self, volume, connector):  # type: ignore[no-untyped-def]
        found = super().initialize_connection(volume, connector)
        found["data"] |= {k: v for k, v in INFO.items() if k != "auth_password"}
        found["secret_at_the_top"] = "top-secret-of-a-driver"
        return found

    def terminate_connection(self, volume, connector, force=False):  # type: ignore[no-untyped-def]
        if getattr(self, "tells", False):
            raise exceptions.ConnectionFailed(f"no: {volume.provider_auth.split()[-1]}")
        super().terminate_connection(volume, connector, force)


@pytest.fixture
def backend() -> Leaky:
    return Leaky()


@pytest.fixture
def told(
    manager: VolumeManager, context: RequestContext, backend: MemoryDriver, faulty: FaultyDriver
) -> tuple[list[str], list[str]]:
    """Paths of everything about volumes with secrets, and the secrets."""
    secrets = ["a-connectors-password", "nested-key", "top-secret-of-a-driver", "another-secret"]
    secrets.append(INFO["keyring"])
    for name in ("attached", "waiting", "detached", "refused"):
        made = manager.create_volume(context, size_gib=1, backend="lab", name=name)
        if name == "waiting":
            manager.reserve_volume(context, made.id)
            info = manager.initialize_connection(context, made.id, CONNECTOR)
        else:
            done = manager.attach_volume(context, made.id, CONNECTOR, "1" * 32)
            info = done.connection_info or {}
        secrets += [info["data"]["auth_password"], info["data"]["auth_username"]]
        if name == "detached":
            manager.detach_volume(context, made.id)
        if name == "refused":
            backend.tells = True  # type: ignore[attr-defined]
            with pytest.raises(exceptions.VolflowError):
                manager.detach_volume(context, made.id, force=True)
            backend.tells = False  # type: ignore[attr-defined]
    secrets += [word for auth in backend.exports.values() for word in auth.split()[1:]]
    paths = ["/", "/operations", "/volumes", "/conductors", "/reconcile", "/sign-in"]
    paths += ["/operations?q=a", "/volumes?q=a", "/reconcile?repair=yes&backend=lab"]
    for volume in manager.list_volumes(context):
        paths += [f"/volumes/{volume.id}", f"/operations?volume={volume.id}"]
    for operation in manager.list_operations(context):
        key = operation.id
        paths += [f"/operations/{key}", f"/operations/{key}/retry", f"/operations/{key}/cancel"]
    return paths, secrets


def answers(client: TestClient, paths: list[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        answer = client.get(path)
        yield path, json.dumps(dict(answer.headers)) + answer.text


def test_no_route_shows_a_secret(
    reader: TestClient, operator: TestClient, told: tuple[list[str], list[str]]
) -> None:
    paths, secrets = told
    assert len(set(secrets)) > 8
    assert all(len(secret) >= 8 for secret in secrets)
    for client in (reader, operator):
        shown = dict(answers(client, paths))
        for path, page in shown.items():
            assert [] == [secret for secret in secrets if secret in page], path
        assert any(
            "a-connectors" not in page and HOST_A["initiator"] in page for page in shown.values()
        )


def test_no_change_shows_a_secret(
    operator: TestClient,
    told: tuple[list[str], list[str]],
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
) -> None:
    """When the driver says one as it refuses, and when a comparison finds what is wrong."""
    _, secrets = told
    form = {"form_word": word(operator, "/reconcile")}
    backend.tells = True  # type: ignore[attr-defined]
    backend.exports.clear()
    pages = [operator.post("/reconcile", data=form).text]
    pages.append(operator.post("/reconcile", data=form | {"repair": "yes"}).text)
    for operation in manager.list_operations(context):
        for action in ("retry", "cancel"):
            path = f"/operations/{operation.id}/{action}"
            pages.append(operator.post(path, data=form).text)
        pages.append(operator.get(f"/operations/{operation.id}").text)
    for page in pages:
        assert [] == [secret for secret in secrets if secret in page]


def test_the_search_would_find_one(
    reader: TestClient, told: tuple[list[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a search that looks at nothing would pass."""
    from volflow.web.pages import volumes

    real = volumes.attachment_json
    monkeypatch.setattr(volumes, "attachment_json", lambda found, **_: real(found, secrets=True))
    templates = reader.app.state.site.templates  # type: ignore[attr-defined]
    source = templates.loader.get_source(templates, "volume.html")[0]
    leaky = source.replace('in ("target_portal",', 'in ("auth_password",')
    assert leaky != source
    loaders = [DictLoader({"volume.html": leaky}), templates.loader]
    monkeypatch.setattr(templates, "loader", ChoiceLoader(loaders))
    paths, secrets = told
    pages = dict(answers(reader, [path for path in paths if path.startswith("/volumes/")]))
    assert any(secret in page for page in pages.values() for secret in secrets)
