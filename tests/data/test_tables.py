"""CSV tables: what is read, what columns and targets are taken for, that no row leaks, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from chainrule import data
from chainrule.data.tables import TableEncoder, read_csv
from chainrule.data.tables.table_data import ClassTable, NumberTable
from chainrule.errors import DataError


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def write(content, name="table.csv"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


def rows(count, line="{i},{j},{kind}", seed=0):
    """Lines with a different number, another one, and one of three kinds."""
    rng = np.random.default_rng(seed)
    return [line.format(i=i, j=round(float(rng.normal()), 4), kind="abc"[i % 3]) for i in range(count)]


def table_of(lines, head="x,y,kind"):
    return "\n".join([head, *lines]) + "\n"


# Reading


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,2\n3,4\n", {"a": ["1", "3"], "b": ["2", "4"]}),
        ("a;b\r\n1,5;x\r\n2,5;y\r\n", {"a": ["1,5", "2,5"], "b": ["x", "y"]}),
        ("a\tb\n1\t2\n", {"a": ["1"], "b": ["2"]}),
        ("a|b\n1|2,3\n", {"a": ["1"], "b": ["2,3"]}),
        ('a,b\n"1, one","say ""hi"""\n', {"a": ["1, one"], "b": ['say "hi"']}),
        ('a,b\n"two\nlines",2\n', {"a": ["two\nlines"], "b": ["2"]}),
        ("a, b\n\n1 , 2\n\n", {"a": ["1"], "b": ["2"]}),
        ("sep=;\na;b\n1;2\n", {"a": ["1"], "b": ["2"]}),
        ("a,b,\n1,2,\n3,4,\n", {"a": ["1", "3"], "b": ["2", "4"]}),
        ("a,b\n1,2", {"a": ["1"], "b": ["2"]}),
        (b"\xef\xbb\xbfgr\xc3\xb6\xc3\x9fe,b\n1,2\n", {"größe": ["1"], "b": ["2"]}),
        ("größe;b\n1;2\n".encode("utf-16"), {"größe": ["1"], "b": ["2"]}),
        ("a\n1\n2\n", {"a": ["1", "2"]}),
    ],
)
def test_files_of_many_programs(write, content, expected):
    assert read_csv(write(content)).columns == expected


def test_empty_lines_after_the_separator_line_count(write):
    assert read_csv(write("sep=;\n\na;b\n1;2\n")).lines == [4]


def test_another_encoding_and_lines(write):
    table = read_csv(write("größe,b\n1,2\n\n3,4\n".encode("cp1252")), "cp1252")
    assert table.columns == {"größe": ["1", "3"], "b": ["2", "4"]}
    assert table.lines == [2, 4]


def test_row_numbers_without_a_name_are_left_out(write):
    table = read_csv(write(",a,b\n0,5,6\n1,7,8\n"))
    assert table.columns == {"a": ["5", "7"], "b": ["6", "8"]}
    assert table.unnamed == ["0", "1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: its first line must name the columns"),
        ("a,b\n", "has no rows, only the line that names the columns: a, b"),
        ("a,b\n1,2\n3\n", "line 3: has 1 field, but the first line names 2 columns"),
        ("a,b\n1,2\n\n3,4,5\n", "line 4: has 3 fields, but the first line names 2 columns"),
        ("a,b,a\n1,2,3\n", "columns 1 and 3 are both named 'a'; rename one"),
        ("a,,b\n1,x,3\n", "column 2 has no name, and holds 'x'; name it in line 1"),
        ('a,b\n1,"2\n3,4\n', "line 2: a quotation mark is opened and never closed"),
        (
            "größe,b\n1,2\n".encode("latin-1"),
            "line 1: byte 0xf6 is not UTF-8; save the file as UTF-8, or name its encod",
        ),
        (b"PK\x03\x04\0\0\x08\0\xff\xfe", "is not text: a table is a CSV file, as spreadsheets save it"),
        ("a,b\n1,\x002\n", "line 2: holds a zero byte, so it is not text"),
    ],
)
def test_what_is_no_table(write, content, message):
    with pytest.raises(DataError, match=re.escape(message)):
        read_csv(write(content))


