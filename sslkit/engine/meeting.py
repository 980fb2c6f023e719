"""How the processes of a run find each other, also when torchrun has started some or all of them again."""

from __future__ import annotations

import datetime
import os
import secrets
import time

from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

_ROUND = "sslkit/round"
_POLL_S = 0.05


def meet(limit: datetime.timedelta) -> tuple[Store, int, int]:
    """A store that all processes which torchrun describes in the environment share, the rank, and the number of them.

    Raises RuntimeError or ValueError, as torch does, when they do not meet within the limit.
    """
    # torchrun keeps one store for all attempts, and what died in an earlier one has left its addresses there. Nothing
    # in the environment counts the attempts alike on all hosts.
    store, rank, world = next(rendezvous("env://", timeout=limit))
    number = _called(store, world, limit) if rank == 0 else _joined(store, rank, limit)
    return PrefixStore(f"sslkit/{number}", store), rank, world


def _called(store: Store, world: int, limit: datetime.timedelta) -> int:
    """Begin a round, and welcome everybody else to it."""
    number = int(store.add(_ROUND, 1))
    guests = [f"{_ROUND}/{number}/{rank}" for rank in range(1, world)]
    store.wait(guests, limit)
    for guest in guests:
        store.set(f"{guest}/welcome", store.get(guest).decode())
    return number


def _joined(store: Store, rank: int, limit: datetime.timedelta) -> int:
    """Go to the newest round until one is found in which somebody says welcome, to this very process."""
    name, end = secrets.token_bytes(8), time.monotonic() + limit.total_seconds()
    asked = 0
    while time.monotonic() < end:
        number = int(store.add(_ROUND, 0))
        guest = f"{_ROUND}/{number}/{rank}"
        if number not in (0, asked):
            store.set(guest, name.hex())
            asked = number
        if store.check([f"{guest}/welcome"]) and store.get(f"{guest}/welcome") == name.hex().encode():
            return number
        time.sleep(_POLL_S)
    raise RuntimeError(f"process 0 did not begin within {limit.total_seconds():g} s on {os.environ['MASTER_ADDR']}")
