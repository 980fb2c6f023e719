"""Every layout on a small tree as it is published, and what it says about a wrong one."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from trees import facts, items, touch, write

from sslkit import catalog
from sslkit.data.settings import LAYOUT_OPTIONS, PrepareSettings
from sslkit.errors import UserError


def test_every_layout_names_options_that_exist() -> None:
    used = {
        o for name in catalog.names("sslkit.data.layouts") for o in catalog.load("sslkit.data.layouts", name).OPTIONS
    }
    assert used == LAYOUT_OPTIONS <= set(PrepareSettings.model_fields)


class TestFolder:
    def test_split_folders_with_classes(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/cat/a.JPG", "train/dog/b.mp4", "val/dog/c.png", "train/.hidden/d.jpg", "notes.txt")
        assert facts(items("folder", tmp_path)) == [
            ("train/cat/a.JPG", "train", "cat"),
            ("train/dog/b.mp4", "train", "dog"),
            ("val/dog/c.png", "val", "dog"),
        ]
        assert [item.still for item in items("folder", tmp_path)] == [True, False, True]

    def test_any_depth_has_no_labels(self, tmp_path: Path) -> None:
        touch(tmp_path, "a/b/x.jpg", "a/y.jpg", "z.jpg")
        assert {item.label_name for item in items("folder", tmp_path)} == {None}

    def test_without_split_folders_a_share_goes_to_val(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"{cls}/{n}.jpg" for cls in "ab" for n in range(50)))
        chosen = items("folder", tmp_path, val_share=0.2)
        assert Counter(item.split for item in chosen) == {"train": 80, "val": 20}
        assert {item.label_name for item in chosen} == {"a", "b"}
        again = items("folder", tmp_path, val_share=0.2)
        assert chosen == again
        assert [i.split for i in chosen] != [i.split for i in items("folder", tmp_path, val_share=0.2, seed=1)]
        assert {item.split for item in items("folder", tmp_path, val_share=0)} == {"train"}

    def test_list_on_standard_input(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = ["# mine", "", str(tmp_path / "a b.mp4"), str(tmp_path / "c.jpg"), str(tmp_path / "c.jpg"), "d.mkv"]
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
        chosen = items("folder", "-")
        assert [item.path for item in chosen] == [tmp_path / "a b.mp4", tmp_path / "c.jpg", Path("d.mkv")]
        assert Counter(item.split for item in chosen) == {"train": 2, "val": 1}

    @pytest.mark.parametrize(("lines", "told"), [("\n# x\n", "found none"), ("a.txt", "a.txt")])
    def test_wrong_lists(self, lines: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        with pytest.raises(UserError, match=told):
            items("folder", "-")

    def test_wrong_folders(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"nothing at"):
            items("folder", tmp_path / "none")
        touch(tmp_path, "notes.txt", "more/x.txt")
        with pytest.raises(UserError, match=r"expects pictures, videos or sounds .* found more/, notes.txt"):
            items("folder", tmp_path)
        touch(tmp_path, "train/a.jpg", "other/b.jpg")
        with pytest.raises(UserError, match=r"other/b.jpg lies outside"):
            items("folder", tmp_path)


class TestSegments:
    HEAD = "file,split,start_s,end_s,label"

    def test_segments(self, tmp_path: Path) -> None:
        touch(tmp_path, "v/a.mp4", "b.mp4")
        path = write(tmp_path / "s.csv", self.HEAD, "v/a.mp4,train,1.5,3,sit", "v/a.mp4,train,3,4,", "b.mp4,val,,,walk")
        chosen = items("segments", path)
        assert facts(chosen) == [("v/a.mp4", "train", "sit"), ("v/a.mp4", "train", None), ("b.mp4", "val", "walk")]
        assert [(item.start_s, item.end_s) for item in chosen] == [(1.5, 3.0), (3.0, 4.0), (None, None)]
        assert chosen[0].path == tmp_path / "v/a.mp4" and chosen[0].group == chosen[1].group
        assert len({item.key for item in chosen}) == 3

    def test_all_bad_lines_are_told_at_once(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.mp4")
        bad = [
            "a.mp4,train,3,2,x",
            "a.mp4,trian,1,2,x",
            "a.mp4,train,1,2,x",
            "gone.mp4,train,1,two,x",
            "a.mp4,train",
            "a.mp4,val,1,nan,x",
        ]
        with pytest.raises(UserError) as error:
            items("segments", write(tmp_path / "s.csv", self.HEAD, *bad))
        for told in (
            "line 2: 3 s to 2 s",
            "line 3: split 'trian'",
            "line 5: there is no file",
            "'two'",
            "line 6",
            "line 7",
        ):
            assert told in str(error.value)
        assert "line 4" not in str(error.value)

    def test_of_many_bad_lines_the_first_twenty_are_told(self, tmp_path: Path) -> None:
        for bad, end in ((20, ""), (23, "; and 3 more")):
            told = rf"cannot use {bad} lines of .*s.csv: line 2: [^;]*(; line \d+: [^;]*){{18}}; line 21: [^;]*{end}\.$"
            with pytest.raises(UserError, match=told):
                items("segments", write(tmp_path / "s.csv", self.HEAD, *["gone.mp4,train,,,"] * bad))

    def test_wrong_files(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"a folder"):
            items("segments", tmp_path)
        with pytest.raises(UserError, match=r"expects the columns file, split.*'name,x'"):
            items("segments", write(tmp_path / "a.csv", "name,x", "1,2"))
        with pytest.raises(UserError, match=r"only the column names"):
            items("segments", write(tmp_path / "b.csv", self.HEAD))


class TestImagenet:
    TRAIN = ("train/n01440764/n01440764_1.JPEG", "train/n02102040/n02102040_7.JPEG")
    VAL = ("val/ILSVRC2012_val_00000001.JPEG", "val/ILSVRC2012_val_00000002.JPEG")
    EXPECTED = (("train", "n01440764"), ("train", "n02102040"), ("val", "n02102040"), ("val", "n01440764"))

    def found(self, root: Path) -> tuple[tuple[str, str | None], ...]:
        return tuple((item.split, item.label_name) for item in items("imagenet", root))

    def test_class_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, *self.TRAIN, "val/n02102040/b.JPEG")
        assert [(i.split, i.label_name) for i in items("imagenet", tmp_path)] == list(self.EXPECTED[:3])

    def test_flat_val_with_solution_above(self, tmp_path: Path) -> None:
        root = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
        touch(root, *self.TRAIN, *self.VAL)
        lines = ["ILSVRC2012_val_00000002,n01440764 1 2 3 4", "ILSVRC2012_val_00000001,n02102040 85 1 499 272"]
        write(tmp_path / "LOC_val_solution.csv", "ImageId,PredictionString", *lines)
        assert self.found(root) == self.EXPECTED

    def test_flat_val_with_development_kit(self, tmp_path: Path) -> None:
        touch(tmp_path, *self.TRAIN, *self.VAL)
        kit = tmp_path / "ILSVRC2012_devkit_t12" / "data"
        write(kit / "ILSVRC2012_validation_ground_truth.txt", "1", "2")
        synsets = np.array(
            [(1, "n02102040", 0), (2, "n01440764", 0), (1001, "n00001740", 3)],
            dtype=[("ILSVRC2012_ID", object), ("WNID", object), ("num_children", object)],
        )
        savemat(kit / "meta.mat", {"synsets": synsets[:, None]})
        assert self.found(tmp_path) == self.EXPECTED

    def test_wrong_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, "cats/a.jpg")
        with pytest.raises(UserError, match=r"expects train/<wnid>/\*.JPEG in .* found cats/"):
            items("imagenet", tmp_path)
        touch(tmp_path, "train/cats/a.jpg")
        with pytest.raises(UserError, match=r"train/cats/a.jpg.*layout folder"):
            items("imagenet", tmp_path)

    def test_val_must_be_labelled_with_known_classes(self, tmp_path: Path) -> None:
        touch(tmp_path, *self.TRAIN, *self.VAL)
        with pytest.raises(UserError, match=r"LOC_val_solution.csv"):
            items("imagenet", tmp_path)
        write(tmp_path / "LOC_val_solution.csv", "ImageId,PredictionString", "ILSVRC2012_val_00000001,n9 1 2 3 4")
        with pytest.raises(UserError, match=r"of class n9"):
            items("imagenet", tmp_path)


class TestUcf101:
    def tree(self, root: Path) -> Path:
        clips = [f"v_YoYo_g{g:02d}_c{c:02d}.avi" for g in (1, 8) for c in (1, 2)]
        touch(root, *(f"UCF-101/YoYo/{clip}" for clip in clips), "UCF-101/Handstand/v_HandStand_g08_c01.avi")
        write(root / "ucfTrainTestlist/classInd.txt", "1 Handstand", "2 YoYo")
        lists = root / "ucfTrainTestlist"
        train = ["YoYo/v_YoYo_g08_c01.avi 2", "YoYo/v_YoYo_g08_c02.avi 2", "Handstand/v_HandStand_g08_c01.avi 1"]
        write(lists / "trainlist01.txt", *train)
        write(lists / "testlist01.txt", "YoYo/v_YoYo_g01_c01.avi", "YoYo/v_YoYo_g01_c02.avi")
        write(lists / "trainlist02.txt", "YoYo/v_YoYo_g01_c01.avi 2")
        write(lists / "testlist02.txt", "YoYo/v_YoYo_g08_c01.avi")
        return root

    def test_fold(self, tmp_path: Path) -> None:
        chosen = items("ucf101", self.tree(tmp_path))
        assert Counter((item.split, item.label_name) for item in chosen) == {
            ("train", "YoYo"): 2,
            ("train", "Handstand"): 1,
            ("test", "YoYo"): 2,
        }
        assert {item.group for item in chosen} == {"YoYo/v_YoYo_g08", "Handstand/v_HandStand_g08", "YoYo/v_YoYo_g01"}
        assert all(item.path is not None and item.path.is_file() and not item.problem for item in chosen)
        assert [item.split for item in items("ucf101", tmp_path, fold=2)] == ["train", "test"]

    def test_wrong_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, "YoYo/v_YoYo_g08_c01.avi")
        with pytest.raises(UserError, match=r"UCF-101/ and ucfTrainTestlist/ in .* found YoYo/"):
            items("ucf101", tmp_path)
        root = self.tree(tmp_path / "u")
        with pytest.raises(UserError, match=r"trainlist03.txt"):
            items("ucf101", root, fold=3)
        write(
            root / "ucfTrainTestlist/trainlist01.txt",
            "YoYo/v_YoYo_g08_c01.avi 2",
            "YoYo/other.avi",
            "No/v_No_g01_c01.avi 3",
        )
        with pytest.raises(UserError, match=r"2 lines of .*line 2: .*line 3: "):
            items("ucf101", root)

    def test_missing_clips_are_problems(self, tmp_path: Path) -> None:
        root = self.tree(tmp_path)
        (root / "UCF-101/YoYo/v_YoYo_g08_c01.avi").unlink()
        assert [item.problem for item in items("ucf101", root)].count("the file is missing") == 1


class TestHmdb51:
    def test_fold(self, tmp_path: Path) -> None:
        touch(tmp_path, "brush_hair/a clip_1.avi", "brush_hair/b.avi", "wave/c.avi")
        lists = tmp_path / "testTrainMulti_7030_splits"
        write(lists / "brush_hair_test_split1.txt", "a clip_1.avi 1 ", "b.avi 2 ", "u.avi 0")
        write(lists / "wave_test_split1.txt", "c.avi 1", "gone.avi 2")
        chosen = items("hmdb51", tmp_path)
        assert facts(chosen) == [
            ("brush_hair/a clip_1.avi", "train", "brush_hair"),
            ("brush_hair/b.avi", "test", "brush_hair"),
            ("wave/c.avi", "train", "wave"),
            ("wave/gone.avi", "test", "wave"),
        ]
        assert [bool(item.problem) for item in chosen] == [False, False, False, True]

    def test_wrong_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, "wave/c.avi")
        with pytest.raises(UserError, match=r"lists <class>_test_split1.txt in .* found wave/"):
            items("hmdb51", tmp_path)
        write(tmp_path / "wave_test_split1.txt", "c.avi 5", "c.avi")
        with pytest.raises(UserError, match=r"line 1.*line 2"):
            items("hmdb51", tmp_path)


class TestKinetics:
    HEAD = "label,youtube_id,time_start,time_end,split"

    def test_lists(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/abseiling/-x_y_000012_000022.mp4", "val/zz_000001_000011.mkv")
        touch(tmp_path, "wav/-x_y_000012_000022.wav")
        write(tmp_path / "train.csv", self.HEAD, "abseiling,-x_y,12,22,train", "zumba,gone,1,11,train")
        write(tmp_path / "annotations/val.csv", self.HEAD, "zumba,zz,1,11,validate")
        write(tmp_path / "other.csv", "a,b", "1,2")
        chosen = items("kinetics", tmp_path)
        assert facts(chosen) == [
            ("train/abseiling/-x_y_000012_000022.mp4", "train", "abseiling"),
            ("gone_000001_000011", "train", "zumba"),
            ("val/zz_000001_000011.mkv", "val", "zumba"),
        ]
        assert [item.problem for item in chosen] == [None, "the file is missing", None]
        assert chosen[0].group == "-x_y" and chosen[0].start_s is None

    def test_wrong_folders(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"expects a CSV file with the columns .* found an empty folder"):
            items("kinetics", tmp_path)
        write(tmp_path / "train.csv", self.HEAD, "a,b,1,11,train")
        with pytest.raises(UserError, match=r"clips like <youtube_id>_000010_000020.mp4 .* found train.csv"):
            items("kinetics", tmp_path)
        write(tmp_path / "train.csv", self.HEAD, "a,b,x,11,train", "a,b,1,11,some")
        with pytest.raises(UserError, match=r"line 2.*line 3"):
            items("kinetics", tmp_path)


class TestGrid:
    LINES = ("0 23750 sil", "23750 29500 bin", "29500 34000 blue", "34000 35500 at", "35500 35600 sp")
    LINES += ("35600 41000 f", "41000 47250 two", "47250 53000 now", "53000 74500 sil")

    def tree(self, root: Path, files: int, speakers: int = 1) -> Path:
        for speaker in range(1, speakers + 1):
            for number in range(files):
                touch(root, f"s{speaker}/v{number:03d}.mpg")
                write(root / f"align/s{speaker}/v{number:03d}.align", *self.LINES)
        return root

    def test_words(self, tmp_path: Path) -> None:
        chosen = items("grid", self.tree(tmp_path, 1), which="all")
        assert [item.label_name for item in chosen] == ["bin", "blue", "at", "f", "two", "now"]
        assert (chosen[1].start_s, chosen[1].end_s) == (29500 / 25_000, 34000 / 25_000)
        assert len({item.key for item in chosen}) == 6 and {item.group for item in chosen} == {"s1/v000.mpg"}
        for which, label in zip(("command", "colour", "letter", "adverb"), ("bin", "blue", "f", "now"), strict=True):
            assert [item.label_name for item in items("grid", tmp_path, which=which)] == [label]

    @pytest.mark.parametrize(("files", "tests"), [(120, 50), (100, 50), (10, 2), (4, 0)])
    def test_last_files_of_a_speaker_are_test(self, tmp_path: Path, files: int, tests: int) -> None:
        chosen = items("grid", self.tree(tmp_path, files, speakers=2))
        for speaker in (chosen[:files], chosen[files:]):
            assert [item.split for item in speaker] == ["train"] * (files - tests) + ["test"] * tests

    def test_files_without_word_times_are_problems(self, tmp_path: Path) -> None:
        self.tree(tmp_path, 3)
        (tmp_path / "align/s1/v000.align").unlink()
        write(tmp_path / "align/s1/v001.align", "0 10 sil", "10 20 bin")
        problems = [item.problem for item in items("grid", tmp_path)]
        assert "missing" in problems[0] and "six words" in problems[1] and problems[2] is None

    def test_wrong_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, "s1/a.mpg")
        with pytest.raises(UserError, match=r"s1/ and align/s1/ in .* found s1/"):
            items("grid", tmp_path)


class TestToybox:
    def test_scenes(self) -> None:
        chosen = items("toybox", "", clips=20, stills=10, short_side_px=96)
        assert Counter(item.still for item in chosen) == {False: 20, True: 10}
        assert {item.split for item in chosen} == {"train", "val", "test"}
        assert all(item.label_name and item.scene.height_px == 96 for item in chosen)

    def test_wrong_requests(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"leave SOURCE out"):
            items("toybox", tmp_path)
        with pytest.raises(UserError, match=r"--clips or --stills"):
            items("toybox", "", clips=0)


def test_the_toybox_can_be_one_kind_of_scene() -> None:
    scenes = [item.scene for item in items("toybox", "", clips=9, stills=3, scenes="face")]
    assert len(scenes) == 12 and {scene.type for scene in scenes} == {"face"}
