"""What makes two jobs the same (stands in for the rewritten module)."""

import hashlib
import json
from typing import Any

from omegaconf import DictConfig, OmegaConf

BOOKKEEPING = {
    *("m1", "m2", "m3", "s", "ramp", "init", "gradient", "matched", "data_dir"),
    *("sweep", "on_error", "resume", "threads", "compile", "wandb", "logger", "hydra"),
    *("on_bad_image", "class_chunk", "sample_rate"),
}


def identity(cfg: DictConfig) -> str:
    """Eight hex digits that two runs share only when they would compute the same thing."""
    content: dict[str, Any] = {
        str(key): OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for key, node in cfg.items()
        if key not in BOOKKEEPING
    }
    for key in ("data_dir", "on_bad_image"):
        content["dataset"].pop(key, None)
    for key in ("accelerator", "devices"):
        content["trainer"].pop(key, None)
    if cfg.get("matched") is None:
        content.pop("gap_deg", None)
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def folder_name(cfg: DictConfig) -> str:
    return f"{cfg.hydra.runtime.choices.header}_seed{cfg.seed}_{identity(cfg)}"
