"""The fit: its steps, checkpoints, log and previews."""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from dinoiser.errors import TrainingError
from dinoiser.export.image_file import write_image
from dinoiser.models.device import is_out_of_memory

from .best import BestHeads
from .checkpoint import FitState
from .images import Crops, batches_ahead, crop_indices, draw_batch
from .logs import FitLog, LogRow
from .parallel import Workers
from .previews import preview
from .student import (
    Student,
    accumulate,
    make_optimizer,
    new_heads,
    new_whitened_heads,
    prepare,
    set_rates,
)
from .validation import centre_batch, prepare_held_out
from .whitening import WhitenedHeads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from dinoiser.models.clip_dinoiser import DinoiserHeads
    from dinoiser.models.maskclip import MaskClip

    from .data import FitData
    from .settings import FitSettings
    from .student import Prepared
    from .teachers import Teacher

REPORT_EVERY = 10  # steps, as are the next two
CHECKPOINT_EVERY = 200
PREVIEW_EVERY = 500
CHECKPOINT_SECONDS = 120  # on a slow machine, this comes first
JUDGED = 10
"""How often heads are judged on the images kept back, besides the start."""
PREVIEWED = 4
"""Number of held-out images drawn with the teacher's and the student's outputs."""
TIMED_CROPS = 4  # used to estimate the duration
CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class FitProgress:
    """The progress of a fit; losses are means over the latest steps, NaN before the first."""

    step: int
    steps: int
    correlation_loss: float
    objectness_loss: float
    images_per_second: float

    def losses(self) -> dict[str, float | None]:
        """Return both losses by name, as JSON takes them."""
        found = {"correlation": self.correlation_loss, "objectness": self.objectness_loss}
        return {name: None if math.isnan(loss) else loss for name, loss in found.items()}


@dataclass(frozen=True)
class FitResult:
    """The result of a fit.

    Attributes
    ----------
    heads
        The heads that agree best with the teacher on the images kept back; the latest
        ones if none are kept back.
    progress
        Where the fit stands.
    finished
        Whether it has finished.
    """

    heads: DinoiserHeads
    progress: FitProgress
    finished: bool


