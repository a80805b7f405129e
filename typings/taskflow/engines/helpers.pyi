from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskflow import atom
from taskflow import flow as flow_
from taskflow.engines import base as engine_base
from taskflow.persistence import base, models

ENGINES_NAMESPACE: str
ENGINE_DEFAULT: str

def load(
    flow: flow_.Flow | atom.Atom,
    store: Mapping[str, Any] | None = None,
    flow_detail: models.FlowDetail | None = None,
    book: models.LogBook | None = None,
    backend: base.Backend | dict[str, Any] | None = None,
    namespace: str = "taskflow.engines",
    engine: str = "default",
    **kwargs: Any,
) -> engine_base.Engine: ...
def run(
    flow: flow_.Flow | atom.Atom,
    store: Mapping[str, Any] | None = None,
    flow_detail: models.FlowDetail | None = None,
    book: models.LogBook | None = None,
    backend: base.Backend | dict[str, Any] | None = None,
    namespace: str = "taskflow.engines",
    engine: str = "default",
    **kwargs: Any,
) -> dict[str, Any]: ...
def save_factory_details(
    flow_detail: models.FlowDetail,
    flow_factory: Callable[..., flow_.Flow] | str,
    factory_args: Sequence[Any] | None,
    factory_kwargs: Mapping[str, Any] | None,
    backend: base.Backend | dict[str, Any] | None = None,
) -> None: ...
def load_from_factory(
    flow_factory: Callable[..., flow_.Flow] | str,
    factory_args: Sequence[Any] | None = None,
    factory_kwargs: Mapping[str, Any] | None = None,
    store: Mapping[str, Any] | None = None,
    book: models.LogBook | None = None,
    backend: base.Backend | dict[str, Any] | None = None,
    namespace: str = "taskflow.engines",
    engine: str = "default",
    **kwargs: Any,
) -> engine_base.Engine: ...
def flow_from_detail(flow_detail: models.FlowDetail) -> flow_.Flow: ...
def load_from_detail(
    flow_detail: models.FlowDetail,
    store: Mapping[str, Any] | None = None,
    backend: base.Backend | dict[str, Any] | None = None,
    namespace: str = "taskflow.engines",
    engine: str = "default",
    **kwargs: Any,
) -> engine_base.Engine: ...
