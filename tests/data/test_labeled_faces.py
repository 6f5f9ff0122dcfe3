"""Labeled Faces in the Wild, in a small folder laid out as torchvision expects it."""

import numpy as np
import pytest
from image_folders import FOLDER, SPLITS, class_folders, picture

from arcmargin.data import add_pairs, image_folder, lfw
from arcmargin.errors import UserError
from arcmargin.metrics.open_set import evaluate


@pytest.fixture
def photos(tmp_path):
    return class_folders(tmp_path / "photos", {"cat": 6, "dog": 8, "eel": 5})


LFW = {"image_set": "deepfunneled", "image_size": 8, "channels": 3, "min_images": 3, **SPLITS}


@pytest.fixture
def lfw_dir(tmp_path, monkeypatch):
    """Torchvision's layout: 10 folds of one genuine and one impostor pair, and 3 people in no pair."""
    monkeypatch.setattr("torchvision.datasets.lfw.check_integrity", lambda *_: True)
    rng = np.random.default_rng(0)
    root = tmp_path / "lfw-py"
    people = [f"Person_{i:02}" for i in range(20)] + ["Seen_A", "Seen_B", "Seen_C"]
    for person in people:
        folder = root / "lfw-deepfunneled" / person
        folder.mkdir(parents=True)
        for i in range(1, 2 if person == "Seen_C" else 6):
            picture(rng).save(folder / f"{person}_{i:04}.jpg")
    lines = ["10\t1"]
    for fold in range(10):
        a, b = people[2 * fold], people[2 * fold + 1]
        lines += [f"{a}\t1\t2", f"{a}\t1\t{b}\t3"]
    (root / "pairs.txt").write_text("\n".join(lines) + "\n")
    test = ["1", *lines[1:3]]
    (root / "pairsDevTest.txt").write_text("\n".join(test) + "\n")
    return str(tmp_path)


def test_lfw_trains_on_people_in_no_pair_and_keeps_the_protocols_folds(lfw_dir):
    data = lfw(data_dir=lfw_dir, split="10fold", **LFW)
    assert data.class_names == ("Seen_A", "Seen_B")
    assert data.pairs.folds.tolist() == sorted([*range(10)] * 2)
    assert data.pairs.same.tolist() == [True, False] * 10
    first, second = (data.unseen.labels.numpy()[side] for side in data.pairs[:2])
    assert np.array_equal(first == second, data.pairs.same)
    small = lfw(data_dir=lfw_dir, split="test", **LFW)
    assert small.pairs.folds is None and len(small.pairs.same) == 2
    assert "Person_05" in small.class_names and "Person_00" not in small.class_names


def test_lfw_verifies_any_data_set(lfw_dir, photos):
    data = image_folder(path=photos, **FOLDER)
    paired = add_pairs(data, "lfw", data_dir=lfw_dir)
    found = evaluate(
        paired.unseen.images.flatten(1).float().numpy(), paired.unseen.labels.numpy(), paired.pairs
    )
    assert found.about["folds"] == 10 and found.about["genuine_pairs"] == 10


def test_lfw_that_is_not_there_or_has_too_few_people_is_explained(lfw_dir, tmp_path):
    with pytest.raises(UserError, match=r"only 0 people of LFW have 9 images"):
        lfw(data_dir=lfw_dir, split="10fold", **{**LFW, "min_images": 9})
    (tmp_path / "lfw-py" / "pairs.txt").unlink()
    with pytest.raises(UserError, match=r"could not find LFW.*put there by hand"):
        lfw(data_dir=lfw_dir, split="10fold", **LFW)
