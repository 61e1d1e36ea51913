"""Key services: what wraps a site's data keys, by key epochs that are destroyed one after the other."""
