"""Integrations: one module for each library, imported by nobody here."""
