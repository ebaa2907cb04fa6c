"""Traces of runs for the public TLA+ specification of etcd's raft."""
