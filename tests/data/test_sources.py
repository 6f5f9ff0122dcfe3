"""Folders, lists of pairs and data sets with files of their own."""

import io
import logging
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from arcmargin import data as sources
from arcmargin.data import image_files as reading
from arcmargin.data.image_files import read_images
from arcmargin.data.insightface_bin import read_bin
from arcmargin.data.pair_lists import read_list
from arcmargin.errors import UserError
from arcmargin.metrics.open_set import evaluate

SPLITS = {"split_seed": 0, "val_fraction": 0.1, "test_fraction": 0.2}
FOLDER = {"image_size": 8, "channels": 3, "classes": None, **SPLITS}


def picture(rng, size=(8, 8), mode="RGB"):
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def classes(root, counts, **how):
    rng = np.random.default_rng(len(counts))
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            picture(rng, **how).save(root / name / f"{i}.png")
    return str(root)


@pytest.fixture
def photos(tmp_path):
    return classes(tmp_path / "photos", {"cat": 6, "dog": 8, "eel": 5})


def encoded(rng):
    file = io.BytesIO()
    picture(rng).save(file, "PNG")
    return file.getvalue()


def pixels_of(data, split, row):
    return split.images[row].movedim(0, -1).numpy()


def test_reading_in_many_threads_equals_a_loop_and_keeps_the_order(photos, tmp_path):
    files = sorted((tmp_path / "photos").rglob("*.png"))
    read = read_images(files, (3, 8, 8), what="photos")
    assert read.readable.all()
    for file, pixels in zip(files, read.pixels, strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), pixels.transpose(1, 2, 0))


def test_a_folder_with_a_test_folder_of_its_own(photos, tmp_path):
    test = classes(tmp_path / "test", {"dog": 2, "cat": 1})
    data = sources.image_folder(path=photos, test_path=test, **FOLDER)
    assert len(data.train) + len(data.val) == 19
    assert data.test.labels.tolist() == [0, 1, 1]
    stored = np.asarray(Image.open(f"{test}/dog/1.png"))
    assert np.array_equal(pixels_of(data, data.test, 2), stored)


def test_a_folder_of_unseen_classes(photos, tmp_path):
    other = classes(tmp_path / "other", {"fox": 3, "gnu": 2})
    data = sources.image_folder(path=photos, unseen_path=other, **FOLDER)
    assert data.class_names == ("cat", "dog", "eel") and data.unseen_names == ("fox", "gnu")
    assert data.unseen.labels.tolist() == [0, 0, 0, 1, 1]
    stored = np.asarray(Image.open(f"{other}/gnu/0.png"))
    assert np.array_equal(pixels_of(data, data.unseen, 3), stored)


def test_folders_that_do_not_fit_together_are_explained(photos, tmp_path):
    other = classes(tmp_path / "other", {"cat": 1, "fox": 3})

    def refused(match, **changes):
        with pytest.raises(UserError, match=match):
            sources.image_folder(path=photos, **{**FOLDER, **changes})

    refused("holds the class 'fox', which dataset.path has not", test_path=other)
    refused("holds the class 'cat', which is trained on", unseen_path=other)
    refused("exclude each other", unseen_path=other, unseen=2)
    refused("test_path 'nowhere' is not a folder", test_path="nowhere")
    refused("on_bad_image must be", on_bad_image="ignore")


def test_a_class_with_one_image_cannot_be_trained_on_but_can_be_unseen(tmp_path):
    path = classes(tmp_path, {"a": 5, "b": 5, "c": 1, "d": 4})
    with pytest.raises(UserError, match=r"'c' has 1 image\(s\).*at least 3.*dataset\.unseen"):
        sources.image_folder(path=path, **FOLDER)
    data = sources.image_folder(path=path, **FOLDER, unseen=["c", "d"])
    assert data.unseen.labels.bincount().tolist() == [1, 4]
    found = evaluate(data.unseen.images.flatten(1).float().numpy(), data.unseen.labels.numpy())
    assert any("1 of 2 classes have one image: no genuine pair" in note for note in found.notes)


