"""Step 3, measure: the operators between an image and its visibilities, behind one protocol."""

from radrim.operator.base import Operator

KINDS = ("wgridder", "nufft", "dft")


def make_operator(kind, uvw, freq, grid, epsilon=1e-5, threads=1, device="cpu"):
    from radrim.operator.dft import DFT
    from radrim.operator.nufft import NUFFT
    from radrim.operator.wgridder import WGridder

    return {"dft": DFT, "nufft": NUFFT, "wgridder": WGridder}[kind](uvw, freq, grid, epsilon, threads, device)


def choose_kind(samples, grid, max_w, device):
    return "wgridder"
