"""Simulated disks: what was not synced may be lost, torn or reordered at a crash."""
