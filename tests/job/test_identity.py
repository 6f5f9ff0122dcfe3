"""Two jobs that compute the same are one job, and no others are."""

import pytest
from hydra import compose, initialize_config_dir

from arcmargin.job.hydra_versions import version_base
from arcmargin.job.identity import folder_name, identity
from arcmargin.job.schema import CONF, store


def composed(*overrides):
    store()
    with initialize_config_dir(str(CONF), **version_base()):
        return compose("config", overrides=list(overrides))


def test_the_sweep_of_the_readme_is_six_different_runs():
    found = {
        identity(composed(f"header={header}", f"m2={m2}"))
        for header in ("arcface", "cosface", "sphereface")
        for m2 in (0.2, 0.5)
    }
    assert len(found) == 6


@pytest.mark.parametrize(
    "bookkeeping",
    [
        "sweep=x",
        "data_dir=/elsewhere",
        "logger=none",
        "wandb.tags=[a]",
        "threads=1",
        "resume=x",
        "trainer=cpu",
        "dataset.unseen=null",
        "+dataset.data_dir=elsewhere",
        "backbone.frozen=false",
        "class_chunk=100",
        "shard=true",
    ],
)
def test_bookkeeping_does_not_change_the_identity(bookkeeping):
    assert identity(composed(bookkeeping)) == identity(composed())


@pytest.mark.parametrize(
    "change",
    [
        "m2=0.3",
        "seed=1",
        "epochs=3",
        "dataset.classes=4",
        "s=20",
        "trainer.gradient_clip_val=0.5",
        "optimizer.lr=0.2",
        "gap_deg=20",
        "augment=shift",
        "embedding_dim=3d",
        "ramp=0.1",
        "sample_rate=0.5",
    ],
)
def test_what_changes_a_result_changes_the_identity(change):
    assert identity(composed(change)) != identity(composed())


def test_a_margin_that_the_header_does_not_take_leaves_the_identity():
    plain = identity(composed("header=linear"))
    assert identity(composed("header=linear", "m2=0.4")) == plain
    assert identity(composed("header=linear", "gap_deg=10")) == plain


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        (["header=normface", "m2=0.3"], ["header=arcface", "m2=0.3"], "arcface"),
        (["header=cosface", "m3=0.2", "m2=0.3"], ["header=combined"], "combined"),
        (["header=cosface", "header.m3=0.2"], ["header=normface", "m3=0.2"], "cosface"),
        (["header=arcface", "m2=0"], ["header=sphereface", "m1=1"], "normface"),
    ],
)
def test_one_run_whatever_yaml_it_comes_from(one, other, name):
    """And it is named by what acts."""
    names = {folder_name(composed(*keys), keys[0].partition("=")[2]) for keys in (one, other)}
    assert len(names) == 1 and names.pop().startswith(f"{name}_seed0_")


def test_what_is_set_in_the_head_itself_counts_and_what_it_shadows_does_not():
    assert identity(composed("header.m2=0.3")) == identity(composed("m2=0.3"))
    assert identity(composed("header.m2=0.3", "m2=0.1")) == identity(composed("m2=0.3"))
    assert identity(composed("header.s=8")) == identity(composed("s=8")) != identity(composed())


def test_a_wanted_gap_names_the_head_by_the_margin_that_it_will_set():
    wanted = ["header=cosface", "m3=0", "gap_deg=20"]
    assert folder_name(composed(*wanted), "cosface").startswith("cosface_")
    assert identity(composed("header=cosface", "gap_deg=20")) == identity(composed(*wanted))


def test_a_head_outside_the_formula_keeps_its_own_name():
    assert folder_name(composed("header=adaface", "m2=0.1"), "adaface").startswith("adaface_seed0_")


def test_a_fifth_is_what_validation_classes_are_by_default():
    unseen = "dataset.unseen=3"
    default = identity(composed(unseen))
    assert default == identity(composed(unseen, "dataset.unseen_val=0.2"))
    others = [
        identity(composed(unseen, f"dataset.unseen_val={one}")) for one in ("0", "3", "[0,1]")
    ]
    assert len({default, *others}) == 4
    assert others[0] == identity(composed(unseen, "dataset.unseen_val=null"))
    for none in ("auto", "0", "null"):
        assert identity(composed(f"dataset.unseen_val={none}")) == identity(composed())


def test_the_score_counts_only_where_it_chooses_the_epoch():
    other = "score=val_intra_angle_deg"
    assert identity(composed(other)) == identity(composed())
    best = identity(composed("evaluate=best"))
    assert best == identity(composed("evaluate=best", "score=val_accuracy"))
    assert best != identity(composed("evaluate=best", other))


def test_a_trial_is_another_run_than_its_like_that_is_tested():
    study = ("+study=fair", "study.trials=3")
    trial = identity(composed(*study, "study.stage=trial"))
    tested = identity(composed(*study, "study.stage=test"))
    assert tested == identity(composed()) != trial
