"""Images of MNIST's size without MNIST: random pixels cost as much to train on."""

import struct
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from arcmargin.data.image_cache import pixel_sums
from arcmargin.data.image_data import ImageData, RawImages, Split, build
from arcmargin.data.mapped_images import MappedImages

CLASSES = [str(digit) for digit in range(10)]


def tensors(side: int, images: int, test: int) -> ImageData:
    """`images` for training and validation, grey, side×side."""
    rng = np.random.default_rng(0)

    def draw(count: int) -> RawImages:
        pixels = rng.integers(0, 256, (count, 1, side, side), dtype=np.uint8)
        return RawImages(pixels, rng.integers(0, 10, count))

    return build(
        "noise",
        CLASSES,
        draw(images),
        draw(test),
        classes=None,
        split_seed=0,
        val_fraction=0.1 if images < 10_000 else 0.05,
    )


def mapped(split: Split, path: Path) -> Split:
    """The same images in a file that is mapped into memory."""
    np.save(path, split.images)
    file = np.load(path, mmap_mode="r")
    return Split(MappedImages(file, pixel_sums(file)), split.labels)


def loaders(folder: str, data: ImageData, batch_size: int) -> tuple[DataLoader, DataLoader]:
    """(training, validation) as torchvision's tutorials set them up; MNIST's files in `folder` hold
    random pixels. The shift is RandomShift's, image by image."""
    from torchvision import transforms
    from torchvision.datasets import MNIST

    count, rng = len(data.train) + len(data.val), np.random.default_rng(0)
    raw = Path(folder, "MNIST", "raw")
    raw.mkdir(parents=True)
    for split, size in (("train", count), ("t10k", 1)):
        images = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        header = struct.pack(">4i", 0x803, size, 28, 28)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = rng.integers(0, 10, size, dtype=np.uint8)
        header = struct.pack(">2i", 0x801, size)
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    plain = [transforms.ToTensor(), transforms.Normalize(data.mean.tolist(), data.std.tolist())]
    shifted = [transforms.RandomCrop(28, padding=2, padding_mode="edge"), *plain]
    train = Subset(MNIST(folder, transform=transforms.Compose(shifted)), range(len(data.train)))
    val = Subset(MNIST(folder, transform=transforms.Compose(plain)), range(len(data.train), count))
    pinned = torch.cuda.is_available()
    return (
        DataLoader(train, batch_size, shuffle=True, num_workers=2, pin_memory=pinned),
        DataLoader(val, 1000, num_workers=2, pin_memory=pinned),
    )
