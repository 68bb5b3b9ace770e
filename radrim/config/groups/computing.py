"""How the work is done; most of these options do not change the images."""

import functools
from dataclasses import dataclass

from radrim.config.groups.option import GROUPS, option
from radrim.config.values import choice, numeric, to_flag, to_memory, to_text

_option = functools.partial(option, GROUPS[4])


@dataclass(frozen=True, kw_only=True)
class ComputingGroup:
    """The options of this group; see `radrim.config.options.ImageConfig`."""

    operator: str = _option(
        choice("auto", "wgridder", "nufft", "dft"),
        "auto",
        "algorithm of the transforms between visibilities and images",
    )
    epsilon: float = _option(
        numeric(float, 1e-12, 1e-2), 1e-4, "accuracy of the transforms", aliases=("wgridder-accuracy",)
    )
    threads: int | None = _option(numeric(int, 1), None, "processor threads (default: all)", "N", aliases=("j",))
    memory: float | None = _option(
        to_memory,
        None,
        "memory limit, such as 8G or 50%% (default: 0.6 of the machine's); images that need more are made in facets",
        "SIZE",
    )
    facet: int | None = _option(
        numeric(int, 64),
        None,
        "make the image in facets of this size, also where it would fit into the memory",
        "PIXELS",
    )
    scheduler: str | None = _option(
        to_text, None, "make the facets on the workers of this Dask scheduler, such as tcp://node1:8786", "ADDRESS"
    )
    cluster: str | None = _option(
        choice("slurm"), None, "make the facets in jobs, as ~/.config/dask/jobqueue.yaml describes them"
    )
    jobs: int = _option(numeric(int, 1), 1, "number of jobs for --cluster", "N")
    keep: bool = _option(to_flag, False, "keep the work directory NAME.radrim when the run is complete")
    overwrite: bool = _option(to_flag, False, "begin again if NAME.radrim holds an unfinished run with other settings")
    report: bool = _option(to_flag, True, "write NAME-report.html and NAME.png")
    device: str = _option(choice("auto", "cpu", "cuda"), "auto", "where to compute")
