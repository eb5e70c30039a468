"""DINOiser in napari: open a picture, type words, edit the masks."""
