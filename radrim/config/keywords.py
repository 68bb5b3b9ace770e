"""Keyword arguments of `radrim.image` and of its relatives, with their types, for editors and type checkers.

Written by pipelines/keywords.py from the table of options, `radrim.config.options.ImageConfig`; do not edit it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict


class SelectionOptions(TypedDict, total=False):
    """Which data are read."""

    shift: tuple[str, str] | None
    phase_centre: str | None
    start: int | str | None
    width: int | str | None
    restfreq: str | float | None
    veltype: Literal["radio", "optical"] | None
    outframe: Literal["TOPO", "LSRK", "BARY"] | None
    pol: str | Sequence[str] | None
    pb: bool | Literal["none", "airy", "gauss"] | None
    data_column: str | None
    field: str | int | Sequence[str | int] | None
    spw: int | Sequence[int] | None
    chan_range: tuple[int, int] | None
    minuv_l: str | float | None
    maxuv_l: str | float | None
    time_range: tuple[str, str] | None
    interval: tuple[int, int] | None
    scan: str | int | Sequence[str | int] | None
    antenna: str | int | Sequence[str | int] | None
    intent: str | int | Sequence[str | int] | None
    array: str | int | Sequence[str | int] | None
    minuvw_m: str | float | None
    maxuvw_m: str | float | None
    abs_weights: bool | None
    feed_angle: Literal["auto", "on", "off"] | None
    flag_nonfinite: bool | None
    contsub: int | None
    contsub_channels: Sequence[int] | None


class ImageOptions(SelectionOptions, total=False):
    """All options of `radrim image`."""

    name: str | Path | None
    size: int | tuple[int, int] | None
    scale: str | None
    channels_out: int | None
    cube: bool | None
    spectral_terms: int | None
    beam_fit: Literal["quadrant", "box", "lobe"] | None
    beam_shape: str | Sequence[str | float] | None
    beam_size: str | float | None
    circular_beam: bool | None
    theoretic_beam: bool | None
    common_beam: bool | None
    pb_limit: float | None
    dish_diameter: str | float | None
    data: Literal["visibilities", "closure"] | None
    flux: str | float | None
    weight: str | None
    weighting_per_channel: bool | None
    taper: str | None
    taper_tukey: str | float | None
    taper_inner_tukey: str | float | None
    super_weight: float | None
    padding: float | None
    solver: Literal["rim", "clean", "entropy", "tv", "pnp"] | None
    model: str | Path | None
    compare: bool | None
    niter: int | None
    gain: float | None
    mgain: float | None
    auto_mask: float | None
    auto_threshold: float | None
    threshold: str | float | None
    multiscale: bool | None
    mask: str | Path | None
    holdout: float | None
    start_model: str | Path | None
    continue_run: bool | None
    uncertainty: bool | None
    update_model: bool | None
    max_major: int | None
    tile: int | None
    operator: Literal["auto", "wgridder", "nufft", "dft"] | None
    epsilon: float | None
    threads: int | None
    memory: str | float | None
    facet: int | None
    scheduler: str | Path | None
    cluster: Literal["slurm"] | None
    jobs: int | None
    keep: bool | None
    overwrite: bool | None
    report: bool | None
    device: Literal["auto", "cpu", "cuda"] | None
