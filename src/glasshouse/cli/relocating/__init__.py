"""A relocation as people read it: what was said step by step, in words, as a page, as a picture and as a PDF."""
