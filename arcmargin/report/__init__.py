"""Records -> tables, pictures and pages. Nothing here needs torch, Hydra, Lightning or wandb."""
