"""A first schema for the files of a log, guessed from their names and their rows, with comments: to be edited.

missing       words for missing values
words         what names of columns usually mean
sample        some rows of each file
dates         how times are written
column        what a column holds
labels        which columns are labels
consequences  columns that are known only after the outcome
fields        what becomes of each other column
tables        files -> tables, and which of them is which
splits        the split
plan          all of it together
write         the text of the schema
tried         the text is tried on the rows, as `prepare` would read them
first         what a user calls
"""

from .first import FirstSchema, first_schema, guess
from .write import DOUBTFUL, FILL_IN

__all__ = ["DOUBTFUL", "FILL_IN", "FirstSchema", "first_schema", "guess"]
