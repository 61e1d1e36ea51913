"""From source to release: locks, sandboxed builds, provenance, source packs."""
