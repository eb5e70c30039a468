"""Settings for labelling an image, which are checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from dinoiser.errors import SettingsError, did_you_mean, refuse_settings
from dinoiser.plain import make_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dinoiser.models.catalog import WindowDefaults

Refinement = Literal["edges", "pamr", "none"]
REFINEMENTS: tuple[Refinement, ...] = get_args(Refinement)


@dataclass(frozen=True)
class SegmentSettings:
    """Settings of `Segmenter`, jobs and the plugin for labelling an image.

    Attributes
    ----------
    short_side
        The image is resized so that its shorter side has this many pixels;
        None uses the model's own size, 448 in the paper.
    window, stride
        Side of the square windows and the step between them, in pixels of the
        resized image. None uses the model's own, 448 and 224 in the paper.
    whole
        Segment the whole image at its own size in one pass, without windows.
    antialias
        Smooth images when they are shrunk to `short_side`. The published code
        does not; False reproduces it.
    refine
        "edges" lets labels follow the edges of the image, see `edges`, or what a
        model brings for that, see `SegmentationModel.to_pixels`. "pamr" is
        the refinement that papers use, see `refine.pamr`; it takes the whole
        image at once. "none" leaves the pixels of the paper.
    batch_size
        Number of windows in one pass; "auto" chooses it for the device.
    delta
        Confidence in [0, 1] from which a patch is exempt from the background
        filter; 0.99 in the paper. With 1, none is. 0 switches the filter off (for Talk2DINO, the
        background cleaning).

    Raises
    ------
    SettingsError
        Lists all settings that are out of range, in one sentence.
    """

    short_side: int | None = None
    window: int | None = None
    stride: int | None = None
    whole: bool = False
    antialias: bool = True
    refine: Refinement = "edges"
    batch_size: int | Literal["auto"] = "auto"
    delta: float = 0.99

    def __post_init__(self) -> None:
        make_plain(self)
        refuse_settings(self._problems())

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Make settings from names and values, such as a user's keywords.

        Raises
        ------
        SettingsError
            A name is unknown, or see the class.
        """
        names = [field.name for field in fields(cls)]
        unknown = [name for name in given if name not in names]
        if unknown:
            problems = [f"there is no setting {n!r}{did_you_mean(n, names)}" for n in unknown]
            msg = f"{'; '.join(problems)}; expected {', '.join(names)}."
            raise SettingsError(msg)
        return cls(**given)

    @classmethod
    def expect(cls, given: object) -> Self:
        """Return settings as they are, and refuse everything else, such as a dictionary.

        Raises
        ------
        SettingsError
            They are of another type.
        """
        if isinstance(given, cls):
            return given
        msg = (
            f"settings is a {type(given).__name__}, expected SegmentSettings, such as "
            "SegmentSettings(short_side=896)."
        )
        raise SettingsError(msg)

    def windows(self, defaults: WindowDefaults) -> WindowSettings:
        """Fill in a model's defaults.

        Parameters
        ----------
        defaults
            The model's own sizes.

        Raises
        ------
        SettingsError
            The stride is larger than the model's windows.
        """
        window = defaults.window if self.window is None else self.window
        stride = min(defaults.stride, window) if self.stride is None else self.stride
        if stride > window:
            msg = f"{_gaps(stride, f'the window of {window} that the model was made for')}."
            raise SettingsError(msg)
        return WindowSettings(
            short_side=defaults.short_side if self.short_side is None else self.short_side,
            window=window,
            stride=stride,
            whole=self.whole,
            antialias=self.antialias,
            cubic=defaults.cubic,
        )

    def _problems(self) -> Iterator[str]:
        sizes = {"short_side": self.short_side, "window": self.window, "stride": self.stride}
        given = {name: value for name, value in sizes.items() if value is not None}
        for name, value in given.items():
            if not is_count(value):
                yield f"{name} is {value!r}, expected a whole number of pixels, at least 1"
            if self.whole:
                yield f"{name} is {value!r}, but whole takes an image at its own size: omit either"
        if all(map(is_count, (self.window, self.stride))) and self.stride > self.window:  # type: ignore[operator]
            yield _gaps(self.stride, f"the window of {self.window}")
        for name in ("whole", "antialias"):
            if not isinstance(getattr(self, name), bool):
                yield f"{name} is {getattr(self, name)!r}, expected True or False"
        if self.refine not in REFINEMENTS:
            expected = " or ".join(map(repr, REFINEMENTS))
            yield f"refine is {self.refine!r}, expected {expected}"
        if self.batch_size != "auto" and not is_count(self.batch_size):
            yield f"batch_size is {self.batch_size!r}, expected 'auto' or at least 1"
        if not isinstance(self.delta, int | float) or not 0 <= self.delta <= 1:
            yield f"delta is {self.delta!r}, expected a confidence from 0 to 1"


@dataclass(frozen=True)
class WindowSettings:
    """How an image is cut up for one model: `SegmentSettings` with its defaults filled in.

    Attributes
    ----------
    short_side, window, stride, whole, antialias
        See `SegmentSettings`.
    cubic
        Resize bicubically and round the longer side down, like Pillow and
        torchvision; otherwise bilinearly, to the nearest size.
    """

    short_side: int = 448
    window: int = 448
    stride: int = 224
    whole: bool = False
    antialias: bool = True
    cubic: bool = False


def is_count(value: object) -> bool:
    """Whether a value is a whole number of at least 1; True and False do not count."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _gaps(stride: int | None, window: str) -> str:
    return f"stride is {stride}, more than {window}, which leaves gaps: choose a smaller one"
