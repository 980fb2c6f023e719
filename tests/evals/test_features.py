import dataclasses

import pytest
import torch
from torch import Tensor, nn

from sslkit.data.dataset import Dataset
from sslkit.errors import WorkError
from sslkit.evals import features
from sslkit.models import trunk as trunks
from sslkit.models.trunk import Trunk
from sslkit.types import Batch, Reads


class Seen(Trunk):
    """Its layers are the picture itself, with a norm that would learn, and the mean colour."""

    name = "seen"

    def __init__(self, crop_px: int = 16, learns: bool = False) -> None:
        super().__init__()
        self.settings, self.takes, self.crop_px, self.learns = {}, Reads(frames=1), crop_px, learns
        self.widths = {"map": 3, "vector": 3}
        self.norm = nn.BatchNorm2d(3, affine=False)
        self.calls = 0

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        if self.learns:
            self.norm.train()
        return {"map": self.norm(raw.float()), "vector": raw.float().mean((2, 3))}


def test_features_are_those_of_each_sample_in_order(train_set: Dataset) -> None:
    trunk = Seen()
    found = features.extract(trunk, train_set, batch=7, pool_dims=12)
    assert trunk.calls == 4  # one pass for all layers
    assert found.layers["map"].shape == (24, 3 * 2 * 2) and found.shapes == {"map": (3, 2, 2), "vector": (3,)}
    assert torch.equal(found.layers["vector"].argmax(1), found.label) and found.label.tolist() == [0, 1, 2] * 8
    assert found.index.tolist() == list(range(24)) and found.source[5] == "train/5" and found.seconds > 0


def test_batch_size_changes_nothing(train_set: Dataset) -> None:
    trunk = trunks.build("nin", {"side_px": 16, "width": 0.25})
    one, many = (features.extract(trunk, train_set, batch=b) for b in (3, 24))
    assert list(one.layers) == list(trunk.widths)
    for name in one.layers:
        assert torch.allclose(one.layers[name], many.layers[name], atol=1e-4)


def test_mode_comes_back_and_only_named_layers_are_kept(train_set: Dataset) -> None:
    trunk = Seen().train()
    before = features.state_hash(trunk)
    found = features.extract(trunk, train_set, ("vector",), half=True)
    assert trunk.training and features.state_hash(trunk) == before
    assert list(found.layers) == ["vector"] and found.layers["vector"].dtype == torch.float16
    with pytest.raises(WorkError, match="has no layer 'conv9'"):
        features.extract(trunk, train_set, ("conv9",))


def test_a_trunk_that_learns_on_the_way_is_refused(train_set: Dataset) -> None:
    with pytest.raises(WorkError, match="changed while features were read"):
        features.extract(Seen(learns=True), train_set)


def test_features_that_are_not_finite_are_refused(train_set: Dataset) -> None:
    trunk = Seen()
    trunk.norm.running_mean.fill_(float("nan"))
    with pytest.raises(WorkError, match="layer map: features are not finite"):
        features.extract(trunk, train_set)


def test_hash_sees_a_single_number() -> None:
    trunk = Seen()
    before = features.state_hash(trunk)
    trunk.norm.running_var[1] += 1e-3
    assert features.state_hash(trunk) != before


def test_unlabelled_samples_are_left_out(test_set: Dataset) -> None:
    found = features.extract(Seen(), test_set)
    known = found.labelled()
    assert len(found) == 16 and len(known) == 15 and known.label.min() == 0
    assert known.index.tolist() == list(range(15)) and len(known.source) == len(known.layers["map"]) == 15


def test_progress_counts_samples(train_set: Dataset) -> None:
    told: list[tuple[int, int]] = []
    features.extract(Seen(), train_set, batch=10, progress=lambda done, of: told.append((done, of)))
    assert told == [(10, 24), (20, 24), (24, 24)]


@pytest.mark.parametrize(
    ("channels", "side", "pooled"), [(96, 55, 9), (256, 13, 5), (2048, 7, 2), (64, 4, 4), (10_000, 6, 1)]
)
def test_maps_are_pooled_to_about_nine_thousand(channels: int, side: int, pooled: int) -> None:
    maps = torch.randn(1, channels, side, side)
    assert features.pool_map(maps).shape == (1, channels, pooled, pooled)


def test_pooling_averages_or_takes_the_largest() -> None:
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert features.pool_map(maps, 4).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert features.pool_map(maps, 4, "max").flatten().tolist() == [5.0, 7.0, 13.0, 15.0]
    assert features.pool_map(torch.ones(2, 5), 1).shape == (2, 5)


def test_windows_of_a_video_are_averaged(monkeypatch: pytest.MonkeyPatch, train_set: Dataset) -> None:
    frames = torch.zeros(1, 2, 1, 3, 24, 30, dtype=torch.uint8)
    frames[0, 0, 0, 0], frames[0, 1, 0, 1] = 100, 50
    batch = Batch(torch.tensor([0]), torch.tensor([0]), torch.zeros(1, 2), torch.tensor([[24, 30]]), frames)
    monkeypatch.setattr(features.feed, "once", lambda *_, **__: iter([batch]))
    found = features.extract(Seen(), train_set, clips=2)
    assert found.layers["vector"].tolist() == [[50.0, 25.0, 0.0]]


def test_sound_and_flow_are_fed_raw() -> None:
    trunk = Seen(crop_px=8)
    trunk.takes = Reads(sound_s=1.0)
    sound = torch.arange(12, dtype=torch.int16).reshape(2, 2, 3)
    batch = Batch(torch.zeros(2), torch.arange(2), torch.zeros(2, 2), torch.full((2, 2), 12), sound=sound)
    assert features.inputs(batch, trunk).tolist() == sound.reshape(4, 3).tolist()
    trunk.takes = Reads(flow=2)
    batch.flow = torch.full((2, 1, 2, 2, 12, 12), 128, dtype=torch.uint8)
    raw = features.inputs(batch, trunk)
    assert raw.shape == (2, 2, 2, 8, 8) and raw.dtype == torch.uint8


def test_stills_have_one_window(train_set: Dataset) -> None:
    assert features.windows(train_set, 5) == 1
    train_set.entries = [dataclasses.replace(train_set.entries[0], kind="video")]
    assert features.windows(train_set, 5) == 5
