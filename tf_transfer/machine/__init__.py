"""Devices, strategy, precision, the cluster, signals."""