@pytest.fixture
def spoilt(tmp_path):
    path = classes(tmp_path / "many", {"a": 20, "b": 20})
    for i in range(7):
        whole = (tmp_path / "many" / "b" / f"{i}.png").read_bytes()
        (tmp_path / "many" / "b" / f"{i}.png").write_bytes(whole[: 10 * i])
    return path


def test_bad_images_among_many_are_counted_and_named(spoilt, monkeypatch):
    with pytest.raises(UserError) as caught:
        sources.image_folder(path=spoilt, **FOLDER)
    said = str(caught.value)
    assert "7 of 40 images" in said and "on_bad_image=skip" in said
    assert said.count(".png'") == 7 and "b/0.png" in said and "\n" not in said
    monkeypatch.setattr(reading, "NAMED", 5)
    with pytest.raises(UserError) as caught:
        sources.image_folder(path=spoilt, **FOLDER)
    said = str(caught.value)
    assert said.count(".png'") == 5 and "and 2 more" in said


def test_bad_images_are_skipped_only_when_asked_for_and_said(spoilt, caplog):
    data = sources.image_folder(path=spoilt, on_bad_image="skip", **FOLDER)
    labels = torch.cat([s.labels for s in (data.train, data.val, data.test)])
    assert labels.bincount().tolist() == [20, 13]
    assert "7 of 40 images" in caplog.text
    blank = [
        (s.images.flatten(1).float().std(1) < 1e-3).any() for s in (data.train, data.val, data.test)
    ]
    assert not any(blank), "no black images in the place of those left out"


def test_classes_that_do_not_exist_are_said_before_an_image_is_read(spoilt):
    with pytest.raises(UserError, match=r"dataset\.unseen asks for class c, but the classes are"):
        sources.image_folder(path=spoilt, **FOLDER, unseen=["a", "c"])


def test_what_was_converted_is_said_once(tmp_path, caplog):
    rng = np.random.default_rng(0)
    path = classes(tmp_path / "x", {"a": 4, "b": 4}, mode="L")
    picture(rng, (20, 30)).save(tmp_path / "x" / "a" / "big.jpg")
    caplog.set_level(logging.WARNING, "arcmargin")
    data = sources.image_folder(path=path, **FOLDER)
    assert torch.allclose(*(pixels[0].float() for pixels in [data.train.images] * 2))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "2 sizes, such as 8×8 and 30×20, are all resized to 8×8" in messages[0]
    assert "8 of 9 images are grey" in messages[1]
    caplog.clear()
    sources.image_folder(path=path, **{**FOLDER, "channels": 1})
    assert "1 of 9 images have colour" in caplog.text


