"""Jobs: the same words over many images, with everything written down as it is done."""

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
