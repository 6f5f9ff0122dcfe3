"""Image files to arrays: many at a time, all of one size and channel count."""

import io
import logging
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from arcmargin.data.progress import with_progress
from arcmargin.errors import UserError

log = logging.getLogger("arcmargin")

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
NAMED = 50  # bad files in a message

Encoded = Path | bytes  # a file, or what is in one


class Images(NamedTuple):
    pixels: UInt8[np.ndarray, "n h w c"]
    readable: Bool[np.ndarray, "n"]  # the others are black


class _Read(NamedTuple):
    pixels: np.ndarray | None  # None: it cannot be read, and `problem` says why
    grey: bool = False
    size: tuple[int, int] = (0, 0)
    problem: str = ""


def list_images(folder: Path) -> list[Path]:
    """Every image in and below a folder, in a stable order."""
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())


def check_format(image_size: int, channels: int, on_bad_image: str) -> None:
    if channels not in (1, 3):
        raise UserError(f"dataset.channels must be 1 (grey) or 3 (colour), got {channels}")
    if image_size < 4:
        raise UserError(f"dataset.image_size must be at least 4 pixels, got {image_size}")
    if on_bad_image not in ("stop", "skip"):
        raise UserError(f"on_bad_image must be 'stop' or 'skip', got '{on_bad_image}'")


def read_images(
    images: Sequence[Encoded],
    shape: tuple[int, int, int],
    *,
    what: str,
    on_bad_image: str = "stop",
    option: str = "on_bad_image=skip",
) -> Images:
    """The images, resized to (channels, height, width).

    `what` names them in messages; `option` is the setting that skips those that cannot be read.
    Raises UserError that names these (the first 50), unless on_bad_image is "skip".
    """
    channels, height, width = shape
    pixels = np.zeros((len(images), height, width, channels), dtype=np.uint8)
    readable = np.ones(len(images), dtype=bool)
    problems: list[str] = []
    sizes: Counter[tuple[int, int]] = Counter()
    grey = 0
    # Pillow decodes and resizes outside the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda image: _read(image, shape), images)
        for row, read in enumerate(with_progress(results, len(images), f"reading {what}")):
            if read.pixels is None:
                readable[row] = False
                image = images[row]
                name = f"'{image}'" if isinstance(image, Path) else f"image {row + 1}"
                problems.append(f"{name} ({read.problem})")
            else:
                pixels[row] = read.pixels
                sizes[read.size] += 1
                grey += read.grey
    if problems:
        _report_bad(problems, len(images), what, on_bad_image, option)
    _warn_of_conversions(sizes, grey, shape, what)
    return Images(pixels, readable)


def _read(encoded: Encoded, shape: tuple[int, int, int]) -> _Read:
    from PIL import Image, ImageOps

    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as stored:
            size, grey = stored.size, stored.mode in ("1", "L", "LA", "I", "I;16", "I;16B", "F")
            if stored.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off at 255
                deep = np.asarray(stored).astype(np.int64)
                image = Image.fromarray((deep >> 8).clip(0, 255).astype(np.uint8))
            else:
                stored.draft(mode, (2 * width, 2 * height))  # JPEG: decode no more than is needed
                image = ImageOps.exif_transpose(stored)
            image = image.convert(mode)
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(image, dtype=np.uint8).reshape(height, width, channels)
    except MemoryError:
        raise
    except Exception as error:  # each of Pillow's decoders raises its own
        is_unknown = "cannot identify image file" in str(error)
        return _Read(None, problem="not an image" if is_unknown else " ".join(str(error).split()))
    return _Read(pixels, grey, size)


def _report_bad(problems: list[str], total: int, what: str, on_bad_image: str, option: str) -> None:
    more = f" and {len(problems) - NAMED:,} more" if len(problems) > NAMED else ""
    listed = f"{len(problems):,} of {total:,} images of {what}: {', '.join(problems[:NAMED])}{more}"
    if on_bad_image == "skip":
        log.warning("skipped as they cannot be read, %s", listed)
        return
    raise UserError(
        f"cannot read {listed}; repair them, take them out or leave them out with {option}"
    )


def _warn_of_conversions(
    sizes: Counter[tuple[int, int]], grey: int, shape: tuple[int, int, int], what: str
) -> None:
    """One message for all images: they change size, or gain or lose colour, which may be a mistake."""
    channels, height, width = shape
    total = sizes.total()
    if len(sizes) > 1:
        (low_w, low_h), (high_w, high_h) = min(sizes), max(sizes)
        log.warning(
            "%s: images of %d sizes, such as %d×%d and %d×%d, are all resized to %d×%d",
            *(what, len(sizes), low_w, low_h, high_w, high_h, width, height),
        )
    if channels == 3 and grey:
        log.warning(
            "%s: %s of %s images are grey; as colour is expected (dataset.channels=3), their three "
            "channels are equal",
            *(what, f"{grey:,}", f"{total:,}"),
        )
    if channels == 1 and grey < total:
        log.warning(
            "%s: %s of %s images have colour and are read as grey; dataset.channels=3 keeps it",
            *(what, f"{total - grey:,}", f"{total:,}"),
        )
