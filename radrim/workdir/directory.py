"""The work directory NAME.radrim/: one file for each finished task of a run, so that an interrupted run can resume.

`manifest.json` identifies the run by settings, versions, and fingerprints of the input files. The same command resumes
the run; a different command is refused. Results are arrays (.npy, memory-mapped) and facts (.json), named by their
task. Each appears under its name only when it is complete (`radrim.runtime.files`).
"""

import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from radrim.errors import ConfigError, OutputError
from radrim.products import KINDS
from radrim.runtime.files import advice, atomic_write
from radrim.workdir.store import Store, WorkDirSettings

log = logging.getLogger("radrim")

SUFFIX = ".radrim"
MANIFEST = "manifest.json"
LOCK = "lock"
LEAVING = {"radrim": "being removed"}
"""Manifest of a work directory that is being deleted, or whose deletion was interrupted."""
PRODUCTS = "|".join([*(kind.replace("_", "-") for kind in KINDS), "alpha", "alpha-error", "angle"])
"""Pattern of the endings of the FITS files of a run."""


class WorkDir(Store):
    """The results of one run so far. The folder is locked until `close`, or the end of a `with` block.

    Parameters
    ----------
    prefix : str or Path
        The run's --name; the folder is `prefix` + '.radrim'.
    manifest : mapping
        Identity of the run, as JSON holds it; the same in all processes of the run.
    overwrite : bool
        Delete the results of another run in the folder, and begin again.

    Raises
    ------
    ConfigError
        The folder belongs to a different run, or another process is using it.
    OutputError
        The folder cannot be created, read or written.
    """

    def __init__(self, prefix: str | Path, manifest: Mapping, overwrite: bool = False):
        super().__init__(folder_of(prefix))
        self.resumed = False
        manifest = json.loads(json.dumps(manifest))
        new = not self.path.exists()
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"The work directory cannot be created: {advice(error, self.path.parent)}") from error
        self._lock = _take_lock(self.path)
        _remove_half_written(self.path)
        try:
            self._check(manifest, overwrite)
        except Exception:
            if new:
                self.remove()
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self) -> None:
        """Release the lock, so that other processes can use the folder."""
        self._lock.close()

    def remove(self) -> None:
        """Delete the folder, once the run is complete."""
        _delete(self.path)
        self.close()

    def _check(self, manifest, overwrite):
        path = self.path / MANIFEST
        before = _read_manifest(self.path)
        if before is None and any(entry.name != LOCK and not _is_part(entry) for entry in self.path.iterdir()):
            raise ConfigError(f"{self.path} is not a work directory of radrim; move it, or choose another --name.")
        if before == manifest:
            self.resumed = True
            for part in self.path.rglob(".*.part"):  # unfinished files of an interrupted run
                part.unlink(missing_ok=True)
            log.info("Resuming from %s.", self.path)
            return
        if before is not None and before != LEAVING and not overwrite:
            raise ConfigError(
                f"{self.path} holds an unfinished run of something else ({differences(before, manifest)}). Give the "
                "command of that run to finish it, --overwrite to begin again, or another --name."
            )
        _empty(self.path)
        with atomic_write(path) as file:
            file.write(json.dumps(manifest, indent=1).encode())


def folder_of(prefix: str | Path) -> Path:
    """The work directory of a run with the --name `prefix`."""
    return Path(f"{prefix}{SUFFIX}")


def discard(prefix: str | Path) -> Path:
    """Remove the work directory of an interrupted run.

    Parameters
    ----------
    prefix : str or Path
        The run's --name, or the folder itself.

    Returns
    -------
    Path
        The removed folder.

    Raises
    ------
    ConfigError
        The folder does not exist, is not a work directory of radrim, or is in use.
    """
    path = Path(prefix) if str(prefix).endswith(SUFFIX) else folder_of(prefix)
    if not path.is_dir():
        raise ConfigError(f"There is no work directory {path}; nothing was removed.")
    if _read_manifest(path) is None:
        raise ConfigError(f"{path} is not a work directory of radrim; nothing was removed.")
    lock = _take_lock(path)
    _remove_half_written(path)
    _delete(path)
    lock.close()
    return path


def _delete(path):
    """Remove a work directory. If this is interrupted, no other run must take the rest for results."""
    with suppress(OSError, OutputError):  # a full disk has no space for the mark
        with atomic_write(path / MANIFEST) as file:
            file.write(json.dumps(LEAVING).encode())
        _empty(path)
    shutil.rmtree(path, ignore_errors=True)


def _remove_half_written(path):
    """Remove unfinished files that an interrupted run left beside its work directory."""
    name = path.name.removesuffix(SUFFIX)
    stokes = r"(-(?P<stokes>[IQUVP]|[XY]{2}|[RL]{2}))?"
    what = rf"(-\d{{4,}}|-MFS)?{stokes}-({PRODUCTS})\.fits|\.png|-report\.html|-run\.toml|-qa\.json"
    half_written = re.compile(rf"\.{re.escape(name)}({what})\.[0-9a-f]{{8}}\.part")
    for part in path.parent.glob(".*.part"):
        match = half_written.fullmatch(part.name)
        # 'x-Q' can also be the --name of a different run, which then has a work directory.
        if match and not (match["stokes"] and folder_of(path.parent / f"{name}-{match['stokes']}").exists()):
            with suppress(OSError):  # `check_writable` reports read-only folders
                part.unlink()


def _empty(path):
    """Remove all but the lock. The manifest is last, because it marks the folder as a work directory."""
    for entry in sorted(path.iterdir(), key=lambda entry: entry.name == MANIFEST):
        if entry.name != LOCK:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _is_part(path):
    return path.name.startswith(".") and path.name.endswith(".part")


def _read_manifest(path):
    try:
        return json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError):
        return None


def _take_lock(path):
    """The open, locked lock file. The system releases the lock when the process ends in any way."""
    try:
        lock = open(path / LOCK, "a+")  # noqa: SIM115 - it stays open as long as the run has the folder
    except OSError as error:
        raise OutputError(f"The work directory cannot be written: {advice(error, path)}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise ConfigError(
            f"{path} is in use by another run (process {holder or 'unknown'}); wait for it, or choose another --name."
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first entries in which two manifests differ, in words."""
    a, b = _flatten(before), _flatten(now)
    keys = [key for key in [*a, *(key for key in b if key not in a)] if a.get(key) != b.get(key)]
    shown = WorkDirSettings.differences
    words = [f"{key}: {a.get(key, 'not given')} there, {b.get(key, 'not given')} now" for key in keys[:shown]]
    return "; ".join(words) + (f"; and {len(keys) - shown} more" if len(keys) > shown else "")


def _flatten(tree, name=""):
    if not isinstance(tree, dict):
        return {name: tree}
    return {
        key: value for k, part in tree.items() for key, value in _flatten(part, f"{name}.{k}" if name else k).items()
    }
