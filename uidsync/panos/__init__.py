"""All knowledge of Palo Alto Networks protocols; imports nothing else of uidsync."""
