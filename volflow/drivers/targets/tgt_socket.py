"""tgtd's management socket, for the one request that tgtadm cannot carry without showing it.

A request is ``struct tgtadm_req`` of tgt's ``usr/tgtadm.h`` in the host's own layout (120 bytes
on 64 bits) and a string; the answer is two unsigned ints, the error of ``enum tgtadm_errno`` and
the answer's length. tgtd checks by SO_PEERCRED that its own user and group ask.
"""

from __future__ import annotations

import socket
import struct

from volflow.drivers.chap import Credentials

USER_EXISTS = 14
"""``TGTADM_USER_EXIST``."""

_MODE_ACCOUNT = 7
_OP_NEW = 0
_REQUEST = struct.Struct("@ii64sIiQQIIIIII0Q")
"""mode, op, lld, len, tid, sid, lun, cid, host_no, device_type, ac_dir, pack, force."""

_ANSWER = struct.Struct("@II")


def new_account(path: str, login: Credentials, timeout: float) -> int:
    """Make an account.

    :param path: the socket, such as ``/var/run/tgtd/socket.0``.
    :param timeout: seconds.
    :returns: 0, or tgtd's error.
    :raises OSError: tgtd could not be asked, or gave no answer.
    """
    text = f"user={login.user},password={login.secret}\0".encode()
    length = _REQUEST.size + len(text)
    head = _REQUEST.pack(_MODE_ACCOUNT, _OP_NEW, b"iscsi", length, -1, 0, 0, 0, 0, 0, 0, 0, 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(head + text)
        with connection.makefile("rb") as answers:
            answer = answers.read(_ANSWER.size)
    if len(answer) != _ANSWER.size:
        raise ConnectionResetError("tgtd closed the socket")
    return int(_ANSWER.unpack(answer)[0])
