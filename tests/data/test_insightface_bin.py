"""insightface's verification files: read without running what they ask for."""

import io
import os
import pickle
import tracemalloc

import numpy as np
import pytest
from image_folders import FOLDER, class_folders, encoded, pixels_of
from PIL import Image

from arcmargin.data import add_pairs, image_folder
from arcmargin.data.insightface_bin import read_bin
from arcmargin.errors import UserError


@pytest.fixture
def photos(tmp_path):
    return class_folders(tmp_path / "photos", {"cat": 6, "dog": 8, "eel": 5})


@pytest.mark.parametrize("protocol", range(6))
def test_a_verification_file_as_insightface_makes_it(photos, tmp_path, protocol):
    rng = np.random.default_rng(1)
    images, same = [encoded(rng) for _ in range(6)], [True, False, True]
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((images, same), protocol=protocol))
    assert read_bin(tmp_path / "lfw.bin") == (images, same)
    data = image_folder(path=photos, **FOLDER)
    paired = add_pairs(data, str(tmp_path / "lfw.bin"))
    assert paired.pairs.first.tolist() == [0, 2, 4] and paired.pairs.same.tolist() == same
    last = np.asarray(Image.open(io.BytesIO(images[5])))
    assert np.array_equal(pixels_of(paired.unseen, 5), last)


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


# The file that the pickle opens is nobody's to close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
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


@pytest.mark.parametrize(
    "claim",
    [
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x",  # BINBYTES8 of a terabyte
        b"\x80\x05\x96" + (2**62).to_bytes(8, "little") + b"x",  # BYTEARRAY8
        b"\x80\x02T" + (2**31 - 1).to_bytes(4, "little") + b"x",  # BINSTRING of 2 GB
        b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little") + b"x",  # LONG4
        b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"].",  # a frame
        b"\x80\x02]r" + (2**32 - 1).to_bytes(4, "little") + b".",  # object number four billion
        b"]p999999999999\n.",
    ],
)
def test_a_file_that_claims_more_than_it_holds_is_refused_without_the_memory(tmp_path, claim):
    (tmp_path / "x.bin").write_bytes(claim)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"x\.bin' cannot be read"):
        read_bin(tmp_path / "x.bin")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_file_larger_than_memory_is_refused(tmp_path):
    (tmp_path / "x.bin").touch()
    os.truncate(tmp_path / "x.bin", 2**43)  # takes no room on the disk
    with pytest.raises(UserError, match="does not fit into memory"):
        read_bin(tmp_path / "x.bin")
