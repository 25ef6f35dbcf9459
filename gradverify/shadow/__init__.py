"""Other people's gradient checkers, heard while they run, and their questions asked once more.

`checkers` says which functions are heard and where they live, `patching` puts a listener in the place
of each without importing any, `findings` compares what they said with a verdict. What a call of one of
them asks is known to its framework's folder alone. The standard library only, until a call is rechecked.
"""

from __future__ import annotations
