"""Splits, normalisation, thumbnails and batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_folders import SPLITS

from arcmargin.data import digits
from arcmargin.data.image_data import Batches, Normalise, RawImages, Split, build, thumbnails


def raw(counts, channels=1, size=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = rng.integers(0, 256, (len(labels), channels, size, size), dtype=np.uint8)
    return RawImages(pixels, labels)


def rows(split):
    return {image.numpy().tobytes() for image in split.images}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(3, 20), min_size=2, max_size=5), st.integers(0, 10))
def test_splits_are_disjoint_complete_and_keep_every_class(counts, seed):
    images = raw(counts, seed=seed)
    names = [str(i) for i in range(len(counts))]
    data = build(
        "x", names, images, classes=None, split_seed=seed, val_fraction=0.2, test_fraction=0.3
    )
    parts = [rows(s) for s in (data.train, data.val, data.test)]
    assert sum(map(len, parts)) == sum(counts)
    assert len(set.union(*parts)) == sum(counts)
    for split in (data.train, data.val, data.test):
        assert set(split.labels.tolist()) == set(range(len(counts)))


def test_the_split_depends_on_its_own_seed_alone():
    one = digits(classes=None, **SPLITS)
    torch.manual_seed(7)
    np.random.seed(7)
    two = digits(classes=None, **SPLITS)
    other = digits(classes=None, **{**SPLITS, "split_seed": 1})
    assert torch.equal(one.test.images, two.test.images)
    assert rows(one.test) != rows(other.test)


def test_pixels_are_normalised_by_the_training_split_alone():
    data = build("x", ["a", "b"], raw([40, 40], channels=3), classes=None, **SPLITS)
    pixels = Normalise(data.mean, data.std)(data.train.images).double()
    assert torch.allclose(pixels.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(
        pixels.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), atol=1e-6
    )
    assert abs(float(Normalise(data.mean, data.std)(data.test.images).mean())) > 1e-6


def test_normalising_a_batch_equals_the_formula_on_doubles():
    data = build("x", ["a", "b"], raw([40, 40], channels=3), classes=None, **SPLITS)
    pixels = data.train.images.numpy() / 255.0
    mean, std = pixels.mean(axis=(0, 2, 3)), pixels.std(axis=(0, 2, 3))
    expected = (pixels - mean[:, None, None]) / std[:, None, None]
    normalise = Normalise(data.mean, data.std)
    assert np.allclose(normalise(data.train.images).numpy(), expected, atol=1e-6)
    half = normalise.bfloat16()(data.train.images)
    assert half.dtype == torch.bfloat16 and np.allclose(half.float().numpy(), expected, atol=0.05)


def test_thumbnails_are_the_bytes_themselves():
    images = raw([5, 5], channels=3)
    data = build("x", ["a", "b"], images, classes=None, **SPLITS)
    shown = thumbnails(data.train.images)
    assert shown.shape[1:] == (4, 4, 3)
    assert {t.tobytes() for t in shown} <= {np.moveaxis(p, 0, -1).tobytes() for p in images.pixels}
    grey = digits(classes=2, **SPLITS)
    assert thumbnails(grey.val.images).shape[1:] == (8, 8)


def test_batches_visit_every_image_once_and_anew_each_pass():
    split = Split(torch.arange(10.0).view(10, 1, 1, 1), torch.arange(10))
    batches = Batches(split, 4, seed=1)
    passes = []
    for epoch in range(2):
        batches.set_epoch(epoch)
        labels = torch.cat([labels for _, labels in batches])
        assert sorted(labels.tolist()) == list(range(10))
        passes.append(labels.tolist())
    assert passes[0] != passes[1]
    batches.set_epoch(0)
    assert torch.cat([labels for _, labels in batches]).tolist() == passes[0]
    assert torch.cat([labels for _, labels in Batches(split, 4)]).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("size", "batch", "expected"), [(9, 4, 2), (8, 4, 2), (10, 4, 3), (1, 4, 1)]
)
def test_a_last_batch_of_one_is_left_out_of_training(size, batch, expected):
    split = Split(torch.zeros(size, 1, 1, 1), torch.zeros(size, dtype=torch.int64))
    batches = Batches(split, batch, seed=0)
    assert len(list(batches)) == len(batches) == expected
