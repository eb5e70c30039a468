"""Files that napari opens and saves through the plugin: jobs, COCO, masks, sample images."""
