"""Step 6, write: writes all files of a run, with the file names of WSClean."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from astropy.io import fits

from radrim.closure.scores import shown_in_report
from radrim.config.options import ImageConfig
from radrim.geometry import ImageGrid, format_angle
from radrim.measure.measurement import uv_samples
from radrim.metrics import scatter
from radrim.products import KINDS, SHARED, count_kinds
from radrim.report import qa
from radrim.report.diagnosis import Finding, name_of
from radrim.report.draw_pool import Painters
from radrim.report.overview import overview, thin_out
from radrim.report.page import FitPanel, ImageSet, Polarisation, Report, RivalPanel, write_report
from radrim.report.specs import ReportSettings
from radrim.restore.polarisation import LinearChannels
from radrim.result import Beside, Channels, Image, Linear, Stokes
from radrim.runtime.files import check_writable
from radrim.units import si
from radrim.version import versions
from radrim.visibilities import ChannelAxis, Observation
from radrim.workdir.progress import Progress
from radrim.write.cube import write_cube, write_planes
from radrim.write.fits import image_header, open_image, whole_header, write_fits, write_rows
from radrim.write.run_toml import write_run_toml

log = logging.getLogger("radrim")


@dataclass(frozen=True)
class RunSummary:
    """What a run found, for its report and its quality file.

    Parameters
    ----------
    image : Image
        All output channels together, of the first Stokes parameter.
    stokes : Stokes
        All images.
    linear : Linear or None
        Maps of linear polarisation.
    grid : ImageGrid
    observation : Observation
    thermal : float
        Noise expected if the weights are 1/sigma^2 [Jy/beam].
    scatter : mapping of str to float
        Noise expected from the scatter of the data, by Stokes parameter [Jy/beam].
    chosen : sequence of str
        What radrim chose on its own and why, in sentences.
    seconds : mapping of str to float
        Time of each step [s].
    beside : Beside or None
        Images of the other minor cycle.
    findings : sequence of Finding
        What the kept-out visibilities say.
    """

    image: Image
    stokes: Stokes
    linear: Linear | None
    grid: ImageGrid
    observation: Observation
    thermal: float
    scatter: Mapping[str, float]
    chosen: Sequence[str]
    seconds: Mapping[str, float]
    beside: Beside | None = None
    findings: Sequence[Finding] = ()


class Output:
    """Writes the files of one run.

    Parameters
    ----------
    prefix : str or Path
        Folder and beginning of all file names.
    config : ImageConfig
    command : str
        Command line, for the headers.

    Raises
    ------
    OutputError
        The folder is missing, read-only or full.
    """

    def __init__(self, prefix: str | Path, config: ImageConfig, command: str):
        check_writable(prefix)
        self.prefix, self.config, self.command = prefix, config, command

    def say_what_is_replaced(self) -> None:
        """Log which files an earlier run of this prefix left, which this one replaces."""
        labels = ["", "0000", "MFS", *self.config.stokes]
        paths = [self.path(label, kind) for label in labels for kind in KINDS]
        found = [path for path in [*paths, Path(f"{self.prefix}-report.html")] if path.exists()]
        if found:
            when = datetime.fromtimestamp(max(path.stat().st_mtime for path in found)).astimezone()
            named = ", ".join(str(path) for path in found[:3]) + (" and others" if len(found) > 3 else "")
            log.info("Replaces files of an earlier run, of %s: %s.", when.strftime("%Y-%m-%d %H:%M"), named)

    def check_space(self, grid: ImageGrid) -> None:
        """Raise OutputError if the disk has no space for the images."""
        kinds = count_kinds(self.config)
        images = self.config.channels_out + (self.config.channels_out > 1)
        if self.config.cube:  # a cube of one kind is written before the files of its channels are removed
            images += -(-self.config.channels_out // kinds)
        # The work directory holds a dirty image, a PSF of four times the pixels, and model and residual of two cycles,
        # of one Stokes parameter at a time.
        working = 9 if self.config.niter else 5
        check_writable(self.prefix, 4 * grid.width * grid.height * (kinds * images + working))

    def write_images(self, image: Image, grid: ImageGrid, observation: Observation, thermal: float | None) -> None:
        """NAME-{dirty,psf,model,residual,image,pb,image-pb}.fits, or NAME-0000-... for one channel of several."""
        for kind in KINDS:
            array = getattr(image, kind)
            if array is not None and not self.writes(image, kind):
                image.paths[kind] = self.path_of(image, kind)
            elif array is not None:
                image.paths[kind], header = self.file(image, kind, grid, observation, thermal)
                write_fits(image.paths[kind], array, header)

    def write_linear(
        self, channels: LinearChannels, grid: ImageGrid, observation: Observation, together: bool = False
    ) -> None:
        """NAME-P-image.fits, NAME-P-image-pb.fits and NAME-angle.fits; of several NAME-0000-P-image.fits and so on.

        Parameters
        ----------
        channels : LinearChannels
            Its `headers` receive the paths.
        together : bool
            Write all channels into one cube of each kind.
        """
        for kind in channels.kinds:
            named = [self._linear_file(image, kind, grid, observation) for image in channels.headers]
            planes = (channels.plane(number, kind) for number in range(len(named)))
            if together:
                path = self.path("", "angle" if kind == "angle" else f"P-{kind}")
                first = next(k for k, image in enumerate(channels.headers) if not image.blank)
                header = whole_header(grid.shape, named[first][1])
                write_planes(path, header, channels.headers, 1, planes, observation.channel_axis)
                named = [(path, header) for _, header in named]
            else:
                for (path, header), plane in zip(named, planes, strict=True):
                    write_rows(path, plane, header)
            for number, (image, (path, _)) in enumerate(zip(channels.headers, named, strict=True)):
                image.paths[kind], image.plane = path, number if together else 0

    def _linear_file(self, image, kind, grid, observation):
        """Path and header of a map of linear polarisation."""
        if kind != "angle":
            path, header = self.file(image, kind, grid, observation, None)
            header["BTYPE"] = "polarized_intensity"
            return path, header
        path, header = self.file(replace(image, label=image.channel, stokes="angle"), kind, grid, observation, None)
        header["BUNIT"], header["BTYPE"] = ("deg", "north through east"), "position_angle"
        return path, header

    def write_map(self, image: Image, kind: str, array: np.ndarray, grid: ImageGrid, observation: Observation) -> None:
        """NAME-MFS-{kind}.fits: a map without unit that belongs to an image, such as its spectral index."""
        image.paths[kind], header = self.map_file(image, kind, grid, observation)
        write_fits(image.paths[kind], array, header)

    def map_file(self, image: Image, kind: str, grid: ImageGrid, observation: Observation) -> tuple[Path, fits.Header]:
        """Path and header of a map without unit."""
        path, header = self.file(image, kind, grid, observation, None)
        header["BUNIT"], header["BTYPE"] = "", kind.replace("-", " ")
        return path, header

    def join(self, stokes: Sequence[Channels], progress: Progress, axis: ChannelAxis | None = None) -> None:
        """`--cube`: replace the files NAME-0000-... of the channels by the cubes NAME-{dirty,psf,...}.fits.

        The file of a channel is removed only after the work directory has noted that the channel is in the cube.

        Parameters
        ----------
        stokes : sequence of Channels
            Of each Stokes parameter.
        progress : Progress
        axis : ChannelAxis, optional
            The channels that the user asked for.
        """
        facts = [image for channels in stokes for image in channels.headers]
        for kind in facts[0].paths:
            path = self.path("", kind)
            if any(image.paths[kind] != path for image in facts):
                write_cube(path, kind, *stokes[: 1 if kind in SHARED else None], axis=axis)
            for plane, image in enumerate(facts):
                if image.paths[kind] != path:
                    image.paths[kind], image.plane = path, plane
                    progress.keep_image(image)
            for image in facts:
                self.path_of(image, kind).unlink(missing_ok=True)  # an interrupted run may have removed it

    def file(
        self, image: Image, kind: str, grid: ImageGrid, observation: Observation, thermal: float | None
    ) -> tuple[Path, fits.Header]:
        """Path and header of one kind of file of an image; the arrays of the image are not used."""
        config, deconvolved = self.config, bool(image.stop)
        facts = {
            "weighting": str(config.weight),
            "data_column": observation.data_column,
            "noise": image.noise,
            "thermal_noise": thermal,
            "epsilon": config.epsilon,
            **image.facts,
        }
        if config.taper is not None:
            facts["taper"] = float(np.degrees(config.taper))
        if config.data == "closure":
            facts |= {"data": config.data}
        elif deconvolved and config.solver == "rim":
            facts |= {"solver": "rim", "model": Path(config.model).name, "threshold": config.threshold}
        elif deconvolved and config.solver == "entropy":
            facts |= {"solver": "entropy"}
        elif deconvolved:
            names = ("solver", "niter", "gain", "mgain", "auto_mask", "auto_threshold", "threshold")
            facts |= {name: getattr(config, name) for name in names}
        if config.pb != "none":
            facts |= {"pb": observation.beam, "dish_diameter": observation.dish_diameter, "pb_limit": config.pb_limit}
        pixel = "Jy/pixel", None
        units = {"model": pixel, "model_uncertainty": pixel, "model_uncertainty_95": pixel, "pb": ("", None)}
        unit, beam = units.get(kind, ("Jy/beam", image.beam_of(kind)))
        header = image_header(
            grid, image.freq, image.bandwidth, observation, image.stokes, unit, beam, facts, [self.command]
        )
        return self.path_of(image, kind), header

    def writes(self, image: Image, kind: str) -> bool:
        """Whether an image writes this kind of file; the first Stokes parameter writes the kinds that all share."""
        return kind not in SHARED or image.stokes == self.config.stokes[0]

    def path_of(self, image: Image, kind: str) -> Path:
        """Path of one kind of file of an image."""
        return self.path(image.channel if kind in SHARED else image.label, kind)

    def path(self, label: str, kind: str) -> Path:
        """Path of the file of a kind, with a label unless it is empty."""
        ending = kind.replace("_", "-")
        return Path(f"{self.prefix}-{label}-{ending}.fits" if label else f"{self.prefix}-{ending}.fits")

    def write_summary(self, run: RunSummary, painters: Painters | None = None) -> dict[str, Path]:
        """Write NAME.png, NAME-report.html, NAME-run.toml and, last, NAME-qa.json; returns their paths.

        Without --report the first two are left out.
        """
        pictures = {"png": Path(f"{self.prefix}.png"), "report": Path(f"{self.prefix}-report.html")}
        paths = {
            **(pictures if self.config.report else {}),
            "run": Path(f"{self.prefix}-run.toml"),
            "qa": Path(f"{self.prefix}-qa.json"),
        }
        image, stokes, observation, programs = run.image, run.stokes, run.observation, versions()
        channels = stokes.channels[image.stokes]
        quality = qa.measure(
            image, len(channels), run.grid, observation, self.config, run.thermal, run.scatter[image.stokes]
        )
        quality["other_stokes"] = qa.measure_others(stokes, image.stokes, run.scatter)
        quality |= qa.measure_fit(image, observation.antennas, run.findings)
        files = [*stokes.paths, *(run.linear.paths.values() if run.linear else []), *paths.values()]
        if len(channels) > 1:
            files += [path for one in stokes.channels.values() for path in one.paths]
        files = list(dict.fromkeys(files))
        settings = self.config.resolved((run.grid.width, run.grid.height), run.grid.scale, str(self.prefix)).as_text()
        if self.config.report:
            names = [str(path) for path in files]
            report = replace(self._report(run), settings=settings, versions=programs, files=names)
            write_report(paths["report"], report, paths["png"], painters)
        write_run_toml(paths["run"], settings | {"run": {"command": self.command, **programs}})
        qa.write_qa(
            paths["qa"],
            qa.finish(quality, self.command, run.seconds, [*observation.remarks, *observation.notes], programs, files),
        )
        return paths

    def _report(self, run):
        """What the page shows of the images and the data."""
        channels, observation = run.stokes.channels[run.image.stokes], run.observation
        several = len(channels) > 1
        seen = [k for k, channel in enumerate(channels.headers) if not channel.blank]
        some = np.unique(np.array(seen)[np.linspace(0, len(seen) - 1, ReportSettings.output_channels).astype(int)])
        notes = [*observation.remarks, *observation.notes]
        if several and len(some) < len(channels):
            notes.append(f"Of {len(channels)} channels, {len(some)} are shown here.")
        facts = {"Expected noise": si(run.thermal, "Jy/beam"), "Stopped": run.image.stop or "not deconvolved"}
        facts |= shown_in_report(run.image.facts)
        facts["Image"] = f"{run.grid.width} × {run.grid.height} pixels of {format_angle(run.grid.scale)}"
        image, grid, factor = overview(run.image, run.grid)
        if factor > 1:
            notes.append(f"Pictures here have one pixel for {factor} x {factor} of the image.")
        shown = [overview(channels[k], run.grid)[0] for k in some if several]
        return Report(
            title=observation.object,
            subtitle=f"{observation.telescope}, {observation.date_obs[:10]}",
            stokes=image.stokes,
            command=self.command,
            grid=grid,
            uv=uv_samples(observation.blocks),
            chosen=run.chosen,
            notes=notes,
            cycles=image.cycles,
            timings=run.seconds,
            facts=facts,
            images=[_image_set(one) for one in (image, *shown)],
            beside=None if run.beside is None else _comparison(image, run.beside),
            fit=_fit_panel(image, observation.antennas),
            show_model=self.config.data == "closure" or self.config.solver == "entropy",
            polarisation=_polarisation(run.stokes, run.linear, image.stokes, run.grid),
        )


def _polarisation(stokes: Stokes, linear: Linear | None, shown: str, grid: ImageGrid) -> Polarisation | None:
    """The report's panel of all Stokes parameters but the one that is `shown` in full."""
    if len(stokes) == 1:
        return None
    noise = {name: image.noise for name, image in zip(stokes, stokes.headers, strict=True)}
    images = {name: overview(stokes[name], grid)[0].best for name in stokes if name != shown}
    if linear is None:
        return Polarisation(images, noise)
    intensity, angle = (thin_out(open_image(linear.paths[kind])) for kind in ("image", "angle"))
    return Polarisation(images, noise, intensity, angle, linear.noise)


