"""Jobs: label many images with the same words, and record each result at once."""

from dinoiser.batch.export import export
from dinoiser.batch.job import LabelJob, Labelling, Results, Running
from dinoiser.batch.records import Record, read_records
from dinoiser.batch.run import Progress, run
from dinoiser.batch.summary import Summary
from dinoiser.export.options import ExportOptions
from dinoiser.segment.settings import SegmentSettings

__all__ = [
    "ExportOptions",
    "LabelJob",
    "Labelling",
    "Progress",
    "Record",
    "Results",
    "Running",
    "SegmentSettings",
    "Summary",
    "export",
    "read_records",
    "run",
]
