"""Keys, signers, node configuration and charter drafting."""
