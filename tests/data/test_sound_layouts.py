"""Layouts of data with sound, each on a small tree as it is published; and what becomes of folds, tags and boxes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from trees import facts, items, touch, write

from sslkit import catalog
from sslkit.data.dataset import Dataset
from sslkit.data.layouts.base import clip_of
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError, WorkError
from sslkit.types import Reads


def tone(path: Path, seconds: float, rate_hz: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 8000 * np.sin(np.arange(round(seconds * rate_hz)) * 0.3)
    soundfile.write(path, wave.astype(np.int16), rate_hz, subtype="PCM_16")


class TestEsc50:
    HEAD = "filename,fold,target,category,esc10,src_file,take"
    ROWS = (
        "1-100032-A-0.wav,1,0,dog,True,100032,A",
        "1-100038-A-14.wav,1,14,chirping_birds,False,100038,A",
        "2-100038-B-0.wav,2,0,dog,True,100040,B",
        "5-100210-A-36.wav,5,36,vacuum_cleaner,False,100210,A",
    )

    def tree(self, root: Path) -> Path:
        write(root / "meta/esc50.csv", self.HEAD, *self.ROWS)
        touch(root, *(f"audio/{row.partition(',')[0]}" for row in self.ROWS))
        return root

    def test_one_fold_is_test_and_every_sound_knows_its_own(self, tmp_path: Path) -> None:
        chosen = items("esc50", self.tree(tmp_path), fold=2)
        assert [item.fold for item in chosen] == [1, 1, 2, 5]
        assert [item.split for item in chosen] == ["train", "train", "test", "train"]
        assert chosen[0].label_name == "dog" and chosen[0].group == "100032" and chosen[0].sound

    def test_ten_classes(self, tmp_path: Path) -> None:
        assert [item.label_name for item in items("esc50", self.tree(tmp_path), esc10=True)] == ["dog", "dog"]

    def test_wrong_folders(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"expects meta/esc50.csv"):
            items("esc50", tmp_path)
        with pytest.raises(UserError, match="no fold 4"):
            items("esc50", self.tree(tmp_path / "a"), fold=4)
        write(tmp_path / "b/meta/esc50.csv", self.HEAD, "x.wav,one,0,dog,True,1,A", ",1,0,dog,True,1,A")
        with pytest.raises(UserError, match=r"2 lines .*line 2: .*line 3"):
            items("esc50", tmp_path / "b")
        write(tmp_path / "c/meta/esc50.csv", self.HEAD, self.ROWS[0])
        with pytest.raises(UserError, match="expects sounds like audio/"):
            items("esc50", tmp_path / "c")
        write(tmp_path / "d/meta/esc50.csv", "file,fold", "a,1")
        with pytest.raises(UserError, match="expects the columns category"):
            items("esc50", tmp_path / "d")

    def test_a_recording_in_two_folds_is_refused(self, tmp_path: Path) -> None:
        rows = [self.ROWS[0], "2-100032-B-0.wav,2,0,dog,True,100032,B"]
        write(tmp_path / "meta/esc50.csv", self.HEAD, *rows)
        touch(tmp_path, *(f"audio/{row.partition(',')[0]}" for row in rows))
        with pytest.raises(UserError, match="put all clips of a recording into one split"):
            prepare("esc50", str(tmp_path), tmp_path / "out", PrepareSettings())


class TestFolds:
    def test_files_of_a_class_go_into_folds_in_turn(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"{kind}/{n:02d}.wav" for kind in ("cello", "drum") for n in range(7)))
        chosen = items("folder", tmp_path, folds=5, fold=2)
        assert [item.fold for item in chosen] == [1, 2, 3, 4, 5, 1, 2] * 2
        assert [item.source for item in chosen if item.split == "test"] == [
            "cello/01.wav", "cello/06.wav", "drum/01.wav", "drum/06.wav",
        ]  # fmt: skip
        assert {item.fold for item in items("folder", tmp_path)} == {None}

    def test_wrong_requests(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.wav", "b.wav")
        with pytest.raises(UserError, match="Folds need a folder of classes"):
            items("folder", tmp_path, folds=2)
        touch(tmp_path / "x", "train/a/1.wav", "train/b/1.wav", "test/a/2.wav", "test/b/2.wav")
        with pytest.raises(UserError, match="Folds need a folder of classes"):
            items("folder", tmp_path / "x", folds=2)

    def test_a_prepared_sample_keeps_its_fold(self, tmp_path: Path) -> None:
        for kind in ("cello", "drum"):
            for number in range(3):
                tone(tmp_path / "in" / kind / f"{number}.wav", 0.3)
        prepare("folder", str(tmp_path / "in"), tmp_path / "out", PrepareSettings(rate_hz=8000, folds=3, fold=1))
        folds = {
            split: Counter(e.fold for e in Dataset(tmp_path / "out", split).entries) for split in ("train", "test")
        }
        assert folds == {"train": {2: 2, 3: 2}, "test": {1: 2}}


class TestAudioset:
    def tree(self, root: Path, *files: str) -> Path:
        head = ("# Segments csv created Sun Mar  5 10:54:31 2017", "# num_ytids=1", "# YTID, start_seconds, ...")
        write(
            root / "eval_segments.csv", *head, '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"',
            '--BfvyPmVMo, 20.000, 30.000, "/m/03l9g"',
        )  # fmt: skip
        write(root / "balanced_train_segments.csv", *head, '-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw,/m/0k4j"')
        touch(root, *files)
        return root

    def test_segments_of_whole_videos_and_files_of_segments(self, tmp_path: Path) -> None:
        root = self.tree(tmp_path, "v/-0RWZT-miFs.mkv", "v/--BfvyPmVMo_20.mp4")
        write(root / "class_labels_indices.csv", "index,mid,display_name", '0,/m/03l9g,"Hammer"', '1,/m/0k4j,"Car"')
        whole, missing, cut = items("audioset", root)
        assert (whole.split, whole.start_s, whole.end_s, whole.path) == ("train", 420, 430, root / "v/-0RWZT-miFs.mkv")
        assert whole.tags == ("/m/03v3yw", "Car") and whole.label_name is None and whole.group == "-0RWZT-miFs"
        assert (cut.split, cut.start_s, cut.label_name, cut.tags) == ("test", None, "Hammer", ("Hammer",))
        assert missing.problem == "the file is missing" and missing.split == "test"

    def test_the_video_is_taken_where_there_is_sound_of_that_name_too(self, tmp_path: Path) -> None:
        root = self.tree(tmp_path, "a/-0RWZT-miFs.mp4", "b/-0RWZT-miFs.wav", "a/--BfvyPmVMo_20.m4a")
        assert [item.source for item in items("audioset", root)] == [
            "a/-0RWZT-miFs.mp4", "--4gqARaEJE_0", "a/--BfvyPmVMo_20.m4a",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "name", ["v_30", "v_30.000", "v_000030", "v_30000", "v_30_40", "v_30.000_40.000", "v_000030_000040"]
    )
    def test_times_in_names(self, name: str) -> None:
        assert clip_of({name: Path(name)}, "v", 30.0, 40.0) == Path(name)
        assert clip_of({name: Path(name)}, "v", 31.0, 41.0) is None

    def test_wrong_folders(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="lists like balanced_train_segments.csv"):
            items("audioset", tmp_path)
        with pytest.raises(UserError, match="that the lists name"):
            items("audioset", self.tree(tmp_path, "other.mp4"))
        write(tmp_path / "eval_segments.csv", "abc, zero, 10")
        with pytest.raises(UserError, match="line 1"):
            items("audioset", tmp_path)


class TestVggsound:
    def test_clips(self, tmp_path: Path) -> None:
        write(tmp_path / "vggsound.csv", '---g-f_I2yQ,1,"people marching, singing",test', "a1,30,dog barking,train")
        touch(tmp_path, "video/---g-f_I2yQ_000001.mp4", "video/---g-f_I2yQ_000001.wav", "video/a1.mp4", "wav/a1.wav")
        cut, whole = items("vggsound", tmp_path)
        assert (cut.split, cut.label_name, cut.start_s) == ("test", "people marching, singing", None)
        assert (whole.split, whole.start_s, whole.end_s, whole.group) == ("train", 30.0, 40.0, "a1")
        assert (cut.source, whole.source) == ("video/---g-f_I2yQ_000001.mp4", "video/a1.mp4")

    def test_wrong_folders(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="expects vggsound.csv"):
            items("vggsound", tmp_path)
        write(tmp_path / "vggsound.csv", "a,1,dog,train")
        with pytest.raises(UserError, match="clips like"):
            items("vggsound", tmp_path)
        write(tmp_path / "vggsound.csv", "a,1,dog,dev", "b,x")
        with pytest.raises(UserError, match=r"line 1: split 'dev'.*line 2"):
            items("vggsound", tmp_path)


class TestLrs:
    def test_lrs2_by_lists(self, tmp_path: Path) -> None:
        write(tmp_path / "train.txt", "5535/00001", "5535/00002")
        write(tmp_path / "test.txt", "6330/00003 NF", "")
        write(tmp_path / "pretrain.txt", "5535/00009")
        write(tmp_path / "main/5535/00001.txt", "Text:  WHEN YOU'RE COOKING CHIPS AT HOME", "Conf:  4")
        touch(tmp_path, "main/5535/00001.mp4", "main/6330/00003.mp4")
        chosen = items("lrs2", tmp_path)
        assert facts(chosen) == [
            ("main/5535/00001.mp4", "train", None),
            ("main/5535/00002.mp4", "train", None),
            ("main/6330/00003.mp4", "test", None),
        ]
        assert [item.problem is None for item in chosen] == [True, False, True]
        assert chosen[0].truth == {"text": "WHEN YOU'RE COOKING CHIPS AT HOME"} and chosen[0].group == "5535"
        touch(tmp_path, "pretrain/5535/00009.mp4")
        assert facts(items("lrs2", tmp_path))[-1] == ("pretrain/5535/00009.mp4", "train", None)

    def test_lrs3_by_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"trainval/talk{n}/5000{m}.mp4" for n in range(10) for m in range(2)))
        touch(tmp_path, "pretrain/talk0/00001.mp4", "test/talkx/00001.mp4", "test/talkx/00001.txt")
        chosen = items("lrs3", tmp_path, val_share=0.2)
        assert Counter(item.split for item in chosen)["test"] == 1
        by_talk = {item.group: {i.split for i in chosen if i.group == item.group} for item in chosen}
        assert all(len(splits) == 1 for splits in by_talk.values())
        assert sum(splits == {"val"} for splits in by_talk.values()) == 2
        assert {item.truth["text"] for item in chosen if item.truth} == {""}

    def test_sound_is_known_to_be_in_time(self) -> None:
        assert all(catalog.load("sslkit.data.layouts", name).SYNCED for name in ("lrs2", "lrs3"))

    def test_wrong_folders(self, tmp_path: Path) -> None:
        for layout, said in (("lrs2", "lists like train.txt"), ("lrs3", "clips like trainval/")):
            with pytest.raises(UserError, match=said):
                items(layout, tmp_path)
        touch(tmp_path, "main/1/2.mp4")
        write(tmp_path / "val.txt", "no slash")
        with pytest.raises(UserError, match="line 1: 'no slash'"):
            items("lrs2", tmp_path)


class TestVoxceleb:
    def test_people_of_the_test_folder_are_test(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"dev/aac/id0{n:04d}/vid{n}/0000{m}.m4a" for n in range(10) for m in range(2)))
        touch(tmp_path, "test/mp4/id00999/v/00001.mp4", "notes/a/b.txt")
        chosen = items("voxceleb", tmp_path, val_share=0.1)
        assert Counter(item.split for item in chosen) == {"train": 18, "val": 2, "test": 1}
        assert len({item.group for item in chosen if item.split == "val"}) == 1
        assert chosen[-1].label_name == "id00999" and chosen[-1].key == "id00999-v-00001"

    def test_an_utterance_that_is_there_as_sound_and_as_video_is_listed_once(self, tmp_path: Path) -> None:
        touch(tmp_path, "dev/aac/id00012/v/00001.m4a", "dev/aac/id00012/v/00002.m4a", "dev/mp4/id00012/v/00001.mp4")
        touch(tmp_path, "test/aac/id00017/v/00001.m4a", "test/mp4/id00017/v/00001.mp4")
        assert facts(items("voxceleb", tmp_path, val_share=0)) == [
            ("dev/aac/id00012/v/00002.m4a", "train", "id00012"),
            ("dev/mp4/id00012/v/00001.mp4", "train", "id00012"),
            ("test/mp4/id00017/v/00001.mp4", "test", "id00017"),
        ]

    def test_the_list_for_identification(self, tmp_path: Path) -> None:
        touch(tmp_path, "wav/id10001/a/00001.wav", "wav/id10001/b/00001.wav", "wav/id10002/c/00001.wav")
        write(tmp_path / "iden_split.txt", "1 id10001/a/00001.wav", "3 id10001/b/00001.wav")
        assert facts(items("voxceleb", tmp_path)) == [
            ("wav/id10001/a/00001.wav", "train", "id10001"),
            ("wav/id10001/b/00001.wav", "test", "id10001"),
        ]
        write(tmp_path / "iden_split.txt", "train x")
        with pytest.raises(UserError, match="line 1"):
            items("voxceleb", tmp_path)

    def test_wrong_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, "alice/a/1.wav")
        with pytest.raises(UserError, match="utterances like id10001"):
            items("voxceleb", tmp_path)


class TestAva:
    HEAD = "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,label,entity_id"

    @staticmethod
    def rows(video: str, face: str, start_s: float, labels: str) -> list[str]:
        names = {"S": "SPEAKING_AUDIBLE", "n": "NOT_SPEAKING", "m": "SPEAKING_NOT_AUDIBLE"}
        return [
            f"{video},{start_s + k * 0.04:.2f},0.1,0.2,0.3,0.{4 + k % 2},{names[label]},{video}_{face}"
            for k, label in enumerate(labels)
        ]

    def tree(self, root: Path) -> Path:
        write(root / "csv/val/v-1-activespeaker.csv", *self.rows("v-1", "0900:1", 900, "nnnSSSm"))
        write(root / "csv/train/w-activespeaker.csv", *self.rows("w", "a", 10, "SS"), *self.rows("w", "a", 20, "nn"))
        touch(root, "films/v-1.mkv", "films/w.mp4")
        return root

    def test_stretches_of_equal_label(self, tmp_path: Path) -> None:
        chosen = items("ava_activespeaker", self.tree(tmp_path))
        assert [(i.split, i.label_name, i.start_s, round(i.end_s or 0, 2)) for i in chosen] == [
            ("train", "SPEAKING_AUDIBLE", 10.0, 10.04),
            ("train", "NOT_SPEAKING", 20.0, 20.04),
            ("val", "NOT_SPEAKING", 900.0, 900.08),
            ("val", "SPEAKING_AUDIBLE", 900.12, 900.2),
            ("val", "SPEAKING_NOT_AUDIBLE", 900.24, 900.27),  # of one mark, which is of one picture
        ]
        assert chosen[0].truth == {"face": "w_a", "box": [0.1, 0.2, 0.3, 0.45]} and chosen[0].group == "w"

    def test_published_folders(self, tmp_path: Path) -> None:
        names = {"train_v1.0": "train", "val_v1.0": "val", "test_v1.0": "val", "test_for_activitynet2019": None}
        for number, folder in enumerate(names):
            rows = self.rows(f"v{number}", "a", 1, "nS")
            write(tmp_path / f"ava_activespeaker_{folder}/v{number}-activespeaker.csv", *rows)
            touch(tmp_path, f"v{number}.mp4")
        assert {item.group: item.split for item in items("ava_activespeaker", tmp_path)} == {
            f"v{number}": split for number, split in enumerate(names.values()) if split
        }

    def test_the_folder_of_talknet(self, tmp_path: Path) -> None:
        for number, split in enumerate(("train", "val", "test")):
            rows = (f"{row},0,v{number}_a:0" for row in self.rows(f"v{number}", "a", 1, "nS"))
            write(tmp_path / f"csv/{split}_orig.csv", f"{self.HEAD},label_id,instance_id", *rows)
            write(tmp_path / f"csv/{split}_loader.csv", f"v{number}_a:0\t2\t25.0\t[0, 1]\t7")
            touch(tmp_path, f"orig_videos/trainval/v{number}.mkv")
        assert facts(items("ava_activespeaker", tmp_path)) == [
            (f"orig_videos/trainval/v{number}.mkv", split, label)
            for number, split in enumerate(("train", "val"))
            for label in ("NOT_SPEAKING", "SPEAKING_AUDIBLE")
        ]

    @pytest.mark.parametrize("merged", [False, True])
    def test_tracks(self, tmp_path: Path, merged: bool) -> None:
        tracks = catalog.load("sslkit.data.layouts", "ava_activespeaker").tracks
        root = self.tree(tmp_path)
        if merged:
            lines = (root / "csv/val/v-1-activespeaker.csv").read_text().splitlines()
            (root / "csv/val/v-1-activespeaker.csv").unlink()
            write(root / "val_orig.csv", f"{self.HEAD},label_id", *(f"{line},0" for line in lines))
        (track,) = tracks(str(root))
        assert track.speaks.tolist() == [False] * 3 + [True] * 3 + [False] and track.relative
        assert track.time_s[[0, -1]].tolist() == [900.0, 900.24] and track.boxes.shape == (7, 4)
        assert [len(t.time_s) for t in tracks(str(root), "train")] == [2, 2]  # not seen for ten seconds
        with pytest.raises(UserError, match="a list of test"):
            tracks(str(root), "test")

    def test_wrong_folders(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="lists like train/"):
            items("ava_activespeaker", tmp_path)
        write(tmp_path / "val/v-activespeaker.csv", "v,one,0,0,0,0,x,y")
        with pytest.raises(UserError, match="line 1"):
            items("ava_activespeaker", tmp_path)
        write(tmp_path / "val/v-activespeaker.csv", self.HEAD)
        with pytest.raises(UserError, match=r"one mark a line in .*v-activespeaker.csv, but found none"):
            items("ava_activespeaker", tmp_path)
        write(tmp_path / "val/v-activespeaker.csv", *self.rows("v", "a", 1, "nn"))
        with pytest.raises(UserError, match="films like"):
            items("ava_activespeaker", tmp_path)
        write(tmp_path / "val_orig.csv", self.HEAD, *self.rows("v", "a", 1, "nn"))
        with pytest.raises(UserError, match=r"v is in .*val/v-activespeaker.csv and in .*val_orig.csv; remove one"):
            items("ava_activespeaker", tmp_path)

    def test_unknown_labels(self, tmp_path: Path) -> None:
        rows = self.rows("v", "a", 1, "nS")
        write(tmp_path / "val/v-activespeaker.csv", rows[0], rows[1].replace("SPEAKING_AUDIBLE", "speaking"))
        with pytest.raises(UserError, match=r"1 line of .*line 2: label 'speaking' is not NOT_SPEAKING, SPEAKING_AUD"):
            items("ava_activespeaker", tmp_path)


class TestColumbia:
    def tree(self, root: Path) -> Path:
        touch(root, "columbia.mp4")
        marks = [*range(0, 6), *range(100, 104), 200]
        write(root / "col_labels/fusion/bell.txt", *(f"{f}\t10\t20\t30\t{int(f > 2)}" for f in marks))
        return root

    def test_tracks_and_stretches(self, tmp_path: Path) -> None:
        root = self.tree(tmp_path)
        first, second, single = catalog.load("sslkit.data.layouts", "columbia").tracks(str(root))
        assert first.speaks.tolist() == [False] * 3 + [True] * 3 and second.speaks.all() and not first.relative
        assert first.time_s[3] == pytest.approx(3 / 29.97, abs=1e-5) and first.boxes[0].tolist() == [10, 20, 40, 50]
        chosen = items("columbia", root)
        assert [(i.split, i.label_name) for i in chosen] == [("test", "silent"), *[("test", "speaking")] * 3]
        assert single.speaks.tolist() == [True] and chosen[-1].end_s == pytest.approx(201 / 29.97, abs=1e-3)

    def test_wrong_folders(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="one film and labels"):
            items("columbia", tmp_path)
        root = self.tree(tmp_path)
        write(root / "col_labels/fusion/sick.txt", "1\t2\t3")
        with pytest.raises(UserError, match="line 1"):
            items("columbia", root)
        write(root / "col_labels/fusion/sick.txt", "")
        with pytest.raises(UserError, match="line 1|no line at all"):
            items("columbia", root)


class TestFlickrSoundnet:
    XML = (
        "<root><filename>1</filename><subject><bbox><name>x</name><xmin>64</xmin><ymin>0</ymin><xmax>192</xmax>"
        "<ymax>128</ymax></bbox></subject>\n<subject><bbox>\n<xmin>0</xmin><ymin>0</ymin><xmax>256</xmax>"
        "<ymax>256</ymax></bbox></subject></root>"
    )

    def tree(self, root: Path) -> Path:
        for number, place in ((1, "Data/frames"), (2, "frames"), (3, "frames")):
            (root / place).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (60, 48), (40 * number, 0, 0)).save(root / place / f"{number}.jpg")
        tone(root / "Data/audio/1.wav", 2.0)
        tone(root / "audio/2.wav", 1.3)
        write(root / "Annotations/1.xml", self.XML)
        return root

    def test_pictures_with_sound(self, tmp_path: Path) -> None:
        root = self.tree(tmp_path)
        one, two = items("flickr_soundnet", root)
        assert (one.split, two.split) == ("test", "train") and one.heard == root / "Data/audio/1.wav"
        assert one.truth == {"boxes": [[0.25, 0.0, 0.75, 0.5], [0.0, 0.0, 1.0, 1.0]]} and two.truth is None
        write(root / "metadata/flickr_test249.txt", "2.jpg")
        assert [item.split for item in items("flickr_soundnet", root)] == ["train", "test"]

    def test_prepared_they_are_clips_that_stand_still(self, tmp_path: Path) -> None:
        settings = PrepareSettings(short_side_px=48, rate_hz=8000, clip_s=1.5)
        prepare("flickr_soundnet", str(self.tree(tmp_path / "in")), tmp_path / "out", settings)
        dataset = Dataset(tmp_path / "out", "test")
        reads = Reads(frames=1, sound_s=1.0, rate_hz=8000, start="spread")
        assert dataset.usable(reads) == [0] and dataset.entries[0].seconds == pytest.approx(1.5, abs=0.2)
        sample = dataset.read(0, dataset.windows(0, reads, None), reads)
        assert sample.frames is not None and abs(int(sample.frames[..., 0].mean()) - 40) < 8
        assert sample.sound is not None and np.abs(sample.sound.astype(int)).max() > 7000
        assert dataset.meta(0)["truth"]["boxes"][0] == [0.25, 0.0, 0.75, 0.5]

    def test_wrong_folders(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="pictures and sounds of the same names"):
            items("flickr_soundnet", tmp_path)
        root = self.tree(tmp_path)
        write(root / "Annotations/1.xml", "<root><a><bbox><xmin>1</xmin></bbox></a></root>")
        with pytest.raises(UserError, match="fewer than four"):
            items("flickr_soundnet", root)

    def test_a_silent_file_is_skipped(self, tmp_path: Path) -> None:
        root = self.tree(tmp_path / "in")
        tone(root / "audio/2.wav", 0.1)
        prepare("flickr_soundnet", str(root), tmp_path / "out", PrepareSettings(short_side_px=48, max_skipped=0.6))
        skipped = [json.loads(line) for line in (tmp_path / "out/skipped.jsonl").read_text().splitlines()]
        assert len(skipped) == 1 and "no sound of at least" in skipped[0]["reason"]
        with pytest.raises(WorkError):
            prepare("flickr_soundnet", str(root), tmp_path / "again", PrepareSettings(short_side_px=48, max_skipped=0))


def test_tags_stay_with_a_prepared_sample(tmp_path: Path) -> None:
    write(tmp_path / "eval_segments.csv", 'abc, 0.000, 1.000, "Guitar,Song"', 'abd, 0.000, 1.000, "Dog"')
    for name in ("abc_0.wav", "abd_0.wav"):
        tone(tmp_path / name, 1.0)
    prepare("audioset", str(tmp_path), tmp_path / "out", PrepareSettings(rate_hz=8000))
    assert [entry.tags for entry in Dataset(tmp_path / "out", "test").entries] == [("Guitar", "Song"), ("Dog",)]
