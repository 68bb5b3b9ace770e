"""Checkpoints of trained networks: safetensors files with architecture, training recipe and scores in the header.

Reading a checkpoint unpickles nothing. The header holds, as text, `format`, `version`, `architecture`; `config`,
`recipe`, `scores` as JSON; `digest`, the SHA-256 of the tensors.
"""

import dataclasses
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from radrim.errors import ConfigError, InputError, OutputError
from radrim.rim.network.denoiser import Denoiser, DenoiserConfig
from radrim.rim.network.irim import IRIM, IRIMConfig
from radrim.rim.network.plain import PlainConfig, PlainRIM
from radrim.rim.network.prior import Prior, PriorConfig
from radrim.rim.network.uncertainty import Uncertainty, UncertaintyConfig

FORMAT = "radrim checkpoint"
VERSION = 2
ARCHITECTURES = {"irim": (IRIM, IRIMConfig), "rim": (PlainRIM, PlainConfig)}
"""Architectures of the minor cycle."""
UNCERTAINTY, PRIOR, DENOISER = "uncertainty", "prior", "denoiser"
_KNOWN = {
    **ARCHITECTURES,
    UNCERTAINTY: (Uncertainty, UncertaintyConfig),
    PRIOR: (Prior, PriorConfig),
    DENOISER: (Denoiser, DenoiserConfig),
}
_OTHERS = {
    UNCERTAINTY: "is for the uncertainties of images",
    PRIOR: "is for the prior update of finished models",
    DENOISER: "is for plug and play",
}
MODELS = Path(__file__).parent / "models"
"""Folder of the checkpoints that come with the package."""
PRIOR_NETWORK = MODELS / "prior.safetensors"
"""Network of the prior update, the last step of the learned minor cycle."""
DENOISER_NETWORK = MODELS / "denoiser.safetensors"
"""Network of plug and play."""
UNCERTAINTY_NETWORK = MODELS / "uncertainty.safetensors"
"""Network that predicts the uncertainties of images."""


Network = IRIM | PlainRIM | Prior | Denoiser | Uncertainty
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint(Generic[Model]):
    """A trained network and its origin.

    Parameters
    ----------
    model : InferenceMachine, Prior or Uncertainty
        In evaluation mode.
    recipe, scores : dict
        As given to `save`.
    """

    model: Model
    recipe: dict
    scores: dict