def test_what_is_no_file(tmp_path, write, monkeypatch):
    for path, message in ((tmp_path, "is a folder: a table is a file"), (tmp_path / "no.csv", "there is no file")):
        with pytest.raises(DataError, match=message):
            read_csv(path)
    for encoding, message in (("klingon", "there is no encoding 'klingon'"), ("\0", "cannot be decoded as")):
        with pytest.raises(DataError, match=message):
            read_csv(write("a,b\n1,2\n"), encoding)
    monkeypatch.setattr("chainrule.data.tables.csv_file.MAX_BYTES", 7)
    with pytest.raises(DataError, match="is larger than 0 MB, the limit for a table"):
        read_csv(write("a,b\n1,2\n"))
    monkeypatch.setattr("chainrule.data.tables.csv_file.MAX_BYTES", 100)
    monkeypatch.setattr("chainrule.data.tables.csv_file.MAX_FIELDS", 3)
    with pytest.raises(DataError, match="has more than 3 fields: train on fewer rows"):
        read_csv(write("a,b\n1,2\n3,4\n"))


# Columns and targets


def test_numbers_categories_and_missing_values(write):
    """The inputs of every row, computed here by hand from the training rows."""
    sizes, colors = ["2", "4", "", "8", "NA"], ["red", "?", "blue", "red"]
    lines = [f"{sizes[i % 5]},{colors[i % 4]},{i * i + 0.5}" for i in range(60)]
    table = data.load_table(write(table_of(lines, "size,color,price")), "price")
    assert isinstance(table, NumberTable)
    assert table.encoder.input_names == (
        "size", "size is missing", "color = blue", "color = red", "color is missing",
    )  # fmt: skip
    number = {"2": 2.0, "4": 4.0, "8": 8.0}
    train = table.train.lines - 2
    known = [number[sizes[i % 5]] for i in train if sizes[i % 5] in number]
    median = np.median(known)
    filled = np.array([number.get(sizes[i % 5], median) for i in train])
    prices = np.array([i * i + 0.5 for i in train])
    for part in (table.train, table.validation, table.test):
        for line, inputs, target in zip(part.lines, part.inputs, part.targets, strict=True):
            i = line - 2
            size, color = sizes[i % 5], colors[i % 4]
            scaled = (number.get(size, median) - filled.mean()) / filled.std()
            expected = [scaled, size not in number, color == "blue", color == "red", color == "?"]
            np.testing.assert_allclose(inputs, expected, rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(target, [(i * i + 0.5 - prices.mean()) / prices.std()], rtol=1e-5, atol=1e-6)


def test_decimal_commas(write):
    points = data.load_table(write(table_of([f"{i}.25,{i % 2}" for i in range(24)], "x,y"), "p.csv"), "y")
    commas = data.load_table(write(table_of([f"{i},25;{i % 2}" for i in range(24)], "x;y"), "c.csv"), "y")
    np.testing.assert_array_equal(points.train.inputs, commas.train.inputs)
    assert points.encoder == commas.encoder


@pytest.mark.parametrize("head", ["x;y", "y;x"])
def test_points_and_decimal_commas_in_one_column_are_refused(write, head):
    lines = [f"{i},5;{i % 2}" for i in range(1, 24)]
    file = write(table_of(["1.234;0", *lines], head))
    message = "line 2: [xy] is 1.234, and 1,5 in line 3: use either a point or a comma before decimals in the whole"
    with pytest.raises(DataError, match=message):
        data.load_table(file, "y", task="regression")
    dates = [f"{i}.5.2026;{line}" for i, line in enumerate(lines, 1)]  # points in another column are no decimal points
    table = data.load_table(write(table_of(dates, f"date;{head}")), "y", drop=["date"], task="regression")
    assert table.notes == ()


def test_numbers_that_look_like_thousands_are_reported(write):
    numbers = ["950", "1,234", "12,345", "2,100"]
    file = write(table_of([f"{numbers[i % 4]}\t{i}" for i in range(24)], "people\ty"))
    table = data.load_table(file, "y")
    note = "1,234 in people is read as 1.234, a number with three decimals; if it means thousands, write it without a "
    assert table.notes == (f"{note}separator",)
    assert data.load_table(file, "people", task="regression").notes == (f"{note}separator",)
    plain = write(table_of([f"{numbers[i % 4]}5\t{i}" for i in range(24)], "people\ty"))
    assert data.load_table(plain, "y").notes == ()


def test_a_target_that_is_equal_in_all_training_rows_is_not_scaled(write):
    """The mean of equal numbers may differ from them by rounding, and so may the standard deviation from 0."""
    file = write(table_of([f"{i},{0.3 if i == 5 else 0.1}" for i in range(26)], "x,y"))
    targets = [data.load_table(file, "y", task="regression", seed=seed).encoder.target for seed in range(30)]
    equal = [target for target in targets if abs(target.mean - 0.1) < 1e-9]
    assert equal
    assert any(target.mean != 0.1 for target in equal)
    assert all(target.std == 1 for target in equal)


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["yes", "no"], ClassTable, ("no", "yes")),
        (["10", "9", "-1"], ClassTable, ("-1", "9", "10")),
        (["1.0", "0", "1"], ClassTable, ("0", "1")),
        ([f"{i}.5" for i in range(5)], NumberTable, None),
        ([str(i) for i in range(21)], NumberTable, None),
        ([str(i) for i in range(20)], ClassTable, tuple(str(i) for i in range(20))),
    ],
)
def test_the_target_decides_what_is_predicted(write, values, kind, classes):
    file = write(table_of([f"{i},{values[i % len(values)]}" for i in range(120)], "x,y"))
    table = data.load_table(file, "y")
    assert type(table) is kind
    if classes is not None:
        assert table.classes == classes
        assert table.train.targets.dtype == np.int64


