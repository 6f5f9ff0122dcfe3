import errno
import io
import os

import numpy as np
import pytest
import torch

from arcmargin.errors import UserError
from arcmargin.job.user_errors import sentence, users_mistake


@pytest.mark.parametrize(
    ("error", "size"),
    [
        (MemoryError("Unable to allocate 396. GiB for an array with shape (1,)"), "396 GiB"),
        (MemoryError("Unable to allocate 1.25 TiB for an array"), "1.25 TiB"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to "
                      "allocate 400000000000 bytes. Error code 12"), "400000000000 bytes"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), "2.00 GiB"),
    ],
)  # fmt: skip
def test_want_of_memory_says_how_much_was_asked_for(error, size):
    assert f"out of memory ({size} asked for); try a smaller batch_size" in sentence(error)


def test_numpys_own_error_is_understood():
    with pytest.raises(MemoryError) as caught:
        np.zeros((2**60,), dtype=np.uint8)
    assert "EiB asked for" in sentence(caught.value)


def test_an_error_of_ours_keeps_its_traceback_and_a_mistake_is_its_own_sentence():
    assert users_mistake(RuntimeError("a bug")) is None
    assert sentence(RuntimeError("a\n bug:")) == "RuntimeError: a bug"
    wrapped = RuntimeError("outer")
    wrapped.__cause__ = UserError("m1 must be >= 1")
    assert users_mistake(wrapped) == "m1 must be >= 1"


def test_a_full_disk_is_the_users_to_mend():
    assert "free some space" in sentence(OSError(28, "No space left on device"))


class SmallDisk(io.BytesIO):
    def write(self, data):
        if self.tell() + len(data) > 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_a_checkpoint_that_finds_no_room_too():
    with pytest.raises(RuntimeError) as caught:
        torch.save([torch.zeros(20_000), torch.zeros(20_000)], SmallDisk())
    assert "free some space" in sentence(caught.value).lower()
