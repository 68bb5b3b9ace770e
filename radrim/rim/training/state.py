"""The state of a training on disk, from which an interrupted training continues; all trainers use it."""

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
"""Names of the state that optimisers keep for each parameter."""


def save_state(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> None:
    """Write a state; the file appears only when it is complete.

    Parameters
    ----------
    path : Path
    tensors : mapping of str to Tensor
    facts : mapping of str to str
        Texts for the header of the file.

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
    """Convert errors of an unusable state to one that names the file, the reason and the `advice`.

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
    """State of the optimisers for each parameter, by ``KEY/PARAMETER``."""
    found: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        for optimiser, _ in optimisers:
            found |= {f"{key}/{name}": value for key, value in optimiser.state.get(parameter, {}).items()}
    return found


def restore_moments(model: nn.Module, optimisers: Optimisers, found: Mapping[str, torch.Tensor]) -> None:
    """Restore the `moments` of the optimisers, for parameters that still belong to the same optimiser."""
    for name, parameter in model.named_parameters():
        for optimiser, _ in optimisers:
            if not any(parameter is member for member in optimiser.param_groups[0]["params"]):
                continue
            keys = MOMENTS[type(optimiser)]
            if all(f"{key}/{name}" in found for key in keys):
                slot = {key: found[f"{key}/{name}"] for key in keys}
                # The step counter of Adam stays on the CPU, on any device.
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
        Fraction of the average that is kept; early updates keep less.
    update : int
        Number of updates before this one.
    """
    decay = min(decay, (1 + update) / (10 + update))
    for name, value in model.state_dict().items():
        average[name].lerp_(value, 1 - decay)
