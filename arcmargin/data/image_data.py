"""Data sets: splits with a stated seed, their pixels as bytes, batched by indexing.

Pixels are bytes wherever they wait, in memory, in a file or on a GPU: a quarter of what numbers take.
`Normalise` makes numbers of a batch.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from arcmargin.data.checks import check_fraction, check_whole_number
from arcmargin.data.classes import Classes, Unseen, partition
from arcmargin.data.mapped_images import MappedImages, subset
from arcmargin.errors import UserError
from arcmargin.metrics.pairs import Pairs

log = logging.getLogger("arcmargin")

STATISTICS_AT_A_TIME = 4096  # images
EVALUATED_VALUES = 2**22  # of images that are embedded at a time

SPLITS = ("train", "val", "test", "unseen", "unseen_val")

Images = UInt8[Tensor, "n c h w"] | Float[Tensor, "n c h w"] | MappedImages


@dataclass(frozen=True)
class Split:
    """Some labelled images: 8-bit pixels, or numbers ready for the network, such as features."""

    images: Images
    labels: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class ImageData:
    """A data set ready for training."""

    name: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    mean: Float[Tensor, " c"]  # of the training split's pixels, scaled to 0..1
    std: Float[Tensor, " c"]
    unseen: Split | None = (
        None  # images of classes that training has not; a negative label: unknown
    )
    unseen_names: tuple[str, ...] = ()
    unseen_val: Split | None = None  # of further such classes: to choose settings by
    unseen_val_names: tuple[str, ...] = ()
    pairs: Pairs | None = None  # of unseen images, by row, where a protocol lists what to compare
    pictures: bool = True  # False: the images are features that a frozen body made of them

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device) -> "ImageData":
        moved: dict[str, Any] = {name: one.to(device) for name, one in self.splits().items()}
        return replace(self, **moved)

    def splits(self) -> dict[str, Split]:
        """Those that there are, by the name of their field."""
        found = {name: getattr(self, name) for name in SPLITS}
        return {name: split for name, split in found.items() if split is not None}


class Normalise(nn.Module):
    """(pixel / 255 - mean) / std, on the pixels' device and in the precision of this module."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Float[Tensor, " c"], std: Float[Tensor, " c"]) -> None:
        super().__init__()
        # Not in a checkpoint's state: its description has them.
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return pixels.to(self.mean.dtype).div_(255).sub_(self.mean).div_(self.std)


def thumbnails(pixels: UInt8[Tensor, "n c h w"]) -> UInt8[np.ndarray, "n h w *rgb"]:
    """Channels last, grey images without that axis: what picture libraries take."""
    array = pixels.cpu().numpy()
    return array[:, 0] if array.shape[1] == 1 else np.moveaxis(array, 1, -1)


class _Rows(NamedTuple):
    """Which images, and their labels."""

    rows: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]

    def where(self, chosen: Bool[np.ndarray, " n"]) -> "_Rows":
        return _Rows(self.rows[chosen], self.labels[chosen])


@dataclass(frozen=True)
class RawImages:
    """What a source yields: 8-bit images and integer labels."""

    pixels: UInt8[np.ndarray, "n c h w"] | MappedImages
    labels: Int[np.ndarray, " n"]

    def take(self, chosen: _Rows) -> Split:
        """A split of these images, with the labels given there."""
        return RawImages(subset(self.pixels, chosen.rows), chosen.labels).split()

    def split(self) -> Split:
        """All of them, with their own labels."""
        labels = torch.from_numpy(self.labels.astype(np.int64))
        if isinstance(self.pixels, MappedImages):
            return Split(self.pixels, labels)
        return Split(torch.from_numpy(np.ascontiguousarray(self.pixels)), labels)


