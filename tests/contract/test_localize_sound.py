"""What scripts may rely on: the fields of `sslkit localize-sound --json`."""

import json
from pathlib import Path

import pytest

from sslkit import cli
from sslkit.media import read


@pytest.mark.parametrize(("overlay", "method"), [(True, "cca"), (False, "cca"), (False, "av_object")])
def test_fields_of_localize_sound(
    overlay: bool, method: str, clip_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    option = "--overlay" if overlay else "--no-overlay"
    line = ["localize-sound", str(clip_file), "--method", method, "--out", str(tmp_path), option, "--json"]
    assert cli.run(line) == 0
    (told,) = map(json.loads, capsys.readouterr().out.splitlines())
    about = read.probe(clip_file)
    assert told["input"] == str(clip_file) and told["frames"]
    for frame in told["frames"]:
        assert set(frame) == {"time_s", "peak_xy", "score", "evidence"}
        (x, y), score = frame["peak_xy"], frame["score"]
        assert 0 <= frame["time_s"] <= about.duration_s and 0 <= x <= about.width and 0 <= y <= about.height
        assert isinstance(score, float)
        assert frame["evidence"] is None if method == "cca" else 0 <= frame["evidence"] <= 1
    assert told["peak"] in told["frames"]
    assert told["overlay"] == (str(tmp_path / "clip-sound.mp4") if overlay else None)
    assert not overlay or read.probe(Path(told["overlay"])).has_sound
