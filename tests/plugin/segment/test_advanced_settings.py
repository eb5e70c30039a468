"""The Advanced fold: what is chosen there is how images are looked at."""

from qtpy.QtWidgets import QCheckBox, QComboBox, QSpinBox

from dinoiser.segment.settings import SegmentSettings
from tests.helpers.segment_driver import child


def test_left_alone_it_changes_nothing(segment):
    assert segment.choice().settings == SegmentSettings()


def test_the_published_pixels_can_be_had(segment):
    child(segment, QCheckBox, "antialias").setChecked(False)
    assert segment.choice().settings == SegmentSettings(antialias=False)


def test_as_a_whole_an_image_keeps_its_size(segment):
    short_side = child(segment, QSpinBox, "short_side")
    short_side.setValue(896)
    assert segment.choice().settings == SegmentSettings(short_side=896)
    looking = child(segment, QComboBox, "looking")
    looking.setCurrentIndex(1)
    assert segment.choice().settings == SegmentSettings(whole=True)
    assert not short_side.isEnabled()
    looking.setCurrentIndex(0)
    assert segment.choice().settings == SegmentSettings(short_side=896)
