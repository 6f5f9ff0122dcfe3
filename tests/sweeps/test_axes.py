"""What a sweep's axes mean, above all those that go together."""

import itertools

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from arcmargin.errors import UserError
from arcmargin.sweeps.axes import axes, jobs
from arcmargin.sweeps.command_line import expanded


def combined(*arguments, params=None) -> list[list[str]]:
    """The jobs of a command line, read as Hydra reads it."""
    words = [word for word in expanded(arguments) if word != "--multirun"]
    read = OverridesParser.create().parse_overrides(words)
    prefix = "hydra.sweeper.params."
    given = {o.key_or_group.removeprefix(prefix): o.value() for o in read if o.is_hydra_override()}
    task = [o.input_line for o in read if not o.is_hydra_override()]
    return jobs(axes(task, params={**(params or {}), **given}))


PAIRS = [["header=arcface", "m2=0.3"], ["header=cosface", "m2=0"]]


@pytest.mark.parametrize(
    "text",
    [
        "zip(header=arcface,cosface; m2=0.3,0)",
        "zip(header=arcface,cosface;m2=0.3,0)",
        " zip( header = arcface, cosface ; m2 = 0.3 , 0 ) ",
        "zip(header=arcface,cosface, m2=0.3,0)",
        "zip(header=choice(arcface,cosface); m2=choice(0.3,0))",
        # As Hydra's own plan of them has it.
        "heads=zip(header=[arcface,cosface], m2=[0.3,0])",
        "heads=zip(header=choice(arcface,cosface),m2=choice(0.3,0))",
    ],
)
def test_values_of_a_zip_go_together(text):
    assert combined(text) == PAIRS


def test_a_zip_is_one_axis_among_others():
    got = combined("zip(header=arcface,cosface; m2=0.3,0)", "epochs=5", "s=8,16", "seeds=2")
    want = [
        [*pair, "epochs=5", f"s={s}", f"seed={seed}"]
        for pair, s, seed in itertools.product(PAIRS, (8, 16), (0, 1))
    ]
    assert sorted(map(sorted, got)) == sorted(map(sorted, want)) and len(got) == 8


def test_two_zips_are_two_axes():
    got = combined("zip(header=arcface,cosface; m2=0.3,0)", "zip(epochs=5,9; batch_size=32,64)")
    assert len(got) == 4 and len({tuple(job) for job in got}) == 4
    for job in got:
        assert ("epochs=5" in job) == ("batch_size=32" in job)


def test_values_keep_what_brackets_and_quotes_hold():
    got = combined("zip(init='a;b','c, d=e'; dataset.classes=[1,2],[3,4]; +x.y=range(0,2))")
    assert got == [
        ["init='a;b'", "dataset.classes=[1,2]", "+x.y=0"],
        ["init='c, d=e'", "dataset.classes=[3,4]", "+x.y=1"],
    ]


def test_a_zip_implies_multirun_and_knows_sizes():
    assert expanded(["zip(embedding_dim=2,3; epochs=5,9)"])[0] == "--multirun"
    got = combined("zip(embedding_dim=2,3; epochs=5,9)")
    assert got[0] == ["embedding_dim.size=2", "epochs=5"]


def test_the_command_line_goes_before_the_configuration():
    params = {"header": "linear,normface", "s": "8,16", "seed": "0,1,2"}
    got = combined("zip(header=arcface,cosface; m2=0.3,0)", "s=4", params=params)
    assert len(got) == 6 and {job[0] for job in got} == {"s=4"}
    named = {"heads": "zip(header=linear,normface; m2=0,0)"}
    assert combined("heads=zip(header=arcface,cosface; m2=0.3,0)", params=named) == PAIRS
    assert combined(params=named)[0] == ["header=linear", "m2=0"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["zip(header=arcface,cosface; m2=0.3)"], "2 of header, 1 of m2; list as many of each"),
        (["zip(a=1,2,3; b=1,2; c=1,2,3)"], "3 of a, 2 of b, 3 of c"),
        (["zip(header=arcface,cosface"], "cannot read 'zip(header=arcface,cosface'; expected zip("),
        (["zip(header=arcface,cosface; m2)"], "cannot read 'm2' in"),
        (["zip()"], "cannot read ''"),
        (["zip(m2=0.3,0)"], "pairs nothing"),
        (["zip(m2=1,2; m2=3,4)"], "sets m2 twice"),
        (["zip(m2=interval(0,1); m3=1,2)"], "'m2=interval(0,1)' in"),
        (["zip(m2=1,2; m3=3,4)", "m3=5"], "sets m3, so m3=5 cannot be given too"),
        (["zip(m2=1,2; m3=3,4)", "zip(m3=1,2; s=3,4)"], "both set m3"),
        (["m2=interval(0,1)"], "list them (m2=0.2,0.4), or search with hydra/sweeper=optuna"),
        (
            ["m2=range(0,1000)", "s=range(1,10000000000)"],
            "at most 100,000 jobs",
        ),
    ],
)
def test_a_mistake_is_said_in_a_sentence(arguments, sentence):
    with pytest.raises(UserError) as error:
        combined(*arguments)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_zip_is_left_to_hydra():
    assert expanded(["zipped=1,2"]) == ["zipped=1,2"]
    with pytest.raises(HydraException):
        combined("m2=[1")
