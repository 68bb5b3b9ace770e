"""Imaging in Python: `radrim.image`, `compare`, `selfcal` and `plan`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from radrim.api.paths import Paths
from radrim.config.keyword_call import takes
from radrim.config.keywords import ImageOptions
from radrim.config.options import ImageConfig
from radrim.runtime.told import told
from radrim.selfcalibration.config import ROUNDS, SelfcalConfig

if TYPE_CHECKING:
    from radrim.comparison.images import Comparison
    from radrim.interactive.result import Result
    from radrim.planning import Plan
    from radrim.selfcalibration.loop import SelfcalResult


@takes(ImageOptions)
def image(ms: Paths, *, quiet: bool | None = None, **options: Unpack[ImageOptions]) -> "Result":
    """Image one or several Measurement Sets and write the FITS files.

    The options are those of `radrim image`. None stands for the default. Angles are text with a unit, such as
    ``scale="1asec"``.

    Parameters
    ----------
    ms : str, Path or sequence of them
        Measurement Sets and files of other formats; several are imaged together.
    quiet : bool, optional
        True: print warnings only; False: print the log; None: print it in notebooks and interactive sessions.

    Returns
    -------
    Result
        Images as arrays, with their WCS, beam, noise and paths.

    Raises
    ------
    RadrimError
        An error that the user can correct; the message says how.

    Examples
    --------
    >>> result = radrim.image("obs.ms", size=512, scale="1asec")  # doctest: +SKIP
    >>> result.image.max(), result.beam, result.paths["image"]  # doctest: +SKIP
    """
    config = ImageConfig.parse(ms, options)
    with told(quiet):
        from radrim.pipeline import run

        return run(config, _call("image", ms, options))


@takes(ImageOptions)
def compare(
    ms: Paths,
    *,
    peer: Literal["auto", "wsclean", "clean"] = "auto",
    peer_limit: float | None = None,
    truth: str | Path | None = None,
    quiet: bool | None = None,
    **options: Unpack[ImageOptions],
) -> "Comparison":
    """Image Measurement Sets with radrim and with CLEAN, and compare the images, as the command `radrim compare`.

    Parameters
    ----------
    ms : str, Path or sequence of them
        Measurement Sets; several are imaged together. They are not modified.
    peer : {'auto', 'wsclean', 'clean'}
        Program that runs CLEAN. 'auto': WSClean if it is installed and supports the options, else radrim.
    peer_limit : float, optional
        Time limit of CLEAN [s].
    truth : str or Path, optional
        The true sky of a simulated observation, see `radrim.comparison.truth.read_truth`.
    quiet : bool, optional
        As in `radrim.image`.

    Returns
    -------
    Comparison
        Images of both runs, the table of sources, the power spectra of the residuals, and the paths of all files.

    Raises
    ------
    PeerError
        CLEAN is missing, failed or exceeded its time limit; radrim's images are kept.
    RadrimError
        Any other error that the user can correct.

    Examples
    --------
    >>> both = radrim.compare("obs.ms", size=512, scale="1asec")  # doctest: +SKIP
    >>> both.radrim.residual.std(), both.peer.residual.std(), both.sources, both.paths["report"]  # doctest: +SKIP
    """
    config = ImageConfig.parse(ms, options)
    with told(quiet):
        from radrim.comparison.run import run

        return run(config, peer, peer_limit, truth, _call("compare", ms, options))


@takes(ImageOptions)
def selfcal(  # noqa: PLR0913 - public: each argument is an option of `radrim selfcal`
    ms: Paths, *,
    rounds: str = ROUNDS, solint: str | None = None, solint_amp: str | None = None,
    gain_type: Literal["G", "T"] = "G", combine_spw: bool = False, refant: str | int | None = None,
    min_baselines: int | None = None, min_snr: float = 3.0, normalise: bool = True,
    unsolved: Literal["flag", "keep"] = "flag", in_place: bool = False, quiet: bool | None = None,
    **options: Unpack[ImageOptions],
) -> "SelfcalResult":  # fmt: skip
    """Self-calibrate a Measurement Set with images of it, as the command `radrim selfcal`.

    The options are those of `radrim.image`; `start_model` is point, point:JY, gauss:SIZE, disc:SIZE or an image in
    Jy/pixel, and the first gains are solved for with it instead of an image of the data.

    Parameters
    ----------
    ms : str or Path
    rounds : str
        'p' (phases) and 'ap' (amplitudes and phases), each with its interval if needed: 'p:inf,p:60s,ap:inf'.
    solint, solint_amp : str, optional
        Interval of phase and of amplitude solutions: '30s', '2min', 'int' (each integration) or 'inf' (each scan). By
        default the shortest in which the median antenna has a signal-to-noise ratio of 10, and of 30.
    gain_type : {'G', 'T'}
        Each feed separately, or both together.
    combine_spw : bool
        One solution for all spectral windows.
    refant : str or int, optional
        Reference antenna, name or number.
    min_baselines : int, optional
        Baselines that an antenna needs; 2 for phases and 3 for amplitudes by default.
    min_snr : float
        Solutions below it are flagged.
    normalise : bool
        Whether the mean amplitude is made 1. False: the model sets the flux scale.
    unsolved : {'flag', 'keep'}
        What is done with data without a solution.
    in_place : bool
        Whether CORRECTED_DATA of the input is written, instead of a copy.
    quiet : bool, optional
        As in `radrim.image`.

    Returns
    -------
    SelfcalResult
        The final images, the gains, the table of rounds and the paths.

    Raises
    ------
    RadrimError
        An error that the user can correct; the input is unchanged.
    """
    config = ImageConfig.parse(ms, options)
    how = SelfcalConfig.parse(
        rounds=rounds, solint=solint, solint_amp=solint_amp, start_model=config.start_model, gain_type=gain_type,
        combine_spw=combine_spw, refant=refant, min_baselines=min_baselines, min_snr=min_snr, normalise=normalise,
        unsolved=unsolved, in_place=in_place,
    )  # fmt: skip
    with told(quiet):
        from radrim.selfcalibration.loop import selfcal as run

        # The images of the rounds begin without a model.
        return run(dataclasses.replace(config, start_model=None), how, _call("selfcal", ms, options))


@takes(ImageOptions)
def plan(
    ms: Paths,
    *,
    workers: int | None = None,
    active: float = 0.5,
    cycles: int | None = None,
    quiet: bool | None = None,
    **options: Unpack[ImageOptions],
) -> "Plan":
    """Predict memory, disk and time of `radrim.image` with the same options, from a few seconds of trial.

    Parameters
    ----------
    ms : str, Path or sequence of them
    workers : int, optional
        Number of machines such as this one; this one alone if absent.
    active : float
        Fraction of the facets with compact sources.
    cycles : int, optional
        Major cycles that the run will need; `max_major` if absent.
    quiet : bool, optional
        As in `radrim.image`.

    Returns
    -------
    Plan
        Numbers as attributes; ``print`` shows the page of the command.

    Raises
    ------
    RadrimError
        An error that the user can correct.
    """
    config = ImageConfig.parse(ms, options)
    with told(quiet):
        from radrim.planning import make_plan

        return make_plan(config, workers, active, cycles)


def _call(function: str, ms: Any, options: Any) -> str:
    """The call as text, for headers and reports."""
    several = ms if isinstance(ms, list | tuple) else [ms]
    paths = [str(path) for path in several]
    words = [repr(paths[0] if len(paths) == 1 else paths)]
    words += [f"{name}={_plain(value)}" for name, value in options.items() if value is not None]
    return f"radrim.{function}({', '.join(words)})"


def _plain(value: Any) -> str:
    return repr(str(value) if isinstance(value, Path) else value)
