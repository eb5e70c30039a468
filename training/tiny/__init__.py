"""How the embedded model ``tiny`` was made: its backbone and its two heads."""
