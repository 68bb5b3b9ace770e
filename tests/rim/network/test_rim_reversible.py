"""Reversible couplings: exact inverses, and gradients equal to those with stored activations."""

import pytest
import torch

from radrim.errors import ConfigError
from radrim.rim.network.blocks import ResidualBlock
from radrim.rim.network.reversible import Coupling, ReversibleSequence, orthogonal

SHAPES = {2: (13, 18), 3: (3, 9, 11)}
"""Sizes that are no multiples of the down-sampling factors."""


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(7)


def awake(module, gain):
    """The module with its zero-initialised layers set to random values."""
    for name, parameter in module.named_parameters():
        if name.endswith("value.gain"):
            torch.nn.init.normal_(parameter, 0, gain)
    return module


def make_sequence(dims, count, channels=6, gain=0.3, dtype=torch.float64):
    half = channels // 2
    layers = [
        Coupling(channels, ResidualBlock(dims, half, channels - half, 4, factor))
        for factor in ((1, 2, 4) * count)[:count]
    ]
    sequence = ReversibleSequence(layers).to(dtype)
    return sequence if gain is None else awake(sequence, gain)


def make_state(dims, channels=6, dtype=torch.float64):
    return torch.randn(2, channels, *SHAPES[dims], dtype=dtype, requires_grad=True)


def gradients(sequence, x, stored, parameters=None):
    """Gradients of a fixed function of the output, by either backward pass."""
    sequence.stored = stored
    y = sequence(x)
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    return torch.autograd.grad((y * weight).sum() + y.square().mean(), parameters or [x, *sequence.parameters()])


def largest_difference(found, wanted):
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(found, wanted, strict=True))


def test_orthogonal_is_the_product_of_reflections():
    """The closed form equals H_1 H_2 ... H_K multiplied out, and is orthogonal to rounding."""
    vectors = torch.randn(5, 7, dtype=torch.float64)
    product = torch.eye(7, dtype=torch.float64)
    for v in vectors:
        product = product @ (torch.eye(7, dtype=torch.float64) - 2 * torch.outer(v, v) / v.dot(v))
    matrix = orthogonal(vectors)
    torch.testing.assert_close(matrix, product, rtol=0, atol=1e-13)
    single = orthogonal(torch.randn(64, 64))
    assert (single @ single.T - torch.eye(64)).abs().max() < 2e-6


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_inverse_recovers_the_input(dims, dtype, tolerance):
    """inverse(forward(x)) == x after 60 layers that change x, at sizes that do not fit the down-sampling."""
    sequence, x = make_sequence(dims, 60, dtype=dtype), make_state(dims, dtype=dtype)
    y = sequence(x)
    assert (y - x).abs().max() > 0.5
    assert (sequence.inverse(y) - x).abs().max() < tolerance


def test_single_coupling_inverts():
    """A coupling alone, with an odd number of channels, has the same two directions."""
    coupling = awake(Coupling(5, ResidualBlock(2, 2, 3, 4, 2)), 1.0).double()
    x = make_state(2, channels=5)
    y = coupling(x)
    assert (y - x).abs().max() > 0.1
    torch.testing.assert_close(coupling.inverse(y), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [2, 3])
def test_fresh_couplings_change_nothing(dims):
    """Zero-initialised layers are the identity, bit for bit."""
    sequence, x = make_sequence(dims, 6, gain=None), make_state(dims)
    assert torch.equal(sequence(x), x)


@pytest.mark.parametrize("dims", [2, 3])
def test_gradients_equal_stored_activations(dims):
    """Input, Householder vectors and convolutions get the gradients that autograd finds, in float64."""
    sequence, x = make_sequence(dims, 9), make_state(dims)
    found, wanted = (gradients(sequence, x, stored) for stored in (False, True))
    assert largest_difference(found, wanted) < 1e-9


def test_gradients_at_400_layers_in_float32():
    """400 layers keep 1e-4 of the gradient of all parameters, and of the input's, in float32."""
    sequence = make_sequence(2, 400, channels=4, gain=0.15, dtype=torch.float32)
    x = make_state(2, channels=4, dtype=torch.float32)
    found, wanted = (gradients(sequence, x, stored) for stored in (False, True))
    assert largest_difference(found[:1], wanted[:1]) < 1e-4
    together = [torch.cat([g.flatten() for g in part[1:]]) for part in (found, wanted)]
    assert largest_difference(together[:1], together[1:]) < 1e-4


