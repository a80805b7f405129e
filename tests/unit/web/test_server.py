"""Where the server listens, with which token, and what the command says without its packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from volflow.cli import main
from volflow.exceptions import InvalidInput
from volflow.web.server import Place, place_of, token_of

HERE = Place("127.0.0.1", 0)
EVERYWHERE = Place("0.0.0.0", 8400)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:8400", Place("127.0.0.1", 8400)),
        ("localhost:0", Place("localhost", 0)),
        ("[::1]:80", Place("::1", 80)),
    ],
)
def test_a_place_is_read(text: str, place: Place) -> None:
    assert place == place_of(text)


@pytest.mark.parametrize(
    "text", ["", "8400", "localhost", ":80", "::1:80", "a:b", "a:-1", "a:70000", "a:8²"]
)
def test_what_is_no_place_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match="HOST:PORT"):
        place_of(text)


def test_each_start_has_a_token_of_its_own() -> None:
    first, second = token_of(HERE, None), token_of(HERE, None)
    assert first != second
    assert len(first) >= 32


def test_where_others_reach_it_a_token_has_to_stay(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "volflow.example.org"):
        with pytest.raises(InvalidInput, match="--token-file"):
            token_of(Place(host, 8400), None)
    file = tmp_path / "token"
    file.write_text("a-token-of-some-length\n")
    file.chmod(0o600)
    assert "a-token-of-some-length" == token_of(EVERYWHERE, file)


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"short", 0o600, "16 characters"),
        (b"", 0o600, "16 characters"),
        (b"two words that are long enough", 0o600, "one word"),
        (b"a-token-of-some-length", 0o640, "chmod 600"),
        (b"a-token-of-some-length", 0o604, "chmod 600"),
        (b"\xff" * 20, 0o600, "cannot be read"),
        (None, 0o600, "cannot be read"),
    ],
)
def test_a_token_file_that_guards_nothing_is_refused(
    tmp_path: Path, content: bytes | None, mode: int, reason: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    with pytest.raises(InvalidInput, match=reason):
        token_of(HERE, file)


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, words)
    return done.exit_code, done.output


def test_without_its_packages_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("volflow.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, output = run("web", "--database", "sqlite:////nowhere/volflow.db")
    assert 2 == code
    assert "pip install 'volflow[web]'" in output


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("--listen", "0.0.0.0:0"), 2, "--token-file"),
        (("--listen", "nothing"), 2, "HOST:PORT"),
        (("--listen", "192.0.2.1:0", "--token-file", "/nowhere"), 2, "cannot be read"),
        ((), 7, "there is no database"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    words: tuple[str, ...], code: int, reason: str
) -> None:
    found, output = run("web", "--database", "sqlite:////nowhere/volflow.db", *words)
    assert code == found
    assert reason in output
    assert 1 == len(output.splitlines())
