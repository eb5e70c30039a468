"""Windows, scoring, background, refinement: from patch features to labels."""
