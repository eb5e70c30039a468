"""The tab Folder: a folder of images as a job in a process of its own."""
