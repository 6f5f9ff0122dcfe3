"""Decoded images as a file that runs share: equal to decoding anew, safe, and noticed when it is not."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch.optim import SGD

from arcmargin import backbones
from arcmargin.data import image_folder
from arcmargin.data.image_data import Batches, Normalise
from arcmargin.data.image_files import list_images, read_images
from arcmargin.errors import UserError
from arcmargin.headers import MarginHeader
from arcmargin.record import Settings
from arcmargin.training import schedules
from arcmargin.training.module import MarginModule
from arcmargin.training.train import train

FOLDER = {
    **{"image_size": 8, "channels": 3, "classes": None},
    **{"split_seed": 0, "val_fraction": 0.1, "test_fraction": 0.2},
}
SHAPE = (3, 8, 8)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """1,200 images of four classes, of two sizes, some of them grey."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label in range(4):
        (root / f"class{label}").mkdir()
        for i in range(300):
            size = (8, 8) if i % 3 else (9, 12)
            pixels = rng.integers(0, 64, (*size, 3), dtype=np.uint8) + np.uint8(48 * label)
            mode = "L" if i % 5 == 0 else "RGB"
            Image.fromarray(pixels).convert(mode).save(root / f"class{label}" / f"{i:03}.png")
    return root


@pytest.fixture
def photos(stored, tmp_path):
    return shutil.copytree(stored, tmp_path / "photos")  # with its times


def read(photos, cache):
    return read_images(list_images(photos), SHAPE, what="photos", cache=cache)


def swap_contents(file):
    """Other bytes, yet the size and the time of change stay."""
    before = file.stat()
    file.write_bytes(bytes(before.st_size))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_cached_images_are_those_that_are_decoded_anew(photos, tmp_path):
    memory, mapped = read(photos, None), read(photos, tmp_path / "cache")
    assert np.array_equal(np.asarray(mapped.pixels), memory.pixels)
    assert mapped.pixels.shape == (1200, *SHAPE)
    swap_contents(photos / "class0" / "001.png")
    again = read(photos, tmp_path / "cache")
    assert np.array_equal(np.asarray(again.pixels), memory.pixels), "no image is opened again"


def test_mapped_images_are_indexed_like_a_tensor(photos, tmp_path):
    tensor = torch.from_numpy(read(photos, None).pixels)
    mapped = read(photos, tmp_path / "cache").pixels
    index = torch.tensor([7, 1199, 0, 7])
    assert torch.equal(mapped[index], tensor[index])
    assert torch.equal(mapped[3:9], tensor[3:9])
    assert torch.equal(mapped.to(torch.device("cpu")), tensor)
    assert (len(mapped), mapped.shape, mapped.nbytes) == (1200, tensor.shape, tensor.nbytes)
    for part, expected in zip(mapped.split(500), tensor.split(500), strict=True):
        assert torch.equal(part, expected)
    mapped.read_ahead(index)  # changes nothing that can be seen
    mapped[index].zero_()  # a batch is one's own
    assert torch.equal(mapped[index], tensor[index])


def fit(data, folder):
    pl.seed_everything(0, verbose=False)
    module = MarginModule(
        backbones.convnet(image_shape=data.image_shape, embedding_dim=4, width=4, hidden=16),
        MarginHeader(4, data.num_classes, m2=0.2),
        optimizer=lambda groups: SGD(groups, lr=0.1, momentum=0.9),
        schedule=schedules.one_cycle,
        normalise=Normalise(data.mean, data.std),
    )
    settings = Settings(header="arcface", dataset="photos", embedding_dim=4)
    return train(
        module,
        data,
        lambda **given: pl.Trainer(accelerator="cpu", devices=1, **given),
        settings,
        **{"epochs": 2, "batch_size": 64, "seed": 0, "folder": folder},
    )


def test_a_run_on_mapped_images_equals_one_on_images_in_memory(photos, tmp_path):
    found = []
    for name, cache in (("memory", "off"), ("mapped", str(tmp_path / "cache"))):
        data = image_folder(path=str(photos), cache=cache, unseen=2, **FOLDER)
        batches = Batches(data.train, 64, seed=3)
        seen = [(images, labels) for images, labels in batches]
        found.append((data, seen, fit(data, tmp_path / name)))
    (memory, some, one), (mapped, others, other) = found
    assert torch.equal(memory.mean, mapped.mean) and torch.equal(memory.std, mapped.std)
    for (images, labels), (same_images, same_labels) in zip(some, others, strict=True):
        assert torch.equal(images, same_images) and torch.equal(labels, same_labels)
    assert one.metrics == other.metrics and one.curves == other.curves
    assert np.array_equal(one.arrays.snapshots.thumbnails, other.arrays.snapshots.thumbnails)


@pytest.mark.parametrize("change", ["content", "time", "another", "name", "size"])
def test_what_a_cache_was_made_of_names_it(photos, tmp_path, change):
    read(photos, tmp_path / "cache")
    shape = SHAPE
    file = photos / "class1" / "005.png"
    if change == "content":
        Image.new("RGB", (8, 8), "red").save(file)
    elif change == "time":
        os.utime(file, ns=(0, 12345))
    elif change == "another":
        shutil.copy2(file, photos / "class1" / "new.png")
    elif change == "name":
        file.rename(file.with_name("renamed.png"))
    else:
        shape = (3, 4, 8)
    files = list_images(photos)
    fresh = read_images(files, shape, what="photos")
    cached = read_images(files, shape, what="photos", cache=tmp_path / "cache")
    assert np.array_equal(np.asarray(cached.pixels), fresh.pixels)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


