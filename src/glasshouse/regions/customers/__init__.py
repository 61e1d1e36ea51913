"""Customers of a region, as one of its sites knows them: who may send, how much, and what they have switched off."""
