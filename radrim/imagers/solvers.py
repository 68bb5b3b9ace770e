"""Chooses the minor cycles of a run. Those that need torch are imported when they are chosen."""

from radrim.config.options import ImageConfig
from radrim.imagers.minor_cycles import CleanCycles, ClosureCycles, EntropyCycles, MinorCycles


def choose_solvers(config: ImageConfig, device: str) -> tuple[MinorCycles | None, MinorCycles | None]:
    """The minor cycles that make the images, and those of --compare; None for each that the run does not need."""
    if config.niter == 0:
        return None, None
    if config.data == "closure":
        return ClosureCycles(), CleanCycles(config) if config.compare else None
    if config.solver == "entropy":
        return EntropyCycles(), CleanCycles(config) if config.compare else None
    names = (config.solver, "rim" if config.solver == "clean" else "clean") if config.compare else (config.solver,)
    chosen = [_cycles(name, config, device) for name in names]
    return chosen[0], chosen[1] if config.compare else None


def _cycles(solver: str, config: ImageConfig, device: str) -> MinorCycles:
    if solver == "clean":
        return CleanCycles(config)
    from radrim.imagers.learned_cycles import RegularisedCycles, RimCycles  # torch, which CLEAN does not need

    return RegularisedCycles(config, device) if solver in RegularisedCycles.METHODS else RimCycles(config, device)
