"""One key for an object in the image under review, as in the Segment tab."""

from __future__ import annotations

from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import DinoiserError
from napari_dinoiser.background import Background
from napari_dinoiser.object_tool import ObjectTool, Target
from napari_dinoiser.triton_import import import_triton

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    import napari
    from napari.layers import Labels
    from qtpy.QtWidgets import QWidget

    from dinoiser.batch.job_encoder import JobEncoder
    from dinoiser.segment.encoded_image import EncodedImage
    from napari_dinoiser.review.layers import ReviewLayers
    from napari_dinoiser.review.review_session import OpenImage, ReviewSession

LOOKING = "The model looks at the image; then the object under the pointer is outlined."


class ReviewObjects:
    """Finds objects by the job's model, and gives them classes.

    The model is loaded when somebody holds Shift over an image for the first
    time. From then on, it looks at each image as soon as it is shown, in a
    thread.

    Parameters
    ----------
    viewer
        The viewer.
    layers
        The layers of the image under review.
    label_of
        Returns the label of a digit's class; None if there is none.
    tell
        Shows a sentence.
    parent
        The tab.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        layers: ReviewLayers,
        label_of: Callable[[int | None], int | None],
        tell: Callable[[str], None],
        parent: QWidget,
    ) -> None:
        self.tool = ObjectTool(viewer, self._target, label_of, parent)
        self._layers = layers
        self._tell = tell
        self._session: ReviewSession | None = None
        self._model: _JobModel | None = None
        self._looked: tuple[OpenImage | None, EncodedImage | None] = None, None
        self._background = Background(parent)

    def show(self, session: ReviewSession | None) -> None:
        """Turn to the image that a session shows now; None for the end of a review."""
        self.tool.hide()
        self._session = session
        if session is None:
            self._model, self._looked = None, (None, None)
        if self._model is not None and self._model.is_loaded and self._current is not None:
            self._look()

    @property
    def _current(self) -> OpenImage | None:
        return self._session.current if self._session else None

    def _target(self) -> Target | None:
        labels = self._layers.labels
        if labels is None or self._current is None:
            return None
        return Target(labels, self._find, partial(_give, labels))

    def _find(self, place: tuple[int, ...], reach: float) -> np.ndarray | None:
        image, encoded = self._looked
        if image is not self._current:
            self._tell(LOOKING)
            self._look()
            return None
        if encoded is None:  # it could not be encoded, as was said
            return None
        from dinoiser.segment.objects import object_at

        row, column = place
        return object_at(encoded, row, column, reach)

    def _look(self) -> None:
        """Encode the image in a thread; what another image is encoded for stops first."""
        session, current = self._session, self._current
        if session is None or current is None or self._background.busy:
            return  # once the thread has ended, it is looked at again
        if self._model is None or self._model.session is not session:
            self._model = _JobModel(session)  # one in memory at a time
        encode = partial(self._model.encode, current, lambda: self._current is not current)
        self._background.start(encode, partial(self._take, current))

    def _take(self, image: OpenImage, looked: Future[EncodedImage]) -> None:
        error = looked.exception()
        if error is not None and not isinstance(error, (DinoiserError, CancelledError)):
            raise error  # napari shows it with its traceback
        if image is not self._current:
            self._look()
            return
        self._looked = image, None if error else looked.result()
        self._tell(str(error or ""))
        self.tool.look_again()


class _JobModel:
    """The model of the job under review, loaded for its first image.

    Only a thread that encodes holds it besides the tab, so that it goes with the
    end of a review, whenever it was loaded.

    Parameters
    ----------
    session
        The review.
    """

    def __init__(self, session: ReviewSession) -> None:
        self.session = session
        self._encoder: JobEncoder | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether images can be encoded without loading it."""
        return self._encoder is not None

    def encode(self, shown: OpenImage, cancelled: Callable[[], bool]) -> EncodedImage:
        """Encode an image, in a thread."""
        import_triton()
        from dinoiser.batch.job_encoder import JobEncoder
        from dinoiser.batch.job_images import JobImage

        if self._encoder is None:
            self._encoder = JobEncoder(self.session.output)
        labelled = shown.labelled
        names = JobImage(labelled.image, labelled.stem, labelled.path)
        return self._encoder.encode(names, shown.image, cancelled)


def _give(labels: Labels, plane: tuple[int, ...], where: np.ndarray, label: int) -> None:
    labels.data_setitem((*plane, *np.nonzero(where)), label)
