"""Export formats: pure builders, and one function or class that writes each format."""

from dinoiser.export.coco import CocoWriter, build_annotations
from dinoiser.export.confidence import write_confidence
from dinoiser.export.options import ExportOptions
from dinoiser.export.overlay import write_label_overlay, write_overlay
from dinoiser.export.panoptic import PanopticWriter, build_panoptic, write_panoptic_png
from dinoiser.export.png import read_mask, write_classes, write_mask, write_png
from dinoiser.export.polygons import trace_polygons
from dinoiser.export.yolo import build_yolo, is_same_place, link_image, write_data_yaml, write_yolo

__all__ = [
    "CocoWriter",
    "ExportOptions",
    "PanopticWriter",
    "build_annotations",
    "build_panoptic",
    "build_yolo",
    "is_same_place",
    "link_image",
    "read_mask",
    "trace_polygons",
    "write_classes",
    "write_confidence",
    "write_data_yaml",
    "write_label_overlay",
    "write_mask",
    "write_overlay",
    "write_panoptic_png",
    "write_png",
    "write_yolo",
]
