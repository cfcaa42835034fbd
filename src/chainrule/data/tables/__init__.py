"""CSV tables as data sets: `csv_file` reads, `inference` finds the columns' kinds, `table_data` splits and encodes."""

from chainrule.data.tables.csv_file import SUFFIXES, Table, read_csv
from chainrule.data.tables.table_data import ClassTable, NumberTable, TableData, TableEncoder, TablePart, load_table
from chainrule.data.tables.targets import ClassTarget, NumberTarget

__all__ = [
    "SUFFIXES",
    "ClassTable",
    "ClassTarget",
    "NumberTable",
    "NumberTarget",
    "Table",
    "TableData",
    "TableEncoder",
    "TablePart",
    "load_table",
    "read_csv",
]