def test_the_task_can_be_chosen(write):
    file = write(table_of([f"{i},{i % 4}" for i in range(48)], "x,grade"))
    assert repr(data.load_table(file, "grade")).endswith("1 inputs, classification of grade)")
    numbers = data.load_table(file, "grade", task="regression")
    assert isinstance(numbers, NumberTable)
    assert numbers.train.targets.shape == (len(numbers.train.inputs), 1)
    many = write(table_of([f"{i},{i % 24}" for i in range(96)], "x,y"), "many.csv")
    assert isinstance(data.load_table(many, "y"), NumberTable)
    assert len(data.load_table(many, "y", task="classification").classes) == 24
    with pytest.raises(DataError, match="the task of a table must be classification or regression, not 'guess'"):
        data.load_table(file, "grade", task="guess")


def test_numbers_as_categories_and_columns_left_out(write):
    file = write(table_of([f"{i % 3}.0,{i},{i % 2}" for i in range(60)], "zone,id,y"))
    table = data.load_table(file, "y", categorical=["zone"], drop=["id"])
    assert table.encoder.input_names == ("zone = 0", "zone = 1", "zone = 2")
    np.testing.assert_array_equal(table.train.inputs, np.eye(3)[(table.train.lines - 2) % 3])


def test_what_the_user_should_know(write):
    lines = [f"{i},{i},same,{'ab'[i % 2] if i else ''}" for i in range(40)]
    table = data.load_table(write(table_of([*lines, "40,7,same,b", "41,7,same,b"], ",x,constant,y")), "y")
    assert table.notes == (
        "the row numbers in the first column are left out",
        "1 row without a y ('') is left out",
        "constant has the same value in all rows and is left out",
        "2 rows are copies of others, on one side of the split",
    )
    assert table.encoder.input_names == ("x",)


# The split


def parts(table):
    return [set(part.lines.tolist()) for part in (table.train, table.validation, table.test)]


def test_each_part_has_its_share_of_each_class(write):
    names = ["a"] * 60 + ["b"] * 24 + ["c"] * 12
    table = data.load_table(write(table_of([f"{i},{name}" for i, name in enumerate(names)], "x,y")), "y")
    assert [np.bincount(part.targets).tolist() for part in (table.train, table.validation, table.test)] == [
        [42, 17, 8], [8, 3, 2], [10, 4, 2],
    ]  # fmt: skip
    assert sorted(set.union(*parts(table))) == list(range(2, 98))
    assert sum(map(len, parts(table))) == 96


def test_the_seed_decides(write):
    file = write(table_of(rows(60)))
    one, same, other = (data.load_table(file, "kind", seed=seed) for seed in (3, 3, 4))
    assert one.train_crc32 == same.train_crc32
    assert one.test_crc32 == same.test_crc32
    np.testing.assert_array_equal(one.train.lines, same.train.lines)
    assert parts(one) != parts(other)


def test_copies_of_a_row_are_in_one_part(write):
    lines = rows(60)
    table = data.load_table(write(table_of([*lines, *lines[:20]])), "kind")
    assert "20 rows are copies of others, on one side of the split" in table.notes
    contents = [{(lines + lines[:20])[line - 2] for line in part} for part in parts(table)]
    assert not contents[0] & contents[1]
    assert not contents[2] & (contents[0] | contents[1])


