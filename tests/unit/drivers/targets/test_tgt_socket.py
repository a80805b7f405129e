"""volflow.drivers.targets.tgt_socket: one request over tgtd's socket."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from volflow.drivers.chap import Credentials
from volflow.drivers.targets.tgt_socket import USER_EXISTS, new_account

LOGIN = Credentials("user", "hunter2")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[bytes | None], tuple[str, list[bytes]]]]:
    """Answer one request with these bytes, or never (None)."""
    done = threading.Event()
    threads = []

    def start(answer: bytes | None) -> tuple[str, list[bytes]]:
        server = socket.socket(socket.AF_UNIX)
        path = tmp_path / "socket"
        server.bind(str(path))
        server.listen()
        heard: list[bytes] = []

        def work() -> None:
            with server, server.accept()[0] as peer:
                heard.append(peer.recv(8192))
                if answer is None:
                    done.wait(10)
                else:
                    peer.sendall(answer)

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        return str(path), heard

    yield start
    done.set()
    for thread in threads:
        thread.join(10)


def test_the_request_is_tgtds_struct_and_a_string(serve):
    """When an account is made, tgtd gets 120 bytes and user and password, all in one."""
    path, heard = serve(struct.pack("@II", 0, 8))

    assert new_account(path, LOGIN, 5.0) == 0

    text = b"user=user,password=hunter2\0"
    assert heard[0][120:] == text
    assert struct.unpack_from("@ii64sI", heard[0]) == (
        *(7, 0, b"iscsi".ljust(64, b"\0")),
        120 + len(text),
    )


def test_tgtds_error_is_returned(serve):
    """When tgtd refuses, its number comes back."""
    path, _ = serve(struct.pack("@II", USER_EXISTS, 8))

    assert new_account(path, LOGIN, 5.0) == USER_EXISTS


@pytest.mark.parametrize("answer", [b"", b"\0\0\0\0"])
def test_no_answer_is_no_success(serve, answer: bytes):
    """When tgtd hangs up before it has answered, that is an error."""
    path, _ = serve(answer)

    with pytest.raises(ConnectionResetError):
        new_account(path, LOGIN, 5.0)


def test_an_answer_that_does_not_come_is_an_error(serve):
    """When tgtd hangs, the call ends in time."""
    path, _ = serve(None)

    with pytest.raises(TimeoutError):
        new_account(path, LOGIN, 0.1)
