"""Data sets as tensors in memory: splits with a stated seed, normalised once, batched by indexing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from arcmargin.data.classes import Unseen, kept_classes, unseen_classes
from arcmargin.errors import UserError
from arcmargin.metrics.pairs import Pairs


@dataclass(frozen=True)
class Split:
    """Some labelled images."""

    images: Float[Tensor, "n c h w"]
    labels: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class ImageData:
    """A data set ready for training: pixels normalised by the training split's mean and deviation."""

    name: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    mean: Float[Tensor, " c"]  # of pixels scaled to 0..1
    std: Float[Tensor, " c"]
    unseen: Split | None = (
        None  # images of classes that training has not; a negative label: unknown
    )
    unseen_names: tuple[str, ...] = ()
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
        names = ("train", "val", "test", "unseen")
        splits = {name: getattr(self, name) for name in names}
        return replace(self, **{name: split and split.to(device) for name, split in splits.items()})

    def thumbnails(self, images: Float[Tensor, "n c h w"]) -> UInt8[np.ndarray, "n h w *rgb"]:
        """The images as they were before normalisation, channels last, grey ones without the axis."""
        mean, std = (value.to(images.device).view(1, -1, 1, 1) for value in (self.mean, self.std))
        pixels = (255 * (images * std + mean)).round().clamp(0, 255).byte().cpu().numpy()
        return pixels[:, 0] if pixels.shape[1] == 1 else np.moveaxis(pixels, 1, -1)


@dataclass(frozen=True)
class RawImages:
    """What a source yields: 8-bit images, channels last, and integer labels."""

    pixels: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, " n"]

    def __getitem__(self, index: np.ndarray) -> "RawImages":
        return RawImages(self.pixels[index], self.labels[index])


def build(
    name: str,
    class_names: Sequence[str],
    images: RawImages,
    test: RawImages | None = None,
    *,
    classes: int | Sequence[int] | None,
    split_seed: int,
    val_fraction: float,
    test_fraction: float = 0.0,
    unseen: Unseen = None,
) -> ImageData:
    """Keep the wanted classes, split class by class and normalise.

    Without an official `test` split, `test_fraction` of the images becomes one; the validation
    split is always cut from the training images.

    `unseen` classes are in none of the three splits. Their images are those of the official test
    split, which often has other writers or photographers than the training images; without one,
    all of them.
    """
    for key, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0.0 <= fraction < 1.0:
            raise UserError(f"dataset.{key} must be in [0, 1), got {fraction}")
    kept = kept_classes(classes, class_names)
    held_out = unseen_classes(unseen, kept, class_names)
    kept = [c for c in kept if c not in held_out]
    unseen_images = _unseen_images(images if test is None else test, held_out, class_names)
    images = _keep_classes(images, kept)
    rng = np.random.default_rng(split_seed)
    if test is None:
        images, test = _stratified_cut(images, test_fraction, rng)
    else:
        test = _keep_classes(test, kept)
    train, val = _stratified_cut(images, val_fraction, rng)
    mean, std = _pixel_statistics(train.pixels)
    return ImageData(
        name=name,
        class_names=tuple(class_names[i] for i in kept),
        train=_normalised(train, mean, std),
        val=_normalised(val, mean, std),
        test=_normalised(test, mean, std),
        mean=torch.from_numpy(mean),
        std=torch.from_numpy(std),
        unseen=_normalised(unseen_images, mean, std) if unseen_images else None,
        unseen_names=tuple(class_names[i] for i in held_out),
    )


def add_unseen(
    data: ImageData,
    images: RawImages,
    names: Sequence[str] = (),
    pairs: Pairs | None = None,
) -> ImageData:
    """The data set with further images of classes that training has not; those that it has held out
    already stay, and come first. A negative label: unknown. `pairs` counts rows of `images`."""
    held_out = data.unseen
    mean, std = data.mean.numpy(), data.std.numpy()
    before, known = (len(held_out), len(data.unseen_names)) if held_out else (0, 0)
    labels = np.where(images.labels < 0, images.labels, images.labels + known)
    unseen = _normalised(RawImages(images.pixels, labels), mean, std)
    if held_out:
        unseen = Split(
            torch.cat([held_out.images, unseen.images]), torch.cat([held_out.labels, unseen.labels])
        )
    if pairs is not None:
        pairs = pairs._replace(first=pairs.first + before, second=pairs.second + before)
    return replace(data, unseen=unseen, unseen_names=(*data.unseen_names, *names), pairs=pairs)


def _unseen_images(
    images: RawImages, held_out: list[int], names: Sequence[str]
) -> RawImages | None:
    if not held_out:
        return None
    found = np.bincount(images.labels, minlength=len(names))[held_out]
    if not found.all():
        missing = names[held_out[int(np.argmin(found))]]
        raise UserError(f"dataset.unseen: the class '{missing}' has no test images")
    if found.max() < 2:
        raise UserError(
            "dataset.unseen: no unseen class has two images, so there is no genuine pair to verify"
        )
    return _keep_classes(images, held_out)


def _keep_classes(images: RawImages, kept: list[int]) -> RawImages:
    """Only the kept classes, relabelled 0, 1, … in the order given."""
    new_label = np.full(max(int(images.labels.max()), *kept) + 1, -1)
    new_label[kept] = np.arange(len(kept))
    labels = new_label[images.labels]
    chosen = np.flatnonzero(labels >= 0)
    return RawImages(images.pixels[chosen], labels[chosen])


def _stratified_cut(
    images: RawImages, fraction: float, rng: np.random.Generator
) -> tuple[RawImages, RawImages]:
    """(rest, part): `fraction` of the images of each class are in part. A class of at least two images
    has one in both; a class of one image has it in rest."""
    part: list[np.ndarray] = []
    for label in np.unique(images.labels):
        members = rng.permutation(np.flatnonzero(images.labels == label))
        wanted = max(round(fraction * len(members)), 1) if fraction else 0
        part.append(members[: min(wanted, len(members) - 1)])
    in_part = np.zeros(len(images.labels), dtype=bool)
    in_part[np.concatenate(part)] = True
    return images[np.flatnonzero(~in_part)], images[np.flatnonzero(in_part)]


def _pixel_statistics(pixels: UInt8[np.ndarray, "n h w c"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation a channel of pixels scaled to 0..1, from the histogram: exact and small."""
    values = np.arange(256) / 255.0
    counts = np.stack(
        [np.bincount(pixels[..., c].ravel(), minlength=256) for c in range(pixels.shape[-1])]
    )
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt(np.maximum(share @ values**2 - mean**2, 0.0))
    return mean.astype(np.float32), np.maximum(std, 1e-3).astype(np.float32)


def _normalised(images: RawImages, mean: np.ndarray, std: np.ndarray) -> Split:
    pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images.pixels, -1, 1))).float()
    centre, spread = (torch.from_numpy(v).view(1, -1, 1, 1) for v in (mean, std))
    labels = torch.from_numpy(images.labels.astype(np.int64))
    return Split(pixels.div_(255).sub_(centre).div_(spread), labels)


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
        for index in order.split(self.batch_size)[: len(self)]:
            yield images[index[self._own(len(index))]], labels[index]

    def _own(self, count: int) -> slice:
        return share_of(count, self.rank, self.processes)


def share_of(count: int, rank: int, processes: int) -> slice:
    """Which of `count` images in a row are a process's; the shares differ by one at most."""
    least, more = divmod(count, processes)
    start = rank * least + min(rank, more)
    return slice(start, start + least + (rank < more))
