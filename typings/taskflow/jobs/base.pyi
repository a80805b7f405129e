import abc
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from logging import Logger, LoggerAdapter
from typing import Any, Self, TypeVar

from taskflow.persistence import base, models
from taskflow.types import entity as entity_
from taskflow.types import notifier as notifier_

_F = TypeVar("_F", bound=Callable[..., Any])

class JobPriority(enum.Enum):
    VERY_HIGH = "VERY_HIGH"
    HIGH = "HIGH"
    NORMAL = "NORMAL"
    LOW = "LOW"
    VERY_LOW = "VERY_LOW"
    @classmethod
    def convert(cls, value: JobPriority | str) -> JobPriority: ...
    @classmethod
    def reorder(cls, *values: tuple[JobPriority | str, Any]) -> Any: ...

class Job(metaclass=abc.ABCMeta):
    def __init__(
        self,
        board: JobBoard,
        name: str,
        uuid: str | None = None,
        details: Mapping[str, Any] | None = None,
        backend: base.Backend | None = None,
        book: models.LogBook | None = None,
        book_data: Mapping[str, Any] | None = None,
    ) -> None: ...
    @property
    @abc.abstractmethod
    def last_modified(self) -> datetime | None: ...
    @property
    @abc.abstractmethod
    def created_on(self) -> datetime | None: ...
    @property
    def board(self) -> JobBoard: ...
    @property
    @abc.abstractmethod
    def state(self) -> str: ...
    @property
    @abc.abstractmethod
    def priority(self) -> JobPriority: ...
    def wait(
        self,
        timeout: float | None = None,
        delay: float = 0.01,
        delay_multiplier: float = 2.0,
        max_delay: float = 60.0,
        sleep_func: Callable[[float], None] = ...,
    ) -> bool: ...
    @property
    def book(self) -> models.LogBook | None: ...
    @property
    def book_uuid(self) -> str | None: ...
    @property
    def book_name(self) -> str | None: ...
    @property
    def uuid(self) -> str: ...
    @property
    def details(self) -> Mapping[str, Any]: ...
    @property
    def name(self) -> str: ...

class JobBoardIterator:
    only_unclaimed: bool
    ensure_fresh: bool
    def __init__(
        self,
        board: JobBoard,
        logger: Logger | LoggerAdapter[Logger],
        board_fetch_func: Callable[..., Iterable[Job]] | None = None,
        board_removal_func: Callable[[Job], None] | None = None,
        only_unclaimed: bool = False,
        ensure_fresh: bool = False,
    ) -> None: ...
    @property
    def board(self) -> JobBoard: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Job: ...

class JobBoard(metaclass=abc.ABCMeta):
    _name: str
    _conf: Mapping[str, Any]
    def __init__(self, name: str, conf: Mapping[str, Any]) -> None: ...
    @abc.abstractmethod
    def iterjobs(
        self, only_unclaimed: bool = False, ensure_fresh: bool = False
    ) -> Iterator[Job]: ...
    @abc.abstractmethod
    def wait(self, timeout: float | None = None) -> Iterator[Job]: ...
    @property
    @abc.abstractmethod
    def job_count(self) -> int: ...
    @abc.abstractmethod
    def find_owner(self, job: Job) -> str | None: ...
    @property
    def name(self) -> str: ...
    @abc.abstractmethod
    def consume(self, job: Job, who: str) -> None: ...
    @abc.abstractmethod
    def post(
        self,
        name: str,
        book: models.LogBook | None = None,
        details: Mapping[str, Any] | None = None,
        priority: JobPriority = ...,
    ) -> Job: ...
    @abc.abstractmethod
    def claim(self, job: Job, who: str) -> None: ...
    @abc.abstractmethod
    def abandon(self, job: Job, who: str) -> None: ...
    @abc.abstractmethod
    def trash(self, job: Job, who: str) -> None: ...
    @abc.abstractmethod
    def register_entity(self, entity: entity_.Entity) -> None: ...
    @property
    @abc.abstractmethod
    def connected(self) -> bool: ...
    @abc.abstractmethod
    def connect(self) -> None: ...
    @abc.abstractmethod
    def close(self) -> None: ...

POSTED: str
REMOVAL: str

class NotifyingJobBoard(JobBoard, metaclass=abc.ABCMeta):
    notifier: notifier_.Notifier
    def __init__(self, name: str, conf: Mapping[str, Any]) -> None: ...

def check_who(meth: _F) -> _F: ...
