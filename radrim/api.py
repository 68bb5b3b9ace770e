"""The command `radrim image` as a Python function."""

from collections.abc import Sequence
from pathlib import Path

from radrim.config.options import ImageConfig
from radrim.result import Result


def image(  # noqa: PLR0913 - public: each argument is an option of `radrim image`
    ms: str | Path | Sequence[str | Path], *,
    name: str | Path | None = None, size: int | tuple[int, int] | None = None, scale: str | None = None,
    channels_out: int | None = None, cube: bool | None = None, spectral_terms: int | None = None,
    outframe: str | None = None, pol: str | Sequence[str] | None = None, beam_fit: str | None = None,
    pb: str | bool | None = None, pb_limit: float | None = None, dish_diameter: float | None = None,
    data: str | None = None, flux: float | None = None,
    data_column: str | None = None, field: str | int | Sequence[str | int] | None = None,
    spw: int | Sequence[int] | None = None, chan_range: tuple[int, int] | None = None,
    minuv_l: float | str | None = None, maxuv_l: float | str | None = None,
    time_range: tuple[str, str] | None = None, interval: tuple[int, int] | None = None,
    abs_weights: bool | None = None, feed_angle: str | None = None,
    flag_nonfinite: bool | None = None,
    contsub: int | None = None, contsub_channels: Sequence[int] | None = None,
    weight: str | None = None, taper: str | None = None,
    solver: str | None = None, model: str | Path | None = None, compare: bool | None = None,
    niter: int | None = None, gain: float | None = None, mgain: float | None = None,
    auto_mask: float | None = None, auto_threshold: float | None = None, threshold: float | str | None = None,
    multiscale: bool | None = None, holdout: float | None = None, mask: str | Path | None = None,
    start_model: str | Path | None = None, continue_run: bool | None = None, uncertainty: bool | None = None,
    max_major: int | None = None,
    padding: float | None = None, tile: int | None = None,
    operator: str | None = None, epsilon: float | None = None, threads: int | None = None,
    memory: str | float | None = None, facet: int | None = None,
    scheduler: str | None = None, cluster: str | None = None, jobs: int | None = None, keep: bool | None = None,
    overwrite: bool | None = None, report: bool | None = None, device: str | None = None,
) -> Result:  # fmt: skip
    """Image one or several Measurement Sets and write the FITS files.

    The options are those of `radrim image`, which ``radrim image --help`` explains; None stands for the default. Angles
    are text with a unit, such as ``scale="1asec"``.

    Parameters
    ----------
    ms : str, Path or sequence of them
        Measurement Sets; several are imaged together.
    size : int or (int, int)
        Width and height [pixel].
    pol : str or sequence of str
        'I', 'IQUV', 'I,V', ['XX', 'YY']; see docs/polarisation.md.
    weight : str
        'natural', 'uniform' or 'briggs R'.

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
    options = {key: value for key, value in locals().items() if key != "ms"}
    config = ImageConfig.parse(ms, options)
    from radrim.pipeline import run

    return run(config)
