"""Jobs: the same words over many pictures, with everything written down as it is done."""

from dinoiser.batch.job import LabelJob
from dinoiser.batch.records import Record
from dinoiser.batch.run import Summary, run

__all__ = ["LabelJob", "Record", "Summary", "run"]
