"""The tab Folder: a folder of pictures as a job in a process of its own."""
