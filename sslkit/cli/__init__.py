"""The command line: parse, call one function in `sslkit.jobs`, hand its Result to the console.

Nothing heavy is imported before a command runs, so that `sslkit --help` answers at once.
"""

# isort: off
# In the order in which --help lists them.
from sslkit.cli import data, learn, use, about
from sslkit.cli.app import app, main, run

__all__ = ["about", "app", "data", "learn", "main", "run", "use"]
