"""The feed: one task looks, whoever listens is told, and nobody looks where nobody listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from typing import Any

from volflow.exceptions import DatabaseError
from volflow.persistence.changes import Changes, Mark
from volflow.web.feed import NAMED, Feed

NOTHING = Mark(0, frozenset(), {}, {}, frozenset())
PATIENCE = 30


class Database:
    """What a feed asks: it gives what the test puts into it."""

    def __init__(self) -> None:
        self.found: list[Changes | Exception] = []
        self.watched: list[tuple[set[str], set[str]]] = []
        self.marks: list[Mark | None] = []

    def __call__(
        self, since: Mark | None, operations: Collection[str], volumes: Collection[str]
    ) -> Changes:
        self.marks.append(since)
        self.watched.append((set(operations), set(volumes)))
        if self.found:
            found = self.found.pop(0)
            if isinstance(found, Exception):
                raise found
            return found
        return Changes(NOTHING)


async def next_of(stream: AsyncIterator[str], name: str) -> Any:
    """Read until an event of this name comes, and return its data."""
    async with asyncio.timeout(PATIENCE):
        async for text in stream:
            *_, what, data = text.strip().split("\n")
            if what == f"event: {name}":
                return json.loads(data.removeprefix("data: "))
    raise AssertionError(f"the stream ended before {name}")


def feed_of(database: Database, **given: float) -> Feed:
    return Feed(database, **{"look_seconds": 0.01, **given})


def test_everybody_who_listens_is_told_by_one_look() -> None:
    async def play() -> None:
        database = Database()
        feed = feed_of(database)
        async with (
            aclosing(feed.heard("o1", None)) as first,
            aclosing(feed.heard(None, "v1")) as second,
        ):
            for stream in (first, second):
                assert {"beat_seconds": 5.0} == await next_of(stream, "hello")
            database.found.append(Changes(NOTHING, frozenset({"o1"}), frozenset({"v1"})))
            for stream in (first, second):
                told = await next_of(stream, "change")
                assert (["o1"], ["v1"]) == (told["operations"], told["volumes"])
            assert ({"o1"}, {"v1"}) == database.watched[-1]
            assert database.marks.count(None) == 1

    asyncio.run(play())


def test_nobody_looks_where_nobody_listens() -> None:
    async def play() -> None:
        database = Database()
        feed = feed_of(database)
        assert 0 == feed.looks
        async with aclosing(feed.heard(None, None)) as stream:
            await next_of(stream, "hello")
        looks = feed.looks
        assert looks > 0
        async with asyncio.timeout(PATIENCE):
            while asyncio.all_tasks() != {asyncio.current_task()}:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert looks == feed.looks
        async with aclosing(feed.heard(None, None)) as stream:
            await next_of(stream, "hello")
        assert feed.looks > looks
        assert database.marks.count(None) == 2

    asyncio.run(play())


def test_changes_while_a_page_is_slow_are_told_together() -> None:
    async def play() -> None:
        database = Database()
        feed = feed_of(database)
        async with aclosing(feed.heard(None, None)) as stream:
            await next_of(stream, "hello")
            database.found += [
                Changes(NOTHING, frozenset({f"o{n}"}), conductors=n == 1) for n in range(3)
            ]
            async with asyncio.timeout(PATIENCE):
                while database.found:  # noqa: ASYNC110 - it is a thread that takes them
                    await asyncio.sleep(0)
            told: set[str] = set()
            conductors = False
            while len(told) < 3:
                change = await next_of(stream, "change")
                told |= set(change["operations"])
                conductors |= change["conductors"]
            assert {"o0", "o1", "o2"} == told
            assert conductors

    asyncio.run(play())


def test_too_much_to_name_is_everything() -> None:
    async def play() -> None:
        database = Database()
        async with aclosing(feed_of(database).heard(None, None)) as stream:
            await next_of(stream, "hello")
            database.found.append(Changes(NOTHING, frozenset(map(str, range(NAMED + 1)))))
            assert (await next_of(stream, "change"))["everything"]

    asyncio.run(play())


def test_a_quiet_stream_has_a_pulse() -> None:
    async def play() -> None:
        feed = feed_of(Database(), beat_seconds=0.02)
        async with aclosing(feed.heard(None, None)) as stream:
            await next_of(stream, "beat")
            await next_of(stream, "beat")

    asyncio.run(play())


def test_a_database_that_is_away_is_said_to_be_and_comes_back(monkeypatch: Any) -> None:
    """When it comes back a page draws itself anew, whatever it has missed."""
    monkeypatch.setattr("volflow.web.feed.AWAY_SECONDS", 0.01)

    async def play(error: Exception, reason: str) -> None:
        database = Database()
        async with aclosing(feed_of(database).heard(None, None)) as stream:
            await next_of(stream, "hello")
            database.found += [error, error]
            assert reason in (await next_of(stream, "away"))["reason"]
            assert [] == (await next_of(stream, "change"))["operations"]

    asyncio.run(play(DatabaseError("no server there"), "no server there"))
    asyncio.run(play(RuntimeError("a bug"), "unexpected"))


def test_a_database_that_is_away_at_first_does_not_hold_a_page_up() -> None:
    async def play() -> None:
        database = Database()
        database.found.append(DatabaseError("not yet"))
        async with aclosing(feed_of(database).heard(None, None)) as stream:
            await next_of(stream, "hello")
            assert "not yet" == (await next_of(stream, "away"))["reason"]

    asyncio.run(play())


def test_a_server_that_stops_ends_all_streams() -> None:
    async def play() -> None:
        feed = feed_of(Database())
        async with aclosing(feed.heard(None, None)) as stream:
            await next_of(stream, "hello")
            feed.close()
            async with asyncio.timeout(PATIENCE):
                async for text in stream:
                    assert "change" not in text
        assert feed.is_full

    asyncio.run(play())


def test_only_so_many_may_listen(monkeypatch: Any) -> None:
    monkeypatch.setattr("volflow.web.feed.LISTENERS", 1)

    async def play() -> None:
        feed = feed_of(Database())
        assert not feed.is_full
        async with aclosing(feed.heard(None, None)) as stream:
            await next_of(stream, "hello")
            assert feed.is_full
        assert not feed.is_full

    asyncio.run(play())
