"""The commands of radrim as Python functions. Each imports what it needs when it is called.

Keyword arguments are the options of the commands, with the types of `radrim.config.keywords`. `quiet` is common to all:
True prints warnings only, False prints the log always, None prints it in notebooks and interactive sessions, unless the
logger 'radrim' has a handler of the caller.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from radrim.config.keyword_call import takes
from radrim.config.keywords import ImageOptions
from radrim.config.options import ImageConfig
from radrim.config.quantities import FLUX, quantity
from radrim.errors import ConfigError
from radrim.runtime.told import told
from radrim.selfcalibration.config import ROUNDS, SelfcalConfig

if TYPE_CHECKING:
    from radrim.comparison.images import Comparison
    from radrim.inspection.page import Page
    from radrim.interactive.result import Result
    from radrim.planning import Plan
    from radrim.selfcalibration.loop import SelfcalResult
    from radrim.simulation import Sky

Paths = str | Path | Sequence[str | Path]
"""One path or several."""


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


@takes()
def predict(  # noqa: PLR0913 - public: each argument is an option of `radrim predict`
    ms: Paths,
    *,
    model_image: Paths | None = None,
    name: str | Path | None = None,
    field: str | int | None = None,
    column: str = "MODEL_DATA",
    epsilon: float = 1e-4,
    feed_angle: str = "auto",
    threads: int | None = None,
    quiet: bool | None = None,
) -> None:
    """Write the visibilities of a model into a column of one or several Measurement Sets.

    All spectral windows, channels and correlations of the chosen fields are predicted, including flagged data. Rows of
    other fields keep their values; in a new column they are 0. Nothing else is changed.

    Parameters
    ----------
    ms : str, Path or sequence of them
        Measurement Sets (version 2).
    model_image : str, Path or sequence of them
        FITS images [Jy/pixel]; several for several frequencies or Stokes parameters.
    name : str or Path
        The name of the run that made the model, instead of `model_image`.
    field : str or int
        As in `radrim.image`; the field with most rows if absent.
    column : str
    epsilon : float
        Accuracy relative to the direct sum, over the rms of the visibilities.
    feed_angle : {'auto', 'on', 'off'}
        Whether Q and U are turned to linear feeds at the angle in the table FEED; as in `radrim.image`, which turns
        them back.
    threads : int
        All processors if absent.
    quiet : bool, optional
        As in `radrim.image`.

    Raises
    ------
    RadrimError
        Any error that the user can correct; nothing is half-written.
    """
    with told(quiet):
        from radrim.sky.prediction import predict as run

        run(
            ms, model_image=model_image, name=name, field=field, column=column, epsilon=epsilon, threads=threads,
            feed_angle=feed_angle,
        )  # fmt: skip


@takes()
def simulate(  # noqa: PLR0913 - public: each argument is an option of `radrim simulate`
    out: str | Path, *,
    array: str | Path = "vla-b", sky: "str | Path | Sky" = "demo", ra: str | float = "19h59m28s",
    dec: str | float = "+40d44m02s", freq: str | float = 1.4e9, bandwidth: str | float = 100e6, channels: int = 4,
    hours: float = 4.0, hour_angle: float = 0.0, integration: float = 180.0, correlations: str = "RR,LL",
    noise: float = 0.02, gain_error: float = 0.0, flagged: float = 0.0, seed: int = 0, overwrite: bool = False,
    threads: int = 1, quiet: bool | None = None,
) -> Path:  # fmt: skip
    """Simulate one track of one field and write it as a Measurement Set.

    Parameters
    ----------
    out : str or Path
        The Measurement Set to write.
    array : str or Path
        Name of an array, such as 'vla-b', or a CSV file of antenna positions; see `radrim.arrays.known_layouts`.
    sky : str, Path or Sky
        'demo' (a radio galaxy among faint sources), 'point' (1 Jy), a FITS image in Jy/pixel, or a CSV catalogue with
        the columns ra_deg, dec_deg, i_jy.
    ra, dec : str or float
        Phase centre, J2000: '19h59m28s', '19:59:28' (hours), '+40d44m02s', or a number of degrees.
    freq, bandwidth : str or float
        Centre and width of the band [Hz], or text with a unit: '1.4GHz'.
    channels : int
    hours, hour_angle : float
        Length of the track, and hour angle in its middle [h].
    integration : float
        [s].
    correlations : str
        Separated by commas, such as 'RR,LL', 'XX,XY,YX,YY', 'LL', 'I'.
    noise : float
        Of the real and imaginary part of a visibility [Jy].
    gain_error : float
        Of the antennas, relative and in radians, drifting.
    flagged : float
        Fraction flagged at random.
    seed : int
        Of the random numbers.
    overwrite : bool
        Whether a Measurement Set of that name may be replaced.
    threads : int
    quiet : bool, optional
        As in `radrim.image`.

    Returns
    -------
    Path

    Raises
    ------
    ConfigError, InputError, OutputError
        An argument is out of range, a layout or sky cannot be read, or the path cannot be written.
    """
    with told(quiet):
        from radrim.simulation import simulate as run

        return run(
            out, array=array, sky=sky, ra=ra, dec=dec, freq=freq, bandwidth=bandwidth, channels=channels, hours=hours,
            hour_angle=hour_angle, integration=integration, correlations=correlations, noise=noise,
            gain_error=gain_error, flagged=flagged, seed=seed, overwrite=overwrite, threads=threads,
        )  # fmt: skip


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


@takes()
def info(
    ms: str | Path, *, antennas: bool = False, baselines: bool = False, quiet: bool | None = None
) -> "Page":  # fmt: skip
    """Describe an observation, and how to image it or why it cannot be imaged, as the command `radrim info`.

    `radrim.Observation` has the same facts as numbers and tables.

    Parameters
    ----------
    ms : str or Path
    antennas, baselines : bool
        Whether to list all of them, however many there are.
    quiet : bool, optional
        As in `radrim.image`.

    Returns
    -------
    Page
        Text of several lines, which a notebook or prompt shows as it is.

    Raises
    ------
    InputError
        The file is neither a Measurement Set nor a file of another format that is read.
    """
    with told(quiet):
        from radrim.inspection.describe import describe
        from radrim.inspection.page import Page

        return Page(describe(ms, antennas, baselines))


@takes()
def convert(
    inputs: Paths,
    out: str | Path,
    *,
    abs_weights: bool = False,
    overwrite: bool = False,
    quiet: bool | None = None,
) -> Path:
    """Write UVFITS, FITS-IDI, UVH5, MIRIAD or version 4 as a Measurement Set of version 2.

    Parameters
    ----------
    inputs : str, Path or sequence of them
        Several must be FITS-IDI files of one observation.
    out : str or Path
        The Measurement Set to write.
    abs_weights : bool
        Take the absolute value of negative weights, whose samples are flagged by default.
    overwrite : bool
        Whether a Measurement Set of that name may be replaced.
    quiet : bool, optional
        As in `radrim.image`.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    RadrimError
        A file cannot be converted, or `out` exists or cannot be written; nothing is left behind.
    """
    paths = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not paths:
        raise ConfigError('No file given; write radrim.convert("obs.uvfits", "obs.ms").')
    with told(quiet) as log:
        from radrim.ms.formats import convert as run

        for note in run(paths, out, "abs" if abs_weights else "flag", overwrite):
            log.warning("%s", note)
        log.info("%s is written.", out)
    return Path(out)


@takes()
def mask(  # noqa: PLR0913 - public: each argument is an option of `radrim mask`
    image: str | Path, *,
    name: str | Path | None = None, sigma: float = 5.0, edge: float = 3.0, noise: float | str | None = None,
    local_rms: bool = False, local_rms_window: float = 25.0, local_rms_method: Literal["rms", "rms-with-min"] = "rms",
    min_area: float = 0.5, grow: float = 0.0, negative: bool = False, overwrite: bool = False,
    quiet: bool | None = None,
) -> Path:  # fmt: skip
    """Write a CLEAN mask of the emission in an image, for ``mask`` of `radrim.image`, as the command `radrim mask`.

    Parameters
    ----------
    image : str or Path
        Restored image; of a cube all planes together.
    name : str or Path, optional
        File of the mask; NAME-mask.fits for NAME-image.fits by default.
    sigma, edge : float
        Least brightness of an island's peak, and of its other pixels [noise].
    noise : float or str, optional
        Noise [Jy/beam], or with a unit, such as '30uJy'; measured in the image by default.
    local_rms : bool
        Measure the noise around each pixel.
    local_rms_window : float
        Side of its windows [beam].
    local_rms_method : {'rms', 'rms-with-min'}
        With 'rms-with-min' the noise is at least a fifth of the depth of the window's most negative pixel.
    min_area : float
        Least area of an island [area of the beam].
    grow : float
        Distance by which islands are widened [beam].
    negative : bool
        Negative emission counts, too, as in Q, U and V.
    overwrite : bool
        Whether a file of that name may be replaced.
    quiet : bool, optional
        As in `radrim.image`.

    Returns
    -------
    Path
        Of the mask.

    Raises
    ------
    RadrimError
        The image cannot be read, or has no emission; or the mask exists or cannot be written.
    """
    parse = quantity(FLUX, 0, float("inf"), "30uJy", open_low=True)
    level = None if noise is None else parse("noise", noise)
    with told(quiet):
        from radrim.masking.make import MaskOptions, make_mask

        options = MaskOptions(
            sigma, edge, local_rms, local_rms_window, local_rms_method, level, min_area, grow, negative
        )
        return make_mask(image, name, options, overwrite)


def _call(function: str, ms: Any, options: Any) -> str:
    """The call as text, for headers and reports."""
    several = ms if isinstance(ms, list | tuple) else [ms]
    paths = [str(path) for path in several]
    words = [repr(paths[0] if len(paths) == 1 else paths)]
    words += [f"{name}={_plain(value)}" for name, value in options.items() if value is not None]
    return f"radrim.{function}({', '.join(words)})"


def _plain(value: Any) -> str:
    return repr(str(value) if isinstance(value, Path) else value)
