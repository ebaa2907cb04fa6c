"""Simulated networks: links, datagrams of Raft messages, streams of bytes."""
