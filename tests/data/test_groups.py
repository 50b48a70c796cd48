"""Groups stay in one split, and the splits stay near the shares of the classes."""

import hashlib
import os
import shutil

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from tf_transfer.data import contents, groups, holdout
from tf_transfer.data.contents import Keys
from tf_transfer.data.csv_list import open_csv
from tf_transfer.data.examples import Row
from tf_transfer.data.folder import open_folder
from tf_transfer.data.training_data import plan_training
from tf_transfer.errors import UserError
from tf_transfer.modalities import base

IMAGE = base.find("image")


def made(random, count, classes):
    """Labels and groups of several sizes, in which some classes are more frequent than others."""
    sizes, shares = random.poisson(10, count) + 1, random.dirichlet(np.full(classes, 0.3), count)
    labels = np.concatenate([random.choice(classes, n, p=p) for n, p in zip(sizes, shares, strict=True)])
    return labels, np.repeat(np.arange(count), sizes)


def keys_of(of):
    return Keys([b""] * len(of), [hashlib.md5(b"%d" % group).digest() for group in of])


def deviation(labels, held):
    """Mean over the classes of the distance of their share from a fifth."""
    counts = np.bincount(labels)
    return abs(np.bincount(labels[held], minlength=len(counts)) / np.maximum(counts, 1) - 0.2)[counts > 0].mean()


@pytest.mark.parametrize(("count", "classes"), [(15, 3), (60, 5), (500, 10)])
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_shares_are_as_near_as_those_of_scikit_learn(count, classes):
    ours, theirs = [], []
    for seed in range(6):
        labels, of = made(np.random.default_rng(seed), count, classes)
        held = holdout.balanced(labels, keys_of(of), 0.2, holdout.TEST, seed)
        assert not set(of[held]) & set(of[~held]) and set(labels[~held]) == set(labels)
        ours.append(deviation(labels, held))
        fold = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        _, chosen = next(fold.split(labels, labels, of))
        theirs.append(deviation(labels, np.isin(np.arange(len(labels)), chosen)))
    assert np.mean(ours) <= np.mean(theirs)


def test_every_class_of_two_groups_gives_one_and_keeps_one():
    # The class 1 is in two groups, the class 2 in one.
    of = np.repeat(np.arange(22), 5)
    labels = np.where(of == 20, 1, np.where(of == 21, 2, 0))
    labels[:3] = 1
    for seed in range(10):
        held = holdout.balanced(labels, keys_of(of), 0.2, holdout.TEST, seed)
        shares = [held[labels == label] for label in range(3)]
        assert shares[1].any() and not shares[1].all() and not shares[2].any() and shares[0].any()
        np.testing.assert_array_equal(held, holdout.balanced(labels, keys_of(of), 0.2, holdout.TEST, seed))


def rows(*names, split=""):
    return [Row(split, name.split("/")[0 if not split else 1], name, name) for name in names]


@pytest.mark.parametrize(
    ("rule", "names", "split", "expected"),
    [
        ("folder", ["ant/p1/1.png", "bee/p1/2.png", "ant/p2/x/1.png"], "", ["p1", "p1", "p2/x"]),
        ("folder", ["train/ant/p1/1.png", "train/bee/p3/2.png"], "train", ["p1", "p3"]),
        (r"patient(\d+)", ["ant/patient12_1.png", "bee/patient3.png"], "", ["12", "3"]),
        (r"[a-z]+_\d+", ["ant/burst_7_1.png", "ant/burst_8_1.png"], "", ["burst_7", "burst_8"]),
        (r"/(\w+)-(\d)?", ["ant/a-1.png", "ant/a-.png"], "", ["a/1", "a"]),
    ],
)
def test_the_group_is_read_off_the_path(rule, names, split, expected):
    assert groups.of_paths(rows(*names, split=split), rule, "x") == expected


