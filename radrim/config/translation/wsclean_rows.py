"""Every option of WSClean 3.1, in the order and under the headings of its help."""

from collections.abc import Callable

from radrim.config.translation.row import Kind, Row, Values

SAME, OTHER, LEFT_OUT, INSTEAD, MISSING = Kind.SAME, Kind.OTHER, Kind.LEFT_OUT, Kind.INSTEAD, Kind.MISSING

_ARRAY_BEAMS = "beams of phased arrays are not applied; --pb airy and --pb gauss are those of round dishes"
_AVERAGED = "facets average baselines by themselves, as far as the field allows"
_A_TERMS = "there are no a-terms; apply solutions to the data first (DP3, CASA's applycal)"
_EXACT_W = "the w-term is always exact, to --epsilon"
_KERNEL = "the kernel follows from --epsilon"
_SCALES = "scales follow from the PSF and the image"
_WAVELETS = "--solver tv and --solver pnp are for extended emission"
_LOCAL = "radrim mask makes a mask with thresholds above the local rms, for --mask"
_TAPER = "samples at the edge of the uv grid count in full; --taper-tukey with --maxuv-l lets the weights fall"


def _with_unit(option: str, unit: str) -> Callable[[Values], list[str]]:
    """The words of an option whose value has a default unit in WSClean and none in radrim."""

    def convert(values: Values) -> list[str]:
        value = values[0]
        return [f"--{option}", f"{value}{unit}" if value[-1:].isdigit() or value.endswith(".") else value]

    return convert


def _major_cycles(values: Values) -> list[str]:
    return [] if values[0] == "0" else ["--nmiter", values[0]]


