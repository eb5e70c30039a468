"""The table of class names and phrases, shared by the Segment and Folder tabs."""
