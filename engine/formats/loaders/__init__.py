"""One module per model format: load the bytes, score rows of extremes, tell the facts. They run in the disposable child alone.

Each has `try_it(data)`, which raises `Refused` for a file that it understands well enough to say no; whatever else a file does, it does to
the child. A format's libraries are imported when a file of that format is tried, and no sooner.
"""
