import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from arcmargin import data as sources
from arcmargin.data.image_data import Batches, Normalise, RawImages, Split, build, thumbnails
from arcmargin.errors import UserError

SPLITS = {"split_seed": 0, "val_fraction": 0.1, "test_fraction": 0.2}


def raw(counts, channels=1, size=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = rng.integers(0, 256, (len(labels), channels, size, size), dtype=np.uint8)
    return RawImages(pixels, labels)


def rows(split):
    return {image.numpy().tobytes() for image in split.images}


def test_digits_are_all_there_once_and_every_split_has_every_class():
    data = sources.digits(classes=None, **SPLITS)
    splits = (data.train, data.val, data.test)
    assert sum(map(len, splits)) == 1797
    assert data.image_shape == (1, 8, 8)
    for split in splits:
        assert set(split.labels.tolist()) == set(range(10))
    assert abs(len(data.test) / 1797 - 0.2) < 0.01


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
    one = sources.digits(classes=None, **SPLITS)
    torch.manual_seed(7)
    np.random.seed(7)
    two = sources.digits(classes=None, **SPLITS)
    other = sources.digits(classes=None, **{**SPLITS, "split_seed": 1})
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
    grey = sources.digits(classes=2, **SPLITS)
    assert thumbnails(grey.val.images).shape[1:] == (8, 8)


def test_a_number_keeps_the_first_classes_and_a_list_keeps_its_order():
    assert sources.digits(classes=3, **SPLITS).class_names == ("0", "1", "2")
    some = sources.digits(classes=[7, 1], **SPLITS)
    assert some.class_names == ("7", "1")
    ones = sources.digits(classes=[1, 7], **SPLITS)
    assert torch.equal((some.test.labels == 0).sum(), (ones.test.labels == 1).sum())


@pytest.mark.parametrize("classes", [1, 11, [3], [3, 3], [0, 10], [-1, 2]])
def test_classes_that_make_no_sense_are_refused(classes):
    with pytest.raises(UserError, match=r"dataset\.classes"):
        sources.digits(classes=classes, **SPLITS)


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


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("cat", 6), ("dog", 8)):
        (tmp_path / name).mkdir()
        for i in range(count):
            size = (9 + i, 12)
            Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(
                tmp_path / name / f"{i}.png"
            )
    return tmp_path


FOLDER = {"image_size": 8, "channels": 3, "classes": None, **SPLITS}


def test_a_folder_of_images(photos):
    data = sources.image_folder(path=str(photos), **FOLDER)
    assert data.class_names == ("cat", "dog")
    assert data.image_shape == (3, 8, 8)
    assert sum(map(len, (data.train, data.val, data.test))) == 14
    assert sources.image_folder(path=str(photos), **{**FOLDER, "channels": 1}).image_shape[0] == 1


def test_a_folder_that_cannot_be_used_is_explained(photos):
    def refused(match, path=photos, **changes):
        with pytest.raises(UserError, match=match):
            sources.image_folder(path=str(path), **{**FOLDER, **changes})

    refused("is not a folder", path=photos / "nowhere")
    refused("holds no images in sub-folders", path=photos / "cat")
    refused("channels must be 1", channels=2)
    refused("image_size must be", image_size=0)
    (photos / "empty").mkdir()
    refused("empty' holds no images")
    (photos / "empty").rmdir()
    broken = photos / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    refused(r"cannot read 1 of 14 images of .*dog/3\.png")
    for file in (photos / "dog").iterdir():
        file.unlink()
    (photos / "dog").rmdir()
    refused("holds only the class 'cat'")


def test_mnist_as_torchvision_stores_it(mnist_dir):
    data = sources.torchvision_images(
        name="MNIST", data_dir=mnist_dir, classes=None, split_seed=0, val_fraction=0.05
    )
    assert len(data.train) + len(data.val) == 60_000
    assert len(data.test) == 10_000
    assert abs(float(data.mean[0]) - 0.1307) < 2e-3  # the constant everyone uses, of all 60,000
    assert abs(float(data.std[0]) - 0.3081) < 2e-3
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_a_missing_download_names_the_embedded_alternative(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(UserError, match="dataset=digits"):
        sources.torchvision_images(
            name="KMNIST", data_dir=str(tmp_path), classes=None, split_seed=0, val_fraction=0.05
        )
