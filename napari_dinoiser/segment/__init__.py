"""The tab Segment: one picture, words, labels to paint on."""
