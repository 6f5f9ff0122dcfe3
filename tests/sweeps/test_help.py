"""--help: what is used most on one screen; --help keys: the rest, with the words of the YAML."""

import re

import pytest
from command_line import arcmargin

from arcmargin.job.schema import CONF


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def page(*arguments, cwd):
    done = arcmargin("--help", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    return done.stdout


def test_one_screen_has_the_groups_and_the_keys_used_most(tmp_path):
    said = page(cwd=tmp_path)
    assert len(said.splitlines()) <= 40
    for group in ("header", "dataset", "backbone", "optimizer", "experiment"):
        options = sorted(file.stem for file in (CONF / group).glob("*.yaml"))
        listed = re.search(rf"^  \+?{group} +((?:.*\n {{10,}})*.*)", said, re.MULTILINE)
        assert sorted(re.sub(r"[][]", "", listed[1]).split()) == options
    assert "[arcface]" in said and "[digits]" in said and "adam adamw [sgd]" in said
    assert re.search(r"^  m2=0\.5 +ArcFace's", said, re.MULTILINE)
    (declared,) = re.findall(r"^seed: 0 +# (.+)$", (CONF / "config.yaml").read_text(), re.MULTILINE)
    assert re.search(rf"^  seed=0 +{re.escape(declared)}$", said, re.MULTILINE)
    assert not list(tmp_path.iterdir())
    assert page("hydra.run.dir=/proc/x", cwd=tmp_path) == said, "nothing is to be written there"


def test_all_keys_are_those_of_the_chosen_options(tmp_path):
    said = page("keys", "dataset=folder", "header=magface", "trainer=cpu", "epochs=7", cwd=tmp_path)
    keys = re.findall(r"^  ([\w.]+)=", said, re.MULTILINE)
    assert len(keys) == len(set(keys)) > 60
    # What follows another key is not set by itself; a value that is found later is not shown.
    assert {"header.lambda_g", "dataset.path", "optimizer.lr", "wandb.mode"} < {*keys}
    assert not {"header.m1", "header.s", "logger.mode", "dataset.data_dir"} & {*keys}
    assert "  epochs=7 " in said and "  sweep=… " in said and "  dataset.path=??? " in said
    # trainer/cpu.yaml begins with trainer/auto.yaml, which has the words.
    assert re.search(r"trainer.strategy=auto +ddp where there are several devices", said)
    assert "official" not in said  # of other data sets' keys


def test_options_of_ones_own_are_listed_with_their_words(tmp_path):
    own = tmp_path / "conf" / "backbone"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("_target_: mine.build\ndepth: 3   # costs $5 a layer\n")
    assert re.search(r"backbone .*mine resnet18", page("--config-dir", "conf", cwd=tmp_path))
    said = page("--config-dir", "conf", "keys", "backbone=mine", cwd=tmp_path)
    assert re.search(r"backbone.depth=3 +costs \$5 a layer", said)
