"""What stands between the network and the embedded store: a process that lets only statements that read pass."""