def test_rows_of_few_different_values_are_examples_of_their_own(write):
    lines = [f"{i % 2},{i % 3},{'no' if i % 5 else 'yes'}" for i in range(120)]
    table = data.load_table(write(table_of(lines, "sex,class,survived")), "survived")
    assert "108 rows are copies of others, so many that each counts as an example of its own" in table.notes
    assert [len(part) for part in parts(table)] == [84, 16, 20]


@pytest.mark.parametrize("target", ["kind", "y"])
def test_no_leak_from_validation_and_test_rows(write, target):
    """What is learned from the data before training does not change with the other rows, however wild they are."""
    lines = rows(90)
    table = data.load_table(write(table_of(lines)), target)
    others = np.concatenate([table.validation.lines, table.test.lines]) - 2
    for row in others.tolist():
        x, y, kind = lines[row].split(",")
        lines[row] = f"{int(x) * -1_000_000},{float(y) * 1e6},{kind}"
    changed = data.load_table(write(table_of(lines)), target)
    np.testing.assert_array_equal(changed.train.lines, table.train.lines)
    assert changed.encoder == table.encoder
    np.testing.assert_array_equal(changed.train.inputs, table.train.inputs)
    np.testing.assert_array_equal(changed.train.targets, table.train.targets)
    assert np.abs(changed.test.inputs).max() > 1e4


def test_a_category_that_only_other_rows_have(write):
    lines = rows(90)
    table = data.load_table(write(table_of(lines)), "y")
    row = int(table.test.lines[0]) - 2
    lines[row] = lines[row].replace(lines[row][-1], "Z")
    changed = data.load_table(write(table_of(lines)), "y")
    assert changed.encoder == table.encoder
    assert changed.notes == ("1 row has a value that no training row has in kind: 'Z'",)
    np.testing.assert_array_equal(changed.test.inputs[0, 1:], [0, 0, 0])


# Refusals


def changed(line, at=5, count=30):
    lines = rows(count)
    lines[at] = line
    return table_of(lines)


@pytest.mark.parametrize(
    ("content", "target", "options", "message"),
    [
        (table_of(rows(30)), "knd", {}, "no column 'knd'; did you mean 'kind'? The columns are x, y, kind"),
        (table_of(rows(30)), "KIND", {}, "no column 'KIND'; did you mean 'kind'?"),
        (table_of(rows(30)), "price", {}, "no column 'price'; the columns are x, y, kind"),
        (table_of(rows(30), "1,2,a"), "kind", {}, "its first line, 1, 2, a, looks like data; the first line must hold"),
        (table_of(rows(9)), "kind", {}, "has 9 rows with a kind: at least 10 are needed"),
        (table_of([f"{i},{'abcdefg'[i % 7]}" for i in range(14)], "x,y"), "y", {}, "each class needs at least 4"),
        (table_of([f"{i},a" for i in range(30)], "x,y"), "y", {}, "y is 'a' in all rows, so there is nothing to pre"),
        (table_of([f"{i},7.5" for i in range(30)], "x,y"), "y", {}, "y is 7.5 in all rows, so there is nothing to pre"),
        (table_of([f"{i},n{i}" for i in range(30)], "x,y"), "y", {}, "y has 30 different values in 30 rows, too many for"),
        (table_of([f"1,{i % 2}" for i in range(30)], "x,y"), "y", {}, "has no column left to predict from"),
        (changed("abc,1,a"), "kind", {}, "line 7: x is 'abc', which is not a number, as most values of this column are"),
        (changed("abc,1,a"), "kind", {}, "or take the column as categories with --categorical x"),
        (changed("5,inf,a"), "kind", {}, "line 7: y is inf, which is infinite; leave the field empty if"),
        (changed("5,-1e999,a"), "kind", {}, "line 7: y is -1e999, which is too large for a number"),
        (changed('"1,500",1,a'), "kind", {}, "x is '1,500', which is not a number, as most values of this column are; write "),
        (changed("5,oops,a"), "y", {}, "line 7: y is 'oops', which is not a number, as most values of this column are"),
        (table_of(rows(30)), "kind", {"task": "regression"}, "kind is 'a', which is not a number, and regression predicts"),
        (table_of([f"2024-01-{i},{i % 2}" for i in range(1, 31)], "day,y"), "y", {},
         "day holds dates, such as '2024-01-1'; leave it out with --drop day"),
        (table_of([f"n{i},31.12.{i},{i % 2}" for i in range(10, 40)], "full name,day,y"), "y", {},
         "full name has 30 different texts, such as 'n10'; day holds dates, such as '31.12.10'; leave them out with "
         "--drop 'full name' --drop day"),
        (table_of([f"t{i % 101},{i % 2}" for i in range(303)], "x,y"), "y", {}, "x has 101 different texts"),
        (table_of(rows(30)), "kind", {"drop": ["z"]}, "no column 'z'"),
        (table_of(rows(30)), "kind", {"drop": ["kind"]}, "kind is the column to predict: leave out --drop kind"),
        (table_of(rows(30)), "kind", {"drop": ["x"], "categorical": ["x"]}, "x cannot be left out and be taken as"),
    ],
)  # fmt: skip
def test_what_is_refused(write, content, target, options, message):
    with pytest.raises(DataError, match=re.escape(message)):
        data.load_table(write(content), target, **options)