class Fit:
    """One fit of heads to images.

    Parameters
    ----------
    model
        The frozen CLIP.
    teacher, data, settings
        What the heads learn from, on which images, and how.
    folder
        Folder for checkpoint, log and previews.
    made_of
        What else determines the weights, such as digests. An unfinished fit is
        resumed only if it is the same.
    workers
        The processes that share each batch.
    start
        Heads to start from; random ones if None.
    say
        Called with messages for the user.
    """

    def __init__(
        self,
        model: MaskClip,
        teacher: Teacher,
        data: FitData,
        settings: FitSettings,
        folder: Path,
        made_of: Mapping[str, Any] | None = None,
        workers: Workers | None = None,
        start: DinoiserHeads | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.model, self.teacher, self.data, self.settings = model, teacher, data, settings
        self.folder = folder
        self._student: Student
        if settings.whiten:
            self._student = new_whitened_heads(model, data.training, settings, start)
        else:
            self._student = new_heads(model, settings, start)
        self._workers = workers or Workers()
        self._say = say if say is not None else lambda _sentence: None
        self._made_of = {**asdict(settings), "data": data.digest, **(made_of or {})}
        prepared = prepare_held_out(model, teacher, data.held_out, settings.crop)
        self.best = BestHeads(prepared, settings)
        optimizer = make_optimizer(self._student, settings)
        self._state = FitState(self._student, optimizer, self.best)
        self._at_once = settings.batch_size
        self._recent: deque[Tensor] = deque(maxlen=REPORT_EVERY)

    @property
    def heads(self) -> DinoiserHeads:
        """The latest heads."""
        student = self._student
        return student.export() if isinstance(student, WhitenedHeads) else student

    @property
    def checkpoint(self) -> Path:
        """Path of the state of an unfinished fit."""
        return self.folder / CHECKPOINT_FILE

    def run(
        self,
        resume: bool = False,
        progress: Callable[[FitProgress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        until: int | None = None,
    ) -> FitResult:
        """Fit the heads to the end, or until `cancelled` returns True after a step.

        On the CPU, the result is the same, bit for bit, however often the fit
        was stopped and resumed.

        Parameters
        ----------
        resume
            Go on after the steps of the checkpoint.
        progress
            Called every few steps.
        cancelled
            Called after every step; True stops the fit.
        until
            Last step; None for that of the settings, on which the rates depend in any case.

        Raises
        ------
        TrainingError
            A loss is not finite, or not even one crop fits into memory.
        SettingsError, CheckpointError
            The unfinished fit has other settings, or its file is damaged.
        """
        # go on after the steps of the checkpoint, or from the beginning
        done = self._state.load(self.checkpoint, self._made_of) if resume else 0
        self.folder.mkdir(parents=True, exist_ok=True)
        last, began = self.settings.steps if until is None else until, time.perf_counter()
        saved = began
        if not done:
            self._judge(0, last)
        with FitLog(self.folder, done, self._workers.is_first) as log:
            # step counts from 1 here; batches and rates count from 0
            for step, batch in enumerate(batches_ahead(self._batch, range(done, last)), done + 1):
                stop = self._step(step - 1, batch, cancelled)
                if stop or step == last or step % REPORT_EVERY == 0:
                    pace = (step - done) / (time.perf_counter() - began)
                    now = self._progress(step, pace * self.settings.batch_size)
                    log.write(LogRow(step, *self._means(), now.images_per_second))
                    if progress is not None:
                        progress(now)
                self._judge(step, last)
                due = time.perf_counter() - saved >= CHECKPOINT_SECONDS
                if stop or due or step == last or step % CHECKPOINT_EVERY == 0:
                    self._save(step)
                    saved = time.perf_counter()
                if step == last or step % PREVIEW_EVERY == 0:
                    self._show(step, log)
                if stop or step == last:
                    return FitResult(self._best_heads(), now, step == last)
        # nothing was left to do
        return FitResult(self._best_heads(), self._progress(done, 0), True)

    def seconds_a_step(self) -> float:
        """Time a few crops and extrapolate to a step of this process's whole share."""
        batch = self._batch(0)
        some = next(batch.split(TIMED_CROPS))
        times = []
        for _ in range(3):  # the first is slower
            began = time.perf_counter()
            self._gradients(some, len(some.pixels))
            times.append(time.perf_counter() - began)
        self._state.optimizer.zero_grad()
        return min(times) * len(batch.pixels) / len(some.pixels)

    def _batch(self, step: int) -> Crops:
        return draw_batch(self.data.training, self.settings, step, self._workers.share)

    def _step(self, step: int, batch: Crops, cancelled: Callable[[], bool] | None) -> bool:
        """Take a step, counted from 0; return True if any process is asked to stop."""
        set_rates(self._state.optimizer, self.settings, step)
        losses = self._gradients(batch, len(crop_indices(1, self.settings, step)))
        # summed over processes like the losses, so that all stop after the same step
        asked = torch.zeros_like(losses[:1]) + float(cancelled is not None and cancelled())
        self._workers.sum_gradients(self._student, losses, asked)
        self._state.optimizer.step()
        self._recent.append(losses)
        return bool(asked)

    def _gradients(self, batch: Crops, crops: int) -> Tensor:
        """Compute the gradients of a step of `crops` crops; return both losses.

        If the memory of a GPU is too small, fewer crops are taken at a time from then on.
        """
        while True:
            self._state.optimizer.zero_grad()
            prepared = map(self._prepare, batch.split(self._at_once))
            try:
                return accumulate(self._student, prepared, crops, self.settings)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self._at_once == 1:
                    msg = (
                        f"Not even one crop of {self.settings.crop} pixels fits into the memory of "
                        f"{self.model.device}: choose a smaller --crop, or -d cpu."
                    )
                    raise TrainingError(msg) from error
            # not before the error is gone, which holds what the failed attempt had in memory
            self._at_once = -(-self._at_once // 2)  # half, rounded up
            self._say(
                f"The {crops} crops of a step do not fit into the memory of "
                f"{self.model.device}: they are taken {self._at_once} at a time, which is "
                "slower and leads to the same heads."
            )
            torch.cuda.empty_cache()

    def _judge(self, step: int, last: int) -> None:
        """Judge the heads of some steps on the images kept back, if there are any."""
        every = -(-self.settings.steps // JUDGED)
        if self.best.prepared and (step == last or step % every == 0):
            self.best.judge(step, self.heads)

    def _best_heads(self) -> DinoiserHeads:
        heads = copy.deepcopy(self.heads)
        if self.best.weights:
            heads.load_state_dict(self.best.weights)
        return heads

    def _prepare(self, batch: Crops) -> Prepared:
        return prepare(self.model, self.teacher, batch.to(self.model.device))

    def _means(self) -> tuple[float, float]:
        """Return the means of both losses over the latest steps."""
        means = torch.stack(tuple(self._recent)).mean(0)
        if not means.isfinite().all():
            msg = (
                f"The losses are no longer finite ({means.tolist()}): use --precision fp32 or, in "
                "Python, smaller learning rates."
            )
            raise TrainingError(msg)
        return float(means[0]), float(means[1])

    def _progress(self, step: int, speed: float) -> FitProgress:
        means = self._means() if self._recent else (float("nan"),) * 2
        return FitProgress(step, self.settings.steps, *means, speed)

    def _save(self, step: int) -> None:
        if self._workers.is_first:
            self._state.save(self.checkpoint, step, self._made_of)

    def _show(self, step: int, log: FitLog) -> None:
        """Draw student and teacher for some held-out images."""
        if not self._workers.is_first or not len(self.data.held_out):
            return
        indices = range(min(PREVIEWED, len(self.data.held_out)))
        crops = [centre_batch(self.data.held_out, [i], self.settings.crop) for i in indices]
        image = preview(self.heads, ((crop, self._prepare(crop)) for crop in crops))
        write_image(Image.fromarray(image), self.folder / "previews" / f"step-{step:06d}.png")
        log.show(step, image)
