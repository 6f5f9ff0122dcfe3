"""Data sets with a name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import SPLITS, picture
from PIL import Image

from arcmargin.data import digits, omniglot, torchvision_images
from arcmargin.errors import UserError


def test_digits_are_all_there_once_and_every_split_has_every_class():
    data = digits(classes=None, **SPLITS)
    splits = (data.train, data.val, data.test)
    assert sum(map(len, splits)) == 1797
    assert data.image_shape == (1, 8, 8)
    for split in splits:
        assert set(split.labels.tolist()) == set(range(10))
    assert abs(len(data.test) / 1797 - 0.2) < 0.01


def test_a_number_keeps_the_first_classes_and_a_list_keeps_its_order():
    assert digits(classes=3, **SPLITS).class_names == ("0", "1", "2")
    some = digits(classes=[7, 1], **SPLITS)
    assert some.class_names == ("7", "1")
    ones = digits(classes=[1, 7], **SPLITS)
    assert torch.equal((some.test.labels == 0).sum(), (ones.test.labels == 1).sum())


@pytest.mark.parametrize("classes", [1, 11, [3], [3, 3], [0, 10], [-1, 2]])
def test_classes_that_make_no_sense_are_refused(classes):
    with pytest.raises(UserError, match=r"dataset\.classes"):
        digits(classes=classes, **SPLITS)


def test_mnist_as_torchvision_stores_it(mnist_dir):
    data = torchvision_images(
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
        torchvision_images(
            name="KMNIST", data_dir=str(tmp_path), classes=None, split_seed=0, val_fraction=0.05
        )


@pytest.fixture
def omniglot_dir(tmp_path):
    """The folders that torchvision unpacks, without its archives."""
    rng = np.random.default_rng(0)
    for part, alphabets in (("background", ("Greek", "Latin")), ("evaluation", ("Manipuri",))):
        for alphabet in alphabets:
            for number in (1, 2):
                folder = tmp_path / "omniglot-py" / f"images_{part}" / alphabet
                folder = folder / f"character{number:02}"
                folder.mkdir(parents=True)
                for i in range(5):
                    picture(rng, (105, 105), "1").save(folder / f"{number:04}_{i:02}.png")
    return str(tmp_path)


OMNIGLOT = {"image_size": 28, "classes": None, **SPLITS}


def test_omniglots_unseen_characters_are_those_of_the_evaluation_alphabets(omniglot_dir):
    data = omniglot(data_dir=omniglot_dir, **OMNIGLOT)
    assert data.class_names[0] == "Greek/character01" and data.num_classes == 4
    assert data.unseen_names == ("Manipuri/character01", "Manipuri/character02")
    assert data.unseen.labels.tolist() == [0] * 5 + [1] * 5
    assert sum(map(len, (data.train, data.val, data.test))) == 20
    file = f"{omniglot_dir}/omniglot-py/images_evaluation/Manipuri/character01/0001_00.png"
    small = Image.open(file).convert("L").resize((28, 28), Image.Resampling.BILINEAR)
    assert np.array_equal(255 - np.asarray(small), data.unseen.images[0, 0].numpy())
    some = omniglot(data_dir=omniglot_dir, unseen=2, **OMNIGLOT)
    assert some.class_names == data.class_names[:2] and some.unseen_names == data.class_names[2:]


@pytest.fixture
def alphabets(tmp_path):
    """Four alphabets of 3, 2, 4 and 2 characters to be trained on, one to be tested on."""
    rng = np.random.default_rng(0)
    sizes = {"Avestan": 3, "Bengali": 2, "Cyrillic": 4, "Dogra": 2}
    for part, of_part in (("background", sizes), ("evaluation", {"Manipuri": 2})):
        for alphabet, count in of_part.items():
            for number in range(1, count + 1):
                folder = tmp_path / "omniglot-py" / f"images_{part}" / alphabet
                folder = folder / f"character{number:02}"
                folder.mkdir(parents=True)
                for i in range(5):
                    picture(rng, (12, 12), "L").save(folder / f"{number:04}_{i:02}.png")
    return {**OMNIGLOT, "data_dir": str(tmp_path), "image_size": 8}


@pytest.mark.parametrize(
    ("unseen_val", "held_out"),
    [
        (1, {"Bengali"}),  # the smallest; of two the first
        (2, {"Bengali", "Dogra"}),
        (0.2, {"Bengali"}),
        (3, {"Bengali", "Dogra", "Avestan"}),
        (["Cyrillic"], {"Cyrillic"}),
        (None, set()),
        (0, set()),
    ],
)
def test_validation_alphabets_are_kept_whole(alphabets, unseen_val, held_out):
    data = omniglot(unseen_val=unseen_val, **alphabets)
    assert {name.split("/")[0] for name in data.unseen_val_names} == held_out
    assert not {name.split("/")[0] for name in data.class_names} & held_out
    assert data.num_classes + len(data.unseen_val_names) == 11
    assert len(data.unseen_names) == 2 and data.unseen_names[0] == "Manipuri/character01"
    if held_out:
        assert len(data.unseen_val) == 5 * len(data.unseen_val_names)


def test_alphabets_that_are_not_there_or_all_of_them_are_refused(alphabets):
    with pytest.raises(UserError, match="alphabet Klingon, but there are Avestan, Bengali, Cyr"):
        omniglot(unseen_val=["Bengali", "Klingon"], **alphabets)
    with pytest.raises(UserError, match=r"leaves 0 class\(es\) for training"):
        omniglot(unseen_val=4, **alphabets)
    with pytest.raises(UserError, match="must be a number of classes, a fraction"):
        omniglot(unseen_val="Bengali", **alphabets)


def test_a_turned_character_is_a_class_of_its_own(alphabets):
    upright = omniglot(unseen_val=1, **alphabets)
    turned = omniglot(unseen_val=1, rotations=True, **alphabets)
    for names, before in (
        (turned.class_names, upright.class_names),
        (turned.unseen_val_names, upright.unseen_val_names),
        (turned.unseen_names, upright.unseen_names),
    ):
        expected = [*before, *(f"{name}/{angle}" for angle in (90, 180, 270) for name in before)]
        assert list(names) == expected
    for split, of_upright in (
        (turned.unseen, upright.unseen),
        (turned.unseen_val, upright.unseen_val),
    ):
        classes = int(of_upright.labels.max()) + 1
        assert len(split) == 4 * len(of_upright)
        for label in range(4 * classes):
            expected = of_upright.images[of_upright.labels == label % classes].numpy()
            for _ in range(label // classes):  # a quarter turn against the clock, by its definition
                expected = expected.swapaxes(2, 3)[:, :, ::-1]
            assert np.array_equal(split.images[split.labels == label].numpy(), expected)


@pytest.mark.long
def test_all_of_omniglot(mnist_dir, tmp_path, monkeypatch):
    """964 characters of 30 alphabets and 659 of 20, each written by 20 people (Lake et al. 2015)."""
    if not (Path(mnist_dir) / "omniglot-py").is_dir():
        pytest.skip(f"no Omniglot in {mnist_dir}")
    monkeypatch.chdir(tmp_path)
    data = omniglot(data_dir=mnist_dir, **OMNIGLOT)
    assert (data.num_classes, len(data.unseen_names), len(data.unseen)) == (964, 659, 13_180)
    assert sum(map(len, (data.train, data.val, data.test))) == 19_280
    assert len({name.split("/")[0] for name in data.class_names}) == 30
    assert len({name.split("/")[0] for name in data.unseen_names}) == 20
    three = omniglot(data_dir=mnist_dir, unseen_val=0.2, **OMNIGLOT)
    alphabets = [
        {name.split("/")[0] for name in names}
        for names in (three.class_names, three.unseen_val_names, three.unseen_names)
    ]
    assert [len(one) for one in alphabets] == [24, 6, 20] and len(set.union(*alphabets)) == 50
    assert (three.num_classes, len(three.unseen_val_names), len(three.unseen)) == (861, 103, 13_180)
    assert {"Blackfoot_(Canadian_Aboriginal_Syllabics)", "Early_Aramaic", "Tagalog"} <= alphabets[1]


def test_omniglot_that_is_not_there_is_explained(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(UserError, match="could not find Omniglot"):
        omniglot(data_dir=str(tmp_path), **OMNIGLOT)
    with pytest.raises(UserError, match="must be 'evaluation'"):
        omniglot(data_dir=str(tmp_path), unseen="background", **OMNIGLOT)
