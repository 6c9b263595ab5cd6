"""Sound without the spectrum that its mel-spectrogram tells, and back, exactly.

A block of samples is multiplied by the inverse of a triangular matrix, whose product with its own
transpose is the covariance that samples of the mel's spectrum have. So pauses come out as loud as
words, vowels as flat as hisses, all nearly noise of variance 1; and what the way back makes of such
noise has the mel's spectrum already. It is a 1x1 convolution whose matrix the frames tell: nothing
in it is learned.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from wavenet.data.mel import MelConfig, mel_filterbank, mel_magnitudes

# White noise that the covariance holds as well: a part of the sound's own variance, for the mel
# doesn't tell how deep valleys are, and what rounding to 16 bits makes of silence.
FLOOR = 1e-3
ROUNDING = 2.0**-30 / 12


class Whitening:
    """The matrices that mel-spectrograms tell.

    Args:
        config: the mel's description; its frames are centred on every hop-th sample.
        block: samples of a block, a divisor of the hop.
    """

    def __init__(self, config: MelConfig, block: int) -> None:
        self.config = config
        self.block = block
        # No buffer: it stays as exact as it is in a model of half the precision.
        self._cosines = cosines(config, block)

    def roots(self, mel: Tensor, blocks: int | None = None) -> Tensor:
        """The lower triangles of each block: (B, N, block, block), in float32 at least.

        Between frames they are interpolated; beyond the last one its triangle goes on.

        Args:
            mel: (B, M, F).
            blocks: N; None: those of F hops.
        """
        wide = torch.promote_types(mel.dtype, torch.float32)
        # A frame is the same whatever is beside it: powers of 10 and sums differ with the memory's
        # order, and sums of a product of matrices with its size.
        magnitudes = mel_magnitudes(mel.to(wide).contiguous(), self.config).transpose(1, 2)
        terms = magnitudes.square().unsqueeze(2) * self._cosines.to(magnitudes)
        roots = _cholesky(terms.contiguous().sum(3))
        each = self.config.hop // self.block
        later = ((torch.arange(each, dtype=wide, device=mel.device) + 0.5) / each)[:, None, None]
        ends = torch.cat((roots, roots[:, -1:]), dim=1).unsqueeze(2)
        between = (ends[:, :-1] * (1 - later) + ends[:, 1:] * later).flatten(1, 2)
        if blocks is None:
            return between
        more = max(0, blocks - between.shape[1])
        return torch.cat((between[:, :blocks], between[:, -1:].expand(-1, more, -1, -1)), dim=1)


def whiten(waveform: Tensor, roots: Tensor) -> tuple[Tensor, Tensor]:
    """Sound (B, T) -> the same without its spectrum, and the map's log-determinant (B,)."""
    blocks = waveform.unflatten(1, roots.shape[1:3]).unsqueeze(3)
    white = torch.linalg.solve_triangular(roots, blocks, upper=False).flatten(1)
    return white, -roots.diagonal(dim1=2, dim2=3).log().sum((1, 2))


def colour(white: Tensor, roots: Tensor) -> Tensor:
    """What `whiten` makes these of: (B, T)."""
    return (roots * white.unflatten(1, roots.shape[1:3]).unsqueeze(2)).sum(3).flatten(1)


def _cholesky(covariance: Tensor) -> Tensor:
    """Of samples at distances 0, 1, ... (B, F, block) -> lower triangles (B, F, block, block).

    Schur's algorithm: where a covariance depends on distances alone each column is the one before,
    moved down by one and turned against another vector. Its operations are of single numbers, so
    that a frame's matrix is the same whatever is beside it, and exported files have them, too.
    """
    noise = FLOOR * covariance[..., :1] + ROUNDING
    first = covariance[..., :1] + noise
    rest = covariance[..., 1:] / first.sqrt()
    column, against = torch.cat((first.sqrt(), rest), dim=2), rest
    columns = [column]
    for number in range(1, covariance.shape[2]):
        column = column[..., :-1]
        turn = against[..., :1] / column[..., :1]
        scale = (1 - turn.square()).rsqrt()
        column, against = (column - turn * against) * scale, (against - turn * column) * scale
        against = against[..., 1:]
        columns.append(F.pad(column, (number, 0)))
    return torch.stack(columns, dim=3)


def cosines(config: MelConfig, block: int) -> Tensor:
    """What the square of each band's magnitude adds to the covariance: (block, M) float64.

    A band's mean magnitude is taken for that of its bins; bins beyond all bands have what the
    outermost ones have.
    """
    bank = mel_filterbank(
        config.sample_rate, config.n_fft, config.mels, config.low_hz, config.high_hz
    )
    heard = bank.sum(0).nonzero()[:, 0]
    bins = torch.arange(bank.shape[1])
    near = bank[:, bins.clamp(int(heard[0]), int(heard[-1]))]
    # Narrow bands may have no bin between them, and a bin no band.
    shares = near / near.sum(0).clamp_min(1e-300)
    means = bank.sum(1).square().reciprocal().nan_to_num(posinf=0.0)
    twice = torch.full((len(bins),), 2.0, dtype=torch.float64)
    twice[0] = 1.0
    if config.n_fft % 2 == 0:
        twice[-1] = 1.0
    angles = 2 * math.pi / config.n_fft * torch.arange(block)[:, None] * bins
    window = 3 / 8 * config.window  # the sum of a Hann window's squares
    return (angles.double().cos() * twice) @ shares.T * means / (config.n_fft * window)
