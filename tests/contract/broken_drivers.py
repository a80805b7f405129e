"""Drivers that break one promise each, for the tests that the conformance kit finds them."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

from volflow.drivers import Export
from volflow.exceptions import ConnectionFailed, DriverError, ExportFailed
from volflow.testing import DriverConformance, MemoryDriver

FOREIGN = "00000000-0000-4000-8000-000000000000"


class Backend(MemoryDriver):
    """In order: what the drivers below are made of. What is foreign on it, it leaves alone."""

    foreign: str | None = None


class LacksAMethod(Backend):
    ensure_export = None


class SetsUpAnew(Backend):
    def do_setup(self, context):
        self.exports.clear()
        self.acls.clear()


class ExportsAtOnce(Backend):
    def create_volume(self, context, volume):
        super().create_volume(context, volume)
        self._export(volume)


class DeletesOnce(Backend):
    def delete_volume(self, context, volume):
        if volume.id not in self.volumes:
            raise ExportFailed(f"there is no volume {volume.id}")
        super().delete_volume(context, volume)


class BreaksOnQuotes(Backend):
    def create_export(self, context, volume, connector):
        if "'" in (volume.name or ""):
            raise ExportFailed("syntax error")
        return super().create_export(context, volume, connector)


class DetachesWhenTold(Backend):
    def detach_volume(self, context, volume, attachment):
        self.acls.pop(volume.id, None)


class OpensToAll(Backend):
    def create_export(self, context, volume, connector):
        update = super().create_export(context, volume, connector)
        self.acls[volume.id].add(connector["initiator"].lower())
        return update


class ExportsOnce(Backend):
    def create_export(self, context, volume, connector):
        if volume.id in self.exports:
            raise ExportFailed(f"target of volume {volume.id} exists already")
        return super().create_export(context, volume, connector)


class MakesItsOwnCredentials(Backend):
    """The host is told others than are recorded."""

    def initialize_connection(self, volume, connector):
        info = super().initialize_connection(volume, connector)
        return {**info, "data": {**info["data"], "auth_password": "itsOwn2345678"}}


class RegeneratesCredentials(Backend):
    def ensure_export(self, context, volume):
        return super().ensure_export(context, replace(volume, provider_auth="CHAP new other"))


class RegeneratesSilently(Backend):
    def ensure_export(self, context, volume):
        self._export(replace(volume, provider_auth="CHAP new other"))


class KeepsOldCredentials(Backend):
    def ensure_export(self, context, volume):
        if volume.id not in self.exports:
            super().ensure_export(context, volume)


class RemovesOnce(Backend):
    def remove_export(self, context, volume):
        if volume.id not in self.exports:
            raise ExportFailed(f"can't find the target of volume {volume.id}")
        super().remove_export(context, volume)


class NeedsItsLocation(Backend):
    """As Cinder's: without provider_location it has nothing to remove."""

    def remove_export(self, context, volume):
        if volume.provider_location:
            super().remove_export(context, volume)


class ForgetsWhatItExported(Backend):
    """Without provider_location it knows only what it exported itself, and not its past life."""

    def __init__(self):
        super().__init__()
        self.known = set()

    def next_process(self):
        other = ForgetsWhatItExported()
        other.volumes, other.exports, other.acls = self.volumes, self.exports, self.acls
        return other

    def create_export(self, context, volume, connector):
        self.known.add(volume.id)
        return super().create_export(context, volume, connector)

    def remove_export(self, context, volume):
        if volume.provider_location or volume.id in self.known:
            super().remove_export(context, volume)


class LosesTheAccount(Backend):
    """What is exported already is exported with another account than it says."""

    def create_export(self, context, volume, connector):
        is_there = volume.id in self.exports
        update = super().create_export(context, volume, connector)
        if is_there:
            self.exports[volume.id] = "CHAP another account"
        return update

    def initialize_connection(self, volume, connector):
        info = super().initialize_connection(volume, connector)
        _, user, secret = volume.provider_auth.split()
        told = {"auth_username": user, "auth_password": secret}
        return {**info, "data": {**info["data"], **told}}


