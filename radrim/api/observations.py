"""Observations in Python: `radrim.info`, `predict`, `simulate` and `convert`."""

from pathlib import Path
from typing import TYPE_CHECKING

from radrim.api.paths import Paths
from radrim.config.keyword_call import takes
from radrim.errors import ConfigError
from radrim.runtime.told import told

if TYPE_CHECKING:
    from radrim.inspection.page import Page
    from radrim.simulation import Sky


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
