"""Retrieval across the senses: measures of vectors that are known, and runs of two networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import ndcg_score
from torch import Tensor

from sslkit import cli, jobs
from sslkit.data.dataset import Dataset
from sslkit.data.entries import Entry
from sslkit.errors import UserError
from sslkit.evals import senses
from sslkit.evals.senses import Canonical, Space
from sslkit.tasks import base as tasks

TINY = ["train.steps=2", "train.batch=4", "train.validate_epochs=1"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def entry(number: int, label: int = -1, source: str = "", tags: tuple[str, ...] = ()) -> Entry:
    return Entry(
        key=str(number), kind="video", label=label, label_name=None, source=source or str(number), group="",
        start_s=0.0, end_s=1.0, fps=25.0, frames=25, height=4, width=4, sound_s=1.0, motion=np.zeros(25, np.float32),
        border=(0, 0, 0, 0), flow_bound=20.0, shard=Path("d/train.tar"), offset=0, size=0, members={}, tags=tags,
    )  # fmt: skip


def unit(seed: int, count: int, width: int = 8) -> Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_samples_are_relevant_by_their_class_or_by_the_share_of_their_tags() -> None:
    by_class = senses.relevant([entry(0, 1), entry(1, 1), entry(2, 0), entry(3), entry(4)])
    assert by_class[0].tolist() == [1, 1, 0, 0, 0] and not by_class[3].any()
    tagged = senses.relevant(
        [entry(0, tags=("a", "b")), entry(1, tags=("b",)), entry(2, tags=("c", "b", "a")), entry(3)]
    )
    assert tagged[0].tolist() == pytest.approx([1, 1 / 2, 2 / 3, 0]) and tagged[3].tolist() == [0, 0, 0, 0]


def test_vectors_that_know_the_class_are_perfect_in_all_directions() -> None:
    label = [n % 3 for n in range(12)]
    same = F.one_hot(torch.tensor(label)).float()
    found = senses.measured({"sight": same, "sound": same}, [entry(n, kind) for n, kind in enumerate(label)], 30)
    assert [found[f"{way}_ndcg@30"] for way in ("im2im", "im2au", "au2im", "au2au")] == pytest.approx([100] * 4)
    # The four samples of a class are equally near: the own one is as likely as the others.
    assert found["im2au_recall@1"] == pytest.approx(25) and found["au2im_median_rank"] == pytest.approx(2.5)


def test_ndcg_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    tags = [tuple(random.choice(list("abcde"), random.integers(1, 4), replace=False)) for _ in range(30)]
    entries = [entry(n, tags=t) for n, t in enumerate(tags)]
    vectors: dict[senses.Sense, Tensor] = {"sight": unit(1, 30), "sound": unit(2, 30)}
    found = senses.measured(vectors, entries, 5)
    gains = 2 ** senses.relevant(entries).numpy() - 1
    others = ~np.eye(30, dtype=bool)
    for way, (query, other) in {"im2au": ("sight", "sound"), "au2au": ("sound", "sound")}.items():
        scores = -torch.cdist(vectors[query].double(), vectors[other].double()).numpy()
        reference = [ndcg_score(gains[q][others[q]][None], scores[q][others[q]][None], k=5) for q in range(30)]
        assert found[f"{way}_ndcg@5"] == pytest.approx(100 * np.mean(reference), abs=1e-6)


def test_a_query_finds_nothing_of_its_own_source() -> None:
    """Samples 0 and 1 are of one video: what is nearest to either is not counted, and nothing is relevant to 2."""
    entries = [entry(0, 0, "v"), entry(1, 0, "v"), entry(2, 1), entry(3, 0)]
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.01], [0.9, 0.1], [0.0, 1.0]])
    found = senses.measured({"sight": vectors, "sound": vectors}, entries, 1)
    assert found["im2im_ndcg@1"] == 0 and senses._lonely(entries) == 1


def test_of_its_own_source_a_query_may_find_its_own_other_sense_alone() -> None:
    """Ten videos of four windows each, whose vectors know the video and nothing else."""
    entries = [entry(n, source=str(n // 4)) for n in range(40)]
    same = F.one_hot(torch.arange(40) // 4).float()
    found = senses.measured({"sight": same, "sound": same}, entries, 30)
    assert found == {
        f"{way}_{metric}": value
        for way in ("im2au", "au2im")
        for metric, value in (("recall@1", 100), ("recall@5", 100), ("recall@10", 100), ("median_rank", 1))
    }
    # Chance is among the own sense and the 36 windows of other videos.
    chance = senses._chance(entries, 30)
    assert chance["im2au_median_rank"] == 19 and chance["im2au_recall@1"] == pytest.approx(100 / 37)


def test_chance_is_what_random_orders_get() -> None:
    entries = [entry(n, n % 4) for n in range(40)]
    chance = senses._chance(entries, 10)
    drawn = [
        senses.measured({"sight": unit(seed, 40), "sound": unit(seed + 100, 40)}, entries, 10) for seed in range(30)
    ]
    for metric in ("im2au_ndcg@10", "au2au_ndcg@10"):
        assert np.mean([one[metric] for one in drawn]) == pytest.approx(chance[metric], abs=1.5)
    assert chance["im2au_median_rank"] == 20.5 and chance["im2au_recall@5"] == pytest.approx(12.5)


def test_canonical_correlation_brings_pairs_together() -> None:
    random = torch.Generator().manual_seed(0)
    common = torch.randn(400, 3, generator=random)
    sight = common @ torch.randn(3, 10, generator=random) + 0.1 * torch.randn(400, 10, generator=random)
    sound = common @ torch.randn(3, 7, generator=random) + 0.1 * torch.randn(400, 7, generator=random)
    turned = Canonical.fitted(sight[:200], sound[:200], dimensions=3, ridge=0.001)
    a, b = (F.normalize(turned(s, x[200:]), dim=1) for s, x in (("sight", sight), ("sound", sound)))
    rank = senses.measured({"sight": a, "sound": b}, [entry(n, 0) for n in range(200)], 5)["im2au_median_rank"]
    assert rank < 6
    # Without a ridge the correlations are those by way of QR.
    exact = Canonical.fitted(sight, sound, dimensions=7, ridge=0.0)
    x, y = exact("sight", sight), exact("sound", sound)
    ours = [float(torch.corrcoef(torch.stack([x[:, k], y[:, k]]))[0, 1]) for k in range(7)]
    q, r = (np.linalg.qr((m - m.mean(0)).numpy())[0] for m in (sight, sound))
    assert ours == pytest.approx(np.linalg.svd(q.T @ r)[1].tolist(), abs=1e-3)


@pytest.fixture(scope="module")
def runs(toybox: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    for task in ("av_embedding", "av_correspondence"):
        jobs.pretrain(task, data=[toybox], out=root / task, tiny=True, overrides=TINY, device="cpu", workers=0)
    return {task: root / task for task in ("av_embedding", "av_correspondence")}


def test_a_run_with_a_space_of_its_own(toybox: Path, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["probe", str(runs["av_embedding"]), "--recipe", "senses", "--on", str(toybox), "--workers", "0", "--json"]
    assert cli.run([*ask, "--seeds", "2", "--device", "cpu"]) == 0
    record = json.loads(capsys.readouterr().out)
    means = {(row["init"], row["metric"]): row for row in record["rows"] if row["seed"] is None}
    assert {init for init, _ in means} == {"av_embedding", "random", "chance"}
    assert means["random", "im2au_median_rank"]["runs"] == 2
    assert record["split"]["queries"] == len(Dataset(toybox, "test")) and record["run"] == str(runs["av_embedding"])
    assert Path(record["files"]["report"]).is_file()


def test_networks_without_a_space_are_given_one(toybox: Path, runs: dict[str, Path]) -> None:
    found = jobs.probe([runs["av_correspondence"]], [toybox], recipe="senses", device="cpu", workers=0)
    assert {row["init"] for row in found.rows} == {"av_correspondence + CCA", "random + CCA", "chance"}
    space = Space(jobs.load_task(runs["av_correspondence"])[0], torch.device("cpu"))
    assert not space.shared and space.fitted(Dataset(toybox, "train")).canonical is not None
    with pytest.raises(UserError, match="no train split"):
        senses.evaluate([("x", 0, space)], None, Dataset(toybox, "test"))


def test_sight_of_a_run_of_two_networks_is_probed(colours: Path, runs: dict[str, Path]) -> None:
    changes = ["clips=1", "weight_decays=[1.0]"]
    found = jobs.probe([runs["av_embedding"]], [colours], ["random"], overrides=changes, device="cpu", workers=0)
    for init in ("av_embedding", "random"):
        assert {row["layer"] for row in found.rows if row["init"] == init} == {"conv1", "conv2", "conv3", "conv4"}
    assert Path(found.fields["run"]).name == "trunk.safetensors" and found.metrics["av_embedding_top1"] > 60


def test_wrong_requests(toybox: Path, runs: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="a run of two networks"):
        Space(tasks.build("rotation"), torch.device("cpu"))
    with pytest.raises(UserError, match="takes runs and random weights, not supervised"):
        jobs.probe([runs["av_embedding"]], [toybox], ["supervised"], recipe="senses")
    with pytest.raises(UserError, match="takes runs and random weights, not nothing"):
        jobs.probe([], [toybox], recipe="senses")
    with pytest.raises(UserError, match="a run of lip_sync is needed"):
        jobs.probe([runs["av_embedding"]], [toybox], recipe="speakers")
    with pytest.raises(UserError, match="Nobody's speech is marked"):
        jobs.probe([], [toybox], recipe="speakers")


def test_runs_of_two_kinds_each_have_a_random_control(toybox: Path, runs: dict[str, Path]) -> None:
    found = jobs.probe(list(runs.values()), [toybox], recipe="senses", device="cpu", workers=0)
    inits = {row["init"] for row in found.rows}
    assert {"av_embedding", "random av_embedding", "av_correspondence + CCA", "random av_correspondence + CCA"} <= inits
