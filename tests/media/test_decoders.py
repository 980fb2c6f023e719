import pytest

from sslkit.media import decoders


def test_every_format_is_tried_and_decodes_here() -> None:
    assert decoders.tried() == dict.fromkeys(["H.264", "HEVC", "VP9", "AV1", "ProRes", "AAC", "Opus"], "")


def test_what_cannot_be_decoded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    form = decoders._Format("none_such", "none_such", "mp4")
    monkeypatch.setattr(decoders, "_FORMATS", {"X": form, "Y": decoders._Format("h264", "none_such", "mp4")})
    assert decoders.tried() == {"X": "this PyAV has no decoder called none_such", "Y": ""}
    monkeypatch.setattr(decoders, "_round_trip", lambda form: (1, 3))
    monkeypatch.setattr(decoders, "_FORMATS", {"H.264": decoders._Format("h264", "libx264", "mp4")})
    assert decoders.tried() == {"H.264": "1 of 3 came back"}
