"""Everything that `make run` and `make up` start and stop: one supervisor in the foreground, one keeper beside each program."""
