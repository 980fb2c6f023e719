import numpy as np
import pytest
import torch

from sslkit.report import picture


def _packed(horizontal: float, vertical: float) -> np.ndarray:
    return np.stack([np.full((4, 5), 128 + horizontal), np.full((4, 5), 128 + vertical)]).astype(np.uint8)


def test_no_motion_is_white_and_directions_have_their_colours():
    assert (picture.flow_colours(_packed(0, 0)) == 255).all()
    assert picture.flow_colours(_packed(100, 0), scale=100)[0, 0].tolist() == [255, 0, 0]
    left = picture.flow_colours(_packed(-100, 0), scale=100)[0, 0]
    assert left[0] == 0 and left[1:].min() > 200  # cyan


def test_fields_of_a_clip_share_one_scale():
    clip = np.stack([_packed(10, 0), _packed(100, 0)])
    slow, fast = picture.flow_colours(clip)[:, 0, 0]
    assert fast.tolist() == [255, 0, 0]
    assert slow[1] > 220
    assert (picture.flow_colours(clip[0])[0, 0] == fast).all()


def test_noise_of_a_still_clip_is_not_stretched_to_full_colour():
    assert picture.flow_colours(_packed(1, 0)).min() > 180


def test_flow_colours_keep_leading_axes():
    assert picture.flow_colours(torch.full((2, 3, 2, 8, 9), 128, dtype=torch.uint8)).shape == (2, 3, 8, 9, 3)


def test_legend_shows_the_colour_of_each_direction():
    disc = picture.flow_legend(65)
    assert disc.shape == (65, 65, 3)
    assert (disc[32, 32] > 250).all() and (disc[0, 0] == 255).all()
    assert (disc[32, 64].astype(int) - [255, 0, 0] == 0).all()


def test_to_uint8_scales_clips_and_repeats_grey():
    values = torch.tensor([[[-1.0, 0.0], [1.0, 2.0]]])
    got = picture.to_uint8(values, low=-1, high=1)
    assert got.shape == (2, 2, 3)
    assert got[..., 0].tolist() == [[0, 128], [255, 255]]
    batch = np.random.default_rng(0).integers(0, 255, (2, 4, 3, 5, 6), dtype=np.uint8)
    np.testing.assert_array_equal(picture.to_uint8(batch), np.moveaxis(batch, -3, -1))
    with pytest.raises(ValueError, match="1 or 3 channels"):
        picture.to_uint8(torch.zeros(2, 4, 4))


def test_overlay_leaves_pictures_without_evidence_alone():
    frames = np.random.default_rng(0).integers(0, 255, (2, 20, 30, 3), dtype=np.uint8)
    maps = np.stack([np.zeros((4, 6)), np.ones((4, 6))])
    shown = picture.overlay(frames, maps, (0.0, 1.0))
    np.testing.assert_array_equal(shown[0], frames[0])
    assert np.abs(shown[1].astype(int) - frames[1]).mean() > 20


def test_overlay_draws_equal_evidence_equally_in_every_frame():
    frames = np.full((2, 8, 8, 3), 100, dtype=np.uint8)
    maps = torch.full((2, 2, 2), 0.3)
    maps[1, 0, 0] = 5.0
    shown = picture.overlay(frames, maps, (0.0, 1.0))
    assert (shown[0, 7, 7] == shown[1, 7, 7]).all()


def test_heat_scale_is_not_ruled_by_one_peak_and_never_empty():
    maps = np.ones((10, 10, 10))
    maps[0, 0, 0] = 1000.0
    assert picture.heat_scale(maps) == (0.0, 1.0)
    low, high = picture.heat_scale(-maps)
    assert low == 0.0 and high > 0.0


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_filters_are_stretched_each_to_its_own_range(depth):
    weight = torch.zeros(2, depth, 3, 3)
    weight[0, :, 1, 1], weight[1, :, 1, 1] = 1.0, -100.0
    sheet = picture.filters(weight, scale_px=2, gap_px=0)
    assert sheet.shape[2] == 3 and sheet.shape[0] * sheet.shape[1] == 2 * 6 * 6
    assert sheet.max() == 255 and sheet.min() == 0


