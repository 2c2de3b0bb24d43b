"""Files from outside: which formats are let in, how they are tried, and what is written down about a model's inputs."""
