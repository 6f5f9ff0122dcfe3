"""Which classes are trained on, validated on and tested on."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arcmargin.data.classes import partition
from arcmargin.data.image_data import RawImages, Split, build, sample
from arcmargin.errors import UserError

NAMES = [f"c{i}" for i in range(10)]
SPLITS = {"classes": None, "split_seed": 0, "val_fraction": 0.2, "test_fraction": 0.25}


@st.composite
def wishes(draw, least=2):
    """Of classes to be held out: a number, a fraction, numbers or names."""
    chosen = draw(st.lists(st.integers(0, 9), min_size=least, max_size=4, unique=True))
    return draw(
        st.sampled_from([len(chosen), len(chosen) / 10, chosen, [NAMES[one] for one in chosen]])
    )


@given(wishes(), wishes())
@settings(deadline=None)
def test_the_three_sets_share_no_class_and_none_is_lost(unseen, unseen_val):
    try:
        found = partition(None, unseen, unseen_val, NAMES)
    except UserError:  # a class that both ask for
        assert isinstance(unseen_val, list)
        first = partition(None, unseen, None, NAMES).test
        assert {NAMES.index(one) if isinstance(one, str) else one for one in unseen_val} & {*first}
        return
    assert sorted([*found.trained, *found.validation, *found.test]) == list(range(10))
    assert min(len(found.trained), len(found.validation), len(found.test)) >= 2


@pytest.mark.parametrize(
    ("unseen", "unseen_val", "validation", "test"),
    [
        (3, 0.2, [5, 6], [7, 8, 9]),  # a fifth of seven is one, two are needed
        (None, 0.2, [8, 9], []),
        (3, 3, [4, 5, 6], [7, 8, 9]),
        ([0, 1], ["c9", 2], [9, 2], [0, 1]),
        (3, 0, [], [7, 8, 9]),
        (3, False, [], [7, 8, 9]),
        (3, [], [], [7, 8, 9]),
        (None, None, [], []),
    ],
)
def test_the_last_of_those_that_are_left(unseen, unseen_val, validation, test):
    found = partition(None, unseen, unseen_val, NAMES)
    assert (found.validation, found.test) == (validation, test)
    assert found.trained == [c for c in range(10) if c not in (*validation, *test)]


def test_a_fraction_of_too_few_is_none_and_said(caplog):
    assert partition(None, 7, 0.2, NAMES).validation == []
    assert partition(None, 6, 0.2, NAMES).validation == [2, 3]
    data = build("x", NAMES[:5], numbered([5] * 5), **SPLITS, unseen=2, unseen_val=0.2)
    assert data.unseen_val is None and "3 classes to be trained on are too few" in caplog.text


@pytest.mark.parametrize(
    ("unseen", "unseen_val", "said"),
    [
        (3, [7, 0], r"dataset.unseen_val asks for class 7, but the classes are 0 \(c0\), "),
        (
            3,
            1,
            r"unseen_val=1 leaves 1 class\(es\) to be unseen.*dataset.unseen_val=0 does without",
        ),
        (3, 6, r"unseen_val=6 leaves 1 class\(es\) for training; a margin needs at least two; "),
        (3, 1.5, "dataset.unseen_val must be a number of classes, a fraction"),
        (3, "c1", "dataset.unseen_val must be a number of classes, a fraction"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(unseen, unseen_val, said):
    with pytest.raises(UserError, match=said):
        partition(None, unseen, unseen_val, NAMES)


def numbered(counts, first=0):
    """Images whose one pixel numbers them."""
    labels = np.repeat(np.arange(len(counts)), counts)
    numbers = first + np.arange(len(labels), dtype=np.uint8)
    return RawImages(numbers[:, None, None, None], labels)


@pytest.mark.parametrize("official", [False, True])
def test_images_of_validation_classes_are_none_of_the_tests(official):
    images, test = numbered([6] * 8), numbered([3] * 8, first=100)
    data = build(
        *("toy", NAMES[:8], images, test if official else None),
        **SPLITS,
        unseen=2,
        unseen_val=3,
    )
    assert data.class_names == ("c0", "c1", "c2")
    assert data.unseen_val_names == ("c3", "c4", "c5") and data.unseen_names == ("c6", "c7")
    found = {name: set(split.images.flatten().tolist()) for name, split in data.splits().items()}
    assert found["unseen_val"] == set(range(18, 36))
    assert found["unseen"] == (set(range(118, 124)) if official else set(range(36, 48)))
    assert sum(map(len, found.values())) == len(set.union(*found.values()))
    assert data.unseen_val.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6


def test_validation_needs_a_pair():
    with pytest.raises(UserError, match="unseen_val: no unseen class has two images"):
        build("toy", NAMES[:6], numbered([6, 6, 1, 1, 6, 6]), **SPLITS, unseen=2, unseen_val=2)


@given(st.lists(st.integers(2, 9), min_size=2, max_size=9), st.integers(4, 40))
@settings(deadline=None)
def test_a_sample_is_even_over_the_classes_and_always_the_same(counts, count):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    split = Split(torch.arange(len(labels))[:, None, None, None].float(), labels)
    found = sample(split, count)
    assert len(found) == min(count, len(labels))
    rows = found.images.flatten().long()
    assert torch.equal(labels[rows], found.labels) and len(set(rows.tolist())) == len(rows)
    assert torch.equal(rows, sample(split, count).images.flatten().long())
    each = np.bincount(found.labels, minlength=len(counts))
    assert np.count_nonzero(each == 1) <= 1, "a class of one image has no pair"
    if count >= 2 * len(counts):
        missing = each < np.array(counts)
        assert not missing.any() or each[missing].min() >= each.max() - 1
