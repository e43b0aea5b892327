"""Stands in for Google's package in a kernel that plays Colab's (book/_tools/try_colab.py)."""

from google.colab import output as output
