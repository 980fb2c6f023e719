"""The checks in plain lines, without the libraries of the command line."""

import sys

from sslkit import doctor

if __name__ == "__main__":
    checked = doctor.rows()
    for row in checked:
        print(f"{row['state']:5} {row['check']:24} {row['found']}" + (f" Fix: {row['fix']}" if row["fix"] else ""))
    sys.exit(any(row["state"] == "fail" for row in checked))
