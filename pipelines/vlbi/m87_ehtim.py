"""M87* by eht-imaging, for the table that m87.py prints.

    python -m venv ehtim && ehtim/bin/pip install ehtim
    ehtim/bin/python pipelines/vlbi/m87_ehtim.py M87.uvfits m87-ehtim.fits
    python pipelines/vlbi/m87.py SELFCAL NETCAL --other "network-calibrated, eht-imaging=m87-ehtim.fits"

Runs in an environment of its own: radrim does not need eht-imaging. Settings are near those that the collaboration
chose for these data (Event Horizon Telescope Collaboration 2019, ApJL 875, L4): 0.6 Jy in the compact source, a
Gaussian of 40 microarcseconds as prior, closure phases, log closure amplitudes and amplitudes, maximum entropy and
total variation; imaged again from the smoothed image before, and after self-calibration with it.
"""

import sys
import time

import ehtim as eh
import numpy as np

FIELD, PIXELS, PRIOR = 128.0, 64, 40.0
"""[microarcsecond], pixels along a side, FWHM of the prior [microarcsecond]."""
FLUX, SHORT = 0.6, 0.1e9
"""Of the compact source [Jy]; baselines below this length [wavelengths] see more than that."""
TERMS = {"cphase": 1.0, "logcamp": 1.0}, {"amp": 0.2, "cphase": 1.0, "logcamp": 1.0}
"""Before any self-calibration, and after it."""
REGULARISERS = {"simple": 100, "tv": 1, "tv2": 1, "flux": 1e4}
ROUNDS, TIMES = 3, 3
"""Self-calibrations plus one, and images from one to the next."""


def compact(obs):
    """The observation without the flux that only the shortest baselines see."""
    short = np.hypot(obs.data["u"], obs.data["v"]) < SHORT
    factor = FLUX / np.median(np.abs(obs.data["vis"][short]))
    for name in ("vis", "qvis", "uvis", "vvis", "sigma", "qsigma", "usigma", "vsigma"):
        obs.data[name][short] *= factor
    return obs


def main():
    """Image one UVFITS file."""
    path, out = sys.argv[1:]
    begin, uas = time.perf_counter(), eh.RADPERUAS
    obs = eh.obsdata.load_uvfits(path)
    obs.add_scans()
    obs = compact(obs.avg_coherent(0.0, scan_avg=True)).add_fractional_noise(0.02)
    prior = eh.image.make_square(obs, PIXELS, FIELD * uas).add_gauss(FLUX, (PRIOR * uas, PRIOR * uas, 0, 0, 0))
    # A symmetric start has closure phases of 0, of which no gradient leads away.
    prior = prior.add_gauss(1e-3 * FLUX, (PRIOR * uas, PRIOR * uas, 0, PRIOR * uas, PRIOR * uas))
    image, calibrated = prior, obs
    for number in range(ROUNDS):
        for _ in range(TIMES):
            imager = eh.imager.Imager(
                calibrated, image, prior_im=prior, flux=FLUX, data_term=TERMS[number > 0], reg_term=REGULARISERS,
                maxit=100, stop=1e-4, ttype="direct", norm_reg=True, epsilon_tv=1e-10,
            )  # fmt: skip
            imager.make_image_I(show_updates=False)
            last = imager.out_last()
            image = last.blur_circ(obs.res())
        if number < ROUNDS - 1:
            calibrated = eh.selfcal(obs, last, method="both", ttype="direct", gain_tol=[0.02, 0.2])
    last.save_fits(out)
    phase, amplitude = (obs.chisq(last, dtype=kind, ttype="direct") for kind in ("cphase", "logcamp"))
    seconds = time.perf_counter() - begin
    print(f"chi2 closure phase {phase:.3g}, log closure amplitude {amplitude:.3g}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
