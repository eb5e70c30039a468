"""DINOiser in napari: open an image, type words, edit the masks."""
