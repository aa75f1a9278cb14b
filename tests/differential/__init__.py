"""The same generated SQL on pgvector's binary and on this project's build; what known.py does not explain fails."""
