"""Files that napari reads and writes through the plugin: jobs, COCO, masks, sample images."""
