"""Optimisers of the trainings: Adam, and Muon for the kernels of convolutions."""

import torch
from torch import nn

from radrim.rim.network.blocks import Convolution

TURN = 4.0
"""Muon's learning rate over Adam's: every step then turns a kernel by about as much as one of Adam's."""
BETAS = 0.9, 0.99
"""Adam's decay rates of the moments of the gradient."""
Optimisers = list[tuple[torch.optim.Optimizer, float]]
"""Optimisers and their learning rates over that of Adam."""


def kernel_optimisers(name: str, model: nn.Module) -> Optimisers:
    """Adam for all parameters ('adam'), or Muon for the kernels' directions and Adam for the rest ('muon')."""
    turned = [] if name == "adam" else [m.direction for m in model.modules() if isinstance(m, Convolution)]
    others = [p for p in model.parameters() if not any(p is direction for direction in turned)]
    found: Optimisers = [(torch.optim.Adam(others, betas=BETAS), 1.0)]
    if turned:
        found.append((torch.optim.Muon(turned, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"), TURN))
    return found