def save(path: str | Path, model: Network, recipe: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    """Write a checkpoint; the file appears only when it is complete.

    Parameters
    ----------
    path : path-like
    model : InferenceMachine, Prior or Uncertainty
        Its parameters are written as float32.
    recipe, scores : dict
        Description of the training, and its scores; anything that JSON can hold.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    name = next(name for name, (kind, _) in _KNOWN.items() if type(model) is kind)
    tensors = {key: value.detach().float().cpu().contiguous() for key, value in model.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "architecture": name,
        "config": json.dumps(dataclasses.asdict(model.config)),
        "recipe": json.dumps(recipe),
        "scores": json.dumps(scores),
        "digest": _digest(tensors),
    }
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
        save_file(tensors, temporary, metadata)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise OutputError(f"Checkpoint {path} cannot be written: {error}.") from error


def load(path: str | Path, dims: int | None = None, device: str | torch.device = "cpu") -> Checkpoint[Any]:
    """Read the checkpoint of a minor cycle, or of any network.

    Parameters
    ----------
    path : path-like
    dims : int, optional
        Requires a minor cycle for 2 (images) or 3 (cubes) dimensions. If absent, any network is accepted.
    device : str or torch.device
        Device of the network.

    Returns
    -------
    Checkpoint

    Raises
    ------
    InputError
        The file is no checkpoint, is damaged, has another version or number of dimensions, or lacks tensors of its
        architecture.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    kind, config = _architecture(path, metadata)
    if dims is not None and metadata["architecture"] not in ARCHITECTURES:
        does = _OTHERS[metadata["architecture"]]
        raise InputError(f"Checkpoint {path} {does}, not for a minor cycle. See radrim model list.")
    if dims is not None and config.dims != dims:
        raise InputError(
            f"Checkpoint {path} is for {config.dims}-D data, {dims}-D was asked for; "
            f"choose a model for {'images' if dims == 2 else 'cubes'}."
        )
    with torch.device("meta"):
        model = kind(config)
    _check_tensors(path, tensors, model.state_dict())
    if _digest(tensors) != metadata.get("digest"):
        raise InputError(f"Checkpoint {path} is damaged: its tensors do not match the digest in its header. {_AGAIN}")
    model.load_state_dict(tensors, assign=True)
    recipe, scores = (_json(path, metadata, key) for key in ("recipe", "scores"))
    return Checkpoint(model.to(device).eval(), recipe, scores)


def describe(path: str | Path) -> dict[str, Any]:
    """The header of a checkpoint, without reading its tensors.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        'architecture', a key of `ARCHITECTURES`; 'config', 'recipe' and 'scores', dicts as given to `save`.

    Raises
    ------
    InputError
        Not a checkpoint, damaged, or of another version.
    """
    path = Path(path)
    _, metadata = _read(path, tensors=False)
    _architecture(path, metadata)
    found = {key: _json(path, metadata, key) for key in ("config", "recipe", "scores")}
    return {"architecture": metadata["architecture"], **found}


def load_uncertainty(path: str | Path) -> Checkpoint[Uncertainty]:
    """Read the checkpoint of a network that predicts uncertainties; errors as for `load`."""
    found = load(path)
    if not isinstance(found.model, Uncertainty):
        raise InputError(f"Checkpoint {path} does not predict uncertainties; it is of another kind.")
    return found


def load_prior(path: str | Path, device: str | torch.device = "cpu") -> Checkpoint[Prior]:
    """Read the checkpoint of a network of the prior update; errors as for `load`."""
    found = load(path, device=device)
    if not isinstance(found.model, Prior):
        raise InputError(f"Checkpoint {path} is not for the prior update of finished models; it is of another kind.")
    return found


def list_models() -> dict[str, Path]:
    """Names and paths of the models that come with the package, sorted by name."""
    return {path.stem: path for path in sorted(MODELS.glob("*.safetensors"))}


def minor_cycle_models() -> dict[str, Path]:
    """The models of `list_models` that `--model` can name: those of minor cycles."""
    others = PRIOR_NETWORK, DENOISER_NETWORK, UNCERTAINTY_NETWORK
    return {name: path for name, path in list_models().items() if path not in others}


def find_model(name: str | Path) -> Path:
    """Path of a model.

    Parameters
    ----------
    name : str or path-like
        Name of a model that comes with the package, or the path of a file.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        There is no model and no file of this name.
    """
    models = list_models()
    if name in models:
        return models[name]
    if Path(name).is_file():
        return Path(name)
    known = ", ".join(minor_cycle_models()) or "none"
    raise InputError(f"There is no model '{name}': no such file, and the models of this package are: {known}.")


_AGAIN = "Copy or download it again."


def _read(path: str | Path, tensors: bool = True) -> tuple[dict[str, torch.Tensor], Mapping[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise InputError(f"{path} is a safetensors file, but no radrim checkpoint.")
            if metadata.get("version") != str(VERSION):
                raise InputError(
                    f"Checkpoint {path} has version {metadata.get('version')}; this radrim reads version {VERSION}. "
                    "Use the radrim that wrote it, or train it again with this one."
                )
            names = file.keys() if tensors else ()
            return {name: file.get_tensor(name) for name in names}, metadata
    except SafetensorError as error:
        raise InputError(
            f"Checkpoint {path} is no safetensors file, or damaged or cut off ({error}). {_AGAIN}"
        ) from error
    except OSError as error:
        raise InputError(f"Checkpoint {path} cannot be read: {error}.") from error


def _architecture(path: str | Path, metadata: Mapping[str, str]) -> tuple[Callable[[Any], nn.Module], Any]:
    """The class of the network and its configuration, one of the pairs of `_KNOWN`."""
    name = metadata.get("architecture")
    if name not in _KNOWN:
        raise InputError(f"Checkpoint {path} has the architecture '{name}'; known are {', '.join(_KNOWN)}.")
    kind, make = _KNOWN[name]
    values = _json(path, metadata, "config")
    unknown = sorted(values.keys() - {field.name for field in dataclasses.fields(make)})
    if unknown:  # missing entries are newer than the file, and their defaults keep its behaviour
        raise InputError(f"Checkpoint {path} has a configuration with unknown entries: {', '.join(unknown)}.")
    try:
        return kind, make(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except (ConfigError, TypeError) as error:
        raise InputError(f"Checkpoint {path} has a configuration that is not valid: {error}") from error


def _json(path: str | Path, metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        value = json.loads(metadata[key])
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(f"Checkpoint {path} has no readable '{key}' in its header. {_AGAIN}") from error
    if not isinstance(value, dict):
        raise InputError(f"Checkpoint {path} has a '{key}' in its header that is no table. {_AGAIN}")
    return value


def _check_tensors(path: str | Path, found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or unexpected:
        what = [
            f"{len(names)} {word} ({names[0]}, ...)"
            for names, word in ((missing, "missing"), (unexpected, "unexpected"))
            if names
        ]
        raise InputError(f"Checkpoint {path} does not have the tensors of its configuration: {' and '.join(what)}.")
    for key, tensor in found.items():
        if tensor.shape != wanted[key].shape or tensor.dtype != torch.float32:
            have, want = f"{tensor.dtype} {tuple(tensor.shape)}", f"torch.float32 {tuple(wanted[key].shape)}"
            raise InputError(
                f"Checkpoint {path} has a tensor '{key}' of the kind {have}; its configuration needs {want}."
            )
        if not math.isfinite(tensor.sum(dtype=torch.float64)):
            raise InputError(f"Checkpoint {path} has NaN or infinite values in '{key}': its training failed.")


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].numpy().tobytes())
    return digest.hexdigest()
