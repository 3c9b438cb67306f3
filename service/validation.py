"""What pydantic says of a value, as the end of a sentence of ours; imports nothing heavy."""

from collections.abc import Mapping
from typing import Any


def reason_of(found: Mapping[str, Any]) -> str:
    """One of a ValidationError's errors, in the middle of a sentence: names and patterns keep their capitals."""
    message = str(found["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
