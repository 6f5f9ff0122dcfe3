"""Every option has a range, and no key is silently ignored."""

import pytest
from hydra import compose, initialize_config_dir

from arcmargin.errors import UserError
from arcmargin.job import schema
from arcmargin.job.hydra_versions import version_base
from arcmargin.job.schema import CONF


def composed(*overrides):
    schema.store()
    with initialize_config_dir(str(CONF), **version_base()):
        return compose("config", overrides=list(overrides))


@pytest.mark.parametrize(
    "overrides", [[], ["+experiment=mnist_circle"], ["logger=none"], ["gap_deg=28", "threads=2"]]
)
def test_what_makes_sense_passes(overrides):
    schema.check(composed(*overrides))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("batch_size=1", "batch_size must be >= 2, got 1"),
        ("optimizer.lr=-1", "optimizer.lr must be > 0, got -1"),
        ("optimizer.lr=x", "optimizer.lr must be a number, got 'x'"),
        ("optimizer.momentum=1", "optimizer.momentum must be >= 0 and < 1, got 1"),
        ("seed=-1", "seed must be >= 0"),
        ("seed=4294967296", "seed must be .* <= 4.29497e\\+09, got 4294967296"),
        ("threads=-4", "threads must be >= 1"),
        ("threads=100000", "threads must be .* <= 256"),
        ("embedding_dim.size=-2", "embedding_dim must be >= 1"),
        ("epochs=0", "epochs must be >= 1"),
        ("s=0", "s must be > 0"),
        ("m1=0.5", "m1 must be >= 1, got 0.5"),
        ("m2=-0.1", "m2 must be >= 0"),
        ("m3=nan", "m3 must be >= 0, got nan"),
        ("gap_deg=400", "gap_deg must be >= 0 and < 360"),
        ("ramp=2", "ramp must be >= 0 and <= 1"),
        ("init=odd", "init must be 'random' or 'even', got 'odd'"),
        ("gradient=none", "gradient must be 'detached' or 'autograd'"),
        ("evaluate=first", "evaluate must be 'last' or 'best'"),
        ("on_error=ignore", "on_error must be 'continue' or 'raise'"),
        ("on_bad_image=eat", "on_bad_image must be 'stop' or 'skip'"),
        ("sample_rate=0", "sample_rate must be > 0 and <= 1"),
        ("class_chunk=0", "class_chunk must be >= 1"),
        ("header.shard=2", "header.shard must be True or False, got 2"),
        ("header_lr=-1", "header_lr must be >= 0"),
        ("dataset.split_seed=-1", "dataset.split_seed must be >= 0"),
        ("trainer.gradient_clip_val=nan", "trainer.gradient_clip_val must be >= 0, got nan"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val must be >= 0"),
        ("+trainer.limit_train_batches=0", "trainer.limit_train_batches must be > 0"),
        ("+trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches must be >= 1"),
        ("+epoch=1", "nothing reads 'epoch': did you mean epochs?"),
        ("+head=arcface", "nothing reads 'head': did you mean header?"),
        ("+colour=blue", "nothing reads 'colour'; drop it"),
        ("~epochs", "'epochs' was removed, but every run needs it"),
        ("~dataset", "'dataset' is empty, but every run needs one"),
    ],
)
def test_what_makes_none_is_one_sentence(override, said):
    with pytest.raises(UserError, match=said) as caught:
        schema.check(composed(override))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "score"),
    [
        ([], "val_accuracy"),
        (["dataset.unseen=3"], "val_unseen_retrieval_map_at_r"),
        (["dataset.unseen_val=3"], "val_unseen_retrieval_map_at_r"),
        (["dataset.unseen=3", "dataset.unseen_val=0"], "val_accuracy"),
        (["dataset=omniglot"], "val_unseen_retrieval_map_at_r"),
        (["dataset=lfw"], "val_unseen_retrieval_map_at_r"),
        (["dataset=folder", "dataset.path=x"], "val_accuracy"),
        (
            ["dataset=folder", "dataset.path=x", "dataset.unseen_path=y"],
            "val_unseen_retrieval_map_at_r",
        ),
        (["dataset.unseen=3", "score=val_accuracy"], "val_accuracy"),
    ],
)
def test_the_score_by_default(overrides, score):
    assert schema.score_of(composed(*overrides)) == score


def test_a_score_of_validation_classes_needs_some():
    with pytest.raises(
        UserError, match=r"there are none; hold some out with dataset\.unseen_val=0\.2"
    ):
        schema.check(composed("score=val_unseen_verification_eer"))
    schema.check(composed("score=val_unseen_verification_eer", "dataset.unseen=3"))
