"""The transparency log: writer, server, witness, client, local view and fsck."""
