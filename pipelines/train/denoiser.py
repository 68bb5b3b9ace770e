"""Train a denoiser of skies: the prior of the plug-and-play solver, which sees images only.

    python pipelines/train/denoiser.py --first galaxy_data_h5.zip --work bench-work/denoiser --hours 2.5 --half

Draws skies with `radrim.rim.skies` (and galaxies of FIRST if given), scales them to peaks of 1 to 1e5 times the noise,
adds white Gaussian noise and learns to take it out again. Goes on from `WORK/state.pt` if there is one; every
`--every` seconds it writes that state and one line of `WORK/scores.csv`: core-hours, steps, the training's loss and, on
fixed test images, the error in dB of the noise for each of `RANGES` (0 dB: no better than the noisy image).
denoiser.safetensors beside this file holds the best weights so far, denoiser.csv their scores; a new `WORK` begins with
them. No image of radrim uses the network yet.

Network: a U-Net of residual blocks. Its input is a Laplacian pyramid of the image in units of the noise, each level
compressed by asinh, so that five decades of brightness are of order one; its output, also of order one, is the
correction of the image in units of the noise, the score of the posterior (Tweedie's formula; Robbins 1956).
"""

import argparse
import csv
import itertools
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter
from torch import nn

from radrim.rim.training.skies import draw_sky, read_first, stretch

KEPT = Path(__file__).with_suffix(".safetensors")

LEVELS = 4
"""Levels of the Laplacian pyramid that the network sees."""

RANGES = ((1, 10), (10, 100), (100, 1000), (1000, 10000), (10000, 100000))
"""Peak over noise of the test images."""

CLASSES = ["texture", "shell", "mixture", "radio_galaxy", "jet", "disc", "crescent", "points", "compact", "empty"]
SHARES = [4, 3, 4, 4, 2, 2, 1, 2, 3, 0.5]
FIRST_SHARE = 0.35


