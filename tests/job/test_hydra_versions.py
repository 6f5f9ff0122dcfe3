"""Hydra 1.4 calls what the program lists: all of ours, the user's own folder, and what is named."""

import re

import pytest

from arcmargin.job.hydra_versions import targets
from arcmargin.job.schema import CONF


def allowed(target: str) -> bool:
    """As Hydra 1.4 reads the list: whole names, and package.* for whatever lies in a package."""
    return any(
        target.startswith(name.removesuffix("*")) if name.endswith(".*") else target == name
        for name in targets()
    )


def test_every_target_of_the_configuration_is_listed():
    found = {
        target
        for path in CONF.rglob("*.yaml")
        for target in re.findall(r"_target_: (\S+)", path.read_text())
    }
    assert len(found) > 20 and [target for target in sorted(found) if not allowed(target)] == []


def test_what_lies_in_the_folder_is_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "my_head.py").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").touch()
    (tmp_path / "photos").mkdir()
    assert not allowed("my_head.MyHead")
    monkeypatch.chdir(tmp_path)
    assert allowed("my_head.MyHead") and allowed("mine.heads.MyHead")
    assert not allowed("photos.x")


def test_the_environment_names_further_ones(monkeypatch):
    monkeypatch.setenv("ARCMARGIN_TARGETS", "timm.create_model, elsewhere.*")
    assert allowed("timm.create_model") and allowed("elsewhere.heads.MyHead")
    assert not allowed("timm.create_models")


@pytest.mark.parametrize("target", ["os.system", "torch.hub.load", "torch.load", "subprocess.run"])
def test_what_runs_code_of_its_arguments_is_not(target):
    assert not allowed(target)
