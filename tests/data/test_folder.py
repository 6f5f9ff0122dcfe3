"""A folder of one's own images."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from image_folders import FOLDER, class_folders, picture, pixels_of
from PIL import Image

from arcmargin.data import image_folder
from arcmargin.errors import UserError
from arcmargin.metrics.open_set import evaluate


@pytest.fixture
def photos(tmp_path):
    return class_folders(tmp_path / "photos", {"cat": 6, "dog": 8, "eel": 5})


def test_a_folder_with_a_test_folder_of_its_own(photos, tmp_path):
    test = class_folders(tmp_path / "test", {"dog": 2, "cat": 1})
    data = image_folder(path=photos, test_path=test, **FOLDER)
    assert len(data.train) + len(data.val) == 19
    assert data.test.labels.tolist() == [0, 1, 1]
    stored = np.asarray(Image.open(f"{test}/dog/1.png"))
    assert np.array_equal(pixels_of(data.test, 2), stored)


def test_a_folder_of_unseen_classes(photos, tmp_path):
    other = class_folders(tmp_path / "other", {"fox": 3, "gnu": 2})
    data = image_folder(path=photos, unseen_path=other, **FOLDER)
    assert data.class_names == ("cat", "dog", "eel") and data.unseen_names == ("fox", "gnu")
    assert data.unseen.labels.tolist() == [0, 0, 0, 1, 1]
    stored = np.asarray(Image.open(f"{other}/gnu/0.png"))
    assert np.array_equal(pixels_of(data.unseen, 3), stored)


def test_folders_that_do_not_fit_together_are_explained(photos, tmp_path):
    other = class_folders(tmp_path / "other", {"cat": 1, "fox": 3})

    def refused(match, **changes):
        with pytest.raises(UserError, match=match):
            image_folder(path=photos, **{**FOLDER, **changes})

    refused("holds the class 'fox', which dataset.path has not", test_path=other)
    refused("holds the class 'cat', which is trained on", unseen_path=other)
    refused("exclude each other", unseen_path=other, unseen=2)
    refused("test_path 'nowhere' is not a folder", test_path="nowhere")
    refused("on_bad_image must be", on_bad_image="ignore")


def test_a_class_with_one_image_cannot_be_trained_on_but_can_be_unseen(tmp_path):
    path = class_folders(tmp_path, {"a": 5, "b": 5, "c": 1, "d": 4})
    with pytest.raises(UserError, match=r"'c' has 1 image\(s\).*at least 3.*dataset\.unseen"):
        image_folder(path=path, **FOLDER)
    data = image_folder(path=path, **FOLDER, unseen=["c", "d"])
    assert data.unseen.labels.bincount().tolist() == [1, 4]
    found = evaluate(data.unseen.images.flatten(1).float().numpy(), data.unseen.labels.numpy())
    assert any("1 of 2 classes have one image: no genuine pair" in note for note in found.notes)


def test_classes_that_do_not_exist_are_said_before_an_image_is_read(photos):
    with pytest.raises(UserError, match=r"dataset\.unseen asks for class c, but the classes are"):
        image_folder(path=photos, **FOLDER, unseen=["cat", "c"])


def test_a_folder_of_images_of_several_sizes(photos, tmp_path):
    picture(np.random.default_rng(0), (9, 12)).save(tmp_path / "photos" / "cat" / "other.png")
    data = image_folder(path=photos, **FOLDER)
    assert (data.name, data.class_names) == ("photos", ("cat", "dog", "eel"))
    assert data.image_shape == (3, 8, 8)
    assert sum(map(len, (data.train, data.val, data.test))) == 20
    assert image_folder(path=photos, **{**FOLDER, "channels": 1}).image_shape[0] == 1


def test_a_folder_that_cannot_be_used_is_explained(photos, tmp_path):
    root = tmp_path / "photos"

    def refused(match, path=photos, **changes):
        with pytest.raises(UserError, match=match):
            image_folder(path=str(path), **{**FOLDER, **changes})

    refused("is not a folder", path=root / "nowhere")
    refused("is not a folder", path=root / "cat" / "0.png")
    refused("holds no images in sub-folders", path=root / "cat")
    refused("channels must be 1", channels=2)
    refused("image_size must be a whole number from 4 on", image_size=3)
    (root / "empty").mkdir()
    refused("empty' holds no images")
    (root / "empty").rmdir()
    broken = root / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    refused(r"cannot read 1 of 19 images of .*dog/3\.png")
    shutil.rmtree(root / "dog")
    shutil.rmtree(root / "eel")
    refused("holds only the class 'cat'")


@pytest.mark.parametrize(
    ("key", "values", "match"),
    [
        (
            "val_fraction",
            (0.0, 1.0, -0.1, float("nan")),
            "as validation needs images",
        ),
        (
            "test_fraction",
            (0.0, 1.0),
            "must be above 0 and below 1, as the test needs images",
        ),
        ("split_seed", (-1,), "split_seed must be a whole number from 0 on"),
    ],
)
def test_splits_that_cannot_be_cut_are_refused(photos, key, values, match):
    for value in values:
        with pytest.raises(UserError, match=match):
            image_folder(path=photos, **{**FOLDER, key: value})


def test_with_images_for_the_test_none_need_be_cut_off(photos, tmp_path):
    test = class_folders(tmp_path / "test", {"dog": 2, "cat": 1})
    data = image_folder(path=photos, test_path=test, **{**FOLDER, "test_fraction": 0.0})
    assert len(data.test) == 3 and len(data.train) + len(data.val) == 19


def test_what_is_trained_on_tests_nothing(photos):
    with pytest.raises(UserError, match=r"test_path '.*/\.\./photos' is dataset\.path itself"):
        image_folder(path=photos, test_path=f"{photos}/../photos", **FOLDER)


def test_any_text_names_a_class(tmp_path):
    names = (r"$\frac{$", "日本　語", "=1+1", "<b>", "a'b\"c", "naïve 🙂\u200d")
    path = class_folders(tmp_path / "photos", dict.fromkeys(names, 4))
    assert set(image_folder(path=path, **FOLDER).class_names) == set(names)


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines", b"bell\x07"])
def test_a_class_whose_name_is_no_text_is_refused_before_an_image_is_read(photos, tmp_path, name):
    folder = os.path.join(os.fsencode(tmp_path), b"photos", name)
    os.mkdir(folder)
    with open(os.path.join(folder, b"0.png"), "wb") as file:
        file.write(b"not an image")
    with pytest.raises(UserError, match=r"no text: .*rename it") as caught:
        image_folder(path=photos, **FOLDER)
    str(caught.value).encode()  # it can be printed
    assert "\n" not in str(caught.value)


def test_an_image_whose_name_is_no_text_can_be_trained_on_and_be_named(photos, tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"photos", b"cat")
    os.rename(os.path.join(folder, b"0.png"), os.path.join(folder, b"\xff.png"))
    assert len(image_folder(path=photos, **FOLDER).class_names) == 3
    with open(os.path.join(folder, b"\xff.png"), "wb") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="cannot read 1 of 19") as caught:
        image_folder(path=photos, **FOLDER)
    str(caught.value).encode()


def test_links_are_followed_once(photos, tmp_path):
    root = tmp_path / "photos"
    more = class_folders(tmp_path / "elsewhere", {"more": 4})
    (root / "cat" / "link").symlink_to(more)
    (root / "cat" / "deeper").mkdir()
    (root / "cat" / "deeper" / "loop").symlink_to(root / "cat")
    (root / "cat" / "again").symlink_to(f"{more}/more")
    (root / "cat" / "one.png").symlink_to(f"{more}/more/0.png")
    data = image_folder(path=photos, **FOLDER)
    splits = (data.train, data.val, data.test)
    assert sum(int((split.labels == 0).sum()) for split in splits) == 6 + 4 + 1


def test_links_that_lead_nowhere_are_named(photos, tmp_path):
    (tmp_path / "photos" / "cat" / "x.png").symlink_to("gone.png")
    with pytest.raises(UserError, match=r"cat/x\.png' \(not a file, or a link that leads nowhere"):
        image_folder(path=photos, **FOLDER)
    (tmp_path / "photos" / "cat" / "x.png").unlink()
    (tmp_path / "photos" / "fox").symlink_to("gone")
    with pytest.raises(UserError, match=r"the link '.*fox' leads nowhere"):
        image_folder(path=photos, **FOLDER)


def test_a_pipe_in_the_place_of_an_image_does_not_hang(photos, tmp_path):
    os.mkfifo(tmp_path / "photos" / "cat" / "x.png")
    with pytest.raises(UserError, match=r"cat/x\.png' \(not a file"):
        image_folder(path=photos, **FOLDER)


def test_images_in_no_class_folder_are_said(photos, tmp_path, caplog):
    shutil.copy(f"{photos}/cat/0.png", f"{photos}/loose.png")
    assert len(image_folder(path=photos, **FOLDER).class_names) == 3
    assert "1 images are in no class folder, such as loose.png" in caplog.text


@pytest.fixture
def without_rights():
    """A folder that the user of this test may not look into; root looks into everything."""
    with tempfile.TemporaryDirectory() as root:  # outside of tmp_path, which belongs to one user
        os.chmod(root, 0o755)
        class_folders(Path(root) / "photos", {"cat": 3, "dog": 3})
        was_root = os.geteuid() == 0
        yield Path(root) / "photos"
        if was_root:
            os.seteuid(0)
        for folder in (Path(root) / "photos", Path(root) / "photos" / "dog"):
            os.chmod(folder, 0o755)


@pytest.mark.parametrize("which", ["", "dog"])
def test_a_folder_that_may_not_be_read_is_named(without_rights, which):
    (without_rights / which).chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    with pytest.raises(
        UserError, match=rf"cannot look into '.*photos/?{which}' \(Permission denied"
    ):
        image_folder(path=str(without_rights), **FOLDER)


def test_unseen_classes_without_a_pair_to_verify_are_refused_before_training(photos, tmp_path):
    alone = class_folders(tmp_path / "alone", {"fox": 3})
    with pytest.raises(
        UserError, match=r"images of 1 class\(es\); impostor pairs need at least two"
    ):
        image_folder(path=photos, unseen_path=alone, **FOLDER)
    single = class_folders(tmp_path / "single", {"fox": 1, "gnu": 1})
    with pytest.raises(UserError, match=r"no class of .* has two images"):
        image_folder(path=photos, unseen_path=single, **FOLDER)
