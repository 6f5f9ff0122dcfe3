"""Lists of pairs to verify."""

import numpy as np
import pytest
from image_folders import FOLDER, class_folders, pixels_of
from PIL import Image

from arcmargin.data import add_pairs, image_folder
from arcmargin.data.pair_lists import read_list
from arcmargin.errors import UserError


@pytest.fixture
def photos(tmp_path):
    return class_folders(tmp_path / "photos", {"cat": 6, "dog": 8, "eel": 5})


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("header", ["", "first,second,label\n", "first,second,same\n"])
def test_a_list_of_pairs(photos, tmp_path, header):
    text = f"{header}cat/0.png,cat/1.png,1\ncat/0.png, dog/3.png ,different\n\ndog/3.png,dog/1.png,same"
    listed = read_list(write(tmp_path / "photos" / "pairs.csv", text))
    assert [file.name for file in listed.images] == ["0.png", "1.png", "3.png", "1.png"]
    assert listed.first.tolist() == [0, 0, 2] and listed.second.tolist() == [1, 2, 3]
    assert listed.same.tolist() == [True, False, True]


def test_pairs_join_the_data_set_after_the_classes_held_out(photos, tmp_path):
    path = write(tmp_path / "photos" / "pairs.csv", "cat/0.png,cat/1.png,1\ndog/0.png,cat/0.png,0")
    data = image_folder(path=photos, **FOLDER)
    alone = add_pairs(data, path)
    assert alone.unseen.labels.tolist() == [-1] * 3
    class_folders(tmp_path / "other", {"fox": 3, "gnu": 2})
    data = image_folder(path=photos, unseen_path=str(tmp_path / "other"), **FOLDER)
    both = add_pairs(data, path)
    assert both.unseen.labels.tolist() == [0, 0, 0, 1, 1, -1, -1, -1]
    for paired in (alone, both):
        rows = [*paired.pairs.first, *paired.pairs.second]
        found = [pixels_of(paired.unseen, row) for row in rows]
        names = ("cat/0.png", "dog/0.png", "cat/1.png", "cat/0.png")
        for name, pixels in zip(names, found, strict=True):
            assert np.array_equal(pixels, np.asarray(Image.open(tmp_path / "photos" / name)))


def test_pairs_of_a_skipped_image_are_left_out(photos, tmp_path):
    (tmp_path / "photos" / "cat" / "1.png").write_bytes(b"no image")
    lines = ["cat/0.png,cat/1.png,1", "dog/0.png,cat/0.png,0", "dog/0.png,dog/1.png,1"]
    path = write(tmp_path / "photos" / "pairs.csv", "\n".join(lines))
    data = image_folder(path=photos, on_bad_image="skip", **FOLDER)
    with pytest.raises(UserError, match="1 of 4 images"):
        add_pairs(data, path)
    paired = add_pairs(data, path, on_bad_image="skip")
    assert paired.pairs.same.tolist() == [False, True]
    path = write(tmp_path / "photos" / "few.csv", "\n".join(lines[:2]))
    with pytest.raises(UserError, match=r"few.csv' has impostor pairs only \(1\)"):
        add_pairs(data, path, on_bad_image="skip")


def test_lists_that_cannot_be_used_are_explained(photos, tmp_path):
    def refused(text, match):
        path = write(tmp_path / "photos" / "pairs.csv", text)
        with pytest.raises(UserError, match=match):
            add_pairs(data, path)

    data = image_folder(path=photos, **FOLDER)
    gone = ",".join(f"cat/{i}.png" for i in (0, 70)) + ",1\ncat/80.png,dog/90.png,0"
    refused(gone, r"3 of the 4 images .*cat/70.png', '.*cat/80.png', '.*dog/90.png'$")
    refused("a/x.png,a/y.png,1", r"none of the 2 images .* is there.*folder of the list")
    refused("cat/0.png,cat/1.png,maybe", "line 1 of .* has the label 'maybe'")
    refused("x,y,label\ncat/0.png,cat/1.png,1\ncat/0.png,1", "line 3 of .* cannot be used")
    refused("", "cannot be used; expected two paths and a label")
    refused("x,y,label", "lists no pairs")
    refused("cat/0.png,cat/1.png", "has no label column")
    refused(
        "cat/0.png,cat/1.png,1\ncat/0.png,cat/2.png,1", r"has genuine pairs only \(2\).*add some"
    )
    refused("cat/0.png,dog/1.png,0", "has impostor pairs only")
    with pytest.raises(UserError, match=r"no file 'nothing\.csv'"):
        read_list("nothing.csv")
