"""The tab Review: the pictures of a job one by one, to correct, accept or reject."""