class TrustsWhatIsThere(Backend):
    """An export that is there is taken for whole."""

    def create_export(self, context, volume, connector):
        if volume.id not in self.exports:
            self.exports[volume.id] = volume.provider_auth
            self.acls[volume.id] = set()
        return {"provider_auth": self.exports[volume.id]}


class RemovesTheNameFirst(Backend):
    """What is left of an export without its name is not found again."""

    def remove_export(self, context, volume):
        if volume.id in self.exports:
            del self.exports[volume.id]
            self.acls.pop(volume.id, None)


class LeavesTheLun(Backend):
    """What has an ACL entry is not removed."""

    def remove_export(self, context, volume):
        if not self.acls.get(volume.id):
            super().remove_export(context, volume)


class LeavesTheAcl(Backend):
    def remove_export(self, context, volume):
        self.exports.pop(volume.id, None)


class RemovesAll(Backend):
    def remove_export(self, context, volume):
        self.exports.clear()
        self.acls.clear()


class ListsAll(Backend):
    def list_exports(self):
        return [*super().list_exports(), *([Export(FOREIGN)] if self.foreign else [])]


class TouchesOthers(Backend):
    def remove_export(self, context, volume):
        super().remove_export(context, volume)
        self.foreign = None


class EnsuresAnew(Backend):
    def ensure_export(self, context, volume):
        self.remove_export(context, volume)
        return super().ensure_export(context, volume)


class ReturnsATuple(Backend):
    def initialize_connection(self, volume, connector):
        info = super().initialize_connection(volume, connector)
        return {**info, "data": {**info["data"], "portals": [("192.0.2.1", 3260)]}}


class ReturnsAnotherColumn(Backend):
    def create_export(self, context, volume, connector):
        update = super().create_export(context, volume, connector)
        return {**update, "provider_geometry": "512"}


class HasOnePath(Backend):
    def initialize_connection(self, volume, connector):
        return super().initialize_connection(volume, {**connector, "multipath": False})


class WritesReadonly(Backend):
    def initialize_connection(self, volume, connector):
        info = super().initialize_connection(volume, connector)
        return {**info, "data": {**info["data"], "access_mode": connector.get("mode", "rw")}}


class AnswersAnew(Backend):
    """Every answer is another one."""

    def initialize_connection(self, volume, connector):
        info = super().initialize_connection(volume, connector)
        return {**info, "data": {**info["data"], "nonce": time.monotonic_ns()}}


class DropsTheWholeAcl(Backend):
    def terminate_connection(self, volume, connector, force=False):
        self.acls.pop(volume.id, None)


class DropsTheHostEverywhere(Backend):
    def terminate_connection(self, volume, connector, force=False):
        for acl in self.acls.values():
            acl.discard(connector["initiator"].lower())


class TerminatesOnce(Backend):
    def terminate_connection(self, volume, connector, force=False):
        if connector["initiator"].lower() not in self.acls.get(volume.id, ()):
            raise ConnectionFailed("access control rule does not exist")
        super().terminate_connection(volume, connector, force)


class MindsTheCase(Backend):
    def initialize_connection(self, volume, connector):
        info = super().initialize_connection(volume, connector)
        self.acls[volume.id].discard(connector["initiator"].lower())
        self.acls[volume.id].add(connector["initiator"])
        return info

    def terminate_connection(self, volume, connector, force=False):
        self.acls.get(volume.id, set()).discard(connector["initiator"])


class InventsExports(Backend):
    def initialize_connection(self, volume, connector):
        if volume.id not in self.exports:
            self.exports[volume.id] = volume.provider_auth
            self.acls[volume.id] = set()
        return super().initialize_connection(volume, connector)


class EditsTheConnector(Backend):
    def initialize_connection(self, volume, connector):
        connector["initiator"] = connector["initiator"].lower()
        connector["seen"] = True
        return super().initialize_connection(volume, connector)


