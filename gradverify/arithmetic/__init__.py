"""Other numbers a forward can run on, behind NumPy's protocols; what nobody listed is refused."""
