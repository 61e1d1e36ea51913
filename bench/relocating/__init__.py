"""What `bench relocation` is made of: S3 servers, the parties of a move as processes, and the peer."""
