"""Grading that an instructor can trust: sandboxed kernels, and checks that run outside of them."""
