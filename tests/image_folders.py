"""Folders of small images for tests."""

import io

import numpy as np
from PIL import Image

SPLITS = {"split_seed": 0, "val_fraction": 0.1, "test_fraction": 0.2}
FOLDER = {"image_size": 8, "channels": 3, "classes": None, **SPLITS}


def picture(rng, size=(8, 8), mode="RGB"):
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def class_folders(root, counts, **how):
    """One sub-folder a class, with so many images; the path as text."""
    rng = np.random.default_rng(len(counts))
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            picture(rng, **how).save(root / name / f"{i}.png")
    return str(root)


def encoded(rng):
    file = io.BytesIO()
    picture(rng).save(file, "PNG")
    return file.getvalue()


def pixels_of(split, row):
    """Channels last, as Pillow gives them."""
    return split.images[row].movedim(0, -1).numpy()
