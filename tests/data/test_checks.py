"""Options of the wrong kind, as a command line can give them."""

import pytest

from arcmargin.data.checks import check_fraction, check_whole_number, printable
from arcmargin.errors import UserError


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 1.5, -0.1, float("nan"), True, None, "x", [0.1]])
def test_what_is_no_fraction(value):
    with pytest.raises(UserError, match=r"dataset\.val_fraction must be above 0 and below 1"):
        check_fraction("val_fraction", value, "validation")


@pytest.mark.parametrize("value", [3, -1, 5.0, True, None, "5", float("inf"), [5]])
def test_what_is_no_whole_number_from_four_on(value):
    with pytest.raises(UserError, match=r"dataset\.image_size must be a whole number from 4 on"):
        check_whole_number("image_size", value, least=4)


def test_what_is_one():
    check_fraction("val_fraction", 0.5, "validation")
    check_whole_number("image_size", 4, least=4)


def test_any_name_can_be_printed():
    assert printable("naïve 日本") == "naïve 日本"
    assert printable(b"caf\xe9".decode(errors="surrogateescape")) == "caf\\udce9"
