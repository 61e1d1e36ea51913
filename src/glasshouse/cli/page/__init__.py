"""Evidence as one HTML file that a person can open: readable without scripts, and verifying itself with them."""
