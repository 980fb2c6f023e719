"""Faces are found where they are, followed through shots and cut out where they lie."""

import cv2
import numpy as np
import pytest

from sslkit.errors import UserError
from sslkit.media import detectors, faces, read


def box(left: float, top: float, side: float, profile: float = 0.0) -> np.ndarray:
    return np.array([left, top, left + side, top + side, profile], np.float32)


def seen(*boxes: np.ndarray) -> np.ndarray:
    return np.stack(boxes) if boxes else np.zeros((0, 5), np.float32)


def test_two_faces_are_two_tracks_whatever_their_order() -> None:
    found = [(f, seen(*[box(20 + f, 30, 40), box(200 - f, 60, 50)][:: 1 if f % 10 else -1])) for f in range(0, 51, 5)]
    left, right = faces.follow(found, 60)
    assert (left.start, left.end, right.start, right.end) == (0, 51, 0, 51)
    assert left.size_px == pytest.approx(40, abs=0.1) and right.size_px == pytest.approx(50, abs=0.1)
    middle = left.boxes[15:-15]
    assert middle[:, 0] == pytest.approx(np.arange(15, 36) + 20, abs=0.3)
    assert left.found.sum() == 11 and left.found[::5].all()


def test_no_track_crosses_a_cut_though_the_face_stays() -> None:
    found = [(f, seen(box(20, 30, 40))) for f in range(0, 60, 5)]
    tracks = faces.follow(found, 60, cuts=[0, 30])
    assert [(track.start, track.end) for track in tracks] == [(0, 26), (30, 56)]


def test_a_face_may_be_lost_for_a_while_but_not_longer() -> None:
    def lost(between: int) -> list[faces.Track]:
        return faces.follow([(0, seen(box(20, 30, 40))), (5, seen()), (between, seen(box(22, 30, 40)))], 100)

    assert [(track.start, track.end) for track in lost(25)] == [(0, 26)]
    assert [(track.start, track.end) for track in lost(26)] == [(0, 1), (26, 27)]


def test_one_wrong_box_does_not_move_the_track() -> None:
    found = [(f, seen(box(20 if f != 30 else 28, 30, 40))) for f in range(60)]
    (track,) = faces.follow(found, 60)
    assert track.boxes[:, 0] == pytest.approx([20] * 60)


def test_a_face_from_the_side_is_told() -> None:
    (track,) = faces.follow([(f, seen(box(20, 30, 40, float(f < 30)))) for f in range(0, 40, 10)], 40)
    assert track.profile == 0.75


def gradients(height: int = 120, width: int = 160) -> np.ndarray:
    """Red tells the column, green the row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.full_like(rows, 200)], 2).astype(np.uint8)[None]


@pytest.mark.parametrize("side_px", [28, 56, 112])
def test_the_face_is_cut_where_the_published_pipeline_cuts_it(side_px: int) -> None:
    # half the side of the box is bs: the columns are x - 1.4 bs .. x + 1.4 bs, the rows y - bs .. y + 1.8 bs
    cut = faces.crops(gradients(), box(60, 40, 40)[None, :4], side_px)[0].astype(float)
    assert cut.shape == (side_px, side_px, 3)
    centres = (np.arange(side_px) + 0.5) / side_px * 56
    assert cut[side_px // 2, 2:-2, 0] == pytest.approx((80 - 28 + centres - 0.5)[2:-2], abs=1)
    assert cut[2:-2, side_px // 2, 1] == pytest.approx((60 - 20 + centres - 0.5)[2:-2], abs=1)


@pytest.mark.parametrize("place", [(40.3, 30.6, 41.7), (-9.4, 20.2, 60.0), (70.5, 60.9, 77.3), (50.0, -12.5, 33.1)])
def test_syncnets_crop_is_the_published_one_to_the_pixel(place: tuple[float, float, float]) -> None:
    """Pad by the grey of 110, slice at whole pixels, scale: joonson/syncnet_python with crop scale 0.40."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (120, 160, 3), np.uint8)
    left, top, side = place
    half, x, y = side / 2, left + side / 2, top + side / 2
    pad = int(half * (1 + 2 * 0.40))
    padded = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), constant_values=110)
    rows = slice(int(y + pad - half), int(y + pad + half * (1 + 2 * 0.40)))
    columns = slice(int(x + pad - half * (1 + 0.40)), int(x + pad + half * (1 + 0.40)))
    expected = cv2.resize(padded[rows, columns], (224, 224))
    boxes = np.array([[left, top, left + side, top + side]])
    assert np.array_equal(faces.crops(frame[None], boxes, 224, "syncnet")[0], expected)
    outside = faces.crops(frame[None], boxes + 900, 224, "syncnet")
    assert (outside == 110).all()


