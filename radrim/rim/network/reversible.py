"""Additive couplings between orthogonal 1 x 1 convolutions; the backward pass recomputes activations.

One layer (Putzky & Welling 2019, arXiv:1911.10914) rotates the channels by an orthogonal U, adds G of the first half to
the second, and rotates them back::

    (a, b) = U x,    y = U^T (a, b + G(a)).

With the first and last rows U1 and U2 of U this is ``y = x + U2^T G(U1 x)``, which is half of the work. Since
``U1 U2^T = 0``, ``U1 y = U1 x``. Therefore the inverse is ``x = y - U2^T G(U1 y)``, and the backward pass needs G only
once to recompute its activations (Gomez et al. 2017, arXiv:1707.04585). U is a product of Householder reflections.

The state keeps the precision of the input. U is applied in this precision even under autocast: U1 U2^T must vanish to
rounding, or every inverted layer would add an error. Only G, the expensive part, runs in bfloat16. For the same reason
TF32 must be off in matrix products, as it is by default in PyTorch. In convolutions it does no harm.
"""

from collections.abc import Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from radrim.errors import ConfigError
from radrim.rim.network.blocks import ResidualBlock, UNet, draw


def orthogonal(vectors: Tensor) -> Tensor:
    """Products of Householder reflections, H_1 H_2 ... H_K with H_k = 1 - 2 v_k v_k^T / |v_k|^2.

    They are computed together, in float64, as ``1 - V^T T V`` with the inverse T of a triangular matrix of inner
    products (Joffrain et al. 2006, ACM TOMS 32, 169). One 1 x 1 convolution with the product is three times as fast as
    K reflections of the image (K = 4, 32 or 64 channels, CPU).

    Parameters
    ----------
    vectors : Tensor, (..., K, channels)
        The v_k; their lengths do not matter but must not be 0.

    Returns
    -------
    Tensor, (..., channels, channels)
        In the type of `vectors`.
    """
    v = F.normalize(vectors.double(), dim=-1)
    triangle = (v @ v.mT).triu(1) + 0.5 * torch.eye(v.shape[-2], dtype=v.dtype, device=v.device)
    turned = torch.linalg.solve_triangular(triangle, v, upper=True)
    return (torch.eye(v.shape[-1], dtype=v.dtype, device=v.device) - v.mT @ turned).to(vectors.dtype)


class Coupling(nn.Module):
    """One layer; Householder vectors decide which combinations of channels `residual` reads and writes.

    Parameters
    ----------
    channels : int
        Channels of the state, at least 2. The residual function reads the first half of the rotated channels (rounded
        down) and adds its result to the other half.
    residual : ResidualBlock or UNet
        G: (batch, channels // 2, *space) to (batch, channels - channels // 2, *space); deterministic.
    reflections : int, optional
        Number K of reflections. With as many as channels, the default, U can be every orthogonal matrix of one
        determinant. With few reflections, most channels are always read or always written.

    Raises
    ------
    ConfigError
        Fewer than 2 channels.

    Notes
    -----
    Below, an image is a Tensor (batch, channels, *space), `rows` are its contiguous (batch, *space, channels), and
    `matrix` is U, (channels, channels), in their type; `sign` is 1 forwards and -1 backwards.
    """

    def __init__(self, channels: int, residual: ResidualBlock | UNet, reflections: int | None = None) -> None:
        super().__init__()
        if channels < 2:
            raise ConfigError(f"A coupling has {channels} channels; it needs at least 2 to split them.")
        self.split = channels // 2
        self.vectors = nn.Parameter(draw(0.2, reflections or channels, channels))  # small: see blocks.AGILE
        self.residual = residual

    def evaluate(self, rows: Tensor, matrix: Tensor) -> Tensor:
        """G(U1 x) for a state (batch, *space, channel), in the layout and type of the state."""
        return _rows(self.residual(self.read(rows, matrix))).to(rows.dtype)

    def read(self, rows: Tensor, matrix: Tensor) -> Tensor:
        """U1 x as an image (batch, channel, *space), channels last in memory."""
        with _exact(rows):
            return F.linear(rows, matrix[: self.split]).movedim(-1, 1)

    def add_(self, rows: Tensor, values: Tensor, matrix: Tensor, sign: int) -> None:
        """Rows += sign * U2^T values, in place; `values` (batch, *space, channels - channels // 2) as G gives them."""
        with _exact(rows):
            _flat(rows).addmm_(_flat(values), matrix[self.split :], alpha=sign)

    def forward(self, x: Tensor) -> Tensor:
        """Y = x + U2^T G(U1 x), by ordinary autograd."""
        return _image(self.step(_rows(x), orthogonal(self.vectors), 1))

    def inverse(self, y: Tensor) -> Tensor:
        """The x with ``forward(x) == y``."""
        return _image(self.step(_rows(y), orthogonal(self.vectors), -1))

    def step(self, rows: Tensor, matrix: Tensor, sign: int) -> Tensor:
        """Rows + sign * U2^T G(U1 rows), differentiable."""
        values = self.evaluate(rows, matrix)
        with _exact(rows):
            return torch.add(rows, F.linear(values, matrix[self.split :].mT), alpha=sign)


