"""What a work directory is of: another command must not go on from it."""

import os
from pathlib import Path
from typing import Any

from radrim.config.options import INDIFFERENT, ImageConfig
from radrim.runtime.files import fingerprint
from radrim.version import __version__


def describe_run(config: ImageConfig) -> dict[str, Any]:
    """What a run is of, for `radrim.workdir.directory.WorkDir`: settings, versions and the state of all input files.

    Where and how fast it runs does not count.
    """
    settings = {name: value for name, value in config.as_text().items() if name not in INDIFFERENT}
    files = [str(Path(ms).absolute()) for ms in config.ms]
    files += [str(Path(path).absolute()) for path in (config.mask, config.start_model) if path]
    if config.niter > 0 and config.data != "closure" and (config.solver == "rim" or config.compare):
        from radrim.rim.checkpoint import find_model

        files.append(str(find_model(config.model)))
    return {"radrim": __version__, "settings": settings,
            "files": {path: fingerprint(path) for path in files if os.path.exists(path)}}  # fmt: skip
