"""The command `radrim plugin`: writes the file for WSClean's -python-deconvolution, and prints its path."""

import argparse
import hashlib
import os
import sys
from pathlib import Path

EXAMPLES = """\
examples:
  wsclean -python-deconvolution $(radrim plugin) -size 1024 1024 -scale 1asec -niter 1000 -mgain 0.8 obs.ms
  wsclean -python-deconvolution $(radrim plugin --pol I,Q,U,V) -pol IQUV -join-polarizations ...
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim plugin` to an argparse parser."""
    parser.add_argument("--output", metavar="FILE.py", help="where to write it (default: a folder of the user's cache)")
    parser.add_argument("--model", default="base", metavar="NAME", help="trained model of the RIM (default: base)")
    parser.add_argument("--mask", metavar="FITS", help="the model is 0 where it is 0; WSClean does not pass on its own")
    parser.add_argument(
        "--pol",
        default="I",
        metavar="LIST",
        help="polarisations that WSClean images, such as I,Q,U,V; all but I can be negative",
    )
    parser.add_argument(
        "--spectral-terms", metavar="N", help="joined channels: terms of the polynomials of frequency (default: 2)"
    )
    parser.add_argument("--noise", metavar="JY", help="noise of the image [Jy/beam], if it is known")
    parser.add_argument("--tile", metavar="PIXELS", help="largest tile of the network")
    parser.add_argument("--threads", metavar="N", help="processor threads (default: all)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")


def run(args: argparse.Namespace) -> None:
    """Write the plug-in and print where it is."""
    from radrim.runtime.files import atomic_write
    from radrim.wsclean.options import PluginOptions

    options = PluginOptions.parse(args)  # errors appear here, and not within WSClean
    package = Path(__file__).resolve().parents[1]
    text = (package / "wsclean" / "plugin.py").read_text()
    command = [sys.executable, "-m", "radrim.wsclean.worker", options.as_json()]
    for name, empty, value in (("COMMAND: list[str]", [], command), ("ROOT", "", str(package.parent))):
        text = text.replace(f"{name} = {empty!r}".replace("''", '""'), f"{name} = {value!r}", 1)
    path = (
        Path(args.output) if args.output else _cache() / f"wsclean-{hashlib.sha256(text.encode()).hexdigest()[:12]}.py"
    )
    if not args.output:
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(text.encode())
    print(path.absolute())


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "radrim"
