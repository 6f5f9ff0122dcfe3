"""A folder of one's own images, one sub-folder a class."""

import logging
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from arcmargin.data.checks import printable
from arcmargin.data.classes import Classes, Unseen, partition
from arcmargin.data.image_data import ImageData, RawImages, add_unseen, build
from arcmargin.data.image_files import (
    SUFFIXES,
    cache_folder,
    cannot_look_into,
    check_format,
    list_images,
    read_images,
)
from arcmargin.errors import UserError

log = logging.getLogger("arcmargin")

EXPECTED = "expected a folder with one sub-folder of images for each class"


class _Listing(NamedTuple):
    files: list[Path]
    labels: list[int]
    names: list[str]


def image_folder(
    *,
    path: str,
    image_size: int,
    channels: int,
    classes: Classes,
    split_seed: int,
    val_fraction: float,
    test_fraction: float,
    unseen: Unseen = None,
    unseen_val: Unseen = None,
    test_path: str | None = None,
    unseen_path: str | None = None,
    on_bad_image: str = "stop",
    cache: str | bool | None = None,
) -> ImageData:
    """Any directory of images, one sub-folder a class, resized to one size and channel count.

    `test_path` holds other images of the same classes, `unseen_path` images of other classes. `cache` is
    a folder for the decoded and resized images, which are then mapped into memory; None, False or "off"
    reads them into memory instead.
    """
    check_format(image_size, channels, on_bad_image)
    if unseen is not None and unseen_path is not None:
        raise UserError("dataset.unseen and dataset.unseen_path exclude each other; drop one")
    listed = _list(path, "path")
    # All folders are listed before the first image is read.
    test = _list(test_path, "test_path", listed.names) if test_path else None
    other = _list(unseen_path, "unseen_path") if unseen_path else None
    if other and (known := sorted(set(other.names) & set(listed.names))):
        raise UserError(
            f"dataset.unseen_path '{unseen_path}' holds the class '{known[0]}', which is trained on "
            f"in '{path}'; take it out of one of them"
        )
    if test_path and os.path.realpath(test_path) == os.path.realpath(path):
        raise UserError(
            f"dataset.test_path '{test_path}' is dataset.path itself: what is trained on tests nothing; "
            "give other images, or drop test_path and a part of path is cut off"
        )
    if len(listed.names) < 2:
        raise UserError(
            f"dataset.path '{path}' holds only the class '{listed.names[0]}'; a margin needs at least "
            "two classes"
        )
    partition(classes, unseen, unseen_val, listed.names)  # do they exist?

    def read(listing: _Listing, key: str) -> RawImages:
        shape = (channels, image_size, image_size)
        images = read_images(
            listing.files, shape, what=key, on_bad_image=on_bad_image, cache=cache_folder(cache)
        )
        return images.where_readable(np.asarray(listing.labels, dtype=np.int64))

    data = build(
        Path(path).resolve().name,
        listed.names,
        read(listed, path),
        read(test, str(test_path)) if test else None,
        classes=classes,
        unseen=unseen,
        unseen_val=unseen_val,
        split_seed=split_seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
    )
    _check_every_class(data, test is None)
    if other is None:
        return data
    images = read(other, str(unseen_path))
    _check_unseen_path(str(unseen_path), images, other.names)
    return add_unseen(data, images, other.names)


def _list(path: str, key: str, among: Sequence[str] | None = None) -> _Listing:
    """The images below `path` by class; numbered as in `among` if that is given."""
    root = Path(path)
    by_class = {folder.name: list_images(folder) for folder in _class_folders(root, key)}
    if not any(by_class.values()):
        raise UserError(f"dataset.{key} '{root}' holds no images in sub-folders; {EXPECTED}")
    empty = [name for name, files in by_class.items() if not files]
    if empty:
        raise UserError(
            f"the class folder '{root / empty[0]}' holds no images; put some in or remove it"
        )
    names = list(by_class) if among is None else list(among)
    new = [name for name in by_class if name not in names]
    if new:
        raise UserError(
            f"dataset.{key} '{root}' holds the class '{new[0]}', which dataset.path has not; images of "
            "classes that are not trained on belong into dataset.unseen_path"
        )
    files = [file for members in by_class.values() for file in members]
    labels = [names.index(name) for name, members in by_class.items() for _ in members]
    return _Listing(files, labels, names)


def _class_folders(root: Path, key: str) -> list[Path]:
    try:
        if not root.is_dir():
            raise UserError(f"dataset.{key} '{printable(root)}' is not a folder; {EXPECTED}")
        entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
        folders = [entry for entry in entries if entry.is_dir()]
        lost = [entry for entry in entries if entry.is_symlink() and not entry.exists()]
    except OSError as error:
        raise UserError(cannot_look_into(root, error)) from error
    if lost:
        raise UserError(f"the link '{printable(lost[0])}' leads nowhere; mend it or take it out")
    for folder in folders:
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in folder.name):
            raise UserError(
                f"the name of the class folder {str(folder)!a} is no text: it has control characters or "
                "bytes that are not UTF-8; rename it"
            )
    if loose := [
        entry for entry in entries if entry.suffix.lower() in SUFFIXES and entry.is_file()
    ]:
        log.warning(
            "%s: %s images are in no class folder, such as %s, and are left out",
            *(printable(root), f"{len(loose):,}", printable(loose[0].name)),
        )
    return folders


def _check_unseen_path(path: str, images: RawImages, names: Sequence[str]) -> None:
    found = np.bincount(images.labels, minlength=len(names))
    if np.count_nonzero(found) < 2:
        raise UserError(
            f"dataset.unseen_path '{path}' holds the images of {np.count_nonzero(found)} class(es); "
            "impostor pairs need at least two"
        )
    if found.max() < 2:
        raise UserError(
            f"no class of dataset.unseen_path '{path}' has two images, so there is no genuine pair to "
            "verify; add some"
        )


def _check_every_class(data: ImageData, test_is_cut: bool) -> None:
    """Raises UserError where a class has fewer images than there are splits to cut."""
    cut = [data.train, data.val, *([data.test] if test_is_cut else [])]
    count = torch.cat([split.labels for split in cut]).bincount(minlength=data.num_classes)
    uses = ["training", "validation", *(["test"] if test_is_cut else [])]
    small = [c for c in range(data.num_classes) if count[c] < len(uses)]
    if small:
        others = f" (and {len(small) - 1} more classes have too few)" if len(small) > 1 else ""
        raise UserError(
            f"the class '{data.class_names[small[0]]}' has {count[small[0]]} image(s){others}; at "
            f"least {len(uses)} are needed, one each for {', '.join(uses)}; take it out, or hold it "
            "out of training with dataset.unseen"
        )
