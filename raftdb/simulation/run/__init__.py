"""Whole runs: the plan of a seed, its workload, its verdict, many seeds on many processes."""
