"""Seeds and generators that depend on what they are for, never on who asks or in which order."""

from __future__ import annotations

import hashlib

import torch


def seed_of(*keys: int | str) -> int:
    """A seed from 0 to 2**63 - 1 for these keys, say (seed, "order", epoch)."""
    return int.from_bytes(_digest(keys), "little") >> 1


def generator(*keys: int | str) -> torch.Generator:
    """A CPU generator for these keys; the same in every process."""
    return torch.Generator().manual_seed(int.from_bytes(_digest(keys), "little", signed=True))


def _digest(keys: tuple[int | str, ...]) -> bytes:
    return hashlib.blake2b("\0".join(map(str, keys)).encode(), digest_size=8).digest()
