"""The options of `radrim image`: one table for the command line, the TOML file and the Python call.

Each field of `ImageConfig` carries its parser, its help text and its WSClean spelling. A parser takes text, a number or
a list from any of these sources, and raises ConfigError with the option's name. This module imports nothing heavy, so
that `radrim --help` answers at once.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from radrim.angles import exact_angle
from radrim.config.directions import to_direction, to_shift
from radrim.config.quantities import FLUX, METRES, WAVELENGTHS, quantity
from radrim.config.rules import check
from radrim.config.spectral import HERTZ, to_start, to_width
from radrim.config.toml_file import nearest
from radrim.config.values import (
    Parser,
    Taper,
    Weighting,
    choice,
    numeric,
    pair,
    to_angle,
    to_beam,
    to_beam_size,
    to_column,
    to_fields,
    to_flag,
    to_integers,
    to_memory,
    to_paths,
    to_pattern,
    to_ranges,
    to_size,
    to_stokes,
    to_text,
    to_weight,
)
from radrim.errors import ConfigError

GROUPS = ("image", "data selection", "weighting", "deconvolution", "computing")
ALL_OPTIONS = "radrim image --help lists them all."
INDIFFERENT = ("ms", "name", "threads", "scheduler", "cluster", "jobs", "keep", "overwrite", "report")
"""Options that do not change the images. A change of the Measurement Sets is detected from their content."""


SEVERAL = ("contsub-channels", "shift", "beam-shape")
"""Options of several values, which the command line takes as words."""


def _option(
    group: str,
    parse: Parser,
    default: Any,
    help_text: str,
    metavar: str | tuple[str, str] | None = None,
    nargs: int | None = None,
    aliases: tuple[str, ...] = (),
) -> Any:
    """A field of ImageConfig; `aliases` are WSClean's spellings where they differ."""
    meta = {"group": group, "parse": parse, "help": help_text, "metavar": metavar, "nargs": nargs, "aliases": aliases}
    return dataclasses.field(default=default, metadata=meta)


