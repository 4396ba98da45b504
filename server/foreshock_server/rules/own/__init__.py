"""Rules that people make on the page: checked while they are written, stored with every change, in force within seconds."""