def test_filters_on_flow_show_each_field_in_the_colour_of_its_direction():
    weight = torch.zeros(1, 4, 1, 1)
    weight[0, 0], weight[0, 3] = 1.0, 1.0  # field 0 looks for motion to the right, field 1 for motion downwards
    sheet = picture.filters(weight, scale_px=1, gap_px=0)
    assert sheet.shape == (1, 2, 3)
    expected = [picture.flow_colours(_packed(*v), scale=100)[0, 0] for v in ((100, 0), (0, 100))]
    assert np.abs(sheet[0].astype(int) - np.stack(expected).astype(int)).max() <= 2


def test_contact_sheet_takes_evenly_spaced_frames():
    clips = np.zeros((2, 9, 4, 5, 3), dtype=np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None, None]
    sheets = picture.contact_sheet(clips, shown=3, gap_px=1)
    assert len(sheets) == 2 and sheets[0].shape == (4, 17, 3)
    assert sheets[0][0, [0, 6, 12], 0].tolist() == [0, 4, 8]


def test_montage_frames_say_right_wrong_or_neither():
    pictures = [np.zeros((20, 40, 3), dtype=np.uint8)] * 3
    sheet = picture.montage(pictures, right=[True, False, None], columns=3, frame_px=2)
    assert sheet.shape == (24, 3 * 44 + 2 * 4, 3)
    got = [tuple(sheet[0, x].tolist()) for x in (0, 48, 96)]
    assert got == [picture.RIGHT, picture.WRONG, picture.NEITHER]


def test_captions_are_shortened_to_the_picture():
    narrow = picture.captioned(np.zeros((10, 30, 3), dtype=np.uint8), "a very long caption that cannot fit at all")
    assert narrow.shape == (10 + 19, 30, 3)
    assert (narrow[:10] == 0).all() and narrow[10:].min() < 120 < narrow[10:].max()


def test_labelled_keeps_size_and_writes_only_on_the_strip():
    frames = np.full((3, 60, 80, 3), 90, dtype=np.uint8)
    shown = picture.labelled(frames, ["one", "two", "one"])
    assert shown.shape == frames.shape
    np.testing.assert_array_equal(shown[:, :46], frames[:, :46])
    np.testing.assert_array_equal(shown[0], shown[2])
    assert (shown[0] != shown[1]).any()
    np.testing.assert_array_equal(picture.labelled(frames, ["", "", "one"])[:2], frames[:2])
    assert (frames == 90).all()


def test_boxes_have_their_colours_and_texts_and_nothing_else_changes():
    frame = np.full((120, 160, 3), 90, dtype=np.uint8)
    shown = picture.boxed(
        frame,
        [np.array([40.0, 50, 80, 100]), np.array([100.0, 50, 150, 100])],
        [(9, 9, 250), (250, 9, 9)],
        ["0: 1.5", ""],
    )
    assert [shown[75, 40].tolist(), shown[75, 100].tolist()] == [[9, 9, 250], [250, 9, 9]]
    assert (shown[52:98, 43:77] == 90).all() and (shown[:35] == 90).all() and (frame == 90).all()
    assert (shown[38:49, 41:70] == 255).any() and (shown[38:49, 101:150] == 90).all()  # only one has a text
    assert (picture.boxed(frame, [], [], []) == frame).all()
    assert picture.boxed(frame, [np.array([-50.0, -9, 500, 300])], [(9, 9, 9)], ["out"]).shape == frame.shape


def test_a_legend_gives_way_to_its_note():
    entries = (((9, 9, 250), "speaks"), ((250, 9, 9), "does not"))
    wide, noted = picture.legend(600, entries), picture.legend(600, entries, "a voice off screen")
    assert wide.shape[0] % 2 == 0 and wide.shape[1:] == (600, 3)
    for colour in ((9, 9, 250), (250, 9, 9)):
        assert (noted == colour).all(2).any() and (wide == colour).all(2).any()
    narrow = picture.legend(120, entries, "a voice off screen")
    assert not (narrow == (250, 9, 9)).all(2).any() and narrow.max() > 200


def test_grid_refuses_nothing():
    with pytest.raises(ValueError, match="at least one"):
        picture.grid([], 3)
