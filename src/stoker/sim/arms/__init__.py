"""The front ends that are compared: Stoker's real core, and what people use instead."""
