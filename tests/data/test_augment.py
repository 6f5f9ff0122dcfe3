import pytest
import torch

from arcmargin.data.augment import RandomFlip, RandomShift, crop_flip
from arcmargin.errors import UserError


def test_random_shift_equals_a_loop_over_padded_images():
    images = torch.randn(64, 2, 5, 6)
    shift = RandomShift(2).train()
    shifted = shift(images)
    padded = torch.nn.functional.pad(images, [2] * 4, mode="replicate")
    found = set()
    for image, original in zip(shifted, padded, strict=True):
        crops = {(y, x): original[:, y : y + 5, x : x + 6] for y in range(5) for x in range(5)}
        places = [place for place, crop in crops.items() if torch.equal(crop, image)]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) > 10  # images move independently, and everywhere
    assert torch.equal(shift.eval()(images), images)


def test_crop_and_flip_equal_a_loop_over_crops_and_mirror_images():
    torch.manual_seed(0)
    images = torch.randn(400, 1, 4, 5)
    augment = crop_flip(pixels=1)
    changed = augment(images)
    padded = torch.nn.functional.pad(images, [1] * 4, mode="reflect")
    found = []
    for image, original in zip(changed, padded, strict=True):
        crops = {(y, x): original[:, y : y + 4, x : x + 5] for y in range(3) for x in range(3)}
        both = crops | {(*place, "mirrored"): crop.flip(-1) for place, crop in crops.items()}
        places = [place for place, crop in both.items() if torch.equal(crop, image)]
        assert len(places) == 1
        found.append(places[0])
    assert len(set(found)) == 18, "every crop, mirrored and not"
    assert 0.4 < sum(len(place) == 3 for place in found) / 400 < 0.6
    assert torch.equal(augment.eval()(images), images)


def test_always_and_never_flip():
    images = torch.randn(5, 3, 4, 4)
    assert torch.equal(RandomFlip(1.0)(images), images.flip(-1))
    assert torch.equal(RandomFlip(0.0)(images), images)


def test_settings_that_make_no_sense_are_refused():
    for make in (
        lambda: RandomFlip(1.5),
        lambda: RandomShift(-1),
        lambda: RandomShift(1, padding="zeros"),
        lambda: crop_flip(pixels=8)(torch.zeros(1, 1, 8, 8)),
    ):
        with pytest.raises(UserError, match="augment"):
            make()
