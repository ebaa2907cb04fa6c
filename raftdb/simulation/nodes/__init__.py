"""Simulated nodes and clusters of them: production code around simulated surroundings."""
