"""Image files to arrays: many at a time, all of one size and channel count."""

import io
import logging
import os
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from arcmargin.data import image_cache
from arcmargin.data.checks import check_whole_number, printable
from arcmargin.data.image_cache import Block, Details, Shape, format_bytes, joined, pixel_sums
from arcmargin.data.image_data import RawImages
from arcmargin.data.mapped_images import MappedImages, subset
from arcmargin.data.progress import with_progress
from arcmargin.errors import UserError

log = logging.getLogger("arcmargin")

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
# Whatever a file is called: other formats of Pillow's start programs or guess what they see.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
# Tags of a TIFF.
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
NAMED = 50  # bad files in a message
WORTH_CACHING = 1000  # fewer images are read anew by each run
BLOCK_BYTES = 2**21  # of pixels that a thread decodes at a time

Encoded = Path | bytes  # a file, or what is in one


class Images(NamedTuple):
    pixels: UInt8[np.ndarray, "n c h w"] | MappedImages
    readable: Bool[np.ndarray, "n"]  # the others are black

    def where_readable(self, labels: Int[np.ndarray, "n"]) -> RawImages:
        """Those that could be read, with their labels."""
        if self.readable.all():
            return RawImages(self.pixels, labels)
        rows = np.flatnonzero(self.readable)
        return RawImages(subset(self.pixels, rows), labels[rows])


def list_images(folder: Path) -> list[Path]:
    """Every image in and below a folder, in a stable order. Links are followed; a folder to which
    several lead counts once. Raises UserError for a folder that cannot be looked into."""
    found: list[Path] = []
    visited: set[str] = set()

    def refuse(error: OSError) -> None:
        raise UserError(cannot_look_into(Path(error.filename), error)) from error

    for here, below, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(here)
        if real in visited:
            below.clear()
            continue
        visited.add(real)
        found += [Path(here, name) for name in files if Path(name).suffix.lower() in SUFFIXES]
    return sorted(found)


def cannot_look_into(folder: Path, error: OSError) -> str:
    return (
        f"cannot look into '{printable(folder)}' ({error.strerror}); give yourself the right to read "
        "it, or take it out"
    )


def check_format(image_size: int, channels: int, on_bad_image: str) -> None:
    if channels not in (1, 3):
        raise UserError(f"dataset.channels must be 1 (grey) or 3 (colour), got {channels}")
    check_whole_number("image_size", image_size, least=4)
    if on_bad_image not in ("stop", "skip"):
        raise UserError(f"on_bad_image must be 'stop' or 'skip', got '{on_bad_image}'")


def cache_folder(cache: str | bool | None) -> Path | None:
    """What dataset.cache means: a folder; None for off."""
    return None if cache in (None, False, "off", "") or cache is True else Path(str(cache))


def read_images(
    images: Sequence[Encoded],
    shape: Shape,
    *,
    what: str,
    on_bad_image: str = "stop",
    option: str = "on_bad_image=skip",
    cache: Path | None = None,
) -> Images:
    """The images, resized to (channels, height, width).

    With a folder `cache` and at least 1,000 images they are mapped from a file there, else in memory.
    `what` names them in messages; `option` is the setting that skips those that cannot be read.
    Raises UserError that names these (the first 50), unless on_bad_image is "skip".
    """
    what = printable(what)
    files = [image for image in images if isinstance(image, Path)]
    pixels: np.ndarray | MappedImages
    with warnings.catch_warnings():
        # An image so large that Pillow suspects an attack is one that cannot be read.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if cache is not None and len(files) == len(images) >= WORTH_CACHING:
            pixels, details = image_cache.cached(
                files, shape, cache, what, lambda some: _decode(some, shape, what)
            )
        else:
            pixels, details = _in_memory(images, shape, what)
    unreadable = np.flatnonzero(details.problems != "")
    if len(unreadable):
        _report_unreadable(images, details, unreadable, what, on_bad_image, option)
    _warn_of_conversions(details, shape, what)
    return Images(pixels, details.problems == "")


def _in_memory(
    images: Sequence[Encoded], shape: Shape, what: str
) -> tuple[UInt8[np.ndarray, "n c h w"], Details]:
    size = len(images) * int(np.prod(shape))
    try:
        if size > _memory():
            raise MemoryError
        pixels = np.empty((len(images), *shape), dtype=np.uint8)
    except MemoryError as error:
        raise UserError(
            f"{len(images):,} images of {what} take {format_bytes(size)} at {shape[0]} × {shape[1]} × "
            f"{shape[2]} bytes, more memory than there is; keep them in a file with "
            "dataset.cache=outputs/cache, or choose a smaller dataset.image_size"
        ) from error
    known: list[Details] = []
    done = 0
    for block, details in _decode(images, shape, what):
        pixels[done : done + len(block)] = block
        done += len(block)
        known.append(details)
    return pixels, joined(known)


