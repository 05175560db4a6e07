"""The schema file of a log (docs/schema.md).

log      the whole file: impressions, side tables, conversions, split, roles, request, truth
tables   the tables and their files
fields   fields of x
labels   the labels of the funnel's stages
history  rates of clicks and conversions by id
split    the parts
values   how values are written, and the levels that labels and splits list
"""

from .history import HistorySchema
from .labels import STAGES, LabelSchema, LabelsSchema
from .log import RequestSchema, Roles, Schema, read_schema
from .split import SplitSchema
from .tables import ConversionsSchema, FilesSchema, ImpressionsSchema, SideSchema, TableSchema, TruthSchema
from .values import TimeSchema

__all__ = [
    "STAGES",
    "ConversionsSchema",
    "FilesSchema",
    "HistorySchema",
    "ImpressionsSchema",
    "LabelSchema",
    "LabelsSchema",
    "RequestSchema",
    "Roles",
    "Schema",
    "SideSchema",
    "SplitSchema",
    "TableSchema",
    "TimeSchema",
    "TruthSchema",
    "read_schema",
]
