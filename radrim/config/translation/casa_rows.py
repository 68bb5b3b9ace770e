"""Every parameter of CASA's tclean (version 6.7), in the order of its documentation."""

from radrim.config.translation import casa_values as to
from radrim.config.translation.parameter import Parameter
from radrim.config.translation.row import Kind

SAME, OTHER, LEFT_OUT, INSTEAD, MISSING = Kind.SAME, Kind.OTHER, Kind.LEFT_OUT, Kind.INSTEAD, Kind.MISSING
P = Parameter

_SPLIT = "write a Measurement Set with the selection first (CASA's split)"
_A_PROJECTION = "belongs to A-projection, which is not there"
_MULTISCALE = "scales follow from the PSF and the image"
_CYCLES = "major cycles follow from --mgain, and from visibilities that are kept out"
_BEAMS = "--pb with the name of a telescope, airy or gauss, and --dish-diameter are the primary beams"
_AUTOMASK = "belongs to auto-multithresh; --auto-mask SIGMA is the limit of the mask of --solver clean"
_AGAIN = "an interrupted run resumes with the same command; PSF and residual are always made"

TCLEAN: dict[str, tuple[Parameter, ...]] = {
    "Data selection": (
        P("vis", "", SAME, "OBS.ms", "several are imaged together"),
        P("selectdata", True, LEFT_OUT, "", "selections count where they are given"),
        P("field", "", SAME, "--field", "by number, name, or 2~24; default: the field with most rows",
          to.option("--field")),
        P("spw", "", OTHER, "--spw 0 --chan-range 10 20", "of '0:10~19'; END is not included", to.windows),
        P("timerange", "", OTHER, "--time-range START END", "UTC, such as 2016-05-01T10:00:00", to.times),
        P("uvrange", "", OTHER, "--minuv-l 1klambda", "--minuv-l and --maxuv-l, in wavelengths", to.uv_range),
        P("antenna", "", SAME, "--antenna", "names, numbers, ranges, *, ! and &; no lengths",
          to.option("--antenna")),
        P("scan", "", SAME, "--scan", "such as 3,5~9 or !4", to.option("--scan")),
        P("observation", "", INSTEAD, "", _SPLIT, to.refuse(_SPLIT)),
        P("intent", "", SAME, "--intent", "such as '*TARGET*'", to.option("--intent")),
        P("datacolumn", "corrected", OTHER, "--data-column", "default in both CORRECTED_DATA where it is there, else "
          "DATA", to.column),
    ),
    "Image": (
        P("imagename", "", OTHER, "--name", "files are NAME-image.fits and so on; exportfits is not needed",
          to.option("--name")),
        P("imsize", [100], OTHER, "--size W H", "even; may be left out: radrim chooses, and says what", to.size),
        P("cell", [], OTHER, "--scale", "square pixels; may be left out: radrim chooses, and says what", to.cell),
        P("phasecenter", "", SAME, "--phase-centre, --phasecenter", "J2000, ICRS, galactic or B1950; or an offset, "
          "'+10arcmin -5arcmin'", to.direction),
        P("stokes", "I", OTHER, "--pol", "'IQUV', 'RRLL' and the like", to.stokes),
        P("projection", "SIN", MISSING, "", "images are in SIN projection; regrid them with reproject",
          to.refuse("images are in SIN projection; regrid them with reproject")),
        P("startmodel", "", OTHER, "--start-model FITS", "in Jy/pixel, with the pixels of the image; written as FITS "
          "(exportfits)", to.option("--start-model")),
    ),
    "Spectral axis": (
        P("specmode", "mfs", OTHER, "--channels-out N --cube", "mfs is the default", to.mode),
        P("reffreq", "", LEFT_OUT, "", "the reference is the weighted mean of the frequencies"),
        P("nchan", -1, OTHER, "--channels-out N, --nchan", "needed for cubes; without start and width all channels in "
          "N nearly equal groups", lambda _value, _given: []),
        P("start", "", SAME, "--start 1420.4MHz", "a frequency, a velocity, or a channel of the data", to.start),
        P("width", "", SAME, "--width 5km/s", "in channels of the data, Hz or km/s; channels are not interpolated",
          to.width),
        P("outframe", "LSRK", OTHER, "--outframe LSRK", "default: as stored", to.frame, always=True),
        P("veltype", "radio", SAME, "--veltype", "radio or optical", to.velocities),
        P("restfreq", [], SAME, "--restfreq 1420.405752MHz", "one for the cube; default: from the table SOURCE",
          to.rest_frequency),
        P("interpolation", "linear", LEFT_OUT, "", "channels are not interpolated"),
        P("perchanweightdensity", True, OTHER, "--weighting-per-channel", "default here off, there on for cubes",
          to.channel_weights, always=True),
    ),
    "Gridding": (
        P("gridder", "standard", OTHER, "--pb auto", "of mosaics, with --field 2~24; the w-term is always exact, to "
          "--epsilon", to.gridder),
        P("facets", 1, LEFT_OUT, "", "the w-term is always exact; --facet PIXELS is for large images"),
        P("psfphasecenter", "", LEFT_OUT, "", "joint mosaics use the PSF of each place"),
        P("wprojplanes", 1, LEFT_OUT, "", "the w-term is always exact, to --epsilon"),
        P("vptable", "", MISSING, "", _BEAMS, to.refuse(_BEAMS)),
        P("mosweight", True, LEFT_OUT, "", "weights are those of all pointings together"),
        P("aterm", True, LEFT_OUT, "", _A_PROJECTION),
        P("psterm", False, LEFT_OUT, "", _A_PROJECTION),
        P("wbawp", True, LEFT_OUT, "", _A_PROJECTION),
        P("conjbeams", False, LEFT_OUT, "", _A_PROJECTION),
        P("cfcache", "", LEFT_OUT, "", _A_PROJECTION),
        P("usepointing", False, MISSING, "", "pointings are the phase centres of the fields",
          to.refuse("pointings are the phase centres of the fields")),
        P("computepastep", 360.0, LEFT_OUT, "", _A_PROJECTION),
        P("rotatepastep", 360.0, LEFT_OUT, "", _A_PROJECTION),
        P("pointingoffsetsigdev", [], LEFT_OUT, "", _A_PROJECTION),
        P("pblimit", 0.2, OTHER, "--pb-limit", "0.2 in both", to.beam_limit),
        P("normtype", "flatnoise", LEFT_OUT, "", "images have flat noise; NAME-image-pb.fits has a flat sky"),
    ),
    "Deconvolution": (
        P("deconvolver", "hogbom", OTHER, "--solver clean", "multi-scale CLEAN; default: the learned minor cycle. "
          "mtmfs: --channels-out 8 --spectral-terms 2, which writes the spectral index and its error", to.deconvolver),
        P("scales", [], LEFT_OUT, "", _MULTISCALE),
        P("nterms", 2, OTHER, "--spectral-terms", "of deconvolver='mtmfs'", lambda _value, _given: []),
        P("smallscalebias", 0.0, LEFT_OUT, "", _MULTISCALE),
        P("fusedthreshold", 0.0, LEFT_OUT, "", _MULTISCALE),
        P("largestscale", -1, LEFT_OUT, "", _MULTISCALE),
        P("restoration", True, LEFT_OUT, "", "the restored image is always written"),
        P("restoringbeam", [], OTHER, "--common-beam, --beam-size, --beam-shape", "'common', a width, or axes and "
          "position angle", to.restoring_beam),
        P("pbcor", False, OTHER, "--pb auto", "writes NAME-pb.fits and NAME-image-pb.fits", to.primary_beam),
        P("outlierfile", "", MISSING, "", "make the image large enough for all sources; --memory makes it in facets",
          to.refuse("make the image large enough for all sources; --memory makes it in facets")),
    ),
    "Weighting": (
        P("weighting", "natural", OTHER, "--weight", "tclean's default is natural, radrim's briggs 0", to.weighting,
          always=True),
        P("robust", 0.5, OTHER, "--weight briggs 0.5", "of weighting='briggs'", lambda _value, _given: []),
        P("noise", "1.0Jy", LEFT_OUT, "", "belongs to briggsabs, which is not there"),
        P("npixels", 0, LEFT_OUT, "", "the uv cell of the weights follows from --size, --scale and --padding"),
        P("uvtaper", [""], OTHER, "--taper 5asec", "the width of a beam in the image", to.taper),
    ),
    "Iterations and masks": (
        P("niter", 0, SAME, "--niter", "0: dirty image and PSF; above 0 it limits the components of CLEAN (--solver "
          "clean), and changes nothing in the learned minor cycle", to.option("--niter"), always=True),
        P("gain", 0.1, SAME, "--gain", "", to.option("--gain")),
        P("threshold", 0.0, SAME, "--threshold 1mJy", "in Jy/beam without a unit", to.threshold),
        P("nsigma", 0.0, OTHER, "--auto-threshold 3", "in multiples of the noise", to.option("--auto-threshold")),
        P("cycleniter", -1, LEFT_OUT, "", _CYCLES),
        P("cyclefactor", 1.0, LEFT_OUT, "", _CYCLES),
        P("minpsffraction", 0.05, LEFT_OUT, "", _CYCLES),
        P("maxpsffraction", 0.8, LEFT_OUT, "", _CYCLES),
        P("interactive", False, INSTEAD, "--mask", "draw regions on the dirty image: --mask FILE.reg or FILE.crtf",
          to.refuse("draw regions on the dirty image: --mask FILE.reg or FILE.crtf")),
        P("nmajor", -1, OTHER, "--max-major", "", to.cycles),
        P("fullsummary", False, LEFT_OUT, "", "NAME-report.html shows the convergence"),
        P("usemask", "user", LEFT_OUT, "", "the learned minor cycle finds its own; --solver clean has --auto-mask"),
        P("mask", "", SAME, "--mask", "FITS or region files (.reg, .crtf); an image of CASA is written as FITS with "
          "exportfits first; other coordinates than the image's are transformed", to.mask),
        P("pbmask", 0.0, INSTEAD, "--mask", "give a mask: --mask FILE", to.refuse("give a mask: --mask FILE")),
        *(P(name, default, LEFT_OUT, "", _AUTOMASK) for name, default in (
            ("sidelobethreshold", 3.0), ("noisethreshold", 5.0), ("lownoisethreshold", 1.5), ("negativethreshold", 0.0),
            ("smoothfactor", 1.0), ("minbeamfrac", 0.3), ("cutthreshold", 0.01), ("growiterations", 75),
            ("dogrowprune", True), ("minpercentchange", -1.0))),
        P("verbose", False, LEFT_OUT, "--debug", "--debug logs every step"),
        P("fastnoise", True, LEFT_OUT, "", _AUTOMASK),
    ),
    "Running": (
        P("restart", True, LEFT_OUT, "--continue", "an interrupted run resumes with the same command; --continue "
          "begins with the model of a finished one"),
        P("savemodel", "none", OTHER, "--update-model", "writes MODEL_DATA; or radrim predict OBS.ms --name PREFIX "
          "afterwards", to.save_model),
        P("calcres", True, LEFT_OUT, "", _AGAIN),
        P("calcpsf", True, LEFT_OUT, "", _AGAIN),
        P("psfcutoff", 0.35, OTHER, "--beam-fit lobe", "the restoring beam from the main lobe; the default is "
          "WSClean's fit", lambda _value, _given: ["--beam-fit", "lobe"]),
        P("parallel", False, LEFT_OUT, "--threads, --scheduler, --cluster", "all threads are used; --scheduler and "
          "--cluster use other machines"),
    ),
}  # fmt: skip
"""Parameters by heading."""

BY_NAME = {row.name: row for rows in TCLEAN.values() for row in rows}
"""Parameters by name, in the order in which tclean takes them."""
