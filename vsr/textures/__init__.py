"""What objects show: a pool of textures, made here or read from a folder, and the bank that holds it on a device."""