_image, _selection, _weighting, _deconvolution, _computing = (functools.partial(_option, group) for group in GROUPS)


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """The settings of one run of `radrim image`. None means that radrim chooses the value and prints it.

    Values are in radians, wavelengths and Jy. `ImageConfig.parse` reads text such as ``scale="1asec"``.
    """

    ms: tuple[str, ...] = dataclasses.field(metadata={})
    # image
    name: str | None = _image(
        to_text, None, "prefix of the output files (default: name of the first Measurement Set)", "PREFIX"
    )
    size: tuple[int, int] | None = _image(
        to_size,
        None,
        "width and height in pixels (default: as large as the sources need that a quick look finds, at most out to the "
        "primary beam's first null)",
        ("W", "H"),
        2,
    )
    scale: float | None = _image(
        to_angle, None, "pixel size, such as 1asec, 0.5amin, 20uasec (default: a 4.5th of the PSF's width)", "ANGLE"
    )
    shift: tuple[str, str] | None = _image(
        to_shift, None, "phase centre of the image, J2000, such as 12h30m49.4s +12d23m28s", "RA DEC"
    )
    phase_centre: str | None = _image(
        to_direction,
        None,
        "phase centre of the image, such as 'J2000 12h30m49.4s +12d23m28s' (or ICRS, galactic, B1950), or an offset "
        "to the east and the north, such as '+10arcmin -5arcmin'",
        "DIRECTION",
        aliases=("phase-center", "phasecentre", "phasecenter"),
    )
    channels_out: int = _image(
        numeric(int, 1), 1, "number of output channels; more than one also writes NAME-MFS-*", "N", aliases=("nchan",)
    )
    start: str | None = _image(
        to_start,
        None,
        "centre of the first output channel, such as 1420.4MHz or -20km/s, or number of its first channel of the data "
        "(default: the lowest)",
        "PLACE",
    )
    width: str | None = _image(
        to_width,
        None,
        "width of output channels, in channels of the data, or such as 100kHz or 5km/s (default: one channel with "
        "--start, else all channels evenly)",
        "WIDTH",
    )
    restfreq: float | None = _image(
        quantity(HERTZ, 0, math.inf, "1420.405752MHz", open_low=True),
        None,
        "rest frequency of the line, such as 1420.405752MHz (default: from the table SOURCE)",
        "FREQUENCY",
    )
    veltype: str = _image(
        choice("radio", "optical"), "radio", "convention of the velocities of --start and --width, and of headers"
    )
    cube: bool = _image(
        to_flag, False, "write all output channels into one file of each kind, with a table of their beams"
    )
    spectral_terms: int | None = _image(
        numeric(int, 2, 5),
        None,
        "deconvolve output channels together, with spectra that are polynomials of N terms; writes the spectral index",
        "N",
        aliases=("fit-spectral-pol",),
    )
    outframe: str | None = _image(
        choice("TOPO", "LSRK", "BARY"),
        None,
        "frame of the frequencies of output channels and headers: TOPO, LSRK or BARY (default: as stored)",
        "FRAME",
    )
    pol: str = _image(
        to_stokes,
        "I",
        "Stokes parameters or correlations to image, such as IQUV, I,V or XX,YY; Q and U also give NAME-P-image and "
        "NAME-angle",
        "LIST",
    )
    beam_fit: str = _image(
        choice("quadrant", "box", "lobe"),
        "quadrant",
        "part of the PSF that the beam is fitted to; quadrant is WSClean's, lobe CASA's",
    )
    beam_shape: tuple[float, float, float] | None = _image(
        to_beam,
        None,
        "restoring beam in place of the fit: axes (FWHM) and position angle, such as 5asec 4asec 30deg",
        "BMAJ BMIN BPA",
    )
    beam_size: float | None = _image(
        to_beam_size, None, "width (FWHM) of a circular restoring beam, such as 5asec", "ANGLE"
    )
    circular_beam: bool = _image(to_flag, False, "widen the fitted restoring beam to a circle")
    theoretic_beam: bool = _image(
        to_flag, False, "restoring beam from the longest baseline alone, a circle, in place of the fit"
    )
    common_beam: bool = _image(
        to_flag, False, "restore all output channels with the smallest beam that contains those of all"
    )
    pb: str = _image(
        to_pattern,
        "none",
        "primary beam: auto (also --pb alone), the telescope's where it is known, else airy; airy, gauss, a name of "
        "a telescope, or none; writes NAME-pb and NAME-image-pb, and joins the pointings of a mosaic",
        "PATTERN",
    )
    pb_limit: float = _image(
        numeric(float, 0, 1, open_low=True),
        0.2,
        "primary beam below which NAME-image-pb is NaN",
        aliases=("primary-beam-limit",),
    )
    dish_diameter: float | None = _image(
        quantity(METRES, 0, math.inf, "25m", open_low=True),
        None,
        "diameter of the antennas in metres (default: DISH_DIAMETER)",
        "METRES",
    )
    data: str = _image(
        choice("visibilities", "closure"),
        "visibilities",
        "data that the image is made from: visibilities, or closure phases and log closure amplitudes alone, which do "
        "not depend on the antennas' gains (VLBI)",
        "KIND",
    )
    flux: float | None = _image(
        quantity(FLUX, 0, math.inf, "600mJy", open_low=True),
        None,
        "total flux of the image with --data closure, which does not measure it (default: from the amplitudes)",
        "JY",
    )
    # data selection
    data_column: str | None = _selection(
        to_column,
        None,
        "column to image; corrected and data stand for CORRECTED_DATA and DATA (default: the first that is present)",
        "COLUMN",
    )
    field: str | None = _selection(
        to_fields,
        None,
        "field to image, by number or name (default: the one with most rows); with --pb several, such as 0,3 or 2~24, "
        "or all, as a joint mosaic",
    )
    spw: tuple[int, ...] | None = _selection(
        to_integers, None, "spectral windows, such as 0,2 (default: all)", "LIST", aliases=("spws",)
    )
    chan_range: tuple[int, int] | None = _selection(
        pair(int, 0),
        None,
        "channels of each spectral window, START included, END not",
        ("START", "END"),
        2,
        ("channel-range",),
    )
    minuv_l: float = _selection(
        quantity(WAVELENGTHS, 0, math.inf, "1klambda"),
        0.0,
        "drop baselines shorter than this many wavelengths, such as 1klambda",
        "L",
    )
    maxuv_l: float = _selection(
        quantity(WAVELENGTHS, 0, math.inf, "100klambda", open_low=True),
        math.inf,
        "drop baselines longer than this many wavelengths, such as 100klambda",
        "L",
    )
    time_range: tuple[str, str] | None = _selection(
        pair(str), None, "first and last time, UTC, such as 2016-05-01T10:00:00", ("START", "END"), 2
    )
    interval: tuple[int, int] | None = _selection(
        pair(int, 0), None, "numbers of the first integration and of the first one after the last", ("START", "END"), 2
    )
    scan: str | None = _selection(to_fields, None, "scans, such as 3,5~9 or !4 (all others)", "LIST")
    antenna: str | None = _selection(
        to_fields,
        None,
        "antennas by number or name, such as ea01,ea05 (all their baselines), 0~9& (among these), ea01&ea02, '!ea03', "
        "'CM*&'; groups are separated by ;",
        "LIST",
    )
    intent: str | None = _selection(
        to_fields, None, "intents of the scans, such as '*TARGET*' or OBSERVE_TARGET#ON_SOURCE", "LIST"
    )
    array: str | None = _selection(to_fields, None, "subarrays by ARRAY_ID, such as 0,2~3", "LIST")
    minuvw_m: float = _selection(
        quantity(METRES, 0, math.inf, "100m"), 0.0, "drop baselines with (u, v, w) shorter than this", "METRES"
    )
    maxuvw_m: float = _selection(
        quantity(METRES, 0, math.inf, "3km", open_low=True),
        math.inf,
        "drop baselines with (u, v, w) longer than this",
        "METRES",
    )
    abs_weights: bool = _selection(to_flag, False, "take the absolute value of negative weights")
    feed_angle: str = _selection(
        choice("auto", "on", "off"),
        "auto",
        "turn Q and U of linear feeds by the angle in the table FEED; auto: of equatorial mounts only",
    )
    flag_nonfinite: bool = _selection(to_flag, False, "accept any number of NaN or infinite samples, as flagged")
    contsub: int | None = _selection(
        numeric(int, 0, 5), None, "subtract the continuum of each row, a polynomial of this order in frequency", "ORDER"
    )
    contsub_channels: tuple[int, ...] | None = _selection(
        to_ranges,
        None,
        "line-free channels of each spectral window for --contsub, END not included (default: all)",
        "START END ...",
    )
    # weighting
    weight: Weighting = _option(  # noqa: RUF009 - Weighting is frozen
        "weighting", to_weight, Weighting(), "natural, uniform, or briggs ROBUST (default: briggs 0)", "SCHEME"
    )
    weighting_per_channel: bool = _weighting(
        to_flag,
        False,
        "weights of each output channel from its own visibilities, not from those of all (CASA: perchanweightdensity)",
    )
    taper: float | None = _weighting(
        to_angle, None, "Gaussian taper: width (FWHM) of the beam it makes", "ANGLE", aliases=("taper-gaussian",)
    )
    taper_tukey: float | None = _weighting(
        quantity(WAVELENGTHS, 0, math.inf, "2klambda", open_low=True),
        None,
        "let the weights fall to 0 over this length below --maxuv-l (Tukey window) [wavelengths]",
        "LENGTH",
    )
    taper_inner_tukey: float | None = _weighting(
        quantity(WAVELENGTHS, 0, math.inf, "500lambda", open_low=True),
        None,
        "let the weights fall to 0 over this length above --minuv-l (Tukey window) [wavelengths]",
        "LENGTH",
    )
    super_weight: float = _weighting(
        numeric(float, 0, 100, open_low=True),
        1.0,
        "size of the uv cell of uniform and briggs weights over 1 / field of view (superuniform above 1)",
        "FACTOR",
    )
    padding: float = _weighting(
        numeric(float, 1, 4), 1.2, "padded over true image size; sets the uv cell, as in WSClean"
    )
    # deconvolution
    solver: str = _deconvolution(
        choice("rim", "clean", "entropy", "tv", "pnp"),
        "rim",
        "learned minor cycle, or CLEAN; entropy: for sparse arrays and small images; tv (total variation) and pnp "
        "(plug and play with a denoiser): for extended emission",
    )
    model: str = _deconvolution(
        to_text, "base", "trained model of the RIM: a name from 'radrim model list', or a file", "NAME"
    )
    compare: bool = _deconvolution(
        to_flag, False, "deconvolve with the other minor cycle as well; the report shows both side by side"
    )
    niter: int = _deconvolution(
        numeric(int, 0), 2_000_000, "largest number of CLEAN components; 0 writes dirty image and PSF only", "N"
    )
    gain: float = _deconvolution(
        numeric(float, 0, 1, open_low=True), 0.1, "loop gain: fraction of a peak that one component subtracts"
    )
    mgain: float = _deconvolution(
        numeric(float, 0, 1, open_low=True), 0.8, "fraction of the residual peak that one major cycle subtracts"
    )
    auto_mask: float = _deconvolution(
        numeric(float, 0, open_low=True),
        3.0,
        "clean everywhere down to this many times the noise, below it only where there are components",
        "SIGMA",
    )
    auto_threshold: float = _deconvolution(numeric(float, 0), 0.5, "stop at this many times the noise", "SIGMA")
    threshold: float = _deconvolution(
        quantity(FLUX, 0, math.inf, "1mJy"), 0.0, "stop at this residual peak [Jy/beam], such as 1mJy", "JY"
    )
    multiscale: bool = _deconvolution(to_flag, True, "CLEAN with extended components, too")
    mask: str | None = _deconvolution(
        to_text,
        None,
        "clean only where this image is not zero, or within these regions",
        "FILE",
        aliases=("fits-mask",),
    )
    holdout: float = _deconvolution(
        numeric(float, 0, 0.5),
        0.05,
        "keep this fraction of the visibilities out of the deconvolution, to judge what it does; 0 keeps none out; not "
        "used by --data closure, and by --solver entropy, which keeps parts out in turn",
        "FRACTION",
    )
    start_model: str | None = _deconvolution(
        to_text,
        None,
        "begin with this model [Jy/pixel] instead of an empty one; it has the pixels of the image",
        "FITS",
    )
    continue_run: bool = _deconvolution(
        to_flag,
        False,
        "begin with the model of the finished run of this --name, and replace its results",
        aliases=("continue",),
    )
    uncertainty: bool = _deconvolution(
        to_flag,
        False,
        "write the uncertainty of each pixel of image and model: NAME-uncertainty.fits, NAME-model-uncertainty.fits",
    )
    update_model: bool = _deconvolution(
        to_flag,
        False,
        "write the visibilities of the model to MODEL_DATA when the image is done, as radrim predict",
        aliases=("update-model-required",),
    )
    max_major: int = _deconvolution(numeric(int, 1), 20, "largest number of major cycles", "N", aliases=("nmiter",))
    tile: int = _deconvolution(numeric(int, 64), 2048, "largest tile of the minor cycle", "PIXELS")
    # computing
    operator: str = _computing(
        choice("auto", "wgridder", "nufft", "dft"),
        "auto",
        "algorithm of the transforms between visibilities and images",
    )
    epsilon: float = _computing(
        numeric(float, 1e-12, 1e-2), 1e-4, "accuracy of the transforms", aliases=("wgridder-accuracy",)
    )
    threads: int | None = _computing(numeric(int, 1), None, "processor threads (default: all)", "N", aliases=("j",))
    memory: float | None = _computing(
        to_memory,
        None,
        "memory limit, such as 8G or 50%% (default: 0.6 of the machine's); images that need more are made in facets",
        "SIZE",
    )
    facet: int | None = _computing(
        numeric(int, 64),
        None,
        "make the image in facets of this size, also where it would fit into the memory",
        "PIXELS",
    )
    scheduler: str | None = _computing(
        to_text, None, "make the facets on the workers of this Dask scheduler, such as tcp://node1:8786", "ADDRESS"
    )
    cluster: str | None = _computing(
        choice("slurm"), None, "make the facets in jobs, as ~/.config/dask/jobqueue.yaml describes them"
    )
    jobs: int = _computing(numeric(int, 1), 1, "number of jobs for --cluster", "N")
    keep: bool = _computing(to_flag, False, "keep the work directory NAME.radrim when the run is complete")
    overwrite: bool = _computing(
        to_flag, False, "begin again if NAME.radrim holds an unfinished run with other settings"
    )
    report: bool = _computing(to_flag, True, "write NAME-report.html and NAME.png")
    device: str = _computing(choice("auto", "cpu", "cuda"), "auto", "where to compute")

    @classmethod
    def options(cls) -> dict[str, dataclasses.Field]:
        """Every option by its long name with dashes; `ms` is not among them."""
        return {f.name.replace("_", "-"): f for f in dataclasses.fields(cls) if f.name != "ms"}

    @classmethod
    def parse(cls, ms: Any, values: Mapping[str, Any], where: str = "") -> "ImageConfig":
        """A configuration from raw values.

        Parameters
        ----------
        ms : str, Path or sequence of them
            Measurement Sets.
        values : mapping
            Option (with - or _) to text, number or list; None stands for the default.
        where : str
            Source of the values, for the message about an unknown option.

        Raises
        ------
        ConfigError
            Unknown option, wrong type, or a value out of range.
        """
        options = cls.options()
        parsed: dict[str, Any] = {}
        for key, value in values.items():
            name = str(key).replace("_", "-")
            if name not in options:
                raise ConfigError(f"{where}unknown option '{key}'; {nearest(name, options, ALL_OPTIONS)}")
            if value is not None:
                parse: Callable = options[name].metadata["parse"]
                parsed[name.replace("-", "_")] = parse(name, value)
        paths = to_paths("ms", ms)
        if not paths:
            raise ConfigError("No Measurement Set given; write radrim image OBS.ms.")
        # With --auto-threshold 5 alone, as people write it for WSClean, there is nothing to clean within a mask.
        if "auto_mask" not in parsed and "auto_threshold" in parsed:
            parsed["auto_mask"] = max(cls.auto_mask, parsed["auto_threshold"])
        config = cls(ms=tuple(str(p) for p in paths), **parsed)
        check(config)
        return config

    @property
    def tapers(self) -> Taper:
        """The tapers of the imaging weights."""
        inner, outer = self.taper_inner_tukey, self.taper_tukey
        return Taper(
            self.taper,
            None if inner is None else (self.minuv_l, inner),
            None if outer is None else (self.maxuv_l, outer),
        )

    @property
    def stokes(self) -> tuple[str, ...]:
        """The Stokes parameters or correlations of `pol`."""
        return tuple(self.pol.split(","))

    @property
    def wanted_centre(self) -> str | None:
        """The direction of --shift or --phase-centre."""
        return " ".join(self.shift) if self.shift else self.phase_centre

    def fields_of(self, settings: type) -> dict[str, Any]:
        """The options that a dataclass has as fields of the same names, by name."""
        shared = {f.name for f in dataclasses.fields(settings)} & {f.name for f in dataclasses.fields(self)}
        return {name: getattr(self, name) for name in shared}

    def resolved(self, size: tuple[int, int], scale: float, name: str | None) -> "ImageConfig":
        """The configuration with width and height [pixel], pixel size [rad] and name that the run has chosen."""
        return dataclasses.replace(self, size=size, scale=scale, name=name)

    def as_arguments(self) -> list[str]:
        """The arguments of `radrim image` that give this configuration; options at their defaults are left out.

        Returns
        -------
        list of str
            Measurement Sets, then options.
        """
        words, values = [], self.as_text()
        for name, option in self.options().items():
            if name not in values or getattr(self, option.name) == option.default:
                continue
            value = values[name]
            if isinstance(value, bool):
                words.append(f"--{name}" if value else f"--no-{name}")
            elif isinstance(getattr(self, option.name), Weighting):
                words += [f"--{name}", *value.split()]
            elif isinstance(value, list):
                several = option.metadata["nargs"] == 2 or name in SEVERAL
                words += [f"--{name}", *map(str, value)] if several else [f"--{name}", ",".join(map(str, value))]
            elif str(value).startswith("-"):  # argparse would read it as another option
                words.append(f"--{name}={value}")
            else:
                words += [f"--{name}", str(value)]
        # Options come last: argparse could read a Measurement Set after an option as its value.
        return [*self.ms, *words]

    def as_text(self) -> dict[str, Any]:
        """The options as TOML values, which `parse` reads back; options that are None or infinite are left out."""
        out: dict[str, Any] = {"ms": list(self.ms)}
        for name, f in self.options().items():
            value = getattr(self, f.name)
            if value is None or value == math.inf:
                continue
            if f.metadata["parse"] in (to_angle, to_beam_size):
                value = exact_angle(value)
            elif f.metadata["parse"] is to_beam:
                value = [exact_angle(angle) for angle in value]
            elif isinstance(value, Weighting):
                value = str(value)
            elif isinstance(value, tuple):
                value = list(value)
            out[name] = value
        return out
