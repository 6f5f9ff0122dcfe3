"""The command line's shorthands, and the sentence that each mistake in it gets."""

import pytest

from arcmargin.errors import UserError
from arcmargin.job.schema import CONF
from arcmargin.job.user_errors import sentence
from arcmargin.sweeps import resolvers
from arcmargin.sweeps.command_line import expanded, prepare

resolvers.register()


def test_seeds_and_sizes_in_hydras_words():
    assert expanded(["a=1", "seeds=3"]) == ["--multirun", "a=1", "seed=range(3)"]
    assert expanded(["-m", "seeds=3", "a=1"]) == ["-m", "seed=range(3)", "a=1"]
    assert expanded(["embedding_dim=7"]) == ["embedding_dim.size=7"]
    assert expanded(["embedding_dim=7,9"]) == ["embedding_dim.size=7,9"]
    assert expanded(["embedding_dim=2d"]) == ["embedding_dim=2d"]


@pytest.mark.parametrize("wrong", ["0", "abc", "-1", "1.5", "1,2", ""])
def test_a_number_of_seeds_is_a_whole_one(wrong):
    with pytest.raises(UserError, match=f"seeds must be a whole number from 1 on, got '{wrong}'"):
        expanded([f"seeds={wrong}"])


def test_seeds_and_seed_contradict_each_other():
    with pytest.raises(UserError, match="seed=1 cannot be given too"):
        expanded(["seed=1", "seeds=2"])


@pytest.mark.parametrize("launcher", ["joblib", "ray", "submitit_local", "submitit_slurm", "basic"])
def test_every_launcher_composes(launcher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare(["-m", f"hydra/launcher={launcher}", "seed=0,1"], CONF)


@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep=größe"],
        ["sweep='a b'"],
        ["+experiment=digits_circle"],
        ["+debug=fast", "seeds=2"],
        ["-m", "header=linear,arcface", "m2=0.2,0.5"],
        ["-m", "header=glob(*face)"],
        ["+trainer.limit_train_batches=0.5"],
        ["++epochs=3"],
        ["-m", "header.s=8,16"],
        ["hydra.launcher.n_jobs=2"],
        ["--cfg", "job", "head=1"],
    ],
)
def test_what_can_be_meant_is_accepted_and_nothing_is_written(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare(arguments, CONF)
    assert not list(tmp_path.iterdir())


MISTAKES = {
    "a key that is near": (["+epoch=1"], "there is no setting epoch; did you mean epochs?"),
    "a group that is near": (["head=cosface"], "no setting head; did you mean header?"),
    "nothing given": (["head="], "did you mean header?"),
    "a key of a group": (["lr=0.01"], "there is no setting lr; did you mean optimizer.lr?"),
    "misspelt in a group": (["optimizer.lrr=1"], "did you mean optimizer.lr?"),
    "in a group that no object checks": (
        ["+embedding_dim.sise=3"],
        "did you mean embedding_dim.size?",
    ),
    "far from all": (["+colour_of_the_sky=1"], "there is no setting colour_of_the_sky"),
    "in a multirun": (["-m", "m4=1,2"], "there is no setting m4"),
    "an unknown header": (["header=arcfaze"], "Could not find 'header/arcfaze'"),
    "a list without multirun": (["header=linear,arcface"], "add --multirun"),
    "a word for a number": (["m2=abc"], "'abc'"),
    "syntax": (["m2=0.2,"], "cannot read 'm2=0.2,'"),
    "out of range": (["batch_size=0"], "batch_size must be >= 2, got 0"),
    "removed": (["~epochs"], "'epochs' was removed"),
    "no header matches": (["-m", "header=glob(zzz*)"], "header=glob(zzz*): nothing matches"),
    "a sweep above": (["-m", "sweep=../../x"], "sweep=../../x: it names one folder"),
    "a sweep beside": (["-m", "sweep=.."], "sweep=..: it names one folder"),
    "a sweep without a name": (["-m", "sweep="], "sweep=: it names one folder"),
    "two sweeps": (["-m", "sweep=a,b"], "sweep=a,b: it names one folder"),
    "an absolute sweep": (["-m", "sweep=/x"], "sweep=/x: it names one folder"),
    "no such folder": (["--config-dir", "nowhere"], "--config-dir nowhere is not a folder"),
    "no folder to write in": (["hydra.run.dir=/proc/x"], "cannot write the output in /proc/x"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, expected = MISTAKES[name]
    with pytest.raises(Exception) as caught:
        prepare(arguments, CONF)
    assert expected in sentence(caught.value) and "\n" not in sentence(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_output_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").write_text("a file where the folder should be")
    for arguments in ([], ["-m", "seed=0,1"]):
        with pytest.raises(
            UserError, match=r"cannot write the output in outputs/.*/outputs: Not a"
        ):
            prepare(arguments, CONF)


def test_a_configuration_folder_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own" / "header"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text((CONF / "header" / "arcface.yaml").read_text())
    prepare(["--config-dir", "own", "header=mine"], CONF)
    with pytest.raises(UserError, match=r"did you mean header\.m1\?"):
        prepare(["--config-dir", "own", "header=mine", "header.m11=3"], CONF)