def test_sixteen_bits_and_a_turned_photo_are_read_as_people_see_them(tmp_path):
    deep = np.array([[0, 2**15], [2**16 - 1, 2**8]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    pixels = read_images([tmp_path / "deep.png"], (1, 2, 2), what="x").pixels
    assert pixels[0, 0].tolist() == [[0, 128], [255, 1]]
    halves = np.zeros((8, 8, 3), dtype=np.uint8)
    halves[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.fromarray(halves).save(tmp_path / "turned.png", exif=exif)
    turned = read_images([tmp_path / "turned.png"], (1, 8, 8), what="x").pixels[0, 0]
    assert (turned[:, 4:] == 255).all() and (turned[:, :4] == 0).all()


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("header", ["", "first,second,label\n"])
def test_a_list_of_pairs(photos, tmp_path, header):
    text = f"{header}cat/0.png,cat/1.png,1\ncat/0.png, dog/3.png ,different\n\ndog/3.png,dog/1.png,same"
    listed = read_list(write(tmp_path / "photos" / "pairs.csv", text))
    assert [file.name for file in listed.images] == ["0.png", "1.png", "3.png", "1.png"]
    assert listed.first.tolist() == [0, 0, 2] and listed.second.tolist() == [1, 2, 3]
    assert listed.same.tolist() == [True, False, True]


def test_pairs_join_the_data_set_after_the_classes_held_out(photos, tmp_path):
    path = write(tmp_path / "photos" / "pairs.csv", "cat/0.png,cat/1.png,1\ndog/0.png,cat/0.png,0")
    data = sources.image_folder(path=photos, **FOLDER)
    alone = sources.add_pairs(data, path)
    assert alone.unseen.labels.tolist() == [-1] * 3
    classes(tmp_path / "other", {"fox": 3, "gnu": 2})
    data = sources.image_folder(path=photos, unseen_path=str(tmp_path / "other"), **FOLDER)
    both = sources.add_pairs(data, path)
    assert both.unseen.labels.tolist() == [0, 0, 0, 1, 1, -1, -1, -1]
    for paired in (alone, both):
        rows = [*paired.pairs.first, *paired.pairs.second]
        found = [pixels_of(paired, paired.unseen, row) for row in rows]
        names = ("cat/0.png", "dog/0.png", "cat/1.png", "cat/0.png")
        for name, pixels in zip(names, found, strict=True):
            assert np.array_equal(pixels, np.asarray(Image.open(tmp_path / "photos" / name)))


def test_pairs_of_a_skipped_image_are_left_out(photos, tmp_path):
    (tmp_path / "photos" / "cat" / "1.png").write_bytes(b"no image")
    path = write(tmp_path / "photos" / "pairs.csv", "cat/0.png,cat/1.png,1\ndog/0.png,cat/0.png,0")
    data = sources.image_folder(path=photos, on_bad_image="skip", **FOLDER)
    with pytest.raises(UserError, match="1 of 3 images"):
        sources.add_pairs(data, path)
    paired = sources.add_pairs(data, path, on_bad_image="skip")
    assert paired.pairs.same.tolist() == [False]


def test_lists_that_cannot_be_used_are_explained(photos, tmp_path):
    def refused(text, match):
        path = write(tmp_path / "photos" / "pairs.csv", text)
        with pytest.raises(UserError, match=match):
            sources.add_pairs(data, path)

    data = sources.image_folder(path=photos, **FOLDER)
    gone = ",".join(f"cat/{i}.png" for i in (0, 70)) + ",1\ncat/80.png,dog/90.png,0"
    refused(gone, r"3 of the 4 images .*cat/70.png', '.*cat/80.png', '.*dog/90.png'$")
    refused("a/x.png,a/y.png,1", r"none of the 2 images .* is there.*folder of the list")
    refused("cat/0.png,cat/1.png,maybe", "line 1 of .* has the label 'maybe'")
    refused("x,y,label\ncat/0.png,cat/1.png,1\ncat/0.png,1", "line 3 of .* cannot be used")
    refused("", "cannot be used; expected two paths and a label")
    refused("x,y,label", "lists no pairs")
    refused("cat/0.png,cat/1.png", "has no label column")
    with pytest.raises(UserError, match=r"no file 'nothing\.csv'"):
        read_list("nothing.csv")


@pytest.mark.parametrize("protocol", range(6))
def test_a_verification_file_as_insightface_makes_it(photos, tmp_path, protocol):
    rng = np.random.default_rng(1)
    images, same = [encoded(rng) for _ in range(6)], [True, False, True]
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((images, same), protocol=protocol))
    assert read_bin(tmp_path / "lfw.bin") == (images, same)
    data = sources.image_folder(path=photos, **FOLDER)
    paired = sources.add_pairs(data, str(tmp_path / "lfw.bin"))
    assert paired.pairs.first.tolist() == [0, 2, 4] and paired.pairs.same.tolist() == same
    last = np.asarray(Image.open(io.BytesIO(images[5])))
    assert np.array_equal(pixels_of(paired, paired.unseen, 5), last)


def test_a_verification_file_of_python_2(tmp_path):
    """Its strings are bytes: opcode SHORT_BINSTRING, which Python 3 no longer writes."""
    image = b"\xff\xd8jpeg"
    text = b"U" + bytes([len(image)]) + image
    (tmp_path / "old.bin").write_bytes(b"\x80\x02](" + text + text + b"e]\x88a\x86.")
    assert read_bin(tmp_path / "old.bin") == ([image, image], [True])


class Malicious:
    def __init__(self, touched):
        self.touched = str(touched)

    def __reduce__(self):
        return open, (self.touched, "w")


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_malicious_pickle_is_refused_before_it_acts(tmp_path, protocol):
    touched = tmp_path / "touched"
    bad = pickle.dumps(([b"x", Malicious(touched)], [True]), protocol=protocol)
    (tmp_path / "bad.bin").write_bytes(bad)
    with pytest.raises(UserError, match=r"holds more than images.*asks for .*open") as caught:
        read_bin(tmp_path / "bad.bin")
    assert not touched.exists() and "\n" not in str(caught.value)
    pickle.loads(bad)
    assert touched.exists(), "the same file does act when it is simply loaded"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (pickle.dumps(([np.zeros(3, np.uint8)] * 2, [True])), "asks for numpy"),
        (pickle.dumps(([b"x"] * 3, [True])), "3 images and 1 labels"),
        (pickle.dumps((["x", "y"], [True])), "other than encoded images"),
        (pickle.dumps(([b"x", b"y"], ["yes"])), "2 images and 1 labels"),
        (pickle.dumps({"a": 1}), "holds a dict"),
        (b"\x80\x05 not a pickle", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_other_pickles_are_refused(tmp_path, content, match):
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(UserError, match=match):
        read_bin(tmp_path / "x.bin")


@pytest.fixture
def omniglot_dir(tmp_path, monkeypatch):
    """Torchvision's layout; only the archives' checksums are not asked for."""
    monkeypatch.setattr("torchvision.datasets.omniglot.check_integrity", lambda *_: True)
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
    data = sources.omniglot(data_dir=omniglot_dir, **OMNIGLOT)
    assert data.class_names[0] == "Greek/character01" and data.num_classes == 4
    assert data.unseen_names == ("Manipuri/character01", "Manipuri/character02")
    assert data.unseen.labels.tolist() == [0] * 5 + [1] * 5
    assert sum(map(len, (data.train, data.val, data.test))) == 20
    file = f"{omniglot_dir}/omniglot-py/images_evaluation/Manipuri/character01/0001_00.png"
    small = Image.open(file).convert("L").resize((28, 28), Image.Resampling.BILINEAR)
    assert np.array_equal(255 - np.asarray(small), data.unseen.images[0, 0].numpy())
    some = sources.omniglot(data_dir=omniglot_dir, unseen=2, **OMNIGLOT)
    assert some.class_names == data.class_names[:2] and some.unseen_names == data.class_names[2:]


def test_omniglot_that_is_not_there_is_explained(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(UserError, match="could not find Omniglot"):
        sources.omniglot(data_dir=str(tmp_path), **OMNIGLOT)
    with pytest.raises(UserError, match="must be 'evaluation'"):
        sources.omniglot(data_dir=str(tmp_path), unseen="background", **OMNIGLOT)


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
    data = sources.lfw(data_dir=lfw_dir, split="10fold", **LFW)
    assert data.class_names == ("Seen_A", "Seen_B")
    assert data.pairs.folds.tolist() == sorted([*range(10)] * 2)
    assert data.pairs.same.tolist() == [True, False] * 10
    first, second = (data.unseen.labels.numpy()[side] for side in data.pairs[:2])
    assert np.array_equal(first == second, data.pairs.same)
    small = sources.lfw(data_dir=lfw_dir, split="test", **LFW)
    assert small.pairs.folds is None and len(small.pairs.same) == 2
    assert "Person_05" in small.class_names and "Person_00" not in small.class_names


def test_lfw_verifies_any_data_set(lfw_dir, photos):
    data = sources.image_folder(path=photos, **FOLDER)
    paired = sources.add_pairs(data, "lfw", data_dir=lfw_dir)
    found = evaluate(
        paired.unseen.images.flatten(1).float().numpy(), paired.unseen.labels.numpy(), paired.pairs
    )
    assert found.about["folds"] == 10 and found.about["genuine_pairs"] == 10


def test_lfw_that_is_not_there_or_has_too_few_people_is_explained(lfw_dir, tmp_path):
    with pytest.raises(UserError, match=r"only 0 people of LFW have 9 images"):
        sources.lfw(data_dir=lfw_dir, split="10fold", **{**LFW, "min_images": 9})
    (tmp_path / "lfw-py" / "pairs.txt").unlink()
    with pytest.raises(UserError, match=r"could not find LFW.*put there by hand"):
        sources.lfw(data_dir=lfw_dir, split="10fold", **LFW)
