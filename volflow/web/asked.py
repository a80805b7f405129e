"""Asked: what a request asks for, checked; whatever is wrong is one clear sentence."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import parse_qsl

from starlette.requests import Request

from volflow.exceptions import InvalidInput
from volflow.texts import is_storable

QUERY_LENGTH = 4096
FORM_LENGTH = 8192


def query(request: Request, known: Collection[str]) -> dict[str, str]:
    """The parameters of a URL, without empty ones.

    :raises InvalidInput: one is unknown, stands there twice, or is no text.
    """
    return _values(request.url.query, known, QUERY_LENGTH)


async def form(request: Request, known: Collection[str]) -> dict[str, str]:
    """The fields of a form, without empty ones.

    :raises InvalidInput: one is unknown, stands there twice, or is no text.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > FORM_LENGTH:
            raise InvalidInput(f"the form is longer than {FORM_LENGTH} characters")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidInput("the form has to be application/x-www-form-urlencoded")
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        raise InvalidInput("the form has characters that are not encoded") from None
    return _values(text, known, FORM_LENGTH)


def _values(text: str, known: Collection[str], length: int) -> dict[str, str]:
    if len(text) > length:
        raise InvalidInput(f"what is asked for is longer than {length} characters")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise InvalidInput("what is asked for is no text in UTF-8") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            among = ", ".join(sorted(known)) or "none"
            raise InvalidInput(f"there is no parameter {_shown(name)} here; there are: {among}")
        if name in found:
            raise InvalidInput(f"the parameter {name} is given twice")
        if not is_storable(value):
            raise InvalidInput(f"the parameter {name} has characters that nothing has")
        found[name] = value.strip()
    return {name: value for name, value in found.items() if value}


def _shown(name: str) -> str:
    shown = repr(name)
    return shown if len(shown) <= 60 else shown[:57] + "..."