# The encoder in a config


def test_an_encoder_survives_its_config(write):
    lines = [f"{i if i % 7 else ''},{'red blue'.split()[i % 2]},{i % 3}" for i in range(60)]
    file = write(table_of(lines, "x,color,y"))
    for task in ("classification", "regression"):
        table = data.load_table(file, "y", task=task)
        again = TableEncoder.from_config(table.encoder.describe())
        assert again == table.encoder
        same = data.load_table(file, "y", encoder=again)
        assert (same.train_crc32, same.test_crc32) == (table.train_crc32, table.test_crc32)


COLUMN = {"name": "x", "kind": "number", "median": 1.0, "mean": 1, "std": 2.0, "has_missing": False}
TARGET = {"name": "y", "kind": "classification", "classes": ["a", "b"]}


@pytest.mark.parametrize(
    ("columns", "target", "message"),
    [
        ([], TARGET, "columns must not be empty"),
        ([{**COLUMN, "kind": "word"}], TARGET, "columns[0].kind must be number or category"),
        ([COLUMN, 5], TARGET, "columns[1].kind must be number or category"),
        ([{**COLUMN, "std": 0.0}], TARGET, "columns[0].std must be above 0, not 0.0"),
        ([{**COLUMN, "mean": float("nan")}], TARGET, "columns[0].mean must be of type float, not nan"),
        ([{**COLUMN, "has_missing": 1}], TARGET, "columns[0].has_missing must be of type bool, not 1"),
        ([{"name": "x", "kind": "category", "categories": ["a", "a"], "has_missing": False}], TARGET,
         "columns[0].categories must be a list of different texts"),
        ([{"name": "x", "kind": "category", "categories": [], "has_missing": False}], TARGET, "must not be empty"),
        ([COLUMN], None, "target.kind must be classification or regression"),
        ([COLUMN], {**TARGET, "classes": ["a"]}, "target.classes must be 2 to 1,000, not 1"),
        ([COLUMN], {"name": "y", "kind": "regression", "mean": 0.0, "std": -1.0}, "target.std must be above 0, not -1.0"),
    ],
)  # fmt: skip
def test_a_damaged_config_is_refused(columns, target, message):
    with pytest.raises(DataError, match=re.escape(message)):
        TableEncoder.from_config({"columns": columns, "target": target})


def test_other_tables_with_an_encoder(write):
    table = data.load_table(write(table_of(rows(60))), "kind")
    with pytest.raises(DataError, match="has no column 'y'; the columns are x, kind"):
        data.load_table(
            write(table_of([f"{i},{'ab'[i % 2]}" for i in range(30)], "x,kind")), "kind", encoder=table.encoder
        )
    with pytest.raises(DataError, match="x is an input of the encoder and cannot be predicted with it"):
        data.load_table(write(table_of(rows(60))), "x", encoder=table.encoder)
    fewer = data.load_table(write(table_of([r for r in rows(60) if r[-1] != "c"])), "kind", encoder=table.encoder)
    assert fewer.encoder == table.encoder
    more = data.load_table(
        write(table_of([*rows(60), *(f"{i},0.5,d" for i in range(9))])), "kind", encoder=table.encoder
    )
    assert more.classes == ("a", "b", "c", "d")
    assert more.encoder.columns == table.encoder.columns
