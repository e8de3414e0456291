"""Tables become data sets; what is wrong in one is named with its row and column."""

import gzip

import numpy as np
import pytest

from runner.errors import ConfigError, DataError
from runner.registry import datasets

CSV = """size,colour,weight,kind
1,red,0.5,cat
2,blue,1.5,dog
3,red,2.5,cat
4,green,3.5,dog
"""
TEST = """kind,weight,colour,size
dog,9.5,red,8
cat,9.0,violet,7
"""


@pytest.fixture
def write(tmp_path):
    """Writes a training and a test file; returns the settings that name them."""

    def write(train: str | bytes = CSV, test: str | bytes = TEST):
        settings = {}
        for key, content in (("path", train), ("test_path", test)):
            path = tmp_path / f"{key}.csv"
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            settings[key] = str(path)
        return settings

    return write


def load(settings, **more):
    return datasets.build("table", {**settings, **more})


def refused(settings, **more) -> str:
    with pytest.raises(DataError) as raised:
        load(settings, **more)
    assert raised.value.key.startswith((settings["path"], settings["test_path"] or "\0"))
    return str(raised.value)


def test_numbers_stay_and_texts_become_a_column_each(write):
    dataset = load(write())
    # size, then blue, green, red in sorted order, then weight.
    assert dataset.train.inputs.tolist() == [
        [1, 0, 0, 1, 0.5],
        [2, 1, 0, 0, 1.5],
        [3, 0, 0, 1, 2.5],
        [4, 0, 1, 0, 3.5],
    ]
    assert dataset.train.inputs.dtype == np.float32
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.targets.tolist() == [0, 1, 0, 1]


def test_test_columns_are_found_by_name_and_an_unknown_text_is_all_zeros(write):
    dataset = load(write(), target="kind")
    assert dataset.test.inputs.tolist() == [[8, 0, 0, 1, 9.5], [7, 0, 0, 0, 9]]
    assert dataset.test.targets.tolist() == [1, 0]


def test_columns_are_a_selection_in_its_order(write):
    dataset = load(write(), target="kind", columns=["weight", "size"])
    assert dataset.train.inputs.tolist() == [[0.5, 1], [1.5, 2], [2.5, 3], [3.5, 4]]


@pytest.mark.parametrize(
    ("written", "target_type", "classes", "expected"),
    [
        ("7 3 7 5", "auto", ("3", "5", "7"), [2, 0, 2, 1]),
        ("-1 1 -1 1", "auto", ("-1", "1"), [0, 1, 0, 1]),
        ("1.0 2.0 1.0 2.0", "auto", None, [1, 2, 1, 2]),
        ("1.0 2.0 1.0 2.0", "class", ("1", "2"), [0, 1, 0, 1]),
        ("1 2 3 4", "number", None, [1, 2, 3, 4]),
        ("a b a b", "class", ("a", "b"), [0, 1, 0, 1]),
        ("10 9 10 9", "auto", ("9", "10"), [1, 0, 1, 0]),
        ("5000000000 9 9 9", "auto", ("9", "5000000000"), [1, 0, 0, 0]),
    ],
)
def test_the_target_is_a_class_or_a_number(write, written, target_type, classes, expected):
    text = "x,y\n" + "".join(f"1,{value}\n" for value in written.split())
    dataset = load(write(text, text), target_type=target_type)
    assert dataset.classes == classes
    assert dataset.train.targets.tolist() == expected
    assert dataset.train.targets.dtype == (np.float32 if classes is None else np.int32)


def test_codes_may_be_treated_as_texts(write):
    dataset = load(write(), target="kind", columns=["size"], categorical=["size"])
    assert dataset.train.inputs.tolist() == np.eye(4).tolist()


@pytest.mark.parametrize(
    ("values", "width"), [("1 2 x y", 4), ("1.5 2.5 x 3.5", None), ("1 x y z", 4)]
)
def test_a_column_is_of_numbers_if_most_of_its_values_are(write, values, width):
    text = "c,y\n" + "".join(f"{value},{'ab'[i % 2]}\n" for i, value in enumerate(values.split()))
    if width is None:
        assert "column c: row 4 has 'x', not a finite number" in refused(write(text, text))
    else:
        assert load(write(text, text)).train.inputs.shape == (4, width)


