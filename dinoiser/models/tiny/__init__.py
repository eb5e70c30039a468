"""The embedded model `tiny`: weights only, see training/tiny."""