def test_groups_that_share_a_file_are_one():
    found = contents.joined([b"1", b"2", b"2", b"3", b"4"], ["b", "b", "a", "c", "d"], "x")
    assert found[b"1"] == found[b"2"] == contents.digest_of("a") and len({*found.values()}) == 3
    # In any order, and whatever the order in which they are connected.
    assert found == contents.joined([b"4", b"3", b"2", b"2", b"1"], ["d", "c", "a", "b", "b"], "x")
    with pytest.raises(UserError, match="all files are of 'a', or of groups that share"):
        contents.joined([b"1", b"1", b"2"], ["a", "b", "b"], "x")


@pytest.fixture
def patients(tmp_path, write_picture):
    """Twelve patients with three pictures of each class, by folder and by column."""
    lines = []
    for patient in range(12):
        for label in ("ant", "bee"):
            for i in range(3):
                name = f"{label}/p{patient}/{i}.png"
                write_picture(str(tmp_path / "data" / name), patient * 100 + i + 10 * (label == "bee"))
                lines.append(f"{name},{label},person {patient % 6}")
    (tmp_path / "data/list.csv").write_text("path,label,Person\n" + "\n".join(lines) + "\n")
    return tmp_path / "data"


def test_patients_are_in_one_split_each(patients):
    source = open_folder(str(patients), layout="CLASS", modality=IMAGE, group_by="folder")
    plan = plan_training(source, 0.2, 0, None)
    keys, test = source.keys("train"), set(source.keys("test").groups)
    train, held = ({keys.groups[i] for i in part} for part in (plan.train, plan.validation))
    assert not (train & held or train & test or held & test) and len(train | held | test) == 12
    # A fifth of twelve patients, then of the others.
    assert (len(test), len(held)) == (2, 2) and "groups" not in source.notes
    few = plan_training(source, 0.3, 0, 8)
    assert not {keys.groups[i] for i in few.train} & {keys.groups[i] for i in few.validation}
    np.testing.assert_array_equal(np.bincount(source.labels("train")[[*few.train, *few.validation]]), [8, 8])
    # The same by a regular expression; and by a column, whose persons are two patients each.
    by_path = open_folder(str(patients), layout="CLASS", modality=IMAGE, group_by=r"p\d+")
    assert set(by_path.keys("test").groups) == test
    persons = open_csv(str(patients / "list.csv"), modality=IMAGE, group_by="person")
    assert len({*persons.keys("train").groups}) + len({*persons.keys("test").groups}) == 6


def test_given_splits_that_divide_a_group_are_noted(patients):
    os.makedirs(patients / "test")
    shutil.copytree(patients / "ant", patients / "train/ant")
    shutil.move(patients / "ant", patients / "test/ant")
    shutil.move(patients / "bee", patients / "train/bee")
    source = open_folder(str(patients), layout="SPLIT/CLASS", modality=IMAGE, group_by="folder")
    assert source.notes["groups"][0].startswith("The splits of the data set divide 12 of its 12 groups, such as p0:")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("(", r"--group_by=\(: expected folder or a regular expression: missing \)"),
        ("patient", r"--group_by=patient: expected a column of the file \(path, label, Person\), folder or a regular"),
        ("p1/", r"that names a group in every path, found none in 'ant/p0/0.png'"),
        ("png", "expected several groups, found that all files are of 'png'"),
    ],
)
def test_a_rule_that_names_no_groups_is_told(patients, rule, message):
    with pytest.raises(UserError, match=message) as error:
        open_csv(str(patients / "list.csv"), modality=IMAGE, group_by=rule)
    assert "\n" not in str(error.value)


def test_an_empty_group_is_told(patients):
    text = (patients / "list.csv").read_text()
    (patients / "list.csv").write_text(text.replace("person 3", "", 1))
    with pytest.raises(UserError, match="line 20: --group_by=Person: the Person is empty"):
        open_csv(str(patients / "list.csv"), modality=IMAGE, group_by="Person")
    shutil.copy(patients / "ant/p0/0.png", patients / "ant/0.png")
    with pytest.raises(UserError, match=r"expected a folder for each group, .*, found none in 'ant/0.png'"):
        open_folder(str(patients), layout="CLASS", modality=IMAGE, group_by="folder")
    with pytest.raises(UserError, match="the splits of this run were taken before groups were known"):
        open_csv(str(patients / "list.csv"), modality=IMAGE, group_by="path", carve=1)
