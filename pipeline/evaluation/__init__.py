"""Score registered models, and decide which version becomes champion."""
