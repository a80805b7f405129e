"""Text that every database stores: no lone surrogates (SQLite), no NUL (PostgreSQL)."""

from __future__ import annotations


def is_storable(text: str) -> bool:
    """True where the text can be stored as it is."""
    return "\0" not in text and _encodes(text)


def storable(text: str) -> str:
    r"""The text with what cannot be stored written as an escape, ``\x00`` or ``\ud800``."""
    if is_storable(text):
        return text
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def sentence(error: BaseException) -> str:
    """What an error says; one that cannot even be printed is still an error."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - its text is a program of its own
        return "(it has no message)"


def is_printable(error: BaseException) -> bool:
    """True where an error has a message; its ``__str__`` is a program of its own."""
    try:
        str(error)
    except Exception:  # noqa: BLE001 - whatever it raises, nobody can read it
        return False
    return True


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
