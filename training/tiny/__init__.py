"""The recipes of the embedded model ``tiny``: its backbone and its two heads."""
