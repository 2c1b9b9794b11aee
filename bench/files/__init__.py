"""Files written whole or not at all, and read with one error for all that is wrong."""