WSCLEAN: dict[str, tuple[Row, ...]] = {
    "General": (
        Row("version", INSTEAD, "radrim --version", "radrim --version prints it"),
        Row("j", SAME, "--threads, --j", "", 1),
        Row("parallel-gridding", LEFT_OUT, "", "all threads work on each transform", 1),
        Row("parallel-reordering", LEFT_OUT, "", "nothing is reordered", 1),
        Row("no-work-on-master", LEFT_OUT, "", "--scheduler and --cluster share the work among machines, without MPI"),
        Row("mem", OTHER, "--memory 50%", "a limit that is kept", 1, "--memory {0}%"),
        Row("abs-mem", OTHER, "--memory 8GB", "a limit that is kept: larger images are made in facets", 1,
            "--memory {0}GB"),
        Row("verbose", OTHER, "--debug", "", 0, "--debug"),
        Row("v", OTHER, "--debug", "", 0, "--debug"),
        Row("log-time", LEFT_OUT, "--log FILE", "--log FILE writes a log with times"),
        Row("quiet", SAME, "--quiet", ""),
        Row("reorder", LEFT_OUT, "", "nothing is reordered"),
        Row("no-reorder", LEFT_OUT, "", "nothing is reordered"),
        Row("temp-dir", LEFT_OUT, "", "intermediate results are in NAME.radrim, beside the images", 1),
        Row("update-model-required", SAME, "--update-model, --update-model-required", "off by default, there on"),
        Row("no-update-model-required", SAME, "--no-update-model, --no-update-model-required", "the default"),
        Row("no-dirty", LEFT_OUT, "", "the dirty image is always written"),
        Row("save-first-residual", INSTEAD, "--max-major 1", "a run with --max-major 1 and another --name writes it"),
        Row("save-weights", MISSING, "", "gridded weights are not written; NAME-psf.fits shows their effect"),
        Row("save-uv", MISSING, "", "the gridded uv plane is not written; it is the Fourier transform of "
            "NAME-residual.fits"),
        Row("reuse-psf", LEFT_OUT, "", "the PSF is made again, with the same result", 1),
        Row("reuse-dirty", LEFT_OUT, "", "the dirty image is made again, with the same result", 1),
        Row("apply-primary-beam", OTHER, "--pb auto", "measured beams of eight telescopes, else round dishes; not of "
            "LOFAR, the MWA and other phased arrays", 0, "--pb auto"),
        Row("reuse-primary-beam", LEFT_OUT, "", "it is made again, with the same result"),
        Row("use-differential-lofar-beam", MISSING, "", _ARRAY_BEAMS),
        Row("primary-beam-limit", SAME, "--pb-limit, --primary-beam-limit", "default 0.2, there 0.005", 1),
        Row("mwa-path", MISSING, "", _ARRAY_BEAMS, 1),
        Row("save-psf-pb", INSTEAD, "", "divide NAME-psf.fits by NAME-pb.fits, which --pb writes"),
        Row("pb-grid-size", LEFT_OUT, "", "the primary beam is computed at every pixel", 1),
        Row("beam-model", MISSING, "", _ARRAY_BEAMS, 1),
        Row("beam-mode", MISSING, "", _ARRAY_BEAMS, 1),
        Row("beam-normalisation-mode", MISSING, "", _ARRAY_BEAMS, 1),
        Row("dry-run", INSTEAD, "radrim plan", "radrim plan with the same options says what the run would take"),
    ),
    "Weighting": (
        Row("weight", SAME, "--weight briggs 0",
            "the same weights sample by sample; default here briggs 0, there uniform", 1),
        Row("super-weight", SAME, "--super-weight", "", 1),
        Row("mf-weighting", LEFT_OUT, "", "weights are those of all output channels together"),
        Row("no-mf-weighting", OTHER, "--weighting-per-channel", "each output channel from its own visibilities", 0,
            "--weighting-per-channel"),
        Row("weighting-rank-filter", MISSING, "", "cells with much larger weights than their surroundings are always "
            "limited, by a fixed factor", 1),
        Row("weighting-rank-filter-size", MISSING, "", "see -weighting-rank-filter", 1),
        Row("taper-gaussian", SAME, "--taper, --taper-gaussian", "", 1, _with_unit("taper-gaussian", "asec")),
        Row("taper-tukey", SAME, "--taper-tukey", "with --maxuv-l", 1),
        Row("taper-inner-tukey", SAME, "--taper-inner-tukey", "", 1),
        Row("taper-edge", MISSING, "", _TAPER, 1),
        Row("taper-edge-tukey", MISSING, "", _TAPER, 1),
        Row("use-weights-as-taper", MISSING, "", "imaging weights always include the weights of the visibilities"),
        Row("store-imaging-weights", MISSING, "", "an observation is never written to"),
    ),
    "Gridding": (
        Row("name", SAME, "--name", "default: the name of the Measurement Set, not wsclean", 1),
        Row("size", SAME, "--size", "may be left out: radrim chooses, and says what", 2),
        Row("padding", SAME, "--padding", "1.2 in both; it sets the uv cell of the weights", 1),
        Row("scale", SAME, "--scale", "may be left out: radrim chooses, and says what; with a unit", 1,
            _with_unit("scale", "deg")),
        Row("predict", INSTEAD, "radrim predict", "radrim predict OBS.ms --name PREFIX writes MODEL_DATA"),
        Row("continue", SAME, "--continue", "from NAME-model.fits; MODEL_DATA is not used"),
        Row("subtract-model", MISSING, "", "the model is not taken out of the image; --start-model FITS begins with a "
            "model, and keeps it"),
        Row("channels-out", SAME, "--channels-out", "--cube joins the files; --start and --width choose their "
            "frequencies", 1),
        Row("shift", SAME, "--shift, --phase-centre", "the image is projected around the new centre; there it stays on "
            "the tangent plane of the old one", 2),
        Row("gap-channel-division", MISSING, "", "output channels have nearly equal numbers of channels; image parts "
            "by themselves with --spw and --chan-range"),
        Row("channel-division-frequencies", INSTEAD, "--start, --width", "output channels of equal width: --start, "
            "--width and --channels-out", 1),
        Row("nwlayers", LEFT_OUT, "", _EXACT_W, 1),
        Row("nwlayers-factor", LEFT_OUT, "", _EXACT_W, 1),
        Row("nwlayers-for-size", LEFT_OUT, "", _EXACT_W, 2),
        Row("no-small-inversion", LEFT_OUT, "", "transforms are always made at full resolution"),
        Row("small-inversion", LEFT_OUT, "", "transforms are always made at full resolution"),
        Row("grid-mode", LEFT_OUT, "", _KERNEL, 1),
        Row("kernel-size", LEFT_OUT, "", _KERNEL, 1),
        Row("oversampling", LEFT_OUT, "", _KERNEL, 1),
        Row("make-psf", LEFT_OUT, "", "the PSF is always written"),
        Row("make-psf-only", OTHER, "--niter 0", "writes the dirty image, too", 0, "--niter 0"),
        Row("visibility-weighting-mode", MISSING, "", "weights are 1/sigma^2, as the observation has them", 1),
        Row("no-normalize-for-weighting", MISSING, "", "the peak of the PSF is 1"),
        Row("baseline-averaging", LEFT_OUT, "", _AVERAGED, 1),
        Row("simulate-noise", INSTEAD, "radrim simulate --noise", "radrim simulate writes observations with noise", 1),
        Row("simulate-baseline-noise", INSTEAD, "radrim simulate --noise", "radrim simulate writes observations with "
            "noise, the same for all baselines", 1),
        Row("direct-ft", OTHER, "--operator dft", "", 0, "--operator dft"),
        Row("use-idg", LEFT_OUT, "", "the w-gridder makes the same transforms"),
        Row("idg-mode", LEFT_OUT, "", "the w-gridder makes the same transforms", 1),
        Row("use-wgridder", LEFT_OUT, "", "the transforms are always accurate"),
        Row("wgridder-accuracy", SAME, "--epsilon, --wgridder-accuracy", "1e-4 in both", 1),
    ),
    "A-terms and facets with solutions": (
        Row("aterm-config", MISSING, "", _A_TERMS, 1),
        Row("grid-with-beam", MISSING, "", _ARRAY_BEAMS),
        Row("beam-aterm-update", MISSING, "", _ARRAY_BEAMS, 1),
        Row("aterm-kernel-size", MISSING, "", _A_TERMS, 1),
        Row("apply-facet-solutions", MISSING, "", _A_TERMS, 2),
        Row("apply-facet-beam", MISSING, "", _ARRAY_BEAMS),
        Row("facet-beam-update", MISSING, "", _ARRAY_BEAMS, 1),
        Row("save-aterms", MISSING, "", _A_TERMS),
    ),
    "Data selection": (
        Row("pol", SAME, "--pol", "", 1),
        Row("interval", SAME, "--interval", "or --time-range, with times", 2),
        Row("intervals-out", INSTEAD, "--interval", "make one image after the other, with --interval or --time-range "
            "and another --name", 1),
        Row("even-timesteps", INSTEAD, "", "radrim prints the noise that the scatter of the data gives"),
        Row("odd-timesteps", INSTEAD, "", "radrim prints the noise that the scatter of the data gives"),
        Row("channel-range", SAME, "--chan-range, --channel-range", "END not included, in both", 2),
        Row("field", SAME, "--field", "fields by name, too; default: the field with most rows", 1),
        Row("spws", SAME, "--spw, --spws", "", 1),
        Row("data-column", SAME, "--data-column", "default in both CORRECTED_DATA where it is there, else DATA", 1),
        Row("maxuvw-m", SAME, "--maxuvw-m", "in metres; --maxuv-l takes wavelengths", 1),
        Row("minuvw-m", SAME, "--minuvw-m", "in metres; --minuv-l takes wavelengths", 1),
        Row("maxuv-l", SAME, "--maxuv-l", "in wavelengths, or 100klambda; --uv-range gives both limits", 1),
        Row("minuv-l", SAME, "--minuv-l", "in wavelengths, or 1klambda", 1),
        Row("maxw", LEFT_OUT, "", "all visibilities are used: the w-term costs little", 1),
    ),
    "Deconvolution": (
        Row("niter", SAME, "--niter", "0: dirty image and PSF; above 0 it limits the components of CLEAN (--solver "
            "clean), and changes nothing in the learned minor cycle", 1),
        Row("nmiter", SAME, "--max-major, --nmiter", "20 in both", 1, _major_cycles),
        Row("threshold", SAME, "--threshold", "in Jy/beam, or 1mJy", 1),
        Row("auto-threshold", SAME, "--auto-threshold", "", 1),
        Row("auto-mask", SAME, "--auto-mask", "", 1),
        Row("local-rms", INSTEAD, "", _LOCAL),
        Row("local-rms-window", INSTEAD, "", _LOCAL, 1),
        Row("local-rms-method", INSTEAD, "", _LOCAL, 1),
        Row("gain", SAME, "--gain", "", 1),
        Row("mgain", SAME, "--mgain", "default 0.8, there 1", 1),
        Row("join-polarizations", LEFT_OUT, "", "each Stokes parameter is deconvolved by itself, with one PSF"),
        Row("link-polarizations", LEFT_OUT, "", "each Stokes parameter is deconvolved by itself, with one PSF", 1),
        Row("facet-regions", INSTEAD, "--facet", "--facet PIXELS makes facets of equal size, and --memory where they "
            "are needed", 1),
        Row("join-channels", OTHER, "--spectral-terms 2", "output channels are deconvolved together, with spectra that "
            "are polynomials; without it each by itself", 0, "--spectral-terms 2"),
        Row("spectral-correction", MISSING, "", "spectra are fitted; there is nothing to correct for", 2),
        Row("no-fast-subminor", LEFT_OUT, "", "it changes the speed only"),
        Row("multiscale", SAME, "--multiscale", "on by default with --solver clean"),
        Row("multiscale-scale-bias", LEFT_OUT, "", _SCALES, 1),
        Row("multiscale-max-scales", LEFT_OUT, "", _SCALES, 1),
        Row("multiscale-scales", LEFT_OUT, "", _SCALES, 1),
        Row("multiscale-shape", LEFT_OUT, "", _SCALES, 1),
        Row("multiscale-gain", LEFT_OUT, "", _SCALES, 1),
        Row("multiscale-convolution-padding", LEFT_OUT, "", _SCALES, 1),
        Row("no-multiscale-fast-subminor", LEFT_OUT, "", "it changes the speed only"),
        Row("python-deconvolution", INSTEAD, "radrim plugin", "the learned minor cycle is the default; radrim plugin "
            "writes a file with which WSClean uses it", 1),
        Row("iuwt", INSTEAD, "--solver tv", _WAVELETS),
        Row("iuwt-snr-test", INSTEAD, "--solver tv", _WAVELETS),
        Row("no-iuwt-snr-test", INSTEAD, "--solver tv", _WAVELETS),
        Row("moresane-ext", INSTEAD, "--solver tv", _WAVELETS, 1),
        Row("moresane-arg", INSTEAD, "--solver tv", _WAVELETS, 1),
        Row("moresane-sl", INSTEAD, "--solver tv", _WAVELETS, 1),
        Row("save-source-list", INSTEAD, "", "the model is an image, NAME-model.fits, not a list of components; "
            "NAME-qa.json lists the brightest sources"),
        Row("clean-border", INSTEAD, "--mask", "give the inner part as a region: --mask FILE.reg", 1),
        Row("fits-mask", SAME, "--mask, --fits-mask", "also region files of DS9 and CASA; masks with other coordinates "
            "than the image are transformed, not taken pixel by pixel", 1),
        Row("casa-mask", INSTEAD, "--mask", "write the mask as FITS with CASA's exportfits first, then --mask "
            "FILE.fits", 1),
        Row("horizon-mask", INSTEAD, "--mask", "give a region: --mask FILE.reg", 1),
        Row("no-negative", INSTEAD, "", "leave it out: the learned minor cycle keeps Stokes I positive; the components "
            "of --solver clean can be negative"),
        Row("negative", LEFT_OUT, "", "the components of --solver clean can be negative"),
        Row("stop-negative", INSTEAD, "", "leave it out: kept-out visibilities decide where to stop"),
        Row("fit-spectral-pol", SAME, "--spectral-terms, --fit-spectral-pol", "writes the spectral index, too", 1),
        Row("fit-spectral-log-pol", OTHER, "--spectral-terms N", "polynomials of frequency, not of logarithms", 1,
            "--spectral-terms {0}"),
        Row("force-spectrum", MISSING, "", "spectra are fitted, by --spectral-terms", 1),
        Row("deconvolution-channels", LEFT_OUT, "", "--spectral-terms deconvolves images of the polynomial's terms", 1),
        Row("squared-channel-joining", INSTEAD, "--channels-out", "image Q and U with --channels-out N: each output "
            "channel is deconvolved by itself"),
        Row("parallel-deconvolution", OTHER, "--tile", "largest tile of the minor cycle", 1, "--tile {0}"),
        Row("deconvolution-threads", LEFT_OUT, "", "--threads counts for the whole run", 1),
    ),
    "Restoring": (
        Row("restore", INSTEAD, "radrim restore", "radrim restore MODEL.fits RESIDUAL.fits", 3),
        Row("restore-list", MISSING, "", "models are images, in Jy/pixel", 3),
        Row("beam-size", SAME, "--beam-size", "in arcsec, or with a unit", 1),
        Row("beam-shape", SAME, "--beam-shape", "in arcsec and degrees, or with units", 3),
        Row("fit-beam", LEFT_OUT, "", "the restoring beam is always fitted to the PSF"),
        Row("no-fit-beam", OTHER, "--theoretic-beam", "", 0, "--theoretic-beam"),
        Row("beam-fitting-size", INSTEAD, "--beam-fit", "--beam-fit chooses the part of the PSF: quadrant (WSClean's), "
            "box or lobe", 1),
        Row("theoretic-beam", SAME, "--theoretic-beam", "a circle, from the longest baseline"),
        Row("circular-beam", SAME, "--circular-beam", "the residual is smoothed to it, too"),
        Row("elliptical-beam", LEFT_OUT, "", "the default"),
    ),
}  # fmt: skip
"""Options by heading."""

BY_NAME = {row.name: row for rows in WSCLEAN.values() for row in rows}
"""Options by name."""
