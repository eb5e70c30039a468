"""The Folder tab: label a folder of images as a job."""