def zero_the_end(file):
    size = file.stat().st_size
    os.truncate(file, size - size // 3)
    os.truncate(file, size)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("pixels.npy", how) for how in (cut, zero_the_end, os.unlink)),
        *(("images.npz", how) for how in (cut, os.unlink)),
    ],
)
def test_a_damaged_cache_is_made_again(photos, tmp_path, name, damage, caplog):
    expected = read(photos, None).pixels
    read(photos, tmp_path / "cache")
    (place,) = (tmp_path / "cache").iterdir()
    damage(place / name)
    assert np.array_equal(np.asarray(read(photos, tmp_path / "cache").pixels), expected)
    assert "is made again" in caplog.text or name != "pixels.npy"


KILLED = """
import os, sys
from pathlib import Path
from arcmargin.data.image_files import list_images, read_images
os.replace = lambda *_: os.kill(os.getpid(), 9)  # all is written, and nothing has its name yet
read_images(list_images(Path(sys.argv[1])), (3, 8, 8), what="photos", cache=Path(sys.argv[2]))
"""


def test_a_process_that_is_killed_leaves_nothing_that_is_taken_for_a_cache(photos, tmp_path):
    command = [sys.executable, "-c", KILLED, str(photos), str(tmp_path / "cache")]
    assert subprocess.run(command, check=False, timeout=120).returncode == -9
    (place,) = (tmp_path / "cache").iterdir()
    assert len(list(place.iterdir())) == 2, "the lock, and what was being written"
    expected = read(photos, None).pixels
    assert np.array_equal(np.asarray(read(photos, tmp_path / "cache").pixels), expected)
    assert {file.name for file in place.iterdir()} == {".lock", "pixels.npy", "images.npz"}


def test_several_at_once_decode_once(photos, tmp_path, monkeypatch):
    opened = []
    open_image = Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(a) or open_image(*a, **k))
    with ThreadPoolExecutor(3) as pool:  # a lock on a file keeps threads apart as it does processes
        found = list(pool.map(lambda _: read(photos, tmp_path / "cache"), range(3)))
    assert len(opened) == 1200
    assert all(torch.equal(one.pixels[:], found[0].pixels[:]) for one in found)


def test_images_that_cannot_be_read_are_said_of_a_cache_too(photos, tmp_path, caplog):
    (photos / "class2" / "007.png").write_bytes(b"not an image")
    for _ in range(2):
        with pytest.raises(UserError, match=r"1 of 1,200 images .*class2/007\.png' \(not an image"):
            image_folder(path=str(photos), cache=str(tmp_path / "cache"), **FOLDER)
    for _ in range(2):
        caplog.clear()
        data = image_folder(
            path=str(photos), cache=str(tmp_path / "cache"), on_bad_image="skip", **FOLDER
        )
        assert sum(map(len, (data.train, data.val, data.test))) == 1199
        assert "1 of 1,200 images" in caplog.text
        assert "images of 2 sizes, such as 8×8 and 12×9" in caplog.text
        assert "240 of 1,199 images are grey" in caplog.text


def test_an_image_that_can_be_read_again_is_read(photos, tmp_path):
    """Nothing about the file itself has changed: a folder was not mounted, a right was missing."""
    file = photos / "class2" / "007.png"
    good, times = file.read_bytes(), file.stat()
    swap_contents(file)
    skip = {"what": "photos", "cache": tmp_path / "cache", "on_bad_image": "skip"}
    assert not read_images(list_images(photos), SHAPE, **skip).readable.all()
    file.write_bytes(good)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    found = read_images(list_images(photos), SHAPE, **skip)
    assert found.readable.all()
    assert np.array_equal(np.asarray(found.pixels), read(photos, None).pixels)


@pytest.mark.parametrize("off", ["off", False, None])
def test_the_cache_can_be_left_out_and_few_images_need_none(photos, tmp_path, monkeypatch, off):
    monkeypatch.chdir(tmp_path)
    data = image_folder(path=str(photos), cache=off, **FOLDER)
    assert isinstance(data.train.images, torch.Tensor)
    for file in sorted((photos / "class0").iterdir())[10:]:
        file.unlink()
    shutil.rmtree(photos / "class3")
    shutil.rmtree(photos / "class2")
    data = image_folder(path=str(photos), cache="cache", **FOLDER)
    assert isinstance(data.train.images, torch.Tensor) and not (tmp_path / "cache").exists()


def test_a_disk_without_room_for_the_cache_is_told_before_anything_is_decoded(
    photos, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    with pytest.raises(UserError, match=r"takes 0\.2 MB.*room for 0\.1 MB.*dataset\.cache=off"):
        read(photos, tmp_path / "cache")


def test_a_disk_that_fills_up_meanwhile_leaves_no_cache(photos, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array_header_1_0", full)
        with pytest.raises(UserError, match=r"cannot write .*No space left"):
            read(photos, tmp_path / "cache")
    (place,) = (tmp_path / "cache").iterdir()
    assert [file.name for file in place.iterdir()] == [".lock"]
    assert len(read(photos, tmp_path / "cache").pixels) == 1200


def test_images_that_no_memory_can_hold_are_refused_with_their_size(photos):
    files = list_images(photos)
    with pytest.raises(UserError, match=r"1,200 images of photos take 3,600,000\.0 GB.*cache="):
        read_images(files, (3, 10**6, 10**6), what="photos")
    with pytest.raises(UserError, match=r"1,200 images of photos take 3,600,000,000\.0 GB"):
        read_images(files, (3, 10**6, 10**9), what="photos")
