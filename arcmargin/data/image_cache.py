"""Images decoded once into a file that every later run, and every job of a sweep, maps into memory.

A cache is a folder named by what it was made of: the images' paths, sizes and times of change, the
shape they are resized to, and the version of the decoder. It holds pixels.npy, (n, c, h, w) 8-bit, and
images.npz, what is known of each image. The latter is written last: where it is, the cache is whole.
"""

import hashlib
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import PIL
from jaxtyping import Bool, Int, Shaped, UInt8

from arcmargin.data.mapped_images import MappedImages
from arcmargin.errors import UserError
from arcmargin.files import alone, display_path, write_atomically

log = logging.getLogger("arcmargin")

VERSION = 1  # to be raised when images come to be decoded in another way
PIXELS, DETAILS = "pixels.npy", "images.npz"
CHECKED = 16  # images of which the sums are compared when a cache is opened

Shape = tuple[int, int, int]  # channels, height, width


class Details(NamedTuple):
    """What is known of each image besides its pixels."""

    problems: Shaped[
        np.ndarray, " n"
    ]  # text: why it cannot be read, or empty; its pixels are black
    sizes: Int[np.ndarray, "n 2"]  # width and height before it was resized
    grey: Bool[np.ndarray, " n"]
    sums: Int[np.ndarray, "n c 2"]  # of its pixels, and of their squares


Block = tuple[UInt8[np.ndarray, "b c h w"], Details]  # of some images
Decoder = Callable[[Sequence[Path]], Iterator[Block]]  # of images in their order


def cached(
    images: Sequence[Path], shape: Shape, folder: Path, what: str, decode: Decoder
) -> tuple[MappedImages, Details]:
    """The images from their cache in `folder`, which is made where it is missing or damaged.

    Raises UserError where the disk has not enough room for it.
    """
    place = folder / _key(images, shape)
    found = _open(place, images, shape, decode)
    if found is None:
        with alone(place) as locked:
            # Another process may have made it meanwhile.
            found = _open(place, images, shape, decode)
            if found is None:
                if locked:
                    _remove_unfinished(place)
                _make(place, images, shape, what, decode)
                found = _open(place, images, shape, decode)
    if found is None:
        raise UserError(
            f"the cache of {what} in '{display_path(place)}' cannot be read back; is the disk in order? "
            "Choose another folder with dataset.cache=DIR, or dataset.cache=off"
        )
    return found


def _key(images: Sequence[Path], shape: Shape) -> str:
    key = hashlib.blake2b(repr((VERSION, PIL.__version__, shape)).encode(), digest_size=16)
    for image in images:
        try:
            stat = os.stat(image)
            made_of = (stat.st_size, stat.st_mtime_ns)
        except OSError:  # it will be among those that cannot be read
            made_of = (-1, -1)
        key.update(os.fsencode(image.absolute()) + repr(made_of).encode())
    return key.hexdigest()


def _make(place: Path, images: Sequence[Path], shape: Shape, what: str, decode: Decoder) -> None:
    size = len(images) * int(np.prod(shape))
    free = shutil.disk_usage(place).free
    described = f"{len(images):,} images of {' × '.join(map(str, shape))} bytes"
    if size > free:
        raise UserError(
            f"the cache of {what} ({described}) takes {format_bytes(size)}, but "
            f"'{display_path(place.parent)}' has room for {format_bytes(free)}; free some space, choose "
            "another folder with dataset.cache=DIR or a smaller dataset.image_size, or read the images "
            "into memory at each run with dataset.cache=off"
        )
    into = display_path(place)
    log.info("%s: %s are decoded once, into %s (%s)", what, described, into, format_bytes(size))
    known: list[Details] = []

    def write(file: IO[bytes]) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(images), *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for pixels, details in decode(images):
            file.write(np.ascontiguousarray(pixels).data)
            known.append(details)

    write_atomically(place / PIXELS, write)
    details = joined(known)._asdict()
    write_atomically(place / DETAILS, lambda file: np.savez(file, **details))


def joined(parts: Sequence[Details]) -> Details:
    return Details(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def _open(
    place: Path, images: Sequence[Path], shape: Shape, decode: Decoder
) -> tuple[MappedImages, Details] | None:
    """None where there is no cache, a damaged one, or one without an image that can be read by now."""
    if not (place / DETAILS).is_file():
        return None
    try:
        with (
            (place / DETAILS).open("rb") as stream,
            np.load(stream, allow_pickle=False) as stored,
        ):
            details = Details(**{name: stored[name] for name in Details._fields})
        pixels = np.load(place / PIXELS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s is damaged (%s); it is made again", display_path(place), error)
        return None
    count = len(images)
    rows = np.linspace(0, count - 1, CHECKED, dtype=np.int64)
    whole = pixels.shape == (count, *shape) and details.sums.shape == (count, shape[0], 2)
    if not whole or (pixel_sums(pixels[rows]) != details.sums[rows]).any():
        log.warning("%s is damaged; it is made again", display_path(place))
        return None
    unreadable = [images[row] for row in np.flatnonzero(details.problems != "").tolist()]
    if any((again.problems == "").any() for _, again in decode(unreadable)):
        return None
    return MappedImages(pixels, details.sums), details


def pixel_sums(pixels: UInt8[np.ndarray, "n c h w"]) -> Int[np.ndarray, "n c 2"]:
    """For each image and channel, the sum of its pixels and of their squares."""
    values = pixels.astype(np.int64)
    return np.stack([values.sum(axis=(2, 3)), (values**2).sum(axis=(2, 3))], axis=2)


def format_bytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _remove_unfinished(place: Path) -> None:
    """What a process that was killed left behind."""
    for file in place.glob(f".{PIXELS}.*"):
        file.unlink(missing_ok=True)
