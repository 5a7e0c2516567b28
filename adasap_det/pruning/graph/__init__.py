"""Channel groups: traced operator by operator, coupled, and checked by value."""
