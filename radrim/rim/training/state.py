"""The state of a training on disk, from which a stopped training goes on: shared by all trainers."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from radrim.errors import InputError, OutputError
from radrim.rim.training.optimisers import Optimisers

STATE = "state.safetensors"
"""Name of the file in the folder of a training."""
MOMENTS: dict[type, tuple[str, ...]] = {
    torch.optim.Adam: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.Muon: ("momentum_buffer",),
}
"""What optimisers remember of each parameter."""


def save_state(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> None:
    """Write a state; the file appears only when complete.

    Parameters
    ----------
    path : Path
    tensors : mapping of str to Tensor
    facts : mapping of str to str
        Into the header of the file.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    temporary = path.with_suffix(".part")
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary, dict(facts))
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"The training's state {path} cannot be written: {error}.") from error


def load_state(path: Path, device: str | torch.device = "cpu") -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and facts of a state; call it within `resuming`."""
    with safe_open(path, "pt", device=str(device)) as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


@contextmanager
def resuming(path: Path, advice: str) -> Iterator[None]:
    """Say of a state that cannot be used which file it is, why, and what to do.

    Raises
    ------
    InputError
        The block raised an error that a damaged state, or one of another network, causes.
    """
    try:
        yield
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{path} cannot be resumed from: {error}. {advice}") from error


def moments(model: nn.Module, optimisers: Optimisers) -> dict[str, torch.Tensor]:
    """What the optimisers remember of the parameters, by ``KEY/PARAMETER``."""
    found: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        for optimiser, _ in optimisers:
            found |= {f"{key}/{name}": value for key, value in optimiser.state.get(parameter, {}).items()}
    return found


def restore_moments(model: nn.Module, optimisers: Optimisers, found: Mapping[str, torch.Tensor]) -> None:
    """Give the optimisers what `moments` found, where the one that kept it still has the parameter."""
    for name, parameter in model.named_parameters():
        for optimiser, _ in optimisers:
            if not any(parameter is member for member in optimiser.param_groups[0]["params"]):
                continue
            keys = MOMENTS[type(optimiser)]
            if all(f"{key}/{name}" in found for key in keys):
                slot = {key: found[f"{key}/{name}"] for key in keys}
                # Adam counts on the processor, wherever the parameters are.
                optimiser.state[parameter] = {k: v.cpu() if k == "step" else v for k, v in slot.items()}


@torch.no_grad()
def follow(average: dict[str, torch.Tensor], model: nn.Module, decay: float, update: int) -> None:
    """Move a running average of weights towards a model's, in place.

    Parameters
    ----------
    average : dict of str to Tensor
        As `model.state_dict()`.
    model : Module
    decay : float
        Part of the average that stays; early updates keep less.
    update : int
        Updates before this one.
    """
    decay = min(decay, (1 + update) / (10 + update))
    for name, value in model.state_dict().items():
        average[name].lerp_(value, 1 - decay)