def build(
    name: str,
    class_names: Sequence[str],
    images: RawImages,
    test: RawImages | None = None,
    *,
    classes: Classes,
    split_seed: int,
    val_fraction: float,
    test_fraction: float = 0.0,
    unseen: Unseen = None,
    unseen_val: Unseen = None,
) -> ImageData:
    """Keep the wanted classes and split the images, class by class.

    Without an official `test` split, `test_fraction` of the images becomes one; the validation
    split is always cut from the training images. Neither may be empty: validation chooses the epoch
    and the settings, the test measures them.

    `unseen` classes are in none of the three splits. Their images are those of the official test
    split, which often has other writers or photographers than the training images; without one,
    all of them. Nor are `unseen_val` classes, which are for validation: their images are those for
    training, as nothing is chosen by an image of the official test split.
    """
    check_whole_number("split_seed", split_seed, least=0)
    check_fraction("val_fraction", val_fraction, "validation")
    if test is None:
        check_fraction("test_fraction", test_fraction, "the test")
    kept, validation, held_out = partition(classes, unseen, unseen_val, class_names)
    if isinstance(unseen_val, float) and not validation:
        log.warning(
            "%d classes to be trained on are too few to hold out some for validation", len(kept)
        )
    tested = images if test is None else test
    unseen_rows = _of_classes(tested.labels, held_out)
    _check_unseen("unseen", unseen_rows, [class_names[c] for c in held_out], "test images")
    unseen_val_rows = _of_classes(images.labels, validation)
    _check_unseen("unseen_val", unseen_val_rows, [class_names[c] for c in validation], "images")
    rng = np.random.default_rng(split_seed)
    train_rows = _of_classes(images.labels, kept)
    if test is None:
        train_rows, test_rows = _stratified_cut(train_rows, test_fraction, rng)
    else:
        test_rows = _of_classes(test.labels, kept)
    train_rows, val_rows = _stratified_cut(train_rows, val_fraction, rng)
    train = images.take(train_rows)
    mean, std = _pixel_statistics(train.images)
    return ImageData(
        name=name,
        class_names=tuple(class_names[i] for i in kept),
        train=train,
        val=images.take(val_rows),
        test=tested.take(test_rows),
        mean=torch.from_numpy(mean),
        std=torch.from_numpy(std),
        unseen=tested.take(unseen_rows) if held_out else None,
        unseen_names=tuple(class_names[i] for i in held_out),
        unseen_val=images.take(unseen_val_rows) if validation else None,
        unseen_val_names=tuple(class_names[i] for i in validation),
    )


def add_unseen(
    data: ImageData,
    images: RawImages,
    names: Sequence[str] = (),
    pairs: Pairs | None = None,
) -> ImageData:
    """The data set with further images of classes that training has not. A negative label: unknown.

    Where classes were held out already, theirs come first, and both are read into memory. `pairs` counts
    rows of `images`.
    """
    held_out = data.unseen
    before, known = (len(held_out), len(data.unseen_names)) if held_out else (0, 0)
    labels = np.where(images.labels < 0, images.labels, images.labels + known)
    unseen = RawImages(images.pixels, labels).split()
    if held_out:
        unseen = Split(
            torch.cat([held_out.images[:], unseen.images[:]]),
            torch.cat([held_out.labels, unseen.labels]),
        )
    if pairs is not None:
        pairs = pairs._replace(first=pairs.first + before, second=pairs.second + before)
    return replace(data, unseen=unseen, unseen_names=(*data.unseen_names, *names), pairs=pairs)


def _of_classes(labels: Int[np.ndarray, " m"], classes: Sequence[int]) -> _Rows:
    """The images of these classes, relabelled 0, 1, … in the order given."""
    new_label = np.full(max([int(labels.max(initial=0)), *classes]) + 1, -1)
    new_label[list(classes)] = np.arange(len(classes))
    chosen = np.flatnonzero(new_label[labels] >= 0)
    return _Rows(chosen, new_label[labels[chosen]])


def _check_unseen(key: str, rows: _Rows, names: Sequence[str], what: str) -> None:
    found = np.bincount(rows.labels, minlength=len(names))
    if not found.all():
        raise UserError(f"dataset.{key}: the class '{names[int(np.argmin(found))]}' has no {what}")
    if len(names) and found.max() < 2:
        raise UserError(
            f"dataset.{key}: no unseen class has two images, so there is no genuine pair to verify"
        )


def _stratified_cut(rows: _Rows, fraction: float, rng: np.random.Generator) -> tuple[_Rows, _Rows]:
    """(rest, part): `fraction` of the images of each class are in part. A class of at least two images
    has one in both; a class of one image has it in rest."""
    part: list[np.ndarray] = []
    for members in _members(rows.labels):
        shuffled = rng.permutation(members)
        wanted = max(round(fraction * len(members)), 1)
        part.append(shuffled[: min(wanted, len(members) - 1)])
    in_part = np.zeros(len(rows.labels), dtype=bool)
    in_part[np.concatenate(part)] = True
    return rows.where(~in_part), rows.where(in_part)


