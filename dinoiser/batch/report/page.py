"""Write a page about a job that can be shared: it needs no other file and no network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dinoiser.atomic import write_file
from dinoiser.batch.folder import REPORT
from dinoiser.batch.job import PROMPT_FILE, read_job, reading_of, turn_of
from dinoiser.batch.records import RECORDS, read_records
from dinoiser.batch.report.figures import JobFigures
from dinoiser.batch.report.findings import read_findings
from dinoiser.batch.report.images import thumbnail_uri
from dinoiser.batch.reviews import read_reviews
from dinoiser.labels import ignore_among
from dinoiser.printable import printable
from dinoiser.prompts import PromptClass, PromptSet
from dinoiser.prompts.palette import IGNORE_COLOR, default_color

if TYPE_CHECKING:
    from jinja2 import Template

    from dinoiser.batch.records import Record
    from dinoiser.batch.report.figures import LabelFigures
    from dinoiser.images.settings import ReadSettings

SMALL_SIDE, LARGE_SIDE = 240, 320  # of thumbnails, in pixels
CHART_WIDTH, CHART_HEIGHT = 200, 90
# a chart's axis ends at the first of these shares that no bar exceeds
_CHART_TOPS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_TEMPLATE = Path(__file__).with_name("report.html.jinja")


@dataclass(frozen=True)
class RunFigures:
    """Figures of a run that are not in its records.

    Attributes
    ----------
    seconds
        Duration of the run.
    labelled
        Number of images labelled in it.
    scheduler
        Where it ran, such as "this process".
    """

    seconds: float
    labelled: int
    scheduler: str


@dataclass(frozen=True)
class _Thumbnail:
    name: str
    expected_iou: float | None
    uri: str | None


@dataclass(frozen=True)
class _ClassRow:
    """A row for a class or for the ignored pixels."""

    item: PromptClass
    share: float
    images: int
    confidence: float | None


@dataclass(frozen=True)
class _Chart:
    """A confidence histogram: an SVG path within `CHART_WIDTH` x `CHART_HEIGHT`."""

    name: str
    color: str | None
    figures: LabelFigures
    top: float
    path: str


def write_report(output: Path, run: RunFigures | None = None) -> Path:
    """Write the report of a job from the contents of its folder, including reviews.

    Class shares are those of the masks as exported: with corrections and
    without rejected images. Confidence is the model's.

    Parameters
    ----------
    output
        The job's folder.
    run
        Figures of the run that has just ended; without them, the page shows no speed.

    Returns
    -------
    Path
        The page, ``report.html`` in the folder.

    Raises
    ------
    SettingsError, PromptError
        The folder's job.yaml or prompts.yaml exists but cannot be read.
    OutputError
        The page cannot be written.
    """
    job = read_job(output)
    prompts = PromptSet.load(output / PROMPT_FILE) if (output / PROMPT_FILE).exists() else None
    figures, reviews = JobFigures(prompts.ignore if prompts else None), read_reviews(output)
    for record in read_records(output):
        figures.add(record, reviews.get(record.image))
    rows = _class_rows(prompts, figures)
    shown = partial(
        _thumbnails,
        output,
        prompts=prompts or _stand_in(rows),
        reading=reading_of(job),
        corrected={name for name, review in reviews.items() if review.edited},
    )
    page = _template().render(
        title=output.resolve().name or str(output),
        job=job or {},
        findings=read_findings(output, turn_of(job or {})),
        prompts=prompts,
        run=run,
        figures=figures,
        rows=rows,
        charts=_charts(rows, figures),
        spread=shown(figures.spread.items(), SMALL_SIDE),
        least_certain=shown(figures.least_certain, LARGE_SIDE),
        records=RECORDS.as_posix(),
        chart_width=CHART_WIDTH,
        chart_height=CHART_HEIGHT,
    )
    path = output / REPORT
    write_file(path, page.encode(errors="replace"))  # folder names need not be valid text
    return path


def _template() -> Template:
    from jinja2 import ChainableUndefined, Environment

    environment = Environment(
        autoescape=True,  # names of images and reasons for failures are untrusted text
        finalize=_show,
        undefined=ChainableUndefined,  # any key may be missing from job.yaml
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": _seconds, "percent": _percent, "shorten": _shorten}
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def _show(value: object) -> object:
    """Escape odd characters in plain text; parts of the page are no plain `str`."""
    return printable(value) if type(value) is str else value


def _class_rows(prompts: PromptSet | None, figures: JobFigures) -> list[_ClassRow]:
    """List the classes by share, with the ignored pixels last."""
    classes = {item.id: item for item in prompts.classes} if prompts else {}
    labels = figures.labels.keys() | figures.mask_pixels.keys()
    ignore = prompts.ignore if prompts else ignore_among(labels)
    for label in sorted(labels - classes.keys() - {ignore}):
        classes[label] = PromptClass(f"class {label}", label, (), default_color(label))
    ignored = PromptClass("ignored", ignore, (), IGNORE_COLOR)
    total = max(1, figures.mask_pixels.total())
    rows = [
        _ClassRow(
            item,
            figures.mask_pixels[item.id] / total,
            figures.mask_images[item.id],
            figures.labels[item.id].confidence,
        )
        for item in (*classes.values(), ignored)
    ]
    return sorted(rows, key=lambda row: (row.item is ignored, -row.share))


def _stand_in(rows: list[_ClassRow]) -> PromptSet:
    """Return classes with default colours for a folder that has lost its prompts.yaml."""
    *rows, _ignored = rows
    # a prompt set has a background and at least one other class
    names = {label: f"class {label}" for label in sorted({0, 1, *(row.item.id for row in rows)})}
    return PromptSet(
        tuple(
            PromptClass(name, label, (name,), default_color(label), background=not label)
            for label, name in names.items()
        )
    )


def _charts(rows: list[_ClassRow], figures: JobFigures) -> list[_Chart]:
    """Draw the confidence of all classes together, and of each class that has pixels."""
    *rows, _ignored = rows
    together = _chart("all classes", None, figures.all_classes)
    classes = [_chart(row.item.name, row.item.color, figures.labels[row.item.id]) for row in rows]
    return [chart for chart in (together, *classes) if chart.path]


def _chart(name: str, color: str | None, figures: LabelFigures) -> _Chart:
    total = max(1, sum(figures.histogram))
    shares = [count / total for count in figures.histogram]
    top = next(top for top in _CHART_TOPS if max(shares) <= top)
    # one closed rectangle per bar, with a gap of 1 between bars; y grows downwards
    width = CHART_WIDTH / len(shares)
    bars = []
    for i, share in enumerate(shares):
        height = CHART_HEIGHT * share / top
        if height:
            bars.append(f"M{i * width:g} {CHART_HEIGHT}v{-height:.1f}h{width - 1:g}v{height:.1f}z")
    return _Chart(name, color, figures, top, "".join(bars))


def _thumbnails(
    output: Path,
    records: list[Record],
    side: int,
    *,
    prompts: PromptSet,
    reading: ReadSettings,
    corrected: set[str],
) -> list[_Thumbnail]:
    thumbnails = []
    for record in records:
        is_corrected = record.image in corrected
        uri = thumbnail_uri(output, record, side, prompts, reading, corrected=is_corrected)
        thumbnails.append(_Thumbnail(record.image, record.expected_iou, uri))
    return thumbnails


def _seconds(value: float) -> str:
    """Format a duration with two or three digits, as accurate as the quantiles."""
    if value < 1:
        return f"{float(f'{1000 * value:.2g}'):g} ms"
    if value < 10:
        return f"{value:.1f} s"
    if value < 600:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 36000 else f"{value / 3600:,.0f} h"


def _percent(share: float) -> str:
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.1f} %"


def _shorten(text: str, length: int) -> str:
    """Cut out the middle of a text, as image names differ at their ends."""
    if len(text) <= length:
        return text
    return text[: length // 3] + " … " + text[length // 3 + 3 - length :]
