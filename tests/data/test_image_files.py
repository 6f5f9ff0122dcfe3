"""Image files to arrays: what is read, what is refused, what is said."""

import logging
import struct
import subprocess
import zlib

import numpy as np
import pytest
import torch
from image_folders import FOLDER, class_folders, picture
from PIL import Image

from arcmargin.data import image_files, image_folder
from arcmargin.data.image_files import read_images
from arcmargin.errors import UserError


@pytest.fixture
def photos(tmp_path):
    return class_folders(tmp_path / "photos", {"cat": 6, "dog": 8, "eel": 5})


def test_reading_in_many_threads_equals_a_loop_and_keeps_the_order(photos, tmp_path):
    files = sorted((tmp_path / "photos").rglob("*.png"))
    read = read_images(files, (3, 8, 8), what="photos")
    assert read.readable.all()
    for file, pixels in zip(files, read.pixels, strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), pixels.transpose(1, 2, 0))


@pytest.fixture
def spoilt(tmp_path):
    path = class_folders(tmp_path / "many", {"a": 20, "b": 20})
    for i in range(7):
        whole = (tmp_path / "many" / "b" / f"{i}.png").read_bytes()
        (tmp_path / "many" / "b" / f"{i}.png").write_bytes(whole[: 10 * i])
    return path


def test_bad_images_among_many_are_counted_and_named(spoilt, monkeypatch):
    with pytest.raises(UserError) as caught:
        image_folder(path=spoilt, **FOLDER)
    said = str(caught.value)
    assert "7 of 40 images" in said and "on_bad_image=skip" in said
    assert said.count(".png'") == 7 and "b/0.png" in said and "\n" not in said
    monkeypatch.setattr(image_files, "NAMED", 5)
    with pytest.raises(UserError) as caught:
        image_folder(path=spoilt, **FOLDER)
    said = str(caught.value)
    assert said.count(".png'") == 5 and "and 2 more" in said


def test_bad_images_are_skipped_only_when_asked_for_and_said(spoilt, caplog):
    data = image_folder(path=spoilt, on_bad_image="skip", **FOLDER)
    labels = torch.cat([s.labels for s in (data.train, data.val, data.test)])
    assert labels.bincount().tolist() == [20, 13]
    assert "7 of 40 images" in caplog.text
    blank = [
        (s.images.flatten(1).float().std(1) < 1e-3).any() for s in (data.train, data.val, data.test)
    ]
    assert not any(blank), "no black images in the place of those left out"


def test_what_was_converted_is_said_once(tmp_path, caplog):
    rng = np.random.default_rng(0)
    path = class_folders(tmp_path / "x", {"a": 4, "b": 4}, mode="L")
    picture(rng, (20, 30)).save(tmp_path / "x" / "a" / "big.jpg")
    caplog.set_level(logging.WARNING, "arcmargin")
    data = image_folder(path=path, **FOLDER)
    assert torch.allclose(*(pixels[0].float() for pixels in [data.train.images] * 2))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "2 sizes, such as 8×8 and 30×20, are all resized to 8×8" in messages[0]
    assert "8 of 9 images are grey" in messages[1]
    caplog.clear()
    image_folder(path=path, **{**FOLDER, "channels": 1})
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


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
(/tmp/x) (w) file closefile showpage
"""


def read_one(file, channels=1, size=(2, 2)):
    return read_images([file], (channels, *size), what="x").pixels[0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_another_format_is_refused_whatever_it_is_called(tmp_path, suffix, monkeypatch):
    """Pillow would start Ghostscript."""
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    file = tmp_path / f"z.{suffix}"
    file.write_bytes(POSTSCRIPT)
    with pytest.raises(UserError, match=rf"z\.{suffix}' \(not an image, of PNG, JPEG, BMP"):
        read_one(file)
    icon = tmp_path / "icon.png"
    picture(np.random.default_rng(0), (16, 16)).save(icon, "ICO")
    with pytest.raises(UserError, match="not an image, of PNG, JPEG"):
        read_one(icon)


@pytest.mark.parametrize("suffix", sorted(image_files.SUFFIXES))
def test_every_listed_format_is_read_also_under_another_name(tmp_path, suffix):
    image = picture(np.random.default_rng(0), (8, 8), "L")
    image.save(tmp_path / f"x{suffix}")
    (tmp_path / f"x{suffix}").rename(tmp_path / "y.png")
    pixels = read_one(tmp_path / "y.png", size=(8, 8))[0]
    assert np.abs(pixels.astype(int) - np.asarray(image)).mean() < 12  # JPEG and WebP lose some


def test_two_pictures_in_one_as_cameras_write_them_are_read_as_the_first(tmp_path):
    rng = np.random.default_rng(0)
    first = Image.fromarray(np.full((16, 16, 3), 90, dtype=np.uint8))
    first.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[picture(rng, (16, 16))])
    assert (read_one(tmp_path / "x.jpg", channels=3) == 90).all()


def bomb(width, height):
    """A PNG that says it is so large, of a few bytes."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + checksum

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    head = chunk(b"IHDR", size + bytes([8, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 100_000, 2**31 - 1])
def test_an_image_of_absurd_size_is_refused_in_a_sentence(tmp_path, side, recwarn):
    (tmp_path / "bomb.png").write_bytes(bomb(side, side))
    with pytest.raises(UserError, match=r"bomb\.png' \(it has more than 89,478,485 pixels"):
        read_one(tmp_path / "bomb.png")
    assert not recwarn.list


RAMP = np.array([[0, 0.25], [0.5, 1]])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.round(RAMP * 65535).astype(np.uint16), [[0, 63], [128, 255]]),
        (RAMP.astype(np.float32), [[0, 64], [128, 255]]),
        (np.round(RAMP * 255).astype(np.uint8), [[0, 64], [128, 255]]),
    ],
)
def test_a_tiff_of_more_bits_is_scaled(tmp_path, values, expected):
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert np.abs(read_one(tmp_path / "x.tif")[0].astype(int) - expected).max() <= 1
    colour = read_one(tmp_path / "x.tif", channels=3)
    assert (colour == read_one(tmp_path / "x.tif")).all()