def test_a_share_of_each_class_is_held_out(write):
    text = "x,c,y\n" + "".join(f"{i},t{i},{'ab'[i % 10 == 0]}\n" for i in range(100))
    settings = write(text) | {"test_path": None}
    dataset = load(settings, test_share=0.2)
    test, train = dataset.test.all(), dataset.train.all()
    assert np.bincount(test.targets).tolist() == [18, 2]
    assert sorted([*test.inputs[:, 0], *train.inputs[:, 0]]) == list(range(100))
    # Each text occurs once, so those of the test rows are unknown in training.
    assert train.inputs.shape[1] == 1 + 80
    assert not test.inputs[:, 1:].any()


def test_a_fifth_is_held_out_unless_another_share_is_given(write):
    text = "x,y\n" + "".join(f"{i},{i}.5\n" for i in range(50))
    settings = write(text) | {"test_path": None}
    found = load(settings).test.rows
    assert len(found) == 10
    np.testing.assert_array_equal(found, load(settings, test_share=0.2, test_seed=0).test.rows)
    assert not np.array_equal(found, load(settings, test_seed=1).test.rows)


def test_csv_may_be_compressed_quoted_and_have_a_byte_order_mark(tmp_path):
    path = tmp_path / "data.csv.gz"
    path.write_bytes(gzip.compress('\ufeff"a, b";y\n"1";x\n\n2;"z"\n'.encode()))
    dataset = load({"path": str(path), "test_path": str(path)}, delimiter=";", columns=["a, b"])
    assert dataset.train.inputs.tolist() == [[1], [2]]
    assert dataset.classes == ("x", "z")


def changed(old: str, new: str) -> str:
    assert old in CSV
    return CSV.replace(old, new)


FAULTS = {
    "no value": (changed("0.5", ""), "column weight: row 2 has no value"),
    "nan": (changed("2.5", "nan"), "column weight: row 4 has 'nan', not a finite number"),
    "too large": (changed("2.5", "1e39"), "column weight: row 4 has '1e39', not a finite number"),
    "a text among numbers": (changed("\n3,", "\nthree,"), "column size: row 4 has 'three'"),
    "underscore": (changed("\n3,", "\n1_0,"), "row 4 has '1_0'"),
    "too few values": (changed("3,red,", "3,"), "row 4 has 3 values for 4 columns"),
    "a name twice": (changed("size,", "kind,"), "several columns called 'kind'"),
    "no such target": (changed(",kind", ",sort"), "has no column 'kind'"),
    "one class": (changed("dog", "cat"), "class 'dog' is in the test"),
    "empty": ("", "has no rows"),
    "only a header": ("size,colour,weight,kind\n", "has no rows"),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0", "is not CSV in UTF-8"),
    "an open quote": (CSV + '"', "is not CSV in UTF-8"),
}


