"""What a user may say of a data set, checked in one sentence."""

from typing import Any

from arcmargin.errors import UserError


def check_whole_number(key: str, value: Any, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"dataset.{key} must be a whole number from {least} on, got {value!r}")


def check_fraction(key: str, value: Any, purpose: str) -> None:
    """Of images to be cut off: neither none nor all of them."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise UserError(
            f"dataset.{key} must be above 0 and below 1, as {purpose} needs images, got {value!r}"
        )


def printable(name: object) -> str:
    """The name of a file as it can be printed: bytes that are no text are shown as escapes."""
    return str(name).encode("utf-8", "backslashreplace").decode()
