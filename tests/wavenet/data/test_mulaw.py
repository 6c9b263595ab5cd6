from __future__ import annotations

import math

import pytest
import torch

from wavenet.audio import mu_law_compress, mu_law_decode, mu_law_encode
from wavenet.errors import DataError


def test_the_papers_formula() -> None:
    x = torch.linspace(-1, 1, 1001, dtype=torch.float64)
    for channels in (2, 256, 1024):
        mu = channels - 1
        expected = [
            math.copysign(math.log(1 + mu * abs(v)) / math.log(1 + mu), v) for v in x.tolist()
        ]
        expected_codes = [math.floor((v + 1) / 2 * mu + 0.5) for v in expected]
        assert torch.allclose(mu_law_compress(x, channels), torch.tensor(expected).double())
        assert mu_law_encode(x, channels).tolist() == expected_codes


@pytest.mark.parametrize("channels", [2, 3, 16, 255, 256, 1024, 65536])
def test_codes_survive(channels: int) -> None:
    codes = torch.arange(channels)
    decoded = mu_law_decode(codes, channels)
    assert decoded.dtype == torch.float32
    assert decoded.abs().max() <= 1
    assert decoded[[0, -1]].tolist() == pytest.approx([-1, 1], abs=1e-6)
    assert torch.equal(mu_law_encode(decoded, channels), codes)


def test_values_come_back_nearly() -> None:
    x = torch.linspace(-1, 1, 10001)
    error = (mu_law_decode(mu_law_encode(x)) - x).abs()
    assert bool((error <= 0.011 + 0.03 * x.abs()).all())
    assert error[(x.abs() < 0.001)].max() < 1e-3


def test_shapes_dtypes_and_limits() -> None:
    x = torch.randn(2, 1, 7)
    assert mu_law_encode(x).shape == mu_law_compress(x).shape == x.shape
    assert mu_law_encode(x).dtype == torch.int64
    assert mu_law_encode(torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0, math.inf])).tolist() == [
        *(0, 0, 128, 255, 255, 255)
    ]
    assert 0 <= int(mu_law_encode(torch.tensor(math.nan))) <= 255
    assert mu_law_encode(torch.zeros(0)).shape == (0,)
    assert mu_law_compress(x.double()).dtype == torch.float64
    x = torch.linspace(-1, 1, 500).half()
    assert torch.equal(mu_law_encode(x), mu_law_encode(x.float()))
    assert mu_law_decode(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


def test_compressing_has_a_gradient() -> None:
    x = torch.tensor([-0.5, 0.1, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mu_law_compress, x)


def test_wrong_arguments() -> None:
    with pytest.raises(DataError, match=r"x is torch\.int64"):
        mu_law_encode(torch.tensor([1]))
    with pytest.raises(DataError, match=r"codes is torch\.float32"):
        mu_law_decode(torch.tensor([1.0]))
    with pytest.raises(DataError, match="channels is 1"):
        mu_law_encode(torch.zeros(1), 1)
