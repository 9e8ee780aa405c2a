"""Characters that have no place in a name, a header or a note. Pure."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
"""Line ends and other controls, halves of characters (bytes of another encoding), and what turns the order of what
follows around. What joins or parts characters (emoji, Persian, Sinhala), or says which way they go, is fine."""