class ForgetsWithItsProcess(Backend):
    """The ACL is in the process, not on the backend."""

    def next_process(self):
        other = ForgetsWithItsProcess()
        other.volumes, other.exports = self.volumes, self.exports
        return other


class LetsAllIn(Backend):
    def login(self, info, initiator):
        self.sessions.setdefault(info["data"]["volume_id"], []).append(initiator.lower())


class AsksNoPassword(Backend):
    def login(self, info, initiator):
        volume_id = info["data"]["volume_id"]
        if initiator.lower() not in self.acls.get(volume_id, ()):
            raise ConnectionFailed("no access")
        self.sessions.setdefault(volume_id, []).append(initiator.lower())


class CutsWhatIsThere(Backend):
    def initialize_connection(self, volume, connector):
        self.sessions.pop(volume.id, None)
        return super().initialize_connection(volume, connector)


class LeavesTheSession(Backend):
    def terminate_connection(self, volume, connector, force=False):
        self.acls.get(volume.id, set()).discard(connector["initiator"].lower())


class ShowsNoSession(Backend):
    def list_exports(self):
        return [replace(export, sessions=()) for export in super().list_exports()]


class CutsOffWhoIsInUse(Backend):
    def terminate_unused_connection(self, volume, connector):
        self.terminate_connection(volume, connector)


class TakesAnyConnector(Backend):
    def validate_connector(self, connector):
        pass


class StumblesOverConnectors(Backend):
    def validate_connector(self, connector):
        connector["initiator"].lower()


class HasAKeyError(Backend):
    def create_export(self, context, volume, connector):
        self.volumes[volume.id]
        return super().create_export(context, volume, connector)


class TellsTheSecret(Backend):
    def create_export(self, context, volume, connector):
        if volume.id not in self.volumes:
            raise ExportFailed(f"tgtadm --user {volume.provider_auth} failed")
        return super().create_export(context, volume, connector)


class TellsTheSecretBehind(Backend):
    """The secret is in the cause, which a traceback prints."""

    def create_export(self, context, volume, connector):
        if volume.id not in self.volumes:
            raise ExportFailed("it failed") from OSError(5, volume.provider_auth)
        return super().create_export(context, volume, connector)


class SharesAScratchFile(Backend):
    """Calls for several volumes disturb each other."""

    scratch = None
    met = threading.Event()

    def create_export(self, context, volume, connector):
        self.scratch = volume
        time.sleep(0.001)
        return self._export(self.scratch)


class PretendsWhenAway(Backend):
    """A backend that cannot be reached: what cannot be undone there is said to be undone."""

    away = False

    def check_for_setup_error(self):
        if self.away:
            raise DriverError("the backend cannot be reached")

    def list_exports(self):
        self.check_for_setup_error()
        return super().list_exports()

    def create_export(self, context, volume, connector):
        self.check_for_setup_error()
        return super().create_export(context, volume, connector)


DRIVERS = {cls.__name__: cls for cls in Backend.__subclasses__()}


class Kit(DriverConformance):
    """The kit with all its hooks, on a driver that a subclass names."""

    driver_class = Backend
    patience_seconds = 0.2

    def make_driver(self, tmp_path):
        found = getattr(self, "backend", None) or self.driver_class()
        self.backend = found.next_process() if hasattr(found, "next_process") else found
        return self.backend

    def make_broken_driver(self, tmp_path):
        broken = self.driver_class()
        broken.away = True
        return broken

    def login(self, info, connector):
        self.backend.login(info, connector["initiator"])

    def logout(self, info, connector):
        self.backend.logout(info["data"]["volume_id"], connector["initiator"])

    def restart_target(self):
        self.backend.restart_target()

    @contextmanager
    def foreign(self):
        self.backend.foreign = "there"
        yield
        assert self.backend.foreign == "there", "what is not volflow's was touched"
