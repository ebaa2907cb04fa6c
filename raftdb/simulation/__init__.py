"""Whole clusters in one thread, drawn from one seed."""