class ReversibleSequence(nn.Module):
    """Couplings one after the other; training memory does not grow with their number.

    Parameters
    ----------
    layers : sequence of Coupling
        The same layer may appear several times.

    Attributes
    ----------
    stored : bool
        True keeps activations for ordinary autograd. A training step then evaluates G once instead of twice, and needs
        memory in proportion to the number of layers.
    """

    def __init__(self, layers: Iterable[Coupling]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.stored = False

    @property
    def couplings(self) -> list[Coupling]:
        """The layers, with their type."""
        return [cast("Coupling", layer) for layer in self.layers]

    def forward(self, x: Tensor) -> Tensor:
        """The state (batch, channels, *space) after all layers, channels last in memory."""
        if len(self.layers) == 0:
            return x
        layers = self.couplings
        vectors = torch.stack([layer.vectors for layer in layers])
        if self.stored:
            rows = _rows(x)
            for layer, matrix in zip(layers, orthogonal(vectors), strict=True):
                rows = layer.step(rows, matrix, 1)
            return _ChannelsLast.apply(rows)
        trained = list(dict.fromkeys(p for layer in layers for p in layer.residual.parameters() if p.requires_grad))
        return _Reversible.apply(tuple(layers), x, vectors, *trained)

    def inverse(self, y: Tensor) -> Tensor:
        """The x with ``forward(x) == y``."""
        layers = self.couplings
        rows, mixing = _rows(y), orthogonal(torch.stack([layer.vectors for layer in layers]))
        for layer, matrix in reversed(list(zip(layers, mixing, strict=True))):
            rows = layer.step(rows, matrix, -1)
        return _image(rows)


class _ChannelsLast(torch.autograd.Function):
    """`_image` with a gradient in the layout of the rows; otherwise every layer would copy its gradient."""

    @staticmethod
    def forward(_ctx: Any, rows: Tensor) -> Tensor:
        return _image(rows.view_as(rows))

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> Tensor:
        return _rows(grad)


class _Reversible(torch.autograd.Function):
    """Stores the last state only; its backward pass recomputes the input of each layer from the output."""

    @staticmethod
    def forward(ctx: Any, layers: tuple[Coupling, ...], x: Tensor, vectors: Tensor, *trained: Tensor) -> Tensor:
        rows = _rows(x).clone(memory_format=torch.contiguous_format)
        for layer, matrix in zip(layers, orthogonal(vectors), strict=True):
            layer.add_(rows, layer.evaluate(rows, matrix), matrix, 1)
        y = _image(rows)
        ctx.layers, ctx.trained, ctx.device = layers, trained, x.device.type
        ctx.autocast = torch.is_autocast_enabled(ctx.device), torch.get_autocast_dtype(ctx.device)
        # Saved tensors raise an error if they are changed before the backward pass.
        ctx.save_for_backward(y, vectors, *trained)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        y, vectors, *_ = ctx.saved_tensors
        rows = _rows(y).clone(memory_format=torch.contiguous_format)
        grad = _rows(grad_y).clone(memory_format=torch.contiguous_format)
        mixing = orthogonal(vectors)
        grad_mixing = torch.zeros_like(mixing)
        totals: dict[Tensor, Tensor | None] = dict.fromkeys(ctx.trained)
        enabled, dtype = ctx.autocast
        # Autograd's threads do not inherit autocast, and its cache would return casts of another graph.
        with torch.autocast(ctx.device, dtype=dtype, enabled=enabled, cache_enabled=False):
            for layer, matrix, out in reversed(list(zip(ctx.layers, mixing, grad_mixing, strict=True))):
                _step_back(layer, matrix, rows, grad, out, totals)
        if not ctx.needs_input_grad[2]:
            return None, _image(grad), None, *totals.values()
        with torch.enable_grad():
            vectors = vectors.detach().requires_grad_()
            (grad_vectors,) = torch.autograd.grad(orthogonal(vectors), vectors, grad_mixing)
        return None, _image(grad), grad_vectors, *totals.values()


def _step_back(
    layer: Coupling,
    matrix: Tensor,
    rows: Tensor,
    grad: Tensor,
    grad_matrix: Tensor,
    totals: dict[Tensor, Tensor | None],
) -> None:
    """Backward pass of one layer: changes the state and its gradient in place, adds to the other gradients."""
    own = [p for p in layer.residual.parameters() if p in totals]
    read = layer.read(rows, matrix).detach().requires_grad_()
    with torch.enable_grad():
        result = layer.residual(read)
    values = _rows(result.detach()).to(rows.dtype)
    layer.add_(rows, values, matrix, -1)
    with _exact(rows):
        grad_matrix[layer.split :].addmm_(_flat(values).mT, _flat(grad))
        wanted = F.linear(grad, matrix[layer.split :]).movedim(-1, 1)
    del values
    grad_read, *found = torch.autograd.grad(result, (read, *own), wanted.to(result.dtype), allow_unused=True)
    for parameter, part in zip(own, found, strict=True):
        if part is not None:
            total = totals[parameter]
            totals[parameter] = part if total is None else total + part
    if grad_read is not None:
        with _exact(rows):
            flat = _flat(_rows(grad_read))
            grad_matrix[: layer.split].addmm_(flat.mT, _flat(rows))
            _flat(grad).addmm_(flat, matrix[: layer.split])


def _rows(image: Tensor) -> Tensor:
    """(batch, channel, *space) to (batch, *space, channel), contiguous; no copy if channels are last in memory."""
    return image.movedim(1, -1).contiguous()


def _image(rows: Tensor) -> Tensor:
    """(batch, *space, channel) to (batch, channel, *space), the same memory."""
    return rows.movedim(-1, 1)


def _flat(rows: Tensor) -> Tensor:
    return rows.view(-1, rows.shape[-1])


def _exact(tensor: Tensor) -> torch.autocast:
    return torch.autocast(tensor.device.type, enabled=False)
