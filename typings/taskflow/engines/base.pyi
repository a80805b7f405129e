import abc
from collections.abc import Mapping
from typing import Any

from taskflow import atom, flow
from taskflow import storage as storage_
from taskflow.persistence import base, models
from taskflow.types import notifier as notifier_

class Engine(metaclass=abc.ABCMeta):
    _flow: flow.Flow | atom.Atom
    _flow_detail: models.FlowDetail
    _backend: base.Backend | None
    _options: dict[str, Any]
    def __init__(
        self,
        flow: flow.Flow | atom.Atom,
        flow_detail: models.FlowDetail,
        backend: base.Backend | None,
        options: Mapping[str, Any],
    ) -> None: ...
    @property
    def notifier(self) -> notifier_.Notifier: ...
    @property
    def atom_notifier(self) -> notifier_.Notifier: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    @abc.abstractmethod
    def storage(self) -> storage_.Storage: ...
    @property
    @abc.abstractmethod
    def statistics(self) -> dict[str, Any]: ...
    @abc.abstractmethod
    def compile(self) -> None: ...
    @abc.abstractmethod
    def reset(self) -> None: ...
    @abc.abstractmethod
    def prepare(self) -> None: ...
    @abc.abstractmethod
    def validate(self) -> None: ...
    @abc.abstractmethod
    def run(self) -> None: ...
    @abc.abstractmethod
    def suspend(self) -> None: ...
