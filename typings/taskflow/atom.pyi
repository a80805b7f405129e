import abc
from collections.abc import Collection, Mapping, MutableMapping, MutableSet, Sequence
from typing import Any, ClassVar

class Atom(metaclass=abc.ABCMeta):
    priority: ClassVar[int]
    default_provides: ClassVar[str | Collection[str] | None]
    name: str
    version: tuple[int, int]
    inject: Mapping[str, Any] | None
    save_as: MutableMapping[str, Any]
    rebind: MutableMapping[str, str]
    revert_rebind: MutableMapping[str, str]
    provides: MutableSet[str]
    requires: MutableSet[str]
    optional: MutableSet[str]
    revert_optional: MutableSet[str]
    def __init__(
        self,
        name: str | None = None,
        provides: str | Collection[str] | None = None,
        requires: str | Collection[str] | None = None,
        auto_extract: bool = True,
        rebind: Mapping[str, str] | Sequence[str] | None = None,
        inject: Mapping[str, Any] | None = None,
        ignore_list: list[str] | None = None,
        revert_rebind: Mapping[str, str] | Sequence[str] | None = None,
        revert_requires: str | Collection[str] | None = None,
    ) -> None: ...
    def pre_execute(self) -> None: ...
    # A task names what it takes, so that any signature may override these two.
    @abc.abstractmethod
    def execute(self, *args: Any, **kwargs: Any) -> Any: ...
    def post_execute(self) -> None: ...
    def pre_revert(self) -> None: ...
    def revert(self, *args: Any, **kwargs: Any) -> Any: ...
    def post_revert(self) -> None: ...
