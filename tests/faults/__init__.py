"""Proof by breaking: servers, a proxy that cuts, a neighbour that meddles, and a checker that counts what was lost."""
