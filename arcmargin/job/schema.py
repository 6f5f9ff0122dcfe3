"""The types of the top-level keys, so that m2=abc is caught before anything starts."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

Group = dict[str, Any]


@dataclass
class Schema:
    """conf/config.yaml says what they mean."""

    header: Group = field(default_factory=dict)
    dataset: Group = field(default_factory=dict)
    embedding_dim: Group = field(default_factory=dict)
    backbone: Group = field(default_factory=dict)
    augment: Group = field(default_factory=dict)
    optimizer: Group = field(default_factory=dict)
    schedule: Group = field(default_factory=dict)
    trainer: Group = field(default_factory=dict)
    logger: Group | None = None
    wandb: Group = field(default_factory=dict)
    m1: float = 1.0
    m2: float = 0.0
    m3: float = 0.0
    s: float = 30.0
    matched: str | None = None  # the margin that gap_deg sets; a header without one has none
    gap_deg: float | None = None
    ramp: float = 0.0
    init: str = "random"
    gradient: str = "detached"
    class_chunk: int | None = None
    sample_rate: float = 1.0
    seed: int = 0
    epochs: int = 1
    batch_size: int = 128
    header_lr: float = 1.0
    evaluate: str = "last"
    verification_pairs: int | str | None = None
    on_bad_image: str = "stop"
    resume: str | None = None
    threads: int | None = None
    compile: bool = False
    data_dir: str = "data"
    sweep: str = ""
    on_error: str = "continue"


def store() -> None:
    """Makes it known to Hydra as `schema`, which conf/config.yaml begins with."""
    ConfigStore.instance().store(name="schema", node=Schema)
