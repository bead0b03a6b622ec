"""Folders of images as people have them: rows of docs/folders.md."""

from tests.unit.data.folder_makers import (
    archive,
    broken_link,
    csv_rows,
    linked_loop,
    not_utf8,
    two_forms,
)
from tests.unit.data.layout import ANY_SKIPPED, Layout, error

TWO = {"splits": {"Learning": "train", "Exam": "test"}}
FOLDERS_THAT_MAKE_SPLITS = (
    Layout(
        ("Training/a/ 3", "Training/b/ 2", "Testing/a/ 2"),
        "a 5, b 2",
        "train 5, test 2",
        "2 classes: a 5, b 2; splits: Training -> train, Testing -> test",
    ),
    Layout(("Train/ 4", "Test/ 2"), "none", "train 4, test 2", "Train -> train, Test -> test"),
    Layout(("TRAIN/a/ 3", "TRAIN/b/ 2", "VAL/a/ 2"), "a 5, b 2", "train 5, test 2", "VAL -> test"),
    Layout(("train/train/ 4", "test/test/ 2"), "none", "train 4, test 2", "no classes; splits:"),
    Layout(
        ("train/train/a/ 2", "train/train/b/ 2", "test/test/a/ 2"),
        "a 4, b 2",
        "train 4, test 2",
        "train -> train, test -> test",
    ),
    Layout(
        ("train/train/a/ 2", "train/train/b/ 2", "test/a/ 2"),
        "a 4, b 2",
        "train 4, test 2",
        "2 classes: a 4, b 2",
    ),
    Layout(
        (
            "seg_train/seg_train/a/ 2",
            "seg_train/seg_train/b/ 2",
            "seg_test/seg_test/a/ 1",
            "seg_pred/seg_pred/ 3",
        ),
        "a 3, b 2",
        "train 4, test 1",
        "such as seg_pred/seg_pred/0.png: outside of the folders that make the splits",
        ignored=3,
    ),
    Layout(
        ("training_set/a/ 2", "training_set/b/ 2", "test_set/a/ 2"),
        "a 4, b 2",
        "train 4, test 2",
        "training_set -> train, test_set -> test",
    ),
    Layout(("train2017/ 4", "val2017/ 2"), "none", "train 4, test 2", "val2017 -> test"),
    Layout(("TrainSet/ 3", "TestSet/ 2"), "none", "train 3, test 2", "TestSet -> test"),
    Layout(
        ("archive/train/a/ 2", "archive/train/b/ 2", "archive/test/a/ 1"),
        "a 3, b 2",
        "train 4, test 1",
        "train -> train, test -> test",
    ),
    Layout(("images/train/ 3", "images/test/ 2"), "none", "train 3, test 2", "test -> test"),
    Layout(
        ("a/train/ 2", "b/train/ 2", "a/test/ 1"), "a 3, b 2", "train 4, test 1", "test -> test"
    ),
    Layout(
        ("train/ 2", "car/ 2", "bus/ 2"),
        "bus 2, car 2, train 2",
        "train 6",
        "3 classes: bus 2, car 2, train 2; 4 images to train on",
    ),
    Layout(
        ("train/ 4", "test/ 2", "unlabeled/ 2"),
        "none",
        "train 4, test 2",
        "unlabeled/0.png: outside of the folders that make the splits",
        ignored=2,
    ),
    Layout(
        ("train/ 4", "test/ 2", "validation/ 3"),
        "none",
        "train 4, test 2",
        "train -> train, test -> test",
        ignored=1,
    ),
    Layout(("train/ 4", "dev/ 2"), "none", "train 4, test 2", "dev -> test"),
    Layout(("train/ 4",), "none", "train 4", "no classes; "),
    Layout(("train/ 4", "test1/ 2"), "none", "train 4, test 2", "test1 -> test"),
    Layout(("trainval/ 4", "test_data/ 2"), "none", "train 4, test 2", "test_data -> test"),
    Layout(("1_train/ 4", "2_test/ 2"), "none", "train 4, test 2", "2_test -> test"),
    Layout(
        ("train/a/ 2", "train/b/ 2", "test/ 3"),
        "a 2, b 2",
        "train 4, test 3",
        "3 without a class",
    ),
    Layout(
        ("train/train_cat/ 2", "train/train_dog/ 2"),
        "train_cat 2, train_dog 2",
        "train 4",
        "2 classes",
    ),
    error(("test/ 4",), "has no train split, only test"),
    error(("x 2", "test/ 2"), "has no train split, only test"),
    error(("x 5", "train/ 2"), "5 of 7 images lie outside of the folders that make the splits"),
    Layout(
        ("x 1", "train/ 3", "test/ 2"),
        "none",
        "train 3, test 2",
        "such as x0.png: outside of the folders that make the splits",
        ignored=1,
    ),
    error(
        ("trainA/ 2", "trainB/ 2", "testA/ 2", "testB/ 2"),
        "it is not clear which of testA, testB, trainA, trainB are splits: write data.splits",
    ),
    Layout(
        ("trainA/ 2", "trainB/ 2", "testA/ 2", "testB/ 2"),
        "none",
        "train 2, test 2",
        "trainA -> train, testA -> test",
        {"splits": {"trainA": "train", "testA": "test"}},
        ignored=4,
    ),
    Layout(("train/ 2", "test/ 2"), "test 2, train 2", "train 4", "2 classes", {"splits": {}}),
    Layout(("Learning/ 3", "Exam/ 2"), "none", "train 3, test 2", "Exam -> test", TWO),
    error(("learn/ 3", "exam/ 2"), "data.splits: there is no Learning; names are exam, learn", TWO),
    Layout(
        ("train_station/ 2", "test_tube/ 2"),
        "test_tube 2, train_station 2",
        "train 4",
        "2 classes: test_tube 2, train_station 2",
    ),
    Layout(("train_ 2", "test_ 2"), "none", "train 4", "no classes; 2 images to train on"),
)
FOLDERS_THAT_MAKE_CLASSES = (
    Layout(("cat/ 2", "dog/ 3"), "cat 2, dog 3", "train 5", "2 classes: cat 2, dog 3"),
    Layout(("cat/ 4",), "none", "train 4", "no classes"),
    Layout(
        ("cat/mon/ 2", "cat/tue/ 1", "dog/wed/ 2"), "cat 3, dog 2", "train 5", "2 classes: cat 3"
    ),
    Layout(
        ("cat/mon/ 2", "cat/tue/ 1", "dog/wed/ 2"),
        "mon 2, tue 1, wed 2",
        "train 5",
        "3 classes: mon 2, tue 1, wed 2",
        {"class_level": 2},
    ),
    Layout(
        ("cat/ 2", "dog/ 2", "cover 1"),
        "cat 2, dog 2",
        "train 4",
        "ignored: 1 images, tables or archives, such as cover0.png: outside of the class folders",
        ignored=1,
    ),
    Layout(("cat/ 2", "dog/ 2", "dog/old/ 1"), "cat 2, dog 3", "train 5", "2 classes"),
    Layout(("data/cat/ 2", "data/dog/ 2"), "cat 2, dog 2", "train 4", "2 classes"),
    Layout(("cat/images/ 2", "dog/images/ 2"), "cat 2, dog 2", "train 4", "2 classes"),
    error(
        ("x 5", "a/ 1", "b/ 1"),
        "5 of 7 images lie outside of the class folders: data.class_level says which folders",
    ),
    Layout(("x 5", "a/ 1", "b/ 1"), "none", "train 7", "no classes", {"class_level": 0}),
    error(("cat/ 2", "dog/ 2"), "4 of 4 images lie outside of the class", {"class_level": 3}),
    Layout(
        ("train/x/a/ 2", "train/x/b/ 2"), "x 4", "train 4", "1 classes: x 4", {"class_level": 1}
    ),
    Layout(("0/ 2", "2/ 2", "10/ 2"), "0 2, 2 2, 10 2", "train 6", "3 classes: 0: 2, 2: 2, 10: 2"),
    Layout(("img10/ 2", "img9/ 2"), "img9 2, img10 2", "train 4", "img9: 2, img10: 2"),
    Layout(("001/ 2", "1/ 2"), "001 2, 1 2", "train 4", "2 classes: 001: 2, 1: 2"),
    Layout((two_forms,), "b 2, é 4", "train 4, test 2", "2 classes: b 2, é 4"),
    Layout(("🚗/ 2", "Ünï ☕/ 2"), "Ünï ☕ 2, 🚗 2", "train 4", "Ünï ☕ 2, 🚗 2"),
    Layout(("set [v1]/ 2", "set */ 2"), "set * 2, set [v1] 2", "train 4", "set * 2, set [v1] 2"),
    Layout(
        ("train/a/ 3", "test/a/ 1", "test/b/ 1"),
        "a 4, b 1",
        "train 3, test 2",
        "no images to train on are of the classes b",
    ),
)
OTHER_FILES = (
    Layout(
        ("cat/ 2", "dog/ 2", "@eaDir/ 2", "$RECYCLE.BIN/ 1"),
        "cat 2, dog 2",
        "train 4",
        "2 other files",
        ignored=2,
    ),
    Layout(
        ("images/ 2", "masks/ 2"),
        "images 2, masks 2",
        "train 4",
        "2 images are called masks or annotations, such as masks/0.png",
    ),
    Layout(
        ("cat/ 2", "dog/ 2", "unlabeled/ 1"),
        "cat 2, dog 2",
        "train 5",
        "1 without a class",
        {"unlabelled": "unlabeled"},
    ),
    error((archive("a.zip", "x.txt"),), "holds no images, only 1 .txt"),
    error((archive("a.zip", "0.png"), archive("a.tar.gz", "0.png")), "another archive has a 0.png"),
    Layout(
        (archive("a.zip", "0.png", "1.png", "2.png"), csv_rows("0.png,a", "1.png,b")),
        "none",
        "train 3",
        "1 other files",
        ignored=1,
    ),
    Layout(
        ("cat/ 2", "dog/ 2", "notes.md", "cat/Thumbs.db"),
        "cat 2, dog 2",
        "train 4",
        "2 other files",
        ignored=2,
    ),
    Layout(("__extra/ 2", "a 3"), "none", "train 5", "no classes"),
    Layout((".cache/ 2", "__MACOSX/ 2", "a 3"), "none", "train 3", "2 other files", ignored=2),
    Layout(("a 3", "b.heic"), "none", "train 3", "1 skipped", ANY_SKIPPED, skipped=1),
    Layout(
        ("cat/ 2", "dog/ 2", broken_link),
        "cat 2, dog 2",
        "train 4",
        "1 skipped",
        ANY_SKIPPED,
        skipped=1,
    ),
    Layout(
        ("cat/ 2", "dog/ 2", linked_loop), "cat 2, dog 2", "train 4", "1 other files", ignored=1
    ),
    Layout(("a 3", not_utf8), "none", "train 3", "its name is not UTF-8", ignored=1),
    error(("a.txt", "b.txt"), "holds no images, only 2 .txt"),
    error((), "is empty"),
    Layout(("a 3", archive("b.zip", "0.png")), "none", "train 3", "1 other files", ignored=1),
    Layout(
        (archive("photos.zip", "cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"),),
        "cat 2, dog 2",
        "train 4",
        "2 classes",
    ),
    Layout(
        (archive("train.zip", "0.png", "1.png"), archive("test.tar.gz", "0.png", "1.png")),
        "none",
        "train 2, test 2",
        "train -> train, test -> test",
    ),
)
