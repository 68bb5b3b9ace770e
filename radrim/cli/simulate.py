"""The command `radrim simulate`. Only `run` imports heavy modules, so that help answers at once."""

import argparse
import math
from collections.abc import Mapping
from typing import Any

from radrim.arrays import known_layouts
from radrim.config.quantities import FLUX, HOURS, SECONDS, quantity


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `radrim simulate` to an argparse parser."""
    arrays = ", ".join(known_layouts())
    number: dict[str, Any] = {"type": float, "metavar": "X"}
    hours = _in("hours", HOURS, 0, "4h")
    seconds = _in("integration", SECONDS, 0, "10s")
    middle = _in("hour-angle", HOURS, -12, "2h")
    noise = _in("noise", FLUX, 0, "20mJy")
    parser.add_argument("out", metavar="OUT.ms", help="Measurement Set to write")
    parser.add_argument(
        "--array", default="vla-b", help=f"{arrays}, or a CSV file of antenna positions (default: vla-b)"
    )
    skies = (
        "demo (a radio galaxy among faint sources), point (1 Jy at the phase centre), a FITS image in Jy/pixel, "
        "or a CSV catalogue with ra_deg, dec_deg, i_jy (default: demo)"
    )
    parser.add_argument("--sky", default="demo", help=skies)
    parser.add_argument(
        "--ra", default="19h59m28s", help="of the phase centre: 19h59m28s, 19:59:28, or degrees (default: 19h59m28s)"
    )
    parser.add_argument(
        "--dec", default="+40d44m02s", help="of the phase centre: +40d44m02s, or degrees (default: +40d44m02s)"
    )
    parser.add_argument("--freq", default="1.4GHz", help="middle of the band (default: 1.4GHz)")
    parser.add_argument("--bandwidth", default="100MHz", help="width of the band (default: 100MHz)")
    parser.add_argument("--channels", type=int, default=4, metavar="N", help="channels across the band (default: 4)")
    parser.add_argument("--hours", default=4.0, **hours, help="length of the track [h], also 30min (default: 4)")
    parser.add_argument(
        "--hour-angle",
        default=0.0,
        **middle,
        help="in the middle of the track [h] (default: 0)",
    )
    parser.add_argument("--integration", default=180.0, **seconds, help="length of one integration [s] (default: 180)")
    parser.add_argument(
        "--correlations", default="RR,LL", help="RR,LL or XX,XY,YX,YY or I and the like (default: RR,LL)"
    )
    parser.add_argument(
        "--noise",
        default=0.02,
        **noise,
        help="of real and imaginary parts [Jy], also 20mJy (default: 0.02)",
    )
    parser.add_argument(
        "--gain-error", default=0.0, **number, help="of the antennas, relative and in radians, drifting (default: 0)"
    )
    parser.add_argument("--flagged", default=0.0, **number, help="fraction flagged at random (default: 0)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random numbers (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace a Measurement Set of that name")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="for a FITS sky (default: 2)")


def _in(name: str, units: Mapping[str, float], low: float, example: str) -> dict[str, Any]:
    """Arguments of `add_argument` for a number with units."""
    parse = quantity(units, low, math.inf, example)
    return {"type": lambda text: parse(name, text), "metavar": "X"}


def run(args: argparse.Namespace) -> None:
    """Run `radrim simulate` with the parsed arguments."""
    from radrim.simulation import simulate

    simulate(
        args.out, array=args.array, sky=args.sky, ra=args.ra, dec=args.dec, freq=args.freq, bandwidth=args.bandwidth,
        channels=args.channels, hours=args.hours, hour_angle=args.hour_angle, integration=args.integration,
        correlations=args.correlations, noise=args.noise, gain_error=args.gain_error, flagged=args.flagged,
        seed=args.seed, overwrite=args.overwrite, threads=args.threads,
    )  # fmt: skip
