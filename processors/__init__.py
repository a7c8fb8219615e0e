"""Log in, store out: the reading side, decode, the Native encoder, the exactly-once writer, dead letters."""
