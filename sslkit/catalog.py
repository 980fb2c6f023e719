"""The modules of a folder, by name: how tasks, evaluations and data layouts are found. The folder is the registry."""

import difflib
import importlib
import pkgutil
from types import ModuleType

from sslkit.errors import UserError

_NOT_ENTRIES = {"base"}


def names(package: str) -> list[str]:
    """Names of the entries of a package such as `sslkit.tasks`, sorted; nothing is imported but the package itself."""
    folder = importlib.import_module(package)
    return sorted(m.name for m in pkgutil.iter_modules(folder.__path__) if m.name not in _NOT_ENTRIES)


def load(package: str, name: str) -> ModuleType:
    """The module `package.name`, where dashes and underscores are alike.

    Raises UserError naming the nearest entry when there is none of that name.
    """
    wanted, known = name.replace("-", "_"), names(package)
    if wanted not in known:
        what = package.rsplit(".", 1)[-1].rstrip("s")
        raise UserError(f"No {what} is called {name!r}; {nearest(wanted, known)}.")
    return importlib.import_module(f"{package}.{wanted}")


def nearest(wanted: str, known: list[str]) -> str:
    """`did you mean 'x'?` when something known is close, else the list of what is known."""
    close = difflib.get_close_matches(wanted, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(known)
