"""Tuned numbers of the operators: choice of the operator, division of the work, and accuracy of its parts.

Times are those of one CPU core of 2023, measured with pipelines/benchmarks/operators.py.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ChoiceSettings:
    """Choice of the operator for 'auto'."""

    max_dft_operations: float = 5e8
    """Largest number of multiplications and additions of the direct sum; about 20 ms of one CPU core. A run needs some
    fifty transforms. The w-gridder takes a tenth of the time or less, with more for its plans."""
    gpu_speedup: float = 20
    """Factor by which `max_dft_operations` is larger on a GPU."""
    min_nufft_gain: float = 0.7
    """Largest time of nufft, over that of the w-gridder, with which nufft is chosen. The w-gridder needs less memory,
    and its time is predicted better."""


@dataclass(frozen=True)
class WTermSettings:
    """Accuracy of the w-term and of its expansion in prolate functions."""

    max_neglected_phase: float = 0.1
    """Largest phase of the w-term that is neglected [rad], over epsilon."""
    quadrature_order: int = 32
    """Number of Gauss-Legendre nodes of the expansion, in addition to two per radian."""
    min_coefficient: float = 0.01
    """Smallest coefficient of the Legendre series that is kept, over the tolerance of the expansion."""
    block: int = 1 << 15
    """Number of points that are evaluated together; their Legendre polynomials fit into the cache of a core."""


@dataclass(frozen=True)
class DftSettings:
    """Tuned numbers of the direct sum."""

    max_terms: int = 4
    """Largest number of terms of the w-term for which the sum uses matrix products; VLBI fields need 1 to 3."""
    max_phase: float = 1.0
    """Largest half range of the w-term's phase [rad] for which matrix products are considered."""
    expansion_tolerance: float = 0.01
    """Tolerance of the expansion of the w-term, over epsilon."""
    max_elements: int = 1 << 23
    """Largest number of elements of a temporary array."""
    fine_steps: int = 32
    """Pixels per coarse step of the phase factors along an axis, which are products of a coarse and a fine factor."""


@dataclass(frozen=True)
class NufftSettings:
    """Tuned numbers of non-uniform FFTs with facets."""

    facet_counts: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24)
    """Possible numbers of facets along each axis."""
    min_facet_pixels: int = 32
    """Smallest side of a facet [pixel], unless there is only one facet."""
    max_factor_elements: int = 1 << 26
    """Largest number of elements of the factor images of one facet (512 MB)."""
    min_single_epsilon: float = 5e-5
    """Smallest epsilon for which plans work in single precision."""
    max_rounding: float = 5.0
    """Largest error by rounded points in single precision, over epsilon."""
    single_accuracy: float = 2e-5
    """Best accuracy that a plan in single precision reaches."""
    transform_tolerance: float = 0.3
    """Error of the transform, over epsilon. Errors of transform, expansion and rounding add up."""
    expansion_tolerance: float = 0.3
    """Error of the expansion of the w-term, over epsilon."""
    low_oversampling: float = 1.25
    """Oversampling of the FFTs. It halves their time compared with 2, but has no kernel for the highest accuracy."""
    min_low_oversampling_epsilon: float = 1e-9
    """Smallest accuracy of a plan with `low_oversampling`."""
    visit_seconds: float = 150e-9
    """Time per sample and facet for phase and coordinates, without the transforms [s]."""
    fft_seconds: float = 30e-9
    """Time of an FFT per pixel [s]."""
    sample_seconds: float = 250e-9
    """Time of a transform per sample [s]."""
    factor_seconds: float = 10e-9
    """Time of a factor image and its product per pixel and term [s]."""


@dataclass(frozen=True)
class WGridderSettings:
    """Tuned numbers of ducc0's w-gridder."""

    min_pixels: int = 32
    """Smallest side of an image that ducc0 takes [pixel]."""
    min_single_epsilon: float = 1e-5
    """Smallest epsilon that ducc0 reaches in single precision."""
    min_field: float = 1e-5
    """Smallest field of view for ducc0 [rad]. In smaller ones n - 1 is lost to rounding, and the result is NaN."""
    requested_accuracy: float = 3.0
    """Accuracy requested from ducc0, over epsilon. Errors of ducc0 are about ten times smaller than requested."""
    max_requested_accuracy: float = 1e-2
    """Largest epsilon for which ducc0 has a kernel."""
    min_strip: int = 64
    """Smallest height of the strip of the image on which one thread works [pixel]."""
    sample_seconds: float = 0.2e-6
    """Time per sample and decimal digit of accuracy [s]."""
    cell_seconds: float = 8e-9
    """Time per cell of the uv grid and w-plane [s]."""
    oversampling: float = 2.25
    """Cells of the uv grid per pixel: 1.5 along both axes."""
    base_planes: float = 3.0
    """Number of w-planes, in addition to one per decimal digit of accuracy and to `planes_per_turn`."""
    planes_per_turn: float = 1.5
    """Number of w-planes per turn of the w-term over the image."""
    no_zero: float = 1e-150
    """Visibility that stands for 0 where ducc0 must not leave out the sample [Jy]; its square is a normal number."""


@dataclass(frozen=True)
class TrackSettings:
    """Tuned numbers of baseline-dependent compression (`radrim.operator.tracks`)."""

    max_nodes: int = 8
    """Largest number of nodes of a block along time, and along frequency."""
    max_node_fraction: float = 0.5
    """Largest number of nodes along frequency, over the number of channels. Above it every channel is a node."""
    tolerance: float = 0.3
    """Error of the interpolation along each axis, over epsilon."""
    band_parts: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
    """Possible numbers of parts of the band."""
    max_amplification: float = 6.0
    """Largest sum of the absolute interpolation weights of a row, by which errors of the nodes are amplified."""
