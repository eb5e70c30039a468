"""The Review tab: correct, accept or reject the images of a job one by one."""
