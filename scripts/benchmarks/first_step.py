"""A stand-in for the augmentation that ends a run at its first training step and says when."""

import time

import torch
from torch import Tensor, nn


class FirstStep(nn.Identity):
    def forward(self, images: Tensor) -> Tensor:
        if not torch.is_grad_enabled() or not self.training:
            return images
        print(f"first step {time.time()}", flush=True)
        raise KeyboardInterrupt  # the run then closes its files as when a person ends it
