"""Keys and what they encrypt."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from volflow.exceptions import DatabaseError
from volflow.persistence.secrets import Cipher, create_keys, new_chap_account, read_keys


def test_a_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    create_keys(path)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert [path] == list(tmp_path.iterdir())


def test_of_many_first_starters_one_makes_the_key(tmp_path: Path) -> None:
    """When eight make it at once they all read the same one, whole."""
    path = tmp_path / "keys"
    barrier = threading.Barrier(8)
    found: list[tuple[str, ...]] = []

    def start() -> None:
        barrier.wait()
        create_keys(path)
        found.append(read_keys(path).fingerprints)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[0]] * 8 == found


def test_keys_rotate() -> None:
    """The first key encrypts, all of them decrypt, and a token can be moved to the first."""
    old, new = Fernet.generate_key(), Fernet.generate_key()
    token = Cipher([old]).encrypt("secret") or ""
    both = Cipher([new, old])
    assert "secret" == both.decrypt(token)
    assert "secret" == Cipher([new]).decrypt(both.rotate(token))


def test_a_strangers_token_is_an_error_that_names_no_secret() -> None:
    token = Cipher([Fernet.generate_key()]).encrypt("secret")
    with pytest.raises(DatabaseError, match="cannot be decrypted"):
        Cipher([Fernet.generate_key()]).decrypt(token)


@pytest.mark.parametrize("content", [b"", b"no key", b"\xff\xfe", b"short=\n"])
def test_a_broken_key_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match="Fernet keys"):
        read_keys(path)


def test_documents_survive(tmp_path: Path) -> None:
    cipher = Cipher([Fernet.generate_key()])
    assert cipher.open(cipher.seal({"a": [1, None]})) == {"a": [1, None]}
    assert cipher.seal(None) is None
    assert cipher.open(None) is None


def test_an_account_is_three_words_of_the_lengths_that_targets_take() -> None:
    method, user, secret = new_chap_account().split()
    assert ("CHAP", 20, 16) == (method, len(user), len(secret))
    assert new_chap_account() != new_chap_account()
