from pathlib import Path

import pytest

from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings


@pytest.fixture(scope="session")
def toybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared toybox of a few small clips with flow."""
    out = tmp_path_factory.mktemp("toybox") / "data"
    prepare("toybox", "", out, PrepareSettings(short_side_px=80, flow="dis", clips=24, stills=0, seconds=1.0))
    return out
