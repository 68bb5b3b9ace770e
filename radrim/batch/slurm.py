"""Writes the job script that runs a batch as a SLURM array, with one task for each image, and submits it."""

import logging
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from radrim.batch.config import BatchConfig
from radrim.batch.items import Item
from radrim.errors import ConfigError
from radrim.runtime.files import atomic_write

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class ArraySettings:
    """Limits of a SLURM array."""

    max_tasks: int = 1000
    """Largest number of tasks that SLURM takes by default (MaxArraySize)."""
    warning: int = 120
    """Time between SIGTERM and the end of a task's time, in which it ends its image in order [s]."""


def job_script(
    items: Sequence[Item], config: BatchConfig, words: Sequence[str], settings: ArraySettings = ArraySettings()
) -> str:
    """The text of the job script.

    Parameters
    ----------
    items : sequence of Item
        Items whose images are to be made.
    config : BatchConfig
    words : sequence of str
        Arguments of `radrim batch`, without --slurm and --submit.
    settings : ArraySettings

    Returns
    -------
    str
    """
    slurm = config.slurm
    array = f"1-{len(items)}" + (f"%{slurm['at_once']}" if "at_once" in slurm else "")
    folder = config.output.absolute()
    options: dict[str, object] = {
        "job-name": f"radrim-{folder.name}",
        "array": array,
        "output": folder / "slurm-%A_%a.log",
        # B: to the shell of the job, which `exec` has replaced by radrim.
        "signal": f"B:TERM@{settings.warning}",
        **{name: slurm[name] for name in ("partition", "account", "time", "mem") if name in slurm},
    }
    if "cpus" in slurm:
        options["cpus-per-task"] = slurm["cpus"]
    command = [sys.executable, "-m", "radrim", "batch", *words]
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH --{name}={value}" for name, value in options.items()),
        *(f"#SBATCH {option}" for option in slurm.get("options", [])),
        "",
        f"# Images that were to be made when this was written, {len(items)} of them; a task makes one.",
        f"items=({' '.join(shlex.quote(item.name) for item in items)})",
        f"cd {shlex.quote(str(Path.cwd()))} || exit 2",
        *slurm.get("setup", []),
        f'exec {shlex.join(command)} --item "${{items[$SLURM_ARRAY_TASK_ID - 1]}}"',
    ]
    return "\n".join(lines) + "\n"


def write_script(
    items: Sequence[Item], config: BatchConfig, words: Sequence[str], settings: ArraySettings = ArraySettings()
) -> Path:
    """Write OUTPUT/slurm.sh and return its path."""
    if len(items) > settings.max_tasks:
        log.warning(
            "%d tasks are more than SLURM takes at once unless its MaxArraySize was raised (%d); if it refuses, give "
            "the inputs in several calls.",
            len(items),
            settings.max_tasks,
        )
    path = config.output / "slurm.sh"
    with atomic_write(path) as file:
        file.write(job_script(items, config, words, settings).encode())
    path.chmod(0o755)
    return path


def submit(script: Path) -> str:
    """Submit the script with sbatch; returns the number of the job.

    Raises
    ------
    ConfigError
        This machine has no sbatch, or sbatch refuses the script.
    """
    if shutil.which("sbatch") is None:
        raise ConfigError(f"There is no sbatch on this machine; {script} is written: submit it where there is one.")
    done = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"sbatch refused {script}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()
