"""Durable writes: the machine's file system, direct files, io_uring, the threads that wait for a disk."""
