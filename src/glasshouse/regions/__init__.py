"""Regions: where user data is taken, sealed, kept, listed and erased, and who has to agree before anybody looks."""
