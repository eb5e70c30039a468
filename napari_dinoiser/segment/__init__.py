"""The Segment tab: one image, words, and labels to paint on."""
