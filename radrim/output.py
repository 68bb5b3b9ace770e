"""Step 7, write: the files of a run, by their names in WSClean's manner."""

import platform
from pathlib import Path

import numpy as np

from radrim import qa
from radrim.closure_scores import shown_in_report
from radrim.cube import write_cube
from radrim.figures import si
from radrim.files import check_writable
from radrim.geometry import format_angle
from radrim.measure import uv_samples
from radrim.overview import overview
from radrim.report import Comparison, ImageSet, Report, write_png, write_report
from radrim.result import KINDS, Beside, Channels, Image
from radrim.version import __version__
from radrim.write import image_header, write_fits, write_run_toml

CHANNELS_SHOWN = 8
"""Channels in the report, evenly spaced."""


class Output:
    """Writes everything that one run leaves behind.

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

    def __init__(self, prefix, config, command):
        check_writable(prefix)
        self.prefix, self.config, self.command = prefix, config, command

    def check_space(self, grid):
        """Raise OutputError if the disk cannot take the images."""
        kinds = (2 if self.config.niter == 0 else 5) + (self.config.pb != "none") * (1 + (self.config.niter > 0))
        images = self.config.channels_out + (self.config.channels_out > 1)
        if self.config.cube:  # of one kind, while its channels are still there
            images += -(-self.config.channels_out // kinds)
        # In the work directory: dirty image, PSF of four times the pixels, model and residual of two cycles.
        working = 9 if self.config.niter else 5
        check_writable(self.prefix, 4 * grid.width * grid.height * (kinds * images + working))

    def write_images(self, image: Image, grid, observation, thermal):
        """NAME-{dirty,psf,model,residual,image,pb,image-pb}.fits, or NAME-0000-... for one channel of several."""
        for kind in KINDS:
            array = getattr(image, kind)
            if array is not None:
                image.paths[kind], header = self.file(image, kind, grid, observation, thermal)
                write_fits(image.paths[kind], array, header)

    def write_map(self, image: Image, kind, array, grid, observation):
        """NAME-MFS-{kind}.fits: a map without unit that belongs to an image, such as its spectral index."""
        path, header = self.file(image, kind, grid, observation, None)
        header["BUNIT"], header["BTYPE"] = "", kind.replace("-", " ")
        write_fits(path, array, header)
        image.paths[kind] = path

    def join(self, channels: Channels, progress):
        """`--cube`: NAME-{dirty,psf,...}.fits with all channels in place of NAME-0000-... and so on.

        A channel's own file goes when its `paths` say that it is in the cube, in the work directory, too.
        """
        for kind in channels.facts[0].paths:
            path = self.path("", kind)
            if any(image.paths[kind] != path for image in channels.facts):
                write_cube(path, kind, channels)
            for image in channels.facts:
                if image.paths[kind] != path:
                    image.paths[kind] = path
                    progress.keep_image(image)
                self.path(image.label, kind).unlink(missing_ok=True)  # an earlier run may have come as far as here

    def file(self, image: Image, kind, grid, observation, thermal):
        """Path and header of one of the files of an image; its arrays do not count."""
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
        elif deconvolved:
            names = ("solver", "niter", "gain", "mgain", "auto_mask", "auto_threshold", "threshold")
            facts |= {name: getattr(config, name) for name in names}
        if config.pb != "none":
            facts |= {"pb": config.pb, "dish_diameter": observation.dish_diameter, "pb_limit": config.pb_limit}
        unit, beam = {"model": ("JY/PIXEL", None), "pb": ("", None)}.get(kind, ("JY/BEAM", image.beam))
        header = image_header(
            grid, image.freq, image.bandwidth, observation, config.pol, unit, beam, facts, [self.command]
        )
        return self.path(image.label, kind), header

    def path(self, label, kind):
        """Of one of the files of an image."""
        ending = kind.replace("_", "-")
        return Path(f"{self.prefix}-{label}-{ending}.fits" if label else f"{self.prefix}-{ending}.fits")

    def write_summary(
        self, image: Image, channels, grid, observation, thermal, scatter, chosen, seconds, beside: Beside | None = None
    ) -> dict[str, Path]:
        """NAME.png, NAME-report.html, NAME-run.toml and, last of all, NAME-qa.json; returns their paths."""
        paths = {
            "png": Path(f"{self.prefix}.png"),
            "report": Path(f"{self.prefix}-report.html"),
            "run": Path(f"{self.prefix}-run.toml"),
            "qa": Path(f"{self.prefix}-qa.json"),
        }
        quality = qa.measure(image, len(channels), grid, observation, self.config, thermal, scatter)
        several, whole = len(channels) > 1, grid
        some = np.unique(np.linspace(0, len(channels) - 1, CHANNELS_SHOWN).astype(int))
        parts = channels.paths if several else []
        notes = list(observation.notes)
        if several and len(some) < len(channels):
            notes.append(f"Of {len(channels)} channels, {len(some)} are shown here.")
        files = list(dict.fromkeys([*image.paths.values(), *parts, *paths.values()]))
        settings = self.config.resolved(grid, str(self.prefix)).as_text()
        programs = versions()
        facts = {"Expected noise": si(thermal, "Jy/beam"), "Stopped": image.stop or "not deconvolved"}
        facts |= shown_in_report(image.facts)
        facts["Image"] = f"{grid.width} × {grid.height} pixels of {format_angle(grid.scale)}"
        image, grid, factor = overview(image, grid)
        if factor > 1:
            notes.append(f"Pictures here have one pixel for {factor} x {factor} of the image.")
        report = Report(
            title=observation.object,
            subtitle=f"{observation.telescope}, {observation.date_obs[:10]}",
            stokes=self.config.pol,
            command=self.command,
            grid=grid,
            uv=uv_samples(observation.blocks),
            chosen=chosen,
            notes=notes,
            cycles=image.cycles,
            timings=seconds,
            settings=settings,
            versions=programs,
            facts=facts,
            images=[_image_set(image), *(_image_set(overview(channels[k], whole)[0]) for k in some if several)],
            beside=None if beside is None else _comparison(image, beside),
            files=[str(path) for path in files],
        )
        write_png(paths["png"], image.best, grid, image.beam, image.noise, observation.object)
        write_report(paths["report"], report)
        write_run_toml(paths["run"], settings | {"run": {"command": self.command, **programs}})
        qa.write_qa(paths["qa"], qa.finish(quality, self.command, seconds, observation.notes, programs, files))
        return paths


def _comparison(image, beside):
    """What the report shows of the other minor cycle."""
    rows = {}
    for name, one in zip(beside.names, (image, beside.image), strict=True):
        rows[name] = {
            "residual rms": si(float(one.residual.std()), "Jy/beam"),
            "residual peak": si(float(np.abs(one.residual).max()), "Jy/beam"),
            "peak / noise": f"{float(np.abs(one.image).max()) / max(one.noise, 1e-30):,.0f}",
            "model flux": si(float(one.model.sum(dtype=np.float64)), "Jy", 4),
            "time": f"{beside.seconds[name]:.1f} s",
            "stopped because": one.stop,
        }
    return Comparison(beside.names, _image_set(beside.image), rows)


def _image_set(image):
    return ImageSet(
        image.label, image.freq, image.dirty, image.psf, image.noise, image.beam, image.model, image.residual,
        image.image,
    )  # fmt: skip


def versions():
    """Versions of radrim and of what its results depend on, by name."""
    import astropy
    import ducc0
    import finufft
    import torch

    return {
        "radrim": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "astropy": astropy.__version__,
        "ducc0": ducc0.__version__,
        "finufft": finufft.__version__,
    }
