"""insightface's verification files: a pickle of (encoded images, whether pairs of them match).

A pickle can run anything when it is loaded. This one may only make lists, tuples, bytes and booleans:
every name that it wants to import is refused. For the one with which Python 3 writes bytes in old
protocols, a stand-in of our own is called. Arrays in the place of bytes are refused too.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

from arcmargin.errors import UserError

EXPECTED = "expected a pickle of encoded images and of whether each two of them match"


class _Refused(Exception):
    pass


class _Latin1:
    """Python 3 writes bytes with the protocols 0 to 2 as text in latin-1. Nothing can be set on it."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise _Refused("an odd text encoding")
        return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _Latin1()
        raise _Refused(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("it refers to objects outside itself")


def _load(content: bytes) -> Any:
    """Python 2's byte strings are bytes."""
    _check_claims(content)
    return _Unpickler(io.BytesIO(content), encoding="bytes").load()


def _check_claims(content: bytes) -> None:
    """A few bytes can claim to be followed by many, or to be object number four billion; the unpickler
    would ask for that much memory. pickletools only reads, and raises ValueError where the file ends."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise ValueError("it numbers more objects than it can hold")


def read_bin(path: Path) -> tuple[list[bytes], list[bool]]:
    """(images, same): images 2i and 2i+1 are pair i. Raises UserError for anything else."""
    try:
        content = _load(path.read_bytes())
    except _Refused as error:
        raise UserError(
            f"'{path}' holds more than images and labels ({error}), so it was not loaded: a pickle "
            "can run anything; use a file from a source you trust, or a CSV list of pairs"
        ) from error
    except MemoryError as error:
        raise UserError(f"'{path}' does not fit into memory; {EXPECTED}") from error
    except Exception as error:  # a damaged pickle raises almost anything
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"'{path}' cannot be read ({reason}); {EXPECTED}") from error
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise UserError(f"'{path}' holds a {type(content).__name__}; {EXPECTED}")
    images, same = content
    lists = isinstance(images, list | tuple) and isinstance(same, list | tuple)
    if not lists or not all(isinstance(image, bytes) for image in images):
        raise UserError(f"'{path}' holds something other than encoded images; {EXPECTED}")
    if not same or len(images) != 2 * len(same) or not {*map(type, same)} <= {bool, int}:
        raise UserError(
            f"'{path}' holds {len(images):,} images and {len(same):,} labels of pairs, where two "
            f"images a label are needed; {EXPECTED}"
        )
    return list(images), [bool(label) for label in same]
