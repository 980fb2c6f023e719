"""Fixtures that tests of several folders share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `cuda` are skipped where there is no device, and the summary says so."""
    if any(item.get_closest_marker("cuda") for item in items):
        import torch

        if not torch.cuda.is_available():
            for item in items:
                if item.get_closest_marker("cuda"):
                    item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test marked `own_process` forks, which hangs once torch has run threads: it gets an interpreter of its own."""
    if not pyfuncitem.get_closest_marker("own_process") or "SSLKIT_OWN_PROCESS" in os.environ:
        return None
    # Whatever marks are asked for here: it was asked for.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "", pyfuncitem.nodeid]
    environment = {**os.environ, "SSLKIT_OWN_PROCESS": "1"}
    done = subprocess.run(command, cwd=pyfuncitem.config.rootpath, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return True


@pytest.fixture(scope="session")
def media_root() -> Path:
    """The folder of real media: $SSLKIT_MEDIA or ../shared/media beside the repository. Skips the test without it."""
    root = Path(os.environ.get("SSLKIT_MEDIA") or Path(__file__).parents[2] / "shared" / "media")
    if not root.is_dir():
        pytest.skip(f"no real media: {root} does not exist; set SSLKIT_MEDIA")
    return root


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real MP4 of 2 s: 50 pictures of 96x64 at 25 fps, 16 kHz sound.

    The mean brightness of picture k is 20 + 4k, so `round((frame.mean() - 20) / 4)` reads its number; at 1.0 s (picture
    25, sample 16000) a tone of 1 kHz begins.
    """
    from sslkit.media import write

    frames = np.repeat((20 + 4 * np.arange(50, dtype=np.uint8))[:, None, None, None], 3, axis=3)
    frames = np.ascontiguousarray(np.broadcast_to(frames, (50, 64, 96, 3)))
    tone = (12_000 * np.sin(2 * np.pi * 1000 * np.arange(32_000) / 16_000)).astype(np.int16)
    tone[:16_000] = 0
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write.video(path, frames, 25, tone, 16_000)
    return path


@pytest.fixture(scope="session")
def toybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared toybox of a few small clips with flow."""
    from sslkit.data.prepare import prepare
    from sslkit.data.settings import PrepareSettings

    out = tmp_path_factory.mktemp("toybox") / "data"
    prepare("toybox", "", out, PrepareSettings(short_side_px=80, flow="dis", clips=24, stills=0, seconds=1.0))
    return out
