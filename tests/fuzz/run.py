"""Damage inputs by the thousand and print how it ended: python tests/fuzz/run.py --seed 0 --inputs 3000."""

from __future__ import annotations

import argparse
import sys

import fuzzing
import kinds


def main() -> int:
    """Exit code 1 when an input crashed, hung, left a trace or was replaced silently."""
    known = list(kinds.all_kinds())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=300, help="in all; the kinds take turns")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each kind")
    parser.add_argument("--kinds", nargs="+", choices=known, default=known)
    parser.add_argument("--limit-s", type=float, default=20.0, help="longer is a hang")
    asked = parser.parse_args()
    tally = fuzzing.run(asked.kinds, asked.seed, asked.inputs, asked.limit_s, first=asked.first)
    print(tally.table())
    for wrong in tally.wrong:
        print(wrong, file=sys.stderr)
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
