"""The systems that are compared, each as a cluster of three nodes on loopback."""
