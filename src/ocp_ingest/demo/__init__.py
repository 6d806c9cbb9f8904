"""The demonstration: starts platform and simulator, watches, and compares with the ledger."""