def tiff(values, bits, photometric, sample_format):
    """Little-endian, one strip, tags as TIFF 6.0 numbers them."""
    data = values.tobytes()
    tags = [(256, values.shape[1]), (257, values.shape[0]), (258, bits), (259, 1)]
    tags += [(262, photometric), (273, 8), (277, 1), (278, values.shape[0]), (279, len(data))]
    tags += [(339, sample_format)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory


def test_a_tiff_whose_white_is_zero_is_turned_round(tmp_path):
    deep = np.round(RAMP * 65535).astype("<u2")
    for name, photometric in (("black", 1), ("white", 0)):
        (tmp_path / f"{name}.tif").write_bytes(tiff(deep, 16, photometric, 1))
    black, white = (read_one(tmp_path / f"{name}.tif").astype(int) for name in ("black", "white"))
    assert np.abs(black[0] - 255 * RAMP).max() <= 1 and (white == 255 - black).all()
    (tmp_path / "float.tif").write_bytes(tiff(RAMP.astype("<f4"), 32, 0, 3))
    assert np.abs(read_one(tmp_path / "float.tif")[0] - 255 * (1 - RAMP)).max() <= 1


@pytest.mark.parametrize(
    ("values", "sample_format", "match"),
    [
        ((RAMP * 1e5).astype("<i4"), 2, "a sign or 32 bits"),
        ((RAMP * 1e5).astype("<u4"), 1, "a sign or 32 bits"),
        ((RAMP * 1e4).astype("<i2"), 2, "a sign or 32 bits"),
        ((RAMP * 255).astype("<f4"), 3, "not all between 0 and 1"),
        ((RAMP - 0.5).astype("<f4"), 3, "not all between 0 and 1"),
        (np.full((2, 2), np.nan, "<f4"), 3, "not all between 0 and 1"),
    ],
)
def test_a_tiff_that_does_not_say_what_is_white_is_refused(tmp_path, values, sample_format, match):
    (tmp_path / "x.tif").write_bytes(tiff(values, 8 * values.itemsize, 1, sample_format))
    with pytest.raises(UserError, match=rf"x\.tif' \(its .*{match}.*save it with 8 or 16 bits"):
        read_one(tmp_path / "x.tif")


def test_twelve_bits_are_not_read_as_sixteen(tmp_path):
    """Two pixels in three bytes, the high bits first."""
    packed = np.array([[0x00, 0x0F, 0xFF], [0x80, 0x04, 0x00]], dtype=np.uint8)
    content = bytearray(tiff(packed, 12, 1, 1))
    at = content.index(struct.pack("<HHII", 256, 4, 1, 3))
    content[at : at + 12] = struct.pack("<HHII", 256, 4, 1, 2)
    (tmp_path / "x.tif").write_bytes(bytes(content))
    assert read_one(tmp_path / "x.tif")[0].tolist() == [[0, 255], [128, 64]]


def test_images_of_which_none_can_be_read_are_refused_even_when_they_may_be_skipped(tmp_path):
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        file.write_bytes(b"x")
    with pytest.raises(UserError, match="cannot read 2 of 2 images of x"):
        read_images(files, (1, 2, 2), what="x", on_bad_image="skip")
