"""What every adapter of a port must do, as suites that run over any of them, ours or yours."""
