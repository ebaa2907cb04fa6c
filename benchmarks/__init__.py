"""Measures raftdb beside etcd and PySyncObj, in turns, on one machine: ``python -m benchmarks``.

Processes are real, disks are real, and only one system's cluster runs at a time: the others are
stopped (SIGSTOP). How to read what comes out stands in ``docs/benchmarks.md``.
"""
