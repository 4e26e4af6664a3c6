"""Files of labelling tools: each module reads one tool's format as opinion lines, or says why an item is none. Pure."""
