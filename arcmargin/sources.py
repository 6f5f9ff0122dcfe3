"""Where images come from: scikit-learn's digits, torchvision's data sets, a folder of one's own."""

import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

import numpy as np
from tqdm import tqdm

from arcmargin.data import ImageData, RawImages, Unseen, build
from arcmargin.errors import UserError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}

Classes = int | Sequence[int] | None


def digits(
    *,
    classes: Classes,
    split_seed: int,
    val_fraction: float,
    test_fraction: float,
    unseen: Unseen = None,
) -> ImageData:
    """The 1,797 handwritten digits of 8×8 pixels that ship inside scikit-learn."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]  # 17 grey levels
    return build(
        "digits",
        [str(label) for label in bunch.target_names],
        RawImages(pixels, bunch.target.astype(np.int64)),
        classes=classes,
        unseen=unseen,
        split_seed=split_seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
    )


def torchvision_images(
    *,
    name: str,
    data_dir: str,
    classes: Classes,
    split_seed: int,
    val_fraction: float,
    unseen: Unseen = None,
) -> ImageData:
    """One of torchvision's data sets with an official test split; downloaded when it is missing."""
    import torchvision

    def official(train: bool) -> tuple[RawImages, list[str]]:
        try:
            source = getattr(torchvision.datasets, name)(data_dir, train=train, download=True)
        except (RuntimeError, URLError, OSError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"could not find {name} in '{data_dir}' nor download it there ({reason}); set data_dir "
                "or ARCMARGIN_DATA_DIR to a folder that holds it, or use dataset=digits, which needs "
                "no download"
            ) from error
        pixels = np.asarray(source.data, dtype=np.uint8)
        pixels = pixels[..., None] if pixels.ndim == 3 else pixels
        class_names = [name.split(" - ")[0] for name in source.classes]  # MNIST's are "0 - zero"
        return RawImages(pixels, np.asarray(source.targets, dtype=np.int64)), class_names

    train, class_names = official(train=True)
    test, _ = official(train=False)
    return build(
        name.lower(),
        class_names,
        train,
        test,
        classes=classes,
        unseen=unseen,
        split_seed=split_seed,
        val_fraction=val_fraction,
    )


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
) -> ImageData:
    """Any directory of images, one sub-folder a class, resized to one size and channel count."""
    if channels not in (1, 3):
        raise UserError(f"dataset.channels must be 1 (grey) or 3 (colour), got {channels}")
    if image_size < 4:
        raise UserError(f"dataset.image_size must be at least 4 pixels, got {image_size}")
    files, labels, class_names = _list_images(Path(path))
    pixels = np.empty((len(files), image_size, image_size, channels), dtype=np.uint8)
    # A bar only where reading takes a while and someone is watching.
    quiet = len(files) < 1000 or not sys.stderr.isatty()
    for row, file in enumerate(tqdm(files, desc="reading images", disable=quiet, leave=False)):
        pixels[row] = _read_image(file, image_size, channels)
    return build(
        Path(path).resolve().name,
        class_names,
        RawImages(pixels, np.asarray(labels, dtype=np.int64)),
        classes=classes,
        unseen=unseen,
        split_seed=split_seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
    )


def _list_images(root: Path) -> tuple[list[Path], list[int], list[str]]:
    expected = "expected a folder with one sub-folder of images for each class"
    if not root.is_dir():
        raise UserError(f"dataset.path '{root}' is not a folder; {expected}")
    folders = sorted(d for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
    by_class = {
        folder.name: sorted(f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
        for folder in folders
    }
    if not any(by_class.values()):
        raise UserError(f"dataset.path '{root}' holds no images in sub-folders; {expected}")
    empty = [name for name, files in by_class.items() if not files]
    if empty:
        raise UserError(
            f"the class folder '{root / empty[0]}' holds no images; put some in or remove it"
        )
    if len(by_class) < 2:
        raise UserError(
            f"dataset.path '{root}' holds only the class '{next(iter(by_class))}'; a margin needs at "
            "least two classes"
        )
    small = [name for name, files in by_class.items() if len(files) < 3]
    if small:
        raise UserError(
            f"the class '{small[0]}' has {len(by_class[small[0]])} image(s); at least 3 are needed, one "
            "each for training, validation and test"
        )
    files = [file for members in by_class.values() for file in members]
    labels = [label for label, members in enumerate(by_class.values()) for _ in members]
    return files, labels, list(by_class)


def _read_image(file: Path, size: int, channels: int) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as stored:
            image = stored.convert("L" if channels == 1 else "RGB")
            if image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(image, dtype=np.uint8).reshape(size, size, channels)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"the image '{file}' cannot be read ({error}); repair it or take it out"
        ) from error
