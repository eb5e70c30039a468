"""The table of class names and phrases, which the tabs Segment and Folder share."""