@pytest.mark.parametrize(("content", "said"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_its_place(write, content, said):
    assert said in refused(write(content), target="kind")


def test_a_fault_in_the_test_file_is_named(write):
    assert "test_path.csv: column size: row 3 has 'x'" in refused(
        write(test=TEST.replace("violet,7", "violet,x"))
    )
    assert "test_path.csv: has no column 'colour'" in refused(
        write(test=TEST.replace("colour", "color"))
    )


@pytest.mark.parametrize(("first", "second"), [("cat", "1"), ("1", "cat")])
def test_targets_of_two_kinds_are_refused(write, first, second):
    one, other = (f"x,y\n1,{value}\n2,{value}\n" for value in (first, second))
    kinds = {"cat": "text", "1": "whole"}
    said = f"column y: is {kinds[second]}, in the training file it is {kinds[first]}; "
    assert said in refused(write(one, other))


def test_the_largest_number_that_float32_holds_is_finite(write):
    largest = float(np.finfo(np.float32).max)
    text = f"x,y\n{largest!r},a\n{-largest!r},b\n"
    assert load(write(text, text)).train.inputs.tolist() == [[largest], [-largest]]
    assert "not a finite number" in refused(write(text.replace("e+38", "e+39"), text))


def test_a_missing_value_in_a_column_that_is_left_out_does_no_harm(write):
    text = changed("0.5", "")
    assert load(write(text), columns=["size"], target="kind").train.inputs.shape == (4, 1)


def test_identifiers_are_not_categories(write):
    text = "id,y\n" + "".join(f"t{i},{i % 2}\n" for i in range(1001))
    assert "column id: has 1001 different texts" in refused(write(text, text))
    without_last = text.replace("t1000", "t0")
    assert load(write(without_last, without_last)).train.inputs.shape == (1001, 1000)
    text = "x,y\n" + "".join(f"1,{i}\n" for i in range(1001))
    assert "column y: has 1001 different values" in refused(write(text, text))
    assert load(write(*[text.replace("1,1000\n", "")] * 2)).num_classes == 1000


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"columns": ["size", "kind"]}, "columns"),
        ({"columns": []}, "columns"),
        ({"categorical": ["sise"]}, "categorical"),
        ({"delimiter": "::"}, "delimiter"),
        ({"path": None}, "path"),
    ],
)
def test_settings_that_contradict_are_a_configuration_error(write, more, key):
    with pytest.raises(ConfigError, match=rf"^dataset\.{key}"):
        load(write(), **more)


def test_the_home_folder_can_be_written_as_a_tilde(write, tmp_path, monkeypatch):
    write()
    monkeypatch.setenv("HOME", str(tmp_path))
    dataset = load({"path": "~/path.csv", "test_path": "~/test_path.csv"})
    assert (len(dataset.train), len(dataset.test)) == (4, 2)


def test_a_missing_file_is_named(write, tmp_path):
    settings = write()
    assert "no such file" in refused(settings | {"path": str(tmp_path / "none.csv")})
    assert "no such file" in refused(settings | {"test_path": str(tmp_path / "none.csv")})


@pytest.fixture
def parquet(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="needs the extra table")
    from pyarrow import parquet

    def write(**columns):
        path = tmp_path / "data.parquet"
        parquet.write_table(pa.table(columns), path)
        return path

    return write


def test_parquet_is_read_with_its_types(parquet):
    path = parquet(x=[0.5, 1.5, 2.5], c=["a", "b", "a"], flag=[True, False, True], y=[4, 2, 4])
    dataset = load({"path": str(path), "test_path": str(path)})
    assert dataset.train.inputs.tolist() == [[0.5, 1, 0, 1], [1.5, 0, 1, 0], [2.5, 1, 0, 1]]
    assert dataset.classes == ("2", "4")


def test_faults_in_parquet_are_named(parquet):
    import datetime

    path = parquet(x=[0.5, None, 2.5], d=[datetime.date(2020, 1, 1)] * 3, y=["a", "b", "a"])
    settings = {"path": str(path), "test_path": None}
    whole = path.read_bytes()
    assert "column x: row 2 has no value" in refused(settings, columns=["x"])
    assert "column d: has values of type date32" in refused(settings, columns=["d"])
    assert "has no rows" in refused({"path": str(parquet(x=[], y=[])), "test_path": None})
    for content in (b"", whole[:-20], b"PAR1" + bytes(20) + b"PAR1"):
        path.write_bytes(content)
        assert "is not a Parquet file, or is damaged" in refused(settings)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"^dataset\.name: .*pyarrow.*pip install '.*\[table\]'"):
        load({"path": str(tmp_path / "data.parquet")})


def test_labels_that_float64_does_not_tell_apart_are_refused(write):
    first, second = 2**53, 2**53 + 1
    said = refused(write(f"a,kind\n1.5,{first}\n2.5,{second}\n") | {"test_path": None})
    assert f"row 2 has '{first}', too large a label" in said
