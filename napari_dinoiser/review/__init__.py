"""The tab Review: the images of a job one by one, to correct, accept or reject."""
