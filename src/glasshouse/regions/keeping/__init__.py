"""Keeping: what happens to objects once they are held: due, erased, on legal hold, wrapped anew, scrubbed."""
