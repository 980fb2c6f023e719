"""What sslkit finds on this machine, what is missing or does not match, and what mends it.

Only the standard library is imported here: this must answer where a library is broken. Where even the command line does
not start: python -m sslkit.doctor
"""

from __future__ import annotations

from sslkit.doctor import libraries, machine
from sslkit.doctor.row import STATES, Row
from sslkit.doctor.trial import tried


def rows() -> list[Row]:
    """One row a check: `check`, `state` (of STATES), `found` (a sentence), `fix` (a command, or None).

    The worst come last, where a terminal still shows them.
    """
    wanted = libraries.requirements()
    # Formats first: PyAV is imported before decord wherever sslkit decodes, as decord brings an old libvpx along.
    seen = tried(["formats", "device", "cv2 data", *libraries.modules(wanted)])
    found = [
        libraries.python(),
        *(libraries.library(one, seen) for one in wanted),
        libraries.torch_family(wanted, seen),
        libraries.opencv(wanted, seen["cv2 data"]),
        *libraries.formats(seen["formats"]),
        machine.device(seen["device"]),
        machine.cores(),
        machine.memory(),
        machine.disk(),
        machine.shared_memory(),
        machine.open_files(),
        machine.cache(),
    ]
    return sorted(found, key=lambda row: STATES.index(row["state"]))
