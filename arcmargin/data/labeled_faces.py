"""Labeled Faces in the Wild (Huang et al. 2007, UMass TR 07-49), from the files torchvision expects."""

from pathlib import Path

import numpy as np

from arcmargin.data.checks import check_whole_number
from arcmargin.data.classes import Unseen
from arcmargin.data.image_data import ImageData, RawImages, add_unseen, build
from arcmargin.data.image_files import cache_folder, check_format, list_images, read_images
from arcmargin.data.pair_lists import check_both_kinds, lfw_pairs
from arcmargin.errors import UserError


def lfw(
    *,
    data_dir: str,
    split: str,
    image_set: str,
    image_size: int,
    channels: int,
    min_images: int,
    split_seed: int,
    val_fraction: float,
    test_fraction: float,
    unseen_val: Unseen = None,
    on_bad_image: str = "stop",
    cache: str | bool | None = None,
) -> ImageData:
    """Verification on the pairs of a split, trained on the people who are in none of these pairs and
    have at least `min_images` images."""
    check_format(image_size, channels, on_bad_image)
    check_whole_number("min_images", min_images, least=3)  # one each to train, validate and test
    listed = lfw_pairs(data_dir, split, image_set)
    files = [Path(str(file)) for file in listed.images]
    compared = {file.parent.name for file in files}
    people = {
        person.name: images
        for person in sorted(files[0].parent.parent.iterdir())
        if person.is_dir()
        and person.name not in compared
        and len(images := list_images(person)) >= min_images
    }
    if len(people) < 2:
        raise UserError(
            f"only {len(people)} people of LFW have {min_images} images and are in no pair of the "
            f"split '{split}'; lower dataset.min_images or use dataset.split=test"
        )
    shape = (channels, image_size, image_size)
    training = [file for images in people.values() for file in images]
    labels = np.repeat(np.arange(len(people)), [len(images) for images in people.values()])
    read = read_images(
        training, shape, what="LFW people", on_bad_image=on_bad_image, cache=cache_folder(cache)
    )
    data = build(
        "lfw",
        list(people),
        read.where_readable(labels),
        classes=None,
        unseen_val=unseen_val,
        split_seed=split_seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
    )
    faces = read_images(files, shape, what="LFW pairs", on_bad_image=on_bad_image)
    names = sorted(compared)
    persons = np.array([names.index(file.parent.name) for file in files])
    persons[~faces.readable] = -1
    pairs = listed.where_readable(faces.readable).labelled()
    check_both_kinds(pairs, "LFW")
    return add_unseen(data, RawImages(faces.pixels, persons), names, pairs)
