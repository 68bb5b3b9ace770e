"""Chi-squares of an image against each kind of data, for the log, the report and the FITS header."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from radrim.closure.quantities import ClosureData
from radrim.closure.terms import chi_squares

FACTS = ("chisq_phase", "closure_phases", "chisq_amplitude", "closure_amplitudes", "chisq_visibility", "extended_flux")
"""Facts about the closure quantities in the FITS header, by the names of `radrim.write.fits.KEYWORDS`."""


def chi_square_facts(data: ClosureData, vis: np.ndarray, flux: float, extended: float) -> dict[str, float]:
    """Reduced chi-squares of each kind of data, and their numbers, by the names of `radrim.write.fits.KEYWORDS`.

    Parameters
    ----------
    data : ClosureData
    vis : (sample,) complex128
        Visibilities of the model with flux 1.
    flux : float
        Flux of the model [Jy].
    extended : float
        See `radrim.closure.solver.Solution`.
    """
    phase, amplitude = chi_squares(data, vis)
    phases, amplitudes = len(data.phases), len(data.amplitudes)
    level = float(np.mean(((np.abs(data.vis) - flux * np.abs(vis)) / data.sigma) ** 2))
    return {
        "chisq_phase": phase / phases,
        "closure_phases": phases,
        "chisq_amplitude": amplitude / amplitudes if amplitudes else float("nan"),
        "closure_amplitudes": amplitudes,
        "chisq_visibility": level,
        "extended_flux": flux * extended,
    }


def in_words(facts: Mapping[str, float]) -> str:
    """The reduced chi-squares in a sentence."""
    amplitude = (
        f", {facts['chisq_amplitude']:.3g} from {facts['closure_amplitudes']} log closure amplitudes"
        if facts["closure_amplitudes"] else ""
    )  # fmt: skip
    return (
        f"reduced chi-square {facts['chisq_phase']:.3g} from {facts['closure_phases']} closure phases{amplitude}, "
        f"{facts['chisq_visibility']:.3g} from the amplitudes as read"
    )


def shown_in_report(facts: Mapping[str, Any]) -> dict[str, str]:
    """Key numbers for the head of the report; empty for images of visibilities."""
    if "chisq_phase" not in facts:
        return {}
    shown = {"Closure phases": f"reduced χ² {facts['chisq_phase']:.3g} from {facts['closure_phases']}"}
    if facts["closure_amplitudes"]:
        shown["Log closure amplitudes"] = (
            f"reduced χ² {facts['chisq_amplitude']:.3g} from {facts['closure_amplitudes']}"
        )
    return shown | {"Amplitudes as read": f"reduced χ² {facts['chisq_visibility']:.3g}"}