def _memory() -> float:
    """Bytes of the whole machine; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def _decode(images: Sequence[Encoded], shape: Shape, what: str) -> Iterator[Block]:
    """The images in their order, some at a time, with progress."""
    size = min(max(1, BLOCK_BYTES // int(np.prod(shape))), 64)
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    return with_progress(
        _in_threads(parts, shape), len(images), f"reading {what}", count=lambda block: len(block[0])
    )


def _in_threads(parts: Sequence[Sequence[Encoded]], shape: Shape) -> Iterator[Block]:
    """Threads suffice: Pillow decodes and resizes outside of the interpreter's lock."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Block]] = deque()
        for part in parts:
            ahead.append(pool.submit(_read_all, part, shape))
            if len(ahead) > 2 * (threads or 1):
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _read_all(images: Sequence[Encoded], shape: Shape) -> Block:
    pixels = np.zeros((len(images), *shape), dtype=np.uint8)
    problems, sizes, grey = [], np.zeros((len(images), 2), dtype=np.int64), []
    for row, image in enumerate(images):
        read = _read(image, shape)
        if read.pixels is not None:
            pixels[row] = read.pixels
        problems.append(read.problem)
        sizes[row] = read.size
        grey.append(read.grey)
    known = Details(np.array(problems, dtype=np.str_), sizes, np.array(grey), pixel_sums(pixels))
    return pixels, known


class _Image(NamedTuple):
    pixels: UInt8[np.ndarray, "c h w"] | None  # None: it cannot be read, and `problem` says why
    grey: bool = False
    size: tuple[int, int] = (0, 0)  # width and height in the file
    problem: str = ""


def _read(encoded: Encoded, shape: Shape) -> _Image:
    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    try:
        if isinstance(encoded, Path) and not encoded.is_file():
            return _Image(None, problem="not a file, or a link that leads nowhere")
        source = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
        with Image.open(source, formats=FORMATS) as stored:
            size, grey = stored.size, stored.mode[0] in "1LIF"
            stored.draft(mode, (2 * width, 2 * height))  # JPEG: decode no more than is needed
            image = ImageOps.exif_transpose(stored)
            if stored.mode[0] in "IF":
                image = _in_8_bits(image, stored)
            image = image.convert(mode)
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(image, dtype=np.uint8).reshape(height, width, channels)
    except MemoryError:
        raise
    except UnidentifiedImageError:
        return _Image(None, problem=f"not an image, of {', '.join(FORMATS)}")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return _Image(None, problem=f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels")
    except Exception as error:  # each of Pillow's decoders raises its own
        return _Image(None, problem=" ".join(str(error).split()))
    return _Image(pixels.transpose(2, 0, 1), grey, size)


def _in_8_bits(image: Image.Image, stored: Image.Image) -> Image.Image:
    """Grey values of more bits, which Pillow would cut off at 255. Raises ValueError where the file does
    not say which of them is white."""
    tags = getattr(stored, "tag_v2", {})  # of a TIFF
    values = np.asarray(image)
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                "its floating-point pixels are not all between 0 and 1; save it with 8 or 16 bits"
            )
        scaled = np.round(255 * values)
    elif image.mode == "I" and stored.format == "TIFF":
        raise ValueError("its pixels have a sign or 32 bits; save it with 8 or 16 bits")
    else:  # PNG and PPM have 16 bits here, a TIFF may have 12
        bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
        scaled = values.astype(np.int64) >> (bits - 8)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        scaled = 255 - scaled
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8))


def _report_unreadable(
    images: Sequence[Encoded],
    details: Details,
    rows: np.ndarray,
    what: str,
    on_bad_image: str,
    option: str,
) -> None:
    names = [
        f"{image_name(images, row)} ({details.problems[row]})" for row in rows[:NAMED].tolist()
    ]
    more = f" and {len(rows) - NAMED:,} more" if len(rows) > NAMED else ""
    listed = f"{len(rows):,} of {len(images):,} images of {what}: {', '.join(names)}{more}"
    if on_bad_image == "skip" and len(rows) < len(images):
        log.warning("skipped as they cannot be read, %s", listed)
        return
    raise UserError(
        f"cannot read {listed}; repair them, take them out or leave them out with {option}"
    )


def image_name(images: Sequence[Encoded], row: int) -> str:
    image = images[row]
    return f"'{printable(image)}'" if isinstance(image, Path) else f"image {row + 1}"


def _warn_of_conversions(details: Details, shape: Shape, what: str) -> None:
    """One message for all images: they change size, or gain or lose colour, which may be a mistake."""
    channels, height, width = shape
    readable = details.problems == ""
    sizes = Counter(map(tuple, details.sizes[readable].tolist()))
    grey, total = np.count_nonzero(details.grey[readable]), np.count_nonzero(readable)
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
