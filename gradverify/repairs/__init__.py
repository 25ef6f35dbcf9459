"""Which single change makes a wrong gradient right: the user's backward, run again with one expression exchanged."""

from gradverify.repairs.search import repaired

__all__ = ["repaired"]
