"""Seeds of all that an agent draws: a hash of what the draw belongs to, never a counter."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Hash parts to a seed below 2**48: equal parts, equal seed, on any machine.

    Parts keep their type, so 1 and "1" differ. 48 bits survive JSON readers that use doubles.
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:6], "big")