def test_shared_weights_add_their_gradients():
    """One coupling used three times, in a sequence used twice, gets the sum over its uses."""
    coupling, other = make_sequence(2, 2).layers
    sequence, x = ReversibleSequence([coupling, other, coupling, coupling]), make_state(2)

    def twice(stored):
        sequence.stored = stored
        return torch.autograd.grad(sequence(sequence(x)).square().sum(), [x, *sequence.parameters()])

    assert largest_difference(twice(False), twice(True)) < 1e-9


def test_frozen_parameters_and_inputs_without_gradient():
    """Frozen tensors get no gradient and change nobody else's."""
    sequence, x = make_sequence(2, 4), make_state(2).detach()
    for parameter in (sequence.layers[0].residual.middle.direction, sequence.layers[1].vectors):
        parameter.requires_grad_(False)
    for parameter in sequence.layers[2].residual.parameters():
        parameter.requires_grad_(False)
    trained = [p for p in sequence.parameters() if p.requires_grad]
    found, wanted = (gradients(sequence, x, stored, trained) for stored in (False, True))
    assert largest_difference(found, wanted) < 1e-9
    sequence.stored = False
    sequence(x).sum().backward()
    assert [p.grad is None for p in sequence.parameters()] == [not p.requires_grad for p in sequence.parameters()]


def test_everything_frozen_still_passes_gradients_to_the_input():
    """A frozen network is differentiable with respect to its input."""
    sequence, x = make_sequence(2, 3).requires_grad_(False), make_state(2)
    found, wanted = (gradients(sequence, x, stored, [x]) for stored in (False, True))
    assert largest_difference(found, wanted) < 1e-9


def test_autocast_runs_convolutions_in_bfloat16_only():
    """Under autocast the state stays float32; gradients equal those of stored activations to bfloat16's rounding."""
    sequence, x = make_sequence(2, 12, dtype=torch.float32), make_state(2, dtype=torch.float32)
    seen = []
    for layer in sequence.layers:
        layer.residual.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

    def run(stored):
        sequence.stored = stored
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = sequence(x)
        assert y.dtype == torch.float32
        return torch.autograd.grad(y.square().sum(), [x, *sequence.parameters()])

    # The Householder vectors of a layer have small gradients, differences of large ones: they count together.
    found, wanted = ([torch.cat([g.flatten() for g in run(stored)])] for stored in (False, True))
    assert set(seen) == {torch.bfloat16}
    assert len(seen) == 36  # twice for the reversible pass, once with stored activations
    assert largest_difference(found, wanted) < 1e-2


def test_backward_is_deterministic():
    """Two runs give the same gradients, bit for bit."""
    sequence, x = make_sequence(2, 12, dtype=torch.float32), make_state(2, dtype=torch.float32)
    assert all(
        torch.equal(a, b) for a, b in zip(gradients(sequence, x, False), gradients(sequence, x, False), strict=True)
    )


def test_layout_of_the_input_does_not_matter():
    """Channels last or first in memory, transposed or not: the same result."""
    sequence, x = make_sequence(2, 3), make_state(2)
    wanted = sequence(x)
    assert torch.equal(sequence(x.contiguous(memory_format=torch.channels_last)), wanted)
    assert torch.equal(sequence(x.mT.contiguous().mT), wanted)


@pytest.mark.parametrize("stored", [False, True])
def test_saved_activations_do_not_grow_with_depth(stored):
    """The reversible pass keeps one state however many layers there are; with stored activations they grow."""

    def saved(count):
        sequence, x = make_sequence(2, count), make_state(2)
        sequence.stored = stored
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.shape[-1] * (t.ndim == 4)) or t, lambda t: t
        ):
            sequence(x)
        return sum(size in (SHAPES[2][1], 6) for size in sizes)

    if stored:
        assert saved(20) > 5 * saved(2)
    else:
        assert saved(20) == saved(2) == 1


def test_parameters_changed_before_the_backward_pass_are_noticed():
    """Recomputing with other weights would give wrong gradients silently; it raises instead."""
    sequence, x = make_sequence(2, 2), make_state(2)
    y = sequence(x)
    with torch.no_grad():
        sequence.layers[0].residual.down.bias += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_one_channel_cannot_be_split():
    """A coupling needs two halves; the message says how many channels it got."""
    with pytest.raises(ConfigError, match="1 channels"):
        Coupling(1, torch.nn.Identity())


def test_groups_must_divide_the_hidden_channels():
    """A block that cannot be grouped says which numbers do not fit."""
    with pytest.raises(ConfigError, match=r"6 hidden channels .* 4 groups"):
        ResidualBlock(2, 3, 3, 6, groups=4)