def _members(labels: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " k"]]:
    """The rows of each class that occurs, in the order of the classes."""
    order = np.argsort(labels, kind="stable")
    _, first = np.unique(labels[order], return_index=True)
    return np.split(order, first[1:])


def _pixel_statistics(
    images: UInt8[Tensor, "n c h w"] | MappedImages,
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """Mean and deviation, for each channel, of pixels scaled to 0..1; from whole numbers, so exact."""
    if isinstance(images, MappedImages):
        sums = images.sums[images.rows].sum(axis=0)
    else:
        parts = images.split(STATISTICS_AT_A_TIME)
        sums = np.sum([_channel_sums(part.numpy()) for part in parts], axis=0)
    mean, mean_square = (sums / (np.prod(images.shape) / images.shape[1])).T / ([[255], [255**2]])
    std = np.sqrt(np.maximum(mean_square - mean**2, 0.0))
    return mean.astype(np.float32), np.maximum(std, 1e-3).astype(np.float32)


def _channel_sums(pixels: UInt8[np.ndarray, "n c h w"]) -> Int[np.ndarray, "c 2"]:
    """Of the pixels of each channel, and of their squares, from histograms."""
    values = np.arange(256)
    counts = [np.bincount(pixels[:, c].ravel(), minlength=256) for c in range(pixels.shape[1])]
    return np.array([[count @ values, count @ values**2] for count in counts])


def sample(split: Split, count: int) -> Split:
    """So many of the images, always the same ones: from each class as evenly as it goes, yet at least
    two, from fewer classes if need be. All, where there are no more."""
    if len(split) <= count:
        return split
    rng = np.random.default_rng(0)
    labels = split.labels.cpu().numpy()
    turn = np.empty(len(labels), dtype=np.int64)  # when an image would be taken
    for members in _members(labels):
        turn[rng.permutation(members)] = np.arange(len(members))
    class_order = rng.permutation(int(labels.max()) + 1)[labels]
    rows = np.lexsort((class_order, np.maximum(turn - 1, 0)))[:count]
    chosen = torch.from_numpy(np.sort(rows))
    return Split(split.images[chosen], split.labels[chosen])


def evaluation_batch_size(image_shape: Sequence[int]) -> int:
    """How many images to embed at a time: 1,000 small ones, fewer of those that take much memory."""
    return max(1, min(1000, EVALUATED_VALUES // math.prod(image_shape)))


class Batches:
    """Batches by indexing; shuffled anew at every pass when `seed` is given.

    The order of pass k depends on (seed, k) alone, so that a resumed run sees what an undisturbed
    one would have seen: training sets `epoch` before each pass.

    Of several processes each has its share of a batch's images, and the labels of them all.
    """

    def __init__(self, split: Split, batch_size: int, *, seed: int | None = None) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}")
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.rank, self.processes = 0, 1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def _drop_last(self) -> bool:
        # BatchNorm cannot train on a single image.
        return self.seed is not None and len(self.split) % self.batch_size == 1 < len(self.split)

    def __len__(self) -> int:
        count = -(-len(self.split) // self.batch_size)
        return count - 1 if self._drop_last else count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.split.images, self.split.labels
        if self.seed is None:
            whole = zip(images.split(self.batch_size), labels.split(self.batch_size), strict=True)
            yield from ((part[self._own(len(part))], of_all) for part, of_all in whole)
            return
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.split), generator=generator).to(labels.device)
        batches = order.split(self.batch_size)[: len(self)]
        own = [index[self._own(len(index))] for index in batches]
        for index, mine, following in zip(batches, own, (*own[1:], None), strict=True):
            batch = images[mine], labels[index]
            if following is not None and isinstance(images, MappedImages):
                images.read_ahead(following)
            yield batch

    def _own(self, count: int) -> slice:
        return share_of(count, self.rank, self.processes)


def share_of(count: int, rank: int, processes: int) -> slice:
    """Which of `count` images in a row are a process's; the shares differ by one at most."""
    least, more = divmod(count, processes)
    start = rank * least + min(rank, more)
    return slice(start, start + least + (rank < more))
