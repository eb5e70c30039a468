"""The tab Segment: one image, words, labels to paint on."""
