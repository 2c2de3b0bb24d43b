"""The promises of the product at full size; `make torture` runs them, docs/operations.md tells how."""
