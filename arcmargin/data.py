"""Data sets as tensors in memory: splits with a stated seed, normalised once, batched by indexing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from arcmargin.errors import UserError
from arcmargin.openset.pairs import Pairs

Unseen = int | float | Sequence[int | str] | None


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
    kept = _kept_classes(classes, class_names)
    held_out = _unseen_classes(unseen, kept, class_names)
    kept = [c for c in kept if c not in held_out]
    strangers = _strangers(images if test is None else test, held_out, class_names)
    images = _keep(images, kept)
    rng = np.random.default_rng(split_seed)
    if test is None:
        images, test = _stratified_cut(images, test_fraction, rng)
    else:
        test = _keep(test, kept)
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
        unseen=_normalised(strangers, mean, std) if strangers else None,
        unseen_names=tuple(class_names[i] for i in held_out),
    )


def _kept_classes(classes: int | Sequence[int] | None, names: Sequence[str]) -> list[int]:
    total = len(names)
    kept = list(range(classes if isinstance(classes, int) else total))
    if classes is not None and not isinstance(classes, int):
        kept = [int(c) for c in classes]
    unknown = [c for c in kept if not 0 <= c < total]
    if unknown:
        raise UserError(
            f"dataset.classes asks for class {unknown[0]}, but the data set has classes 0 to {total - 1}"
        )
    if len(kept) < 2 or len(set(kept)) < len(kept):
        raise UserError(f"dataset.classes must name at least two different classes, got {classes}")
    return kept


def _unseen_classes(unseen: Unseen, kept: list[int], names: Sequence[str]) -> list[int]:
    """The last so many of the kept classes, that fraction of them, or those listed: by number, or
    by name."""
    if unseen is None:
        return []
    if isinstance(unseen, str | bool) or not _sensible(unseen):
        raise UserError(
            "dataset.unseen must be a number of classes, a fraction between 0 and 1 or a list of "
            f"classes, got {unseen}"
        )
    if isinstance(unseen, int | float):
        count = unseen if isinstance(unseen, int) else round(unseen * len(kept))
        chosen = kept[max(len(kept) - int(count), 0) :]
    else:
        chosen = [_class_number(one, kept, names) for one in unseen]
    for what, count, why in (
        ("for training", len(kept) - len(chosen), "a margin needs at least two"),
        ("to be unseen", len(set(chosen)), "impostor pairs need at least two different ones"),
    ):
        if count < 2:
            raise UserError(f"dataset.unseen={unseen} leaves {count} class(es) {what}; {why}")
    return chosen


def _sensible(unseen: int | float | Sequence[int | str]) -> bool:
    return not isinstance(unseen, int | float) or (
        unseen >= 0 if isinstance(unseen, int) else 0 < unseen < 1
    )


def _class_number(one: int | str, kept: list[int], names: Sequence[str]) -> int:
    known = {names[c]: c for c in kept} | {c: c for c in kept}
    if one not in known:
        raise UserError(
            f"dataset.unseen asks for class {one}, but the classes are "
            + ", ".join(f"{c} ({names[c]})" if names[c] != str(c) else str(c) for c in kept[:30])
            + (" …" if len(kept) > 30 else "")
        )
    return known[one]


def _strangers(images: RawImages, held_out: list[int], names: Sequence[str]) -> RawImages | None:
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
    return _keep(images, held_out)


def _keep(images: RawImages, kept: list[int]) -> RawImages:
    """Only the kept classes, relabelled 0, 1, … in the order given."""
    new_label = np.full(max(int(images.labels.max()), *kept) + 1, -1)
    new_label[kept] = np.arange(len(kept))
    labels = new_label[images.labels]
    chosen = np.flatnonzero(labels >= 0)
    return RawImages(images.pixels[chosen], labels[chosen])


def _stratified_cut(
    images: RawImages, fraction: float, rng: np.random.Generator
) -> tuple[RawImages, RawImages]:
    """(rest, part): `fraction` of each class in part, and at least one image of each in both."""
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
    """

    def __init__(self, split: Split, batch_size: int, *, seed: int | None = None) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}")
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

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
            yield from zip(
                images.split(self.batch_size), labels.split(self.batch_size), strict=True
            )
            return
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.split), generator=generator).to(labels.device)
        for index in order.split(self.batch_size)[: len(self)]:
            yield images[index], labels[index]


class RandomShift(nn.Module):
    """Shifts each image by up to `pixels` in both directions; what enters is the image's own edge.

    (n, c, h, w) -> (n, c, h, w). Does nothing in evaluation.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__()
        if pixels < 0:
            raise UserError(f"augment.pixels must be 0 or more, got {pixels}")
        self.pixels = pixels

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if not self.training or self.pixels == 0:
            return images
        n, _, height, width = images.shape
        padded = F.pad(images, [self.pixels] * 4, mode="replicate")
        # Every shifted copy is a view; one gather picks a view for each image.
        views = padded.unfold(2, height, 1).unfold(3, width, 1)
        dy, dx = torch.randint(0, 2 * self.pixels + 1, (2, n), device=images.device)
        return views[torch.arange(n, device=images.device), :, dy, dx]
