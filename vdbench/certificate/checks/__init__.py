"""The checks of a certificate, a file for each."""
