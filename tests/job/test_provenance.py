"""Which commit a record names."""

import subprocess

import pytest

from arcmargin.job.provenance import git_commit


@pytest.fixture
def tree(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", *who, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    (tmp_path / "outputs").mkdir()
    for name in ("outputs/.gitkeep", "code.py"):
        (tmp_path / name).touch()
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    git_commit.cache_clear()
    return tmp_path, git("rev-parse", "HEAD")


def test_a_tree_without_changes_is_its_commit(tree):
    root, commit = tree
    assert git_commit(root) == commit


def test_code_that_was_changed_is_said(tree):
    root, commit = tree
    (root / "code.py").write_text("1")
    assert git_commit(root) == f"{commit}-dirty"


def test_outputs_may_be_deleted(tree):
    root, commit = tree
    (root / "outputs" / ".gitkeep").unlink()
    assert git_commit(root) == commit


def test_what_is_no_source_tree_has_none(tmp_path):
    assert git_commit(tmp_path) is None
