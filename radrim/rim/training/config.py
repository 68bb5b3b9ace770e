"""Configuration of a training run: a TOML file with the tables model, problems and training."""

import dataclasses
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radrim.errors import ConfigError, InputError
from radrim.rim.checkpoint import ARCHITECTURES
from radrim.rim.network.irim import IRIM, IRIMConfig
from radrim.rim.network.plain import PlainConfig, PlainRIM
from radrim.rim.training.recipe import make_recipe

OPTIMISERS = ("adam", "muon")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class TrainingConfig:
    """One training run.

    Parameters
    ----------
    architecture : str
        A key of `radrim.rim.checkpoint.ARCHITECTURES`.
    model : dict
        Configuration of the network; missing entries keep their defaults.
    problems : dict
        The mix of problems, as for `radrim.rim.training.recipe.make_recipe`.
    seed : int
        Of the stream of problems and of the initial weights.
    samples : int
        Number of problems after which the run is complete.
    batch : int
        Problems per update of the weights.
    carried : float
        Fraction of each batch that continues from an earlier estimate, as the imager does after its first major cycle.
    cycles : int
        Largest number of times that one problem is used, the first included.
    through : bool
        Whether gradients flow through the image from one step to the next. Without, each step is trained by itself,
        which is stable from the start. With, early steps learn to prepare later ones.
    late : float
        Step t of T has the weight (t / T)^late in the loss.
    faint : float
        Weight of faint structure at the scale of the beam, after the last step, in the loss.
    optimiser : str
        'muon' (Jordan et al. 2024) for the kernels of convolutions and Adam for the rest, or 'adam' for all.
    learning_rate : float
        Of Adam, after `warmup` updates; that of Muon is proportional to it.
    warmup : int
        Updates over which the learning rate rises to its value.
    cooldown : float
        Fraction of the samples, at the end, over which the learning rate falls to a hundredth.
    clip : float
        Largest norm of the gradient.
    average : float
        Decay per update of the running average of the weights (EMA) that is scored and published.
    noise_jitter : float
        Standard deviation of the logarithm of the noise given to the network over the true noise, since observers know
        the noise only approximately.
    precision : str
        Of the network; 'auto' is bfloat16 on processors that multiply it fast.
    stored : bool
        Whether the i-RIM stores its activations for the backward pass instead of recomputing them: a fifth faster, if
        there is enough memory.
    workers : int
        Processes that make problems; 0 makes them in the training process.
    checkpoint_minutes, validation_minutes : float
        Wall time between two checkpoints, and between two validations [min]; 0 means after every update.
    validation_problems : int
        Number of held-back problems that are scored.
    truth : str, optional
        Folder of FITS images that are scored as additional skies; they are never trained on.
    start : str, optional
        Checkpoint with the initial weights: the name of a model or a path. The network may have `unets` and `detail`
        beyond those of the checkpoint; they are the identity until they are trained.
    kept : tuple of int
        Couplings of `start`, counted from 0, that are kept; the others are pruned.

    Raises
    ------
    ConfigError
        An unknown name, or a value outside its range.
    InputError
        The FIRST galaxies or the layouts of the problems cannot be read.
    """

    architecture: str = "irim"
    model: Mapping = field(default_factory=dict)
    problems: Mapping = field(default_factory=dict)
    seed: int = 0
    samples: int = 100_000
    batch: int = 8
    carried: float = 0.5
    cycles: int = 4
    through: bool = False
    late: float = 0.0
    faint: float = 0.0
    optimiser: str = "muon"
    learning_rate: float = 1e-3
    warmup: int = 200
    cooldown: float = 0.2
    clip: float = 20.0
    average: float = 0.998
    noise_jitter: float = 0.1
    precision: str = "auto"
    stored: bool = False
    workers: int = 1
    checkpoint_minutes: float = 3.0
    validation_minutes: float = 15.0
    validation_problems: int = 72
    truth: str | None = None
    start: str | None = None
    kept: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ConfigError(f"The training asks for the architecture '{self.architecture}'; known: {known}.")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            kind = type(getattr(TrainingConfig, name))
            if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
                raise ConfigError(f"{name} = {value!r} in the training file must be a number.")
            if not low <= value <= high:
                raise ConfigError(f"{name} = {value!r} in the training file must lie between {low} and {high}.")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision = '{self.precision}' in the training file: one of {', '.join(PRECISIONS)}.")
        if self.optimiser not in OPTIMISERS:
            raise ConfigError(f"optimiser = '{self.optimiser}' in the training file: one of {', '.join(OPTIMISERS)}.")
        for name in ("stored", "through"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} = {getattr(self, name)!r} in the training file must be true or false.")
        object.__setattr__(self, "kept", tuple(self.kept))
        if self.kept and (not self.start or any(isinstance(k, bool) or not isinstance(k, int) for k in self.kept)):
            raise ConfigError(f"kept = {list(self.kept)} in the training file must be couplings of start, 0 the first.")
        self.model_config()
        make_recipe(self.problems)

    def model_config(self) -> IRIMConfig | PlainConfig:
        """Configuration of the network; ConfigError for unknown keys and invalid values."""
        _, kind = ARCHITECTURES[self.architecture]
        known = [f.name for f in dataclasses.fields(kind)]
        for name in self.model:
            if name not in known:
                raise ConfigError(f"The training file's model has the unknown key '{name}'; known: {', '.join(known)}.")
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in self.model.items()}
        return kind(**values)

    def build(self) -> IRIM | PlainRIM:
        """A fresh network on the CPU, with weights from torch's random numbers."""
        kind, _ = ARCHITECTURES[self.architecture]
        return kind(self.model_config())

    @property
    def fresh(self) -> int:
        """New problems per batch."""
        return max(1, self.batch - round(self.carried * self.batch))

    def rate(self, seen: int, update: int) -> float:
        """Learning rate of Adam for update number `update`, counted from 0, after `seen` problems."""
        left = (1 - seen / self.samples) / self.cooldown if self.cooldown else 1.0
        return self.learning_rate * min(1.0, (update + 1) / self.warmup, max(left, 0.01))

    def network_digest(self) -> str:
        """Digest of network and seed, which must not change when a run is resumed."""
        text = json.dumps([self.architecture, dataclasses.asdict(self.model_config()), self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_RANGES = (
    ("seed", 0, 2**62), ("samples", 1, 10**12), ("batch", 1, 65536), ("carried", 0, 0.95), ("cycles", 1, 100),
    ("late", 0, 100), ("faint", 0, 100), ("learning_rate", 1e-9, 1.0), ("warmup", 1, 10**9), ("cooldown", 0, 1),
    ("clip", 1e-9, math.inf), ("average", 0, 0.999999), ("noise_jitter", 0, 2), ("workers", 0, 1024),
    ("checkpoint_minutes", 0, 1e6), ("validation_minutes", 0, 1e6), ("validation_problems", 1, 100_000),
)  # fmt: skip


OTHERS = ("prior", "uncertainty")
"""Tables of training files for networks that learn from finished images (`radrim.rim.training.run_trainer`)."""


def kind_of(path: str | Path) -> str:
    """Kind of a training file: one of `OTHERS`, or 'model' for a minor cycle."""
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except (OSError, ValueError):  # `load_training` raises the error
        return "model"
    return next((name for name in OTHERS if name in tables), "model")


def load_training(path: str | Path, **changes: Any) -> list[TrainingConfig]:
    """Read the stages of a training run from a TOML file; `changes` that are not None replace its values.

    The file has the tables ``model``, ``problems`` and ``training``. A run with several stages has one ``[[stages]]``
    for each of them, with keys of ``training``, and of ``problems`` as ``problems.size = 64``, that replace the common
    ones. A stage ends at its ``samples``. Paths in the file are relative to the current folder, so that one file serves
    every checkout.

    Parameters
    ----------
    path : path-like
    changes
        Parameters of `TrainingConfig`. `samples` ends the run at this number of problems, in any stage.

    Returns
    -------
    list of TrainingConfig
        At least one stage; they run one after the other in the same folder.

    Raises
    ------
    InputError
        The file cannot be read or is not TOML.
    ConfigError
        An unknown table or key, or an invalid value.
    """
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise InputError(f"The training file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"The training file {path} is not valid TOML: {error}.") from None
    known = ("model", "problems", "training", "stages")
    unknown = sorted(set(tables) - set(known))
    if unknown:
        raise ConfigError(f"The training file {path} has the unknown '{unknown[0]}'; known: {', '.join(known)}.")
    changes = {name: value for name, value in changes.items() if value is not None}
    model, stages = dict(tables.get("model", {})), tables.get("stages", [{}])
    if not isinstance(stages, list) or not stages or not all(isinstance(stage, dict) for stage in stages):
        raise ConfigError(f"stages in the training file {path} must be tables, each headed by [[stages]].")
    architecture, last = model.pop("architecture", "irim"), changes.pop("samples", None)
    found = []
    for stage in stages:
        problems = tables.get("problems", {}) | stage.get("problems", {})
        own = {name: value for name, value in stage.items() if name != "problems"}
        training = tables.get("training", {}) | own | changes
        _check_keys(path, training)
        found.append(TrainingConfig(architecture, model, problems, **training))
        if found[-1].samples <= (found[-2].samples if len(found) > 1 else 0):
            raise ConfigError(f"The stages in the training file {path} must end at growing numbers of samples.")
    return found if last is None else _until(found, last)


def _check_keys(path: str | Path, training: Mapping[str, Any]) -> None:
    known = [f.name for f in dataclasses.fields(TrainingConfig) if f.name not in ("architecture", "model", "problems")]
    for name in training:
        if name not in known:
            raise ConfigError(f"The training file {path} has the unknown key '{name}'; known: {', '.join(known)}.")


def _until(stages: list[TrainingConfig], samples: int) -> list[TrainingConfig]:
    """The stages up to a number of samples; the last stage ends there."""
    needed = [k for k, stage in enumerate(stages) if k == 0 or stages[k - 1].samples < samples]
    return [*(stages[k] for k in needed[:-1]), dataclasses.replace(stages[needed[-1]], samples=samples)]


def default_folder(path: str | Path) -> Path:
    """Default folder of the results of a training file, named after the file."""
    return Path(f"{Path(path).stem}.training")
