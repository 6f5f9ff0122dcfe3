"""Images in a file that is mapped into memory: it may be larger than memory, and processes share it."""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor


class MappedImages:
    """Some rows of a file of 8-bit images, read when they are asked for.

    It is indexed, split into batches and moved to a device like the tensor (n, c, h, w) that it stands
    for. `sums` are, for each image of the file and each channel, the sum of its pixels and of their
    squares: with them the mean and deviation of any rows are known without reading the images.
    """

    def __init__(
        self,
        file: UInt8[np.memmap, "m c h w"],
        sums: Int[np.ndarray, "m c 2"],
        rows: Int[np.ndarray, " n"] | None = None,
    ) -> None:
        """`file`: as np.load(..., mmap_mode="r") returns it. `rows`: all of them if None."""
        self.file = file
        self.sums = sums
        self.rows = np.arange(len(file)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.rows), *self.file.shape[1:]))

    @property
    def nbytes(self) -> int:
        return self.shape.numel()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them in memory."""
        return np.asarray(self.file)[self.rows]

    def __getitem__(self, index: Int[Tensor, " k"] | slice) -> UInt8[Tensor, "k c h w"]:
        chosen = self.rows[index.cpu().numpy() if isinstance(index, Tensor) else index]
        return torch.from_numpy(np.asarray(self.file)[chosen])

    def split(self, size: int) -> Iterator[UInt8[Tensor, "b c h w"]]:
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def to(self, device: torch.device) -> UInt8[Tensor, "n c h w"]:
        moved = torch.empty(self.shape, dtype=torch.uint8, device=device)
        for target, batch in zip(moved.split(1000), self.split(1000), strict=True):
            target.copy_(batch)
        return moved

    def read_ahead(self, index: Int[Tensor, " k"]) -> None:
        """Tells the system that these images will be wanted next, so that it reads them meanwhile."""
        mapping = self.file.base
        if not isinstance(mapping, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED"):
            return
        size = self.file[0].nbytes
        first = self.file.offset
        for row in self.rows[index.cpu().numpy()].tolist():
            start = first + row * size
            page = start - start % mmap.PAGESIZE
            mapping.madvise(mmap.MADV_WILLNEED, page, start + size - page)


def subset(
    images: UInt8[np.ndarray, "n c h w"] | MappedImages, rows: Int[np.ndarray, " k"]
) -> UInt8[np.ndarray, "k c h w"] | MappedImages:
    """These rows. Of mapped images, none is read."""
    if isinstance(images, MappedImages):
        return MappedImages(images.file, images.sums, images.rows[rows])
    return images[rows]