def pyramid(image):
    """(batch, 1, y, x) to (batch, LEVELS + 2, y, x): the image and its differences from smoother ones, compressed."""
    parts, smooth = [torch.asinh(image)], image
    for level in range(LEVELS):
        window = 2 ** (level + 1) + 1
        below = F.avg_pool2d(F.pad(smooth, (window // 2,) * 4, mode="reflect"), window, 1)
        parts.append(torch.asinh(smooth - below))
        smooth = below
    parts.append(torch.asinh(smooth))
    return torch.cat(parts, 1)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x):
        return x + self.second(F.silu(self.first(x)))


class Denoiser(nn.Module):
    """Takes an image in units of its noise, (batch, 1, y, x), sides multiples of 8; returns the sky in these units."""

    def __init__(self, widths=(24, 48, 96, 96), blocks=(1, 1, 2, 2)):
        super().__init__()
        self.first = nn.Conv2d(LEVELS + 2, widths[0], 3, padding=1)
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(_stack(a, n) for a, n in zip(widths, blocks, strict=True))
        self.up = nn.ModuleList(_stack(a, n) for a, n in zip(widths[:-1], blocks[:-1], strict=True))
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.last = nn.Conv2d(widths[0], 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, image):
        x, kept = self.first(pyramid(image)), []
        for level, stack in enumerate(self.down):
            x = stack(x)
            if level < len(self.shrink):
                kept.append(x)
                x = self.shrink[level](x)
        for level in reversed(range(len(self.up))):
            x = kept[level] + F.interpolate(self.grow[level](x), scale_factor=2)
            x = self.up[level](x)
        return image + self.last(x).float()


def _stack(width, count):
    return nn.Sequential(*(Block(width) for _ in range(count)))


def draw(rng, count, size, galaxies):
    """Skies (count, size, size) float32 with peak 1, of every class, some smoothed or stretched."""
    skies = np.zeros((count, size, size), np.float32)
    share = np.array(SHARES) / np.sum(SHARES)
    for sky in skies:
        name = "first" if galaxies and rng.random() < FIRST_SHARE else CLASSES[rng.choice(len(CLASSES), p=share)]
        made = draw_sky(rng, name, size, galaxies)
        if rng.random() < 0.5:  # simulated skies have sharper pixels than real ones
            made = gaussian_filter(made, rng.uniform(0.4, 1.5))
        if name not in ("points", "empty") and rng.random() < 0.5:
            made = stretch(made / made.max(), rng.uniform(1, 9))
        sky[:] = made / max(made.max(), 1e-30)
    return skies


def turn(rng, skies):
    """Random turns and mirrors of a batch."""
    skies = torch.rot90(skies, int(rng.integers(4)), (2, 3))
    return skies.flip(3) if rng.random() < 0.5 else skies


def error(found, sky):
    """Mean squared error in dB of the noise, per image."""
    return 10 * torch.log10(((found - sky) ** 2).mean((1, 2, 3)) + 1e-4)


def fixed_images(galaxies, size=128, count=24):
    """Fixed skies and noise of each range of peak, from a seed that the training does not use."""
    rng, torch_rng = np.random.default_rng(987654321), torch.Generator().manual_seed(5)
    sets = []
    for low, high in RANGES:
        sky = torch.from_numpy(draw(rng, count, size, galaxies))[:, None]
        sky = sky * torch.from_numpy(np.geomspace(low, high, count).astype(np.float32))[:, None, None, None]
        sets.append((sky, torch.randn(sky.shape, generator=torch_rng)))
    return sets


@torch.no_grad()
def score(network, sets):
    """Mean error of each range of peak [dB of the noise]."""
    network.eval()
    found = [error(network(sky + noise), sky).mean().item() for sky, noise in sets]
    network.train()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--first", type=Path, help="zip of FIRST galaxies; the last 200 are kept for tests")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=2.5)
    parser.add_argument("--every", type=float, default=240.0, help="seconds between checkpoints")
    parser.add_argument("--skies", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--half", action="store_true", help="bfloat16 where the processor has it")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    galaxies = read_first(args.first) if args.first else []
    rng = np.random.default_rng()
    network = Denoiser().to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.999)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=1e-4, betas=(0.9, 0.98))
    state, steps, spent = args.work / "state.pt", 0, 0.0
    if KEPT.exists() and not state.exists():
        weights = {name: value.float() for name, value in load_file(KEPT).items()}
        network.load_state_dict(weights)
        average.module.load_state_dict(weights)
    if state.exists():
        saved = torch.load(state, weights_only=True)
        network.load_state_dict(saved["network"]), average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        steps, spent = saved["steps"], saved["core_seconds"]
    sets = fixed_images(galaxies[-200:])
    kept = args.work / "skies.npy"
    if not kept.exists():
        np.save(kept, draw(np.random.default_rng(1), args.skies, 160, galaxies[:-200]))
    skies = torch.from_numpy(np.load(kept))
    print(f"{sum(p.numel() for p in network.parameters())} weights, {len(skies)} skies, from step {steps}", flush=True)
    begun, saved_at, losses = time.process_time(), time.monotonic(), []
    while (used := spent + time.process_time() - begun) < args.hours * 3600:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (steps + 1) / 500)
        y, x = rng.integers(0, 161 - args.patch, 2)
        batch = skies[torch.randint(len(skies), (args.batch,)), y : y + args.patch, x : x + args.patch][:, None]
        sky = turn(rng, batch) * 10 ** (torch.rand(args.batch, 1, 1, 1) * 5.3 - 0.3)
        noisy = (sky + torch.randn_like(sky)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.half):
            found = network(noisy)
        loss = error(found.float(), sky).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
        losses.append(loss.item())
        steps += 1
        if time.monotonic() - saved_at > args.every:
            saved_at = time.monotonic()
            found = score(average.module, sets)
            row = [f"{used / 3600:.3f}", steps, f"{np.mean(losses):.2f}", *(f"{value:.2f}" for value in found)]
            print(*row, flush=True)
            with (args.work / "scores.csv").open("a", newline="") as out:
                csv.writer(out).writerow(row)
            losses = []
            parts = {
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            torch.save(parts | {"steps": steps, "core_seconds": used}, state.with_suffix(".part"))
            state.with_suffix(".part").replace(state)
            save_file({k: v.half().contiguous() for k, v in average.module.state_dict().items()}, args.work / KEPT.name)


if __name__ == "__main__":
    main()
