"""What tether costs beside its peers: `python -m bench` (see README.md)."""
