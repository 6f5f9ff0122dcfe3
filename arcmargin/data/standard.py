"""Data sets with a name: scikit-learn's digits and torchvision's."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np

from arcmargin.data.classes import Classes, Unseen, count_of, partition
from arcmargin.data.image_data import ImageData, RawImages, add_unseen, build
from arcmargin.data.image_files import cache_folder, check_format, read_images
from arcmargin.errors import UserError

# Of torchvision's, those with an official test split and the same way to be opened.
TORCHVISION = ("MNIST", "FashionMNIST", "KMNIST", "QMNIST", "CIFAR10", "CIFAR100")


def digits(
    *,
    classes: Classes,
    split_seed: int,
    val_fraction: float,
    test_fraction: float,
    unseen: Unseen = None,
    unseen_val: Unseen = None,
) -> ImageData:
    """The 1,797 handwritten digits of 8×8 pixels that ship inside scikit-learn."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]  # 17 grey levels
    return build(
        "digits",
        [str(label) for label in bunch.target_names],
        RawImages(pixels, bunch.target.astype(np.int64)),
        classes=classes,
        unseen=unseen,
        unseen_val=unseen_val,
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
    unseen_val: Unseen = None,
) -> ImageData:
    """One of torchvision's data sets with an official test split; downloaded when it is missing."""
    import torchvision

    if name not in TORCHVISION:
        raise UserError(f"dataset.name must be one of {', '.join(TORCHVISION)}, got '{name}'")

    def official(train: bool) -> tuple[RawImages, list[str]]:
        make = getattr(torchvision.datasets, name)
        source = _found(name, data_dir, lambda: make(data_dir, train=train, download=True))
        pixels = np.asarray(source.data, dtype=np.uint8)
        pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
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
        unseen_val=unseen_val,
        split_seed=split_seed,
        val_fraction=val_fraction,
    )


def omniglot(
    *,
    data_dir: str,
    image_size: int,
    classes: Classes,
    split_seed: int,
    val_fraction: float,
    test_fraction: float,
    unseen: Unseen | str = "evaluation",
    unseen_val: Unseen = None,
    rotations: bool = False,
    cache: str | bool | None = None,
) -> ImageData:
    """Omniglot: handwritten characters, 20 images each. Trained on those of the background alphabets;
    unless some of these are asked for, the unseen ones are all of the evaluation alphabets.

    `unseen_val` are alphabets of the background, each as a whole: so many or such a fraction of them,
    those of the fewest characters first, or those listed. With `rotations` each character turned by
    90°, 180° and 270° is a class of its own: four times as many in all three sets.
    """
    check_format(image_size, 1, "stop")
    if isinstance(unseen, str) and unseen != "evaluation":
        raise UserError(
            f"dataset.unseen must be 'evaluation' or some of the background characters, got '{unseen}'"
        )

    def read(background: bool) -> tuple[RawImages, list[str]]:
        part = "background" if background else "evaluation"
        root = _omniglot_folder(data_dir, part)
        characters = sorted(path for path in root.glob("*/*") if path.is_dir())  # by alphabet
        images = [sorted(character.glob("*.png")) for character in characters]
        files = [file for own in images for file in own]
        names = [character.relative_to(root).as_posix() for character in characters]
        labels = np.repeat(np.arange(len(names)), [len(own) for own in images])
        what = f"Omniglot {part}"
        shape = (1, image_size, image_size)
        read = read_images(files, shape, what=what, cache=cache_folder(cache))
        ink = RawImages(255 - np.asarray(read.pixels), labels)  # ink on black, as in MNIST
        return _with_rotations(ink, names) if rotations else (ink, names)

    images, names = read(background=True)
    held_out = None if isinstance(unseen, str) else unseen
    left = [names[one] for one in partition(classes, held_out, None, names).trained]
    data = build(
        "omniglot",
        names,
        images,
        classes=classes,
        unseen=held_out,
        unseen_val=_of_alphabets(unseen_val, left),
        split_seed=split_seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
    )
    return add_unseen(data, *read(background=False)) if unseen == "evaluation" else data


def _with_rotations(images: RawImages, names: list[str]) -> tuple[RawImages, list[str]]:
    """And the classes turned by 90°, 180° and 270°, after those that stand upright."""
    pixels = np.asarray(images.pixels)
    turned = [np.rot90(pixels, quarter, axes=(2, 3)) for quarter in range(4)]
    labels = [images.labels + quarter * len(names) for quarter in range(4)]
    further = [f"{name}/{angle}" for angle in (90, 180, 270) for name in names]
    return RawImages(np.concatenate(turned), np.concatenate(labels)), [*names, *further]


def _of_alphabets(wanted: Unseen, characters: Sequence[str]) -> list[int | str]:
    """The characters of the wanted alphabets. Of a number of them the smallest are taken, which cost
    training the fewest classes: so does Meta-Dataset (Triantafillou et al. 2020, arXiv 1903.03096)."""
    sizes = Counter(name.partition("/")[0] for name in characters)
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if unknown := [one for one in wanted if one not in sizes]:
            raise UserError(
                f"dataset.unseen_val asks for the alphabet {unknown[0]}, but there are "
                + ", ".join(sorted(sizes))
            )
        chosen = set(wanted)
    else:
        smallest_first = sorted(sizes, key=lambda name: (sizes[name], name))
        chosen = {*smallest_first[: count_of("unseen_val", wanted or 0, len(sizes), least=1)]}
    return [name for name in characters if name.partition("/")[0] in chosen]


def _omniglot_folder(data_dir: str, part: str) -> Path:
    """Where torchvision's download is unpacked to. Folders that are there are enough: torchvision itself
    would insist on the archives that they came from."""
    folder = Path(data_dir) / "omniglot-py" / f"images_{part}"
    if not any(folder.glob("*/*/*.png")):
        from torchvision.datasets import Omniglot

        background = part == "background"
        _found("Omniglot", data_dir, lambda: Omniglot(data_dir, background, download=True))
    return folder


def _found(name: str, data_dir: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (RuntimeError, URLError, OSError, ValueError, AssertionError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"could not find {name} in '{data_dir}' nor download it there ({reason}); set data_dir "
            "or ARCMARGIN_DATA_DIR to a folder that holds it, or use dataset=digits, which needs "
            "no download"
        ) from error