def test_syncnets_boxes_pass_through_the_median_alone() -> None:
    found = [(f, seen(box(20.0 + (f > 40) * 10, 30, 40))) for f in range(0, 81, 5)]
    (track,) = faces.follow(found, 81)
    steps = np.interp(np.arange(81), [f for f, _ in found], [boxes[0, 0] for _, boxes in found])
    expected = [np.median(steps[max(0, f - 6) : f + 7]) for f in range(81)]
    assert track.along("syncnet")[10:-10, 0] == pytest.approx(expected[10:-10], abs=1e-4)
    assert track.along("face") is track.boxes and not np.allclose(track.boxes, track.medians, atol=0.1)


def test_the_mouth_lies_in_the_middle_of_its_cut() -> None:
    cut = faces.crops(gradients(), box(40, 10, 100)[None, :4], 31, "mouth")[0].astype(float)
    assert cut[15, 15, :2] == pytest.approx([90, 88], abs=1)


def test_grey_where_the_picture_ends() -> None:
    cut = faces.crops(gradients(), box(-20, 40, 40)[None, :4], 56)[0]
    assert (cut[28, :20] == 110).all() and cut[28, -1, 0] == pytest.approx(27, abs=1)


def test_a_file_that_is_no_detector_is_one_sentence(tmp_path) -> None:
    (tmp_path / "face.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match="face.onnx is no YuNet detector"):
        detectors.finder(tmp_path / "face.onnx")


@pytest.mark.realdata
def test_real_faces_are_found_once_each(media_root) -> None:
    find = detectors.finder()
    one = read.video(media_root / "speech/others/train/grid_brbk7n.mpg", 25.0, None, 0, 1.0).frames
    (track,) = faces.follow([(f, find(one[f])) for f in range(0, len(one), 5)], len(one))
    assert track.end - track.start > 20 and 120 < track.size_px < 160 and track.profile == 0
    mouth = faces.crops(one[:1], track.boxes[:1], 48, "mouth")[0].astype(float)
    skin = mouth[40:, :8].mean((0, 1))
    lips = mouth[18:30, 18:30].mean((0, 1))
    assert lips[0] / lips[1] > skin[0] / skin[1] + 0.05  # redder


def test_everywhere_is_looked_once_a_second_and_else_where_faces_were() -> None:
    asked = []

    def find(picture: np.ndarray, near: np.ndarray | None = None) -> np.ndarray:
        asked.append((int(picture[0, 0, 0]), near is not None))
        lost = near is not None and picture[0, 0, 0] == 40
        return seen() if lost else seen(box(10, 8, 20))

    looker = faces.Looker(find)
    frames = np.broadcast_to(np.arange(70, dtype=np.uint8)[:, None, None, None], (70, 40, 40, 3))
    for first, last in ((0, 33), (33, 34), (34, 70)):  # however they come
        looker.add(frames[first:last], cuts=[52] if first == 34 else [], scale=2)
    whole = [number for number, near in asked if not near]
    # each 25 frames, but for a face that is lost at 40, and for another shot
    assert whole == [0, 25, 40, 55] and [number for number, near in asked if near] == [
        5, 10, 15, 20, 30, 35, 40, 45, 50, 60, 65
    ]  # fmt: skip
    first, second = looker.tracks()
    assert (first.start, second.start, second.end) == (0, 55, 66)
    assert second.boxes[0].tolist() == [20, 16, 60, 56]


def test_a_face_is_found_again_where_it_was(media_root) -> None:
    find = detectors.finder()
    frames = read.video(sorted((media_root / "speech/grid/s1").glob("*.mkv"))[0]).frames
    (before,) = find(frames[0])
    (now,) = find(frames[5], np.stack([before]))
    assert np.abs(now[:4] - find(frames[5])[0, :4]).max() < 0.08 * (now[2] - now[0])
    assert find(frames[5], np.stack([before + np.float32([150, 90, 150, 90, 0])])).shape == (0, 5)


def test_nobody_is_found_where_nobody_is() -> None:
    assert detectors.finder()(gradients()[0]).shape == (0, 5)
