"""Configuration of a training run, read from a TOML file with the tables model, problems and training, and checked."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radrim.config.toml_file import TomlFile
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
        The mix of problems; see `radrim.rim.training.recipe.make_recipe`.
    seed : int
        Seed of the stream of problems and of the initial weights.
    samples : int
        Number of problems of the whole run.
    batch : int
        Number of problems per update of the weights.
    carried : float
        Fraction of each batch that continues from the network's last estimate, as in the later major cycles of the
        imager, instead of starting with an empty model.
    cycles : int
        Largest number of times that one problem is used.
    through : bool
        Whether gradients flow through the image from one step to the next. If False, each step learns to give the best
        estimate by itself, which is stable from the beginning of a training. If True, early steps learn to prepare the
        estimates of later ones.
    late : float
        Exponent of the weight of steps in the loss: step t of T has the weight (t / T)^late.
    faint : float
        Weight in the loss of faint structure at the scale of the beam, after the last step.
    optimiser : str
        'muon' (Jordan et al. 2024) for the kernels of convolutions and Adam for the rest, or 'adam' for all.
    learning_rate : float
        Learning rate of Adam after `warmup` updates; that of Muon is proportional to it.
    warmup : int
        Number of updates in which the learning rate rises to its value.
    cooldown : float
        Last fraction of the samples, in which the learning rate falls to a hundredth.
    clip : float
        Largest norm of the gradient.
    average : float
        Decay per update of the running average of the weights (EMA), which is scored and written to the checkpoint.
    noise_jitter : float
        Standard deviation of the logarithm of the noise given to the network over the true noise, since an observer
        knows the noise only roughly.
    precision : str
        Precision of the network; 'auto' is bfloat16 if the processor multiplies it fast.
    stored : bool
        Whether the i-RIM stores its activations for the backward pass instead of computing them again. It is a fifth
        faster if there is enough memory.
    workers : int
        Number of processes that make problems; with 0 the training process makes them.
    checkpoint_minutes, validation_minutes : float
        Wall time between two checkpoints, and between two rounds of scores; 0 for every update.
    validation_problems : int
        Number of held-back problems that are scored.
    truth : str, optional
        Folder of FITS images that are scored as additional skies. The training does not use them.
    start : str, optional
        Checkpoint with the initial weights: the name of a model or a path. The network may have additional `unets` and
        `detail`, which have no effect until they are trained.
    kept : tuple of int
        Numbers of the couplings of `start`, from 0, with which the network begins. The others are pruned.

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
        """Configuration of the network, an IRIMConfig or PlainConfig; ConfigError for an invalid value."""
        _, kind = ARCHITECTURES[self.architecture]
        known = [f.name for f in dataclasses.fields(kind)]
        for name in self.model:
            if name not in known:
                raise ConfigError(f"The training file's model has the unknown key '{name}'; known: {', '.join(known)}.")
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in self.model.items()}
        return kind(**values)

    def build(self) -> IRIM | PlainRIM:
        """Make a new network, an `InferenceMachine` on the CPU, with weights from torch's random numbers."""
        kind, _ = ARCHITECTURES[self.architecture]
        return kind(self.model_config())

    @property
    def fresh(self) -> int:
        """New problems per batch."""
        return max(1, self.batch - round(self.carried * self.batch))

    def rate(self, seen: int, update: int) -> float:
        """Learning rate of Adam for update number `update`, from 0 on, after `seen` problems."""
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
    """Kind of network that a training file is for: one of `OTHERS`, or 'model' for a minor cycle."""
    try:
        tables = TomlFile(path).values
    except InputError:  # `load_training` raises the error that describes it
        return "model"
    return next((name for name in OTHERS if name in tables), "model")


def load_training(path: str | Path, **changes: Any) -> list[TrainingConfig]:
    """Read the stages of a training run from a TOML file; `changes` that are not None replace values of the file.

    The file has the tables ``model``, ``problems`` and ``training``. A run whose settings change during the training
    has one table ``[[stages]]`` for each part. It holds keys of ``training``, and of ``problems`` as ``problems.size =
    64``, which replace the common ones; its ``samples`` is the number of problems at which it ends. Paths in the file
    are relative to the current folder.

    Parameters
    ----------
    path : path-like
    changes
        Parameters of `TrainingConfig`. `samples` is the number of problems at which the run ends, in any stage.

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
    tables = TomlFile(path, f"The training file {path}").values
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
    """The stages up to a number of samples; the last one is extended to it."""
    needed = [k for k, stage in enumerate(stages) if k == 0 or stages[k - 1].samples < samples]
    return [*(stages[k] for k in needed[:-1]), dataclasses.replace(stages[needed[-1]], samples=samples)]


def default_folder(path: str | Path) -> Path:
    """Default folder for the results of a training file, named after the file."""
    return Path(f"{Path(path).stem}.training")