def _fit_panel(image: Image, antennas: Sequence[str]) -> FitPanel | None:
    """The report's panel of fitted and kept-out visibilities; None if none were kept out."""
    found = image.fit_quality
    if not found:
        return None
    named = [{**entry, "name": name_of(antennas, entry["antenna"])} for entry in found["antennas"]]
    cycles = [cycle for cycle in image.cycles if "kept_chi2" in cycle]
    return FitPanel(cycles, found["lengths"], named, found["all"])


def _comparison(image, beside):
    """The report's panel of the second minor cycle."""
    rows = {}
    for name, one in zip(beside.names, (image, beside.image), strict=True):
        rows[name] = {
            "residual rms": si(scatter(one.residual), "Jy/beam"),
            "residual peak": si(float(np.abs(one.residual).max()), "Jy/beam"),
            "peak / noise": f"{float(np.abs(one.image).max()) / max(one.noise, 1e-30):,.0f}",
            "model flux": si(float(one.model.sum(dtype=np.float64)), "Jy", 4),
            "time": f"{beside.seconds[name]:.1f} s",
            "stopped because": one.stop,
        }
    return RivalPanel(beside.names, _image_set(beside.image), rows)


def _image_set(image):
    return ImageSet(
        image.channel, image.freq, image.dirty, image.psf, image.noise, image.beam, image.model, image.residual,
        image.image, image.uncertainty, image.model_uncertainty,
    )  # fmt: skip
