"""The services behind the gateway, each an application of its own."""
